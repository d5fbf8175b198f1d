//! Documents, arrays and text columns through the whole of a rewrap.

use std::sync::Arc;

use breeze_rollover::{
    catalog::Secret,
    column::{Column, DocumentError, Registry, Rewrap, RowKey, Unopenable},
    envelope::{Malformed, OpenError, SealError, Target},
    ids::{Epoch, KeyId},
    keyring::{AnyKeyring, BudgetSpent, Key, KeyState, Keychain, Keyring, NoKeyring, SealBudget},
    material::Material,
};
use secrecy::ExposeSecret;

use super::{independent, keys::key};

const OLD: &str = "the key before the rollover";
const NEW: &str = "the key after the rollover";

/// `old` is retiring, `new` is primary; both may have made `enc:v1` and `mfa:v1`.
pub fn chain() -> Keychain {
    chain_of("old", "new")
}

/// As it was before the rollover.
pub fn chain_before() -> Keychain {
    chain_of("new", "old")
}

fn chain_of(retiring: &str, primary: &str) -> Keychain {
    let source = |id| if id == "old" { OLD } else { NEW };
    let ring = || {
        let keys = vec![
            key(primary, source(primary), KeyState::Primary, true),
            key(retiring, source(retiring), KeyState::Retiring, true),
        ];
        AnyKeyring::Sealing(Keyring::new(keys).unwrap())
    };
    Keychain::new(Epoch(1))
        .with(Secret::AppEncryptionKey, ring())
        .with(Secret::MfaEncryptionKey, ring())
}

fn row() -> RowKey {
    "0b5f8a2e-6d3c-4a11-9a77-0c2f4b1d9e10".into()
}

fn old(column: &Column, plaintext: &str, target: Target) -> String {
    column.seal(&chain_before(), &row(), plaintext, target).unwrap()
}

fn rewrapped(column: &Column, value: &str, target: Target) -> String {
    let Rewrap::Changed(text) = column.rewrap(&chain(), &row(), value, target).unwrap() else {
        panic!("{value} is final");
    };
    assert_eq!(
        column.rewrap(&chain(), &row(), &text, target),
        Ok(Rewrap::Final),
        "a rewrapped value is final"
    );
    text
}

fn unopenable(column: &Column, value: &str) -> Vec<(String, OpenError)> {
    column.rewrap(&chain(), &row(), value, Target::Bound).unwrap_err().leaves
}

#[test]
fn a_document_changes_in_its_secrets_and_in_no_other_byte() {
    let column = Column::json("webhooks", "headers");
    let [v2, v3] = [Target::Compatible, Target::Bound].map(|target| old(&column, "s", target));
    let document = |[a, b, c, d]: [&str; 4]| {
        format!(
            "{{ \"id\":12345678901234567890123, \"rate\" :1.10,\"e\": 1E5,\n\t\"token\":{a},\
             \"x\":[{b} , null,\"token\"],\"token\": {c},\"secret\":[[{d}],\"\",7],\"\\u0061\":\"\\u00e9\\/\" }}  "
        )
    };
    let quoted = |text: &str| format!("\"{text}\"");
    let escaped = "\"pl\\u0061in\\n\"";
    let before = document([&quoted(&v2), &quoted(&v3), escaped, &quoted("enc:v4:plain")]);
    let after = rewrapped(&column, &before, Target::Bound);

    let mut found = after.match_indices("\"enc:v3:new:").map(|(start, _)| {
        let end = start + 1 + after[start + 1..].find('"').unwrap() + 1;
        &after[start..end]
    });
    let envelopes: [&str; 4] = std::array::from_fn(|_| found.next().unwrap());
    assert!(found.next().is_none());
    assert_eq!(after, document(envelopes));
    let plain = envelopes.map(|e| independent::open(NEW, "webhooks.headers", e.trim_matches('"')));
    assert_eq!(plain.map(Option::unwrap), ["s", "s", "plain\n", "enc:v4:plain"]);

    let opened = column.open_document(&chain(), &row(), &after, Target::Bound).unwrap();
    let shown = document(["\"s\"", "\"s\"", "\"plain\\n\"", "\"enc:v4:plain\""]);
    assert_eq!((opened.json.expose_secret(), opened.is_stale), (shown.as_str(), false));
    assert!(column.open_document(&chain(), &row(), &before, Target::Bound).unwrap().is_stale);
}

#[test]
fn one_bad_string_leaves_the_document_and_every_bad_one_is_named() {
    let column = Column::json("partners", "settings");
    let good = old(&column, "fine", Target::Bound);
    let other = old(&Column::json("sites", "settings"), "elsewhere", Target::Bound);
    let json = format!(
        "{{\"a\":[\"{good}\",\"{other}\"],\"b/c\":{{\"~\":\"enc:v2:gone:AA.AA.AA\"}},\"d\":\"enc:v1:\"}}"
    );
    assert_eq!(
        unopenable(&column, &json),
        [
            ("/a/1".into(), OpenError::Authentication),
            ("/b~1c/~0".into(), OpenError::UnknownKey(KeyId::new("gone").unwrap())),
            ("/d".into(), OpenError::Malformed(Malformed::Parts)),
        ]
    );
    let Err(DocumentError::Unopenable(Unopenable { leaves })) =
        column.open_document(&chain(), &row(), &json, Target::Bound)
    else {
        panic!("it opened");
    };
    assert_eq!(leaves.len(), 3);
}

#[test]
fn a_scalar_document_is_a_secret_only_when_it_is_an_envelope() {
    let column = Column::json("psa_connections", "credentials");
    let envelope = old(&column, "{\"user\":\"u\"}", Target::Compatible);
    let after = rewrapped(&column, &format!("\"{envelope}\""), Target::Bound);
    assert!(after.starts_with("\"enc:v3:new:"));
    for kept in ["\"plain\"", "17", "null", "{}", "[]", "{\"password\":\"\"}", "{\"Token\":\"x\"}"]
    {
        assert_eq!(column.rewrap(&chain(), &row(), kept, Target::Bound), Ok(Rewrap::Final));
    }
}

#[test]
fn an_array_is_rewrapped_by_element_and_holds_no_array() {
    let column = Column::text_array("discovery_profiles", "snmp_communities");
    let envelope = old(&column, "private", Target::Compatible);
    let before = format!("[\"public\", null, \"\", \"{envelope}\", 3]");
    let after = rewrapped(&column, &before, Target::Bound);
    let opened = column.open_document(&chain(), &row(), &after, Target::Bound).unwrap();
    assert_eq!(opened.json.expose_secret(), "[\"public\", null, \"\", \"private\", 3]");

    let sealed = column
        .seal_document(&chain(), &row(), "[\"enc:v1:not an envelope\",\"\"]", Target::Bound)
        .unwrap();
    let opened = column.open_document(&chain(), &row(), &sealed, Target::Bound).unwrap();
    assert_eq!(opened.json.expose_secret(), "[\"enc:v1:not an envelope\",\"\"]");
    assert!(!opened.is_stale);

    for bad in ["[[\"x\"]]", "[[]]", "{\"password\":\"x\"}", "\"x\"", "null"] {
        let refused = column.seal_document(&chain(), &row(), bad, Target::Bound);
        assert_eq!(refused, Err(DocumentError::NotTextArray), "{bad}");
        assert!(matches!(unopenable(&column, bad)[..], [(_, OpenError::Document(_))]));
    }
}

#[test]
fn text_that_is_no_json_is_refused_and_named() {
    let column = Column::json("sites", "settings");
    assert!(matches!(unopenable(&column, "{\"password\":")[..], [(_, OpenError::Document(_))]));
    let half = "{\"password\":\"\\ud800\",\"other\":\"\\ud800\"}";
    let Err(error) = column.seal_document(&chain(), &row(), half, Target::Bound) else { panic!() };
    assert_eq!(error, DocumentError::NotUnicode { path: "/password".into() });
    let text = Column::text("webhooks", "secret");
    let refused = text.seal_document(&chain(), &row(), "{}", Target::Bound);
    assert_eq!(refused, Err(DocumentError::NotDocument));
}

#[test]
fn depth_does_not_matter() {
    let column = Column::json("sites", "settings");
    let deep = 100_000;
    let nest = |inner: &str| format!("{}{inner}{}", "{\"token\":[".repeat(deep), "]}".repeat(deep));
    let after = rewrapped(&column, &nest("\"x\""), Target::Bound);
    let opened = column.open_document(&chain(), &row(), &after, Target::Bound).unwrap();
    assert_eq!(opened.json.expose_secret(), nest("\"x\""));
}

#[test]
fn a_value_opens_in_its_own_place_only() {
    let secret = Column::text("webhooks", "secret");
    let bound = Column::text("tenant_variables", "value").bound_by_row();
    let other: RowKey = "11111111-6d3c-4a11-9a77-0c2f4b1d9e10".into();
    let (a, b) = (old(&secret, "a", Target::Bound), old(&bound, "b", Target::Bound));
    let refused = |column: &Column, row: &RowKey, value: &str| {
        column.open(&chain(), row, value, Target::Bound).unwrap_err()
    };
    let url = Column::text("webhooks", "url");
    assert_eq!(refused(&url, &row(), &a), OpenError::Authentication, "another column");
    assert_eq!(refused(&bound, &other, &b), OpenError::Authentication, "another row");
    assert_eq!(refused(&bound, &row(), &a), OpenError::Authentication, "another table");
    let nobody = RowKey::composite(Vec::new());
    assert_eq!(refused(&bound, &nobody, &b), OpenError::RowRequired);
    assert_eq!(bound.seal(&chain(), &nobody, "x", Target::Bound), Err(SealError::RowRequired));
}

#[test]
fn the_target_decides_what_is_final() {
    let column = Column::text("webhooks", "secret");
    let by_row = Column::text("invoices", "public_link_token_ct").bound_by_row();
    let starts = |column: &Column, target| rewrapped(column, "plain", target)[..11].to_owned();
    assert_eq!(starts(&column, Target::Bound), "enc:v3:new:");
    assert_eq!(starts(&column, Target::Compatible), "enc:v2:new:");
    assert_eq!(starts(&by_row, Target::Compatible), "enc:v3:new:");

    let v3 = column.seal(&chain(), &row(), "s", Target::Bound).unwrap();
    let left = column.rewrap(&chain(), &row(), &v3, Target::Compatible);
    assert_eq!(left, Ok(Rewrap::Final), "Breeze leaves enc:v3 alone");
    let old_v3 = old(&column, "s", Target::Bound);
    assert!(rewrapped(&column, &old_v3, Target::Compatible).starts_with("enc:v2:new:"));
    let v2 = column.seal(&chain(), &row(), "s", Target::Compatible).unwrap();
    assert!(rewrapped(&column, &v2, Target::Bound).starts_with("enc:v3:new:"));

    let prefixes = |column: &Column, target| column.aim(&chain(), target).unwrap().prefixes;
    assert_eq!(prefixes(&column, Target::Bound), ["enc:v3:new:"]);
    assert_eq!(prefixes(&column, Target::Compatible), ["enc:v2:new:", "enc:v3:new:"]);
    assert_eq!(prefixes(&by_row, Target::Compatible), ["enc:v3:new:"]);
}

#[test]
fn what_a_hand_edit_left_opens_and_is_stale() {
    let column = Column::text("webhooks", "secret");
    let canonical = column.seal(&chain(), &row(), "s", Target::Bound).unwrap();
    for edited in [
        format!("{canonical}=="),
        format!("\t{canonical}\r\n"),
        canonical.replace('-', "+").replace('_', "/") + " ",
    ] {
        let opened = column.open(&chain(), &row(), &edited, Target::Bound).unwrap();
        assert_eq!((opened.plaintext.expose_secret(), opened.is_stale), ("s", true), "{edited:?}");
        rewrapped(&column, &edited, Target::Bound);
    }
}

#[test]
fn a_migrated_column_opens_its_bound_form_and_nothing_else() {
    let open = Column::text("webhooks", "secret");
    let column = open.clone().migrated();
    let v2 = old(&open, "s", Target::Compatible);
    let v1 = v2.replace("enc:v2:old:", "enc:v1:");
    assert_eq!(
        open.open(&chain(), &row(), &v1, Target::Bound).unwrap().plaintext.expose_secret(),
        "s"
    );
    for refused in [v2.as_str(), &v1, "plaintext", "mfa:v1:a.b.c"] {
        assert_eq!(unopenable(&column, refused), [(String::new(), OpenError::DowngradeRefused)]);
    }
    let v3 = column.seal(&chain(), &row(), "s", Target::Compatible).unwrap();
    assert!(v3.starts_with("enc:v3:new:"), "it writes what it reads");
    assert_eq!(column.rewrap(&chain(), &row(), "", Target::Bound), Ok(Rewrap::Final));
}

#[test]
fn totp_seeds_move_to_their_own_key_from_every_older_form() {
    let registry = Registry::breeze();
    let column = registry.column("users", "mfa_secret").unwrap();
    let app = Column::text("users", "mfa_secret");
    let forms = [
        old(&app, "SEED", Target::Bound),
        old(&app, "SEED", Target::Compatible),
        old(&app, "SEED", Target::Compatible).replace("enc:v2:old:", "enc:v1:"),
        old(column, "SEED", Target::Compatible),
        old(column, "SEED", Target::Bound),
        "SEED".into(),
    ];
    for form in &forms {
        let bound = rewrapped(column, form, Target::Bound);
        assert!(bound.starts_with("mfa:v2:new:"), "{bound}");
        let aad = format!("users.mfa_secret:{}", row());
        assert_eq!(independent::open(NEW, &aad, &bound).as_deref(), Some("SEED"));
        let unbound = rewrapped(column, form, Target::Compatible);
        assert!(unbound.starts_with("mfa:v1:"), "{unbound}");
        assert_eq!(independent::open(NEW, "", &unbound).as_deref(), Some("SEED"));
    }
    assert!(column.aim(&chain(), Target::Compatible).unwrap().prefixes.is_empty());
    assert_eq!(column.aim(&chain(), Target::Bound).unwrap().prefixes, ["mfa:v2:new:"]);
}

#[test]
fn a_command_keeps_its_plaintext_and_a_script_s_environment_is_reported() {
    let registry = Registry::breeze();
    let column = registry.column("device_commands", "payload").unwrap();
    let envelope = old(column, "recovery", Target::Bound);
    let json = format!("{{\"password\":\"for the agent\",\"currentRecoveryKey\":\"{envelope}\"}}");
    let after = rewrapped(column, &json, Target::Bound);
    assert!(
        after.starts_with("{\"password\":\"for the agent\",\"currentRecoveryKey\":\"enc:v3:new:")
    );

    let script = Column::text("device_commands.payload|secretEnvEnvelope|v1|script|c|d", "x");
    let json = format!("{{\"secretEnvEnvelope\":\"{}\"}}", old(&script, "{}", Target::Bound));
    assert_eq!(
        unopenable(column, &json),
        [("/secretEnvEnvelope".into(), OpenError::Authentication)]
    );
}

#[test]
fn what_cannot_be_sealed_again_is_told_apart_from_what_does_not_open() {
    let column = Column::text("webhooks", "secret");
    let spent = Arc::new(SealBudget::new(1, 1));
    let id = KeyId::new("new").unwrap();
    let material = Material::new(NEW).unwrap();
    let keys = vec![Key::sealing(id, KeyState::Primary, true, &material, spent)];
    let chain = Keychain::new(Epoch(1))
        .with(Secret::AppEncryptionKey, AnyKeyring::Sealing(Keyring::new(keys).unwrap()));
    let error = column.rewrap(&chain, &row(), "plain", Target::Bound).unwrap_err();
    assert_eq!(error.seal_error(), Some(SealError::BudgetSpent(BudgetSpent)));

    let empty = Keychain::new(Epoch(1));
    let error = column.rewrap(&empty, &row(), "plain", Target::Bound).unwrap_err();
    let no_keyring = NoKeyring(Secret::AppEncryptionKey);
    assert_eq!(error.seal_error(), Some(SealError::NoKeyring(no_keyring)));
    assert_eq!(unopenable(&column, "enc:v1:").len(), 1);
}

#[test]
fn ten_megabytes_are_a_value_like_any_other() {
    let column = Column::text("webhooks", "secret");
    let value = "é".repeat(5 << 20);
    let sealed = old(&column, &value, Target::Bound);
    let after = rewrapped(&column, &sealed, Target::Bound);
    let opened = column.open(&chain(), &row(), &after, Target::Bound).unwrap();
    assert!(opened.plaintext.expose_secret() == value);
    let cut = &after[..after.len() - 4];
    assert_eq!(
        unopenable(&column, cut.replace(":new:", ":old:").as_str())[0].1,
        OpenError::Authentication
    );
}
