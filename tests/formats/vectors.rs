//! Breeze's own vectors: each agrees, or differs for one of the reasons of FORMATS
//! section 0, all of which stand in [`REASONS`].

use std::collections::BTreeMap;

use breeze_rollover::envelope::{Form, Target};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{judge::judge, keys::Env};

#[derive(Debug, Deserialize)]
struct File {
    count: usize,
    vectors: Vec<Vector>,
}

#[derive(Debug, Deserialize)]
pub struct Vector {
    id: String,
    group: String,
    #[serde(default)]
    note: String,
    #[serde(default)]
    pub env: Env,
    pub op: String,
    #[serde(default)]
    pub args: Vec<Value>,
    /// `{ok: value}`, or `{error: message, class}`.
    pub expected: Value,
}

/// Groups that are judged elsewhere, and where.
const ELSEWHERE: &[(&str, &str)] = &[
    ("jwt-verify", "tests/tokens"),
    ("jwt-verify-later", "tests/tokens"),
    ("jwt-sign", "tests/tokens"),
    ("jwt-config", "tests/tokens"),
    ("jwt-viewer", "tests/tokens"),
    ("pepper", "tests/access"),
    ("recovery", "tests/access"),
    ("agent-token", "tests/access"),
    ("enrollment-secret", "tests/access"),
    ("enrollment-ttl", "src/bin/breeze-api/settings.rs"),
    ("cookie", "src/bin/breeze-api/settings.rs"),
    ("turn", "src/provider/turn.rs"),
    ("metrics", "tests/operations/metrics.rs"),
];

/// One reason of FORMATS section 0 to differ from Breeze, and the vectors it covers.
struct Reason {
    rule: &'static str,
    covers: fn(&Vector) -> bool,
}

const REASONS: &[Reason] = &[
    Reason {
        rule: "0.1.3: characters outside base64, and bytes outside UTF-8, are refused",
        covers: |v| {
            let replaced = v.expected["ok"].as_str().is_some_and(|ok| ok.contains('\u{fffd}'));
            v.is_ok() && (replaced || parts(v).iter().any(|part| !is_base64(part)))
        },
    },
    Reason {
        rule: "0.1.3: a nonce that is not 12 bytes is refused",
        covers: |v| v.is_ok() && matches!(&*parts(v), [nonce, _, _] if nonce.len() != 16),
    },
    Reason {
        rule: "0.1.3: a tag that is not 16 bytes is refused",
        covers: |v| v.is_ok() && matches!(&*parts(v), [_, tag, _] if tag.len() != 22),
    },
    Reason {
        rule: "0.1.3: surrounding white space is read, where Breeze sees plaintext",
        covers: |v| {
            let value = v.text(0);
            v.is_ok() && value != value.trim_ascii_start() && Form::of(value).is_some()
        },
    },
    Reason {
        rule: "0.1.4: a migrated column refuses all but enc:v3, where Breeze's strict reader \
               refuses enc:v2 alone",
        covers: |v| v.is_ok() && v.is_strict() && v.form(0) != Some(Form::EncV3),
    },
    Reason {
        rule: "0.2: text that begins with enc: or mfa: is sealed like any other",
        covers: |v| {
            let begins = |arg: &Value| ["\"enc:v", "\"mfa:v"].map(|p| arg.to_string().contains(p));
            v.op.starts_with("encrypt") && v.args.iter().any(|arg| begins(arg).contains(&true))
        },
    },
    Reason {
        rule: "0.2: empty stays empty, where Breeze answers null",
        covers: |v| v.is_ok() && v.args.first() == Some(&json!("")),
    },
    Reason {
        rule: "0.2: a primary key always has an id, so there is always something to seal under",
        covers: |v| {
            let names = ["APP_ENCRYPTION_KEY_ID", "SECRET_ENCRYPTION_KEY_ID"];
            names.iter().all(|name| v.env.get(*name).is_none_or(String::is_empty))
        },
    },
    Reason {
        rule: "0.4: a rewrap knows the context of every value, where Breeze's has none for enc:v3 \
               unless ENABLE_AAD_V3",
        covers: |v| {
            let rewraps = ["transformEncryptedColumnValue", "reencryptSecret"];
            v.expected["class"] == "aad_required" && rewraps.contains(&&*v.op)
        },
    },
];

impl Vector {
    /// Whether Breeze answers, rather than refuses.
    pub fn is_ok(&self) -> bool {
        self.expected.get("ok").is_some()
    }

    /// An argument that is text.
    pub fn text(&self, index: usize) -> &str {
        self.args.get(index).and_then(Value::as_str).unwrap_or_default()
    }

    /// What that text begins with.
    pub fn form(&self, index: usize) -> Option<Form> {
        Form::of(self.text(index))
    }

    /// One of the options that are the second argument.
    pub fn option(&self, name: &str) -> Value {
        self.args.get(1).map_or(Value::Null, |options| options[name].clone())
    }

    /// Whether Breeze reads strictly.
    pub fn is_strict(&self) -> bool {
        self.option("strict") == json!(true)
    }

    /// What Breeze rewraps to under this environment.
    pub fn target(&self) -> Target {
        match self.env.get("ENABLE_AAD_V3").map(String::as_str) {
            Some("true") => Target::Bound,
            _ => Target::Compatible,
        }
    }

    /// The AAD among them.
    pub fn aad(&self) -> String {
        self.option("aad").as_str().unwrap_or_default().to_owned()
    }
}

/// The parts of the payload of the value that is read, as written.
fn parts(v: &Vector) -> Vec<&str> {
    let is_read = !v.op.starts_with("encrypt");
    let Some(form) = v.form(0).filter(|_| is_read) else { return Vec::new() };
    let rest = v.text(0).trim_ascii().trim_start_matches(form.prefix());
    let payload = if form.names_key() { rest.split_once(':').unzip().1 } else { Some(rest) };
    payload.unwrap_or_default().split('.').collect()
}

fn is_base64(part: &str) -> bool {
    let digits = part.trim_end_matches('=');
    digits.len() % 4 != 1
        && digits.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/-_".contains(&b))
}

#[test]
#[expect(clippy::print_stdout, reason = "the table is for whoever reads the test's output")]
fn every_vector_agrees_or_differs_for_a_reason_in_the_table() {
    let (path, is_shipped) = match std::env::var("BREEZE_VECTORS") {
        Ok(path) => (path, false),
        Err(_) => {
            (format!("{}/tests/vectors/breeze-vectors.json", env!("CARGO_MANIFEST_DIR")), true)
        }
    };
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let file: File = serde_json::from_str(&text).unwrap();
    assert_eq!(file.vectors.len(), file.count);

    let mut groups: BTreeMap<&str, [usize; 3]> = BTreeMap::new();
    let mut used = vec![0; REASONS.len()];
    let mut unexplained = Vec::new();
    for v in &file.vectors {
        let [agree, differ, elsewhere] = groups.entry(&v.group).or_default();
        if ELSEWHERE.iter().any(|(group, _)| *group == v.group) {
            *elsewhere += 1;
            continue;
        }
        match judge(v) {
            Ok(()) => *agree += 1,
            Err(how) => match REASONS.iter().position(|reason| (reason.covers)(v)) {
                Some(reason) => {
                    *differ += 1;
                    used[reason] += 1;
                }
                None => unexplained.push(format!("{} ({}): {how}", v.id, v.note)),
            },
        }
    }
    println!("{:<20} {:>6} {:>7} {:>10}", "group", "agree", "differ", "elsewhere");
    for (group, [agree, differ, elsewhere]) in &groups {
        println!("{group:<20} {agree:>6} {differ:>7} {elsewhere:>10}");
    }
    for (reason, used) in REASONS.iter().zip(&used) {
        println!("{used:>4} × {}", reason.rule);
    }
    assert!(unexplained.is_empty(), "{unexplained:#?}");
    assert_eq!(groups.values().flatten().sum::<usize>(), file.count);
    if is_shipped {
        let unused: Vec<_> = REASONS
            .iter()
            .zip(&used)
            .filter(|(_, used)| **used == 0)
            .map(|(r, _)| r.rule)
            .collect();
        assert!(unused.is_empty(), "no vector needs these reasons: {unused:#?}");
        let elsewhere: Vec<_> =
            ELSEWHERE.iter().filter(|(group, _)| !groups.contains_key(group)).collect();
        assert!(elsewhere.is_empty(), "no vector is of these groups: {elsewhere:#?}");
    }
}
