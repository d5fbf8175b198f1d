//! Recovery codes, on two processes at once.

use std::{collections::BTreeSet, time::Duration};

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::{
    person::{CODES, PASSWORD, Person, hashed, make, session},
    replicas::{PEPPER, Replicas},
    support::deployment::{Db, on_both_databases},
};

on_both_databases!(
    ten_codes_are_shown_once_and_each_opens_the_door_once,
    codes_that_breeze_made_open_the_door_and_breeze_can_read_ours,
    codes_under_a_previous_pepper_of_the_environment_are_accepted_and_upgraded,
    of_logins_at_once_with_one_code_one_passes,
    a_code_that_is_wrong_counts_as_a_failed_login,
    codes_are_made_in_a_session_that_passed_mfa_and_in_no_other,
    a_code_that_is_checked_is_not_spent,
    codes_end_with_the_second_factor,
);

fn claims(login: &Value) -> Value {
    let token = login["tokens"]["accessToken"].as_str().unwrap();
    let payload = token.split('.').nth(1).unwrap();
    let payload = base64_simd::URL_SAFE_NO_PAD.decode_to_vec(payload).unwrap();
    serde_json::from_slice(&payload).unwrap()
}

async fn ten_codes_are_shown_once_and_each_opens_the_door_once(db: Db) {
    let replicas = Replicas::start(db).await;
    let [one, other] = &replicas.clients;
    let (ann, mine, codes) = Person::with_codes(&replicas, "ann").await;
    assert_eq!(codes.iter().collect::<BTreeSet<_>>().len(), 10);
    for code in &codes {
        let (first, second) = code.split_once('-').unwrap();
        assert!(first.len() == 4 && second.len() == 4, "{code}");
        let is_of_it = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit();
        assert!((first.to_owned() + second).bytes().all(is_of_it), "{code}");
    }
    let shown = mine.get(CODES).await;
    assert!(codes.iter().all(|code| !String::from_utf8_lossy(&shown.body).contains(code)));
    let shown = shown.expect(200);
    assert_eq!((&shown["left"], &shown["outdated"]), (&json!(10), &json!(false)));

    // Whoever types it as it comes to hand, and only with the password.
    let wrong = json!({ "email": ann.email, "password": "wrong", "recoveryCode": codes[0] });
    let wrong = one.post("/api/v1/auth/login", wrong).await.expect(401);
    assert_eq!(wrong["code"], "invalid_credentials");
    let typed = format!("  {}\n", codes[0].to_lowercase());
    let login = ann.log_in(other, &typed).await.expect(200);
    assert_eq!(claims(&login)["mfa"], true);
    assert_eq!(login["recoveryCodesOutdated"], Value::Null);
    for client in [one, other] {
        ann.is_refused(client, &codes[0]).await;
    }
    ann.is_refused(one, &codes[1].replace('-', "")).await;
    assert_eq!(mine.get(CODES).await.expect(200)["left"], 9);

    let both = json!({ "recoveryCode": codes[1], "mfaCode": "123456" });
    ann.log_in_by(one, both).await.expect(422);
    let none = ann.log_in_by(one, json!({})).await.expect(401);
    assert_eq!((&none["code"], &none["mfaRequired"]), (&json!("mfa_required"), &json!(true)));
    let anew = make(&mine).await;
    ann.is_refused(one, &codes[1]).await;
    ann.passes(one, &anew[0]).await;

    let audit = replicas.operator.get("/admin/audit").await.expect(200).to_string();
    assert!(anew.iter().chain(&codes).all(|code| !audit.contains(code)));
    replicas.end(anew.iter().chain(&codes)).await;
}

async fn codes_that_breeze_made_open_the_door_and_breeze_can_read_ours(db: Db) {
    let replicas = Replicas::start(db).await;
    let [one, other] = &replicas.clients;
    let ann = Person::of_breeze(&replicas, "ann", &["ABCD-1234", "WXYZ-0000"]).await;
    // The row of vector recovery-0555.
    assert_eq!(
        hashed("ABCD-1234"),
        "cbbfa97a8871733ea1e75438ef8504755feed7ec8d667a9f9e2f25495f43b786"
    );
    let login = ann.log_in(one, "  abcd-1234\n").await.expect(200);
    assert_eq!(login["recoveryCodesOutdated"], true, "under which pepper is not known");
    let database = replicas.database().await;
    const STORED: &str =
        "SELECT CAST(mfa_recovery_codes AS text) FROM users WHERE email = 'ann@example.test'";
    let stored: Value = serde_json::from_str(&database.texts(STORED).await[0]).unwrap();
    assert_eq!(stored, json!([hashed("WXYZ-0000")]), "what is spent is gone, and no more");

    let codes = make(&session(one, &login)).await;
    ann.is_refused(other, "WXYZ-0000").await;
    let stored: Vec<String> = serde_json::from_str(&database.texts(STORED).await[0]).unwrap();
    let hashes: Vec<_> = codes.iter().map(|code| hashed(code)).collect();
    assert_eq!(stored, hashes, "the array that Breeze reads");

    // Breeze makes new ones: they are not taken for ours.
    let written = format!("UPDATE users SET mfa_recovery_codes = '[\"{}\"]'", hashed("NEWB-0001"));
    database.execute(&format!("{written} WHERE id = '{}'", ann.id)).await;
    ann.is_refused(one, &codes[0]).await;
    let login = ann.log_in(one, "NEWB-0001").await.expect(200);
    let shown = session(one, &login).get(CODES).await.expect(200);
    assert_eq!((&shown["left"], &shown["outdated"]), (&json!(0), &json!(false)));
    replicas.end(&codes).await;
}

async fn codes_under_a_previous_pepper_of_the_environment_are_accepted_and_upgraded(db: Db) {
    let peppers = [
        ("MFA_RECOVERY_CODE_PEPPER", "a pepper that came after that of Breeze 0123"),
        ("MFA_RECOVERY_CODE_PEPPER_PREVIOUS", PEPPER),
    ];
    let replicas = Replicas::with(db, &peppers).await;
    let [one, other] = &replicas.clients;
    let ann = Person::of_breeze(&replicas, "ann", &["ABCD-1234", "WXYZ-0000"]).await;
    let login = ann.log_in(one, "ABCD-1234").await.expect(200);
    assert_eq!(login["recoveryCodesOutdated"], true);
    let mine = session(one, &login);
    let check = json!({ "codes": ["WXYZ-0000"] });
    let checked = mine.post(&format!("{CODES}/check"), check).await.expect(200);
    assert_eq!(checked, json!({ "work": [true], "left": 1, "outdated": false }));
    let database = replicas.database().await;
    const STORED: &str =
        "SELECT CAST(mfa_recovery_codes AS text) FROM users WHERE email = 'ann@example.test'";
    assert!(!database.texts(STORED).await[0].contains(&hashed("WXYZ-0000")), "hashed anew");
    ann.passes(other, "WXYZ-0000").await;
}

/// As Breeze has it, as far as codes go.
const TABLES: &str = "
    CREATE TYPE user_status AS ENUM ('active', 'invited', 'disabled');
    CREATE TABLE users (
        id uuid PRIMARY KEY DEFAULT gen_random_uuid(), email varchar(255) NOT NULL UNIQUE,
        name varchar(255) NOT NULL, password_hash text, mfa_secret text,
        mfa_enabled boolean DEFAULT false, mfa_recovery_codes jsonb,
        status user_status NOT NULL DEFAULT 'invited',
        auth_epoch integer NOT NULL DEFAULT 1, mfa_epoch integer NOT NULL DEFAULT 1);";

#[tokio::test]
#[cfg_attr(not(postgres_tests), ignore = "needs PostgreSQL; tests/run starts one")]
async fn codes_are_kept_in_the_table_of_breeze() {
    let db = Db::on_postgres().await;
    db.execute(TABLES, "").await;
    let replicas = Replicas::start(db).await;
    let [one, other] = &replicas.clients;
    let (ann, mine, codes) = Person::with_codes(&replicas, "ann").await;
    ann.passes(other, &codes[0]).await;
    ann.is_refused(one, &codes[0]).await;
    let order = json!({ "reason": "a test", "users": [ann.id] });
    let taken = replicas.operator.post("/admin/recovery-codes/reissue", order).await;
    assert_eq!(taken.expect(200)["users"], 1);
    ann.is_refused(one, &codes[1]).await;
    let anew = make(&mine).await;
    ann.passes(one, &anew[0]).await;
}

async fn of_logins_at_once_with_one_code_one_passes(db: Db) {
    let replicas = Replicas::start(db).await;
    let (ann, mine, codes) = Person::with_codes(&replicas, "ann").await;
    for code in &codes[..2] {
        // Nobody writes before all of them are about to.
        let held = hold_writes(&replicas.db, &ann).await;
        let logins = (0..8).map(|n| ann.log_in(&replicas.clients[n % 2], code));
        let (logins, ()) = tokio::join!(join_all(logins), held);
        let statuses: Vec<_> = logins.iter().map(|login| login.status.as_u16()).collect();
        assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
        assert_eq!(statuses.iter().filter(|status| **status == 401).count(), 7, "{statuses:?}");
    }
    assert_eq!(mine.get(CODES).await.expect(200)["left"], 8);

    // Different codes do not get in each other's way.
    let logins = join_all(codes[2..6].iter().enumerate().map(|(n, code)| {
        let client = &replicas.clients[n % 2];
        ann.log_in(client, code)
    }));
    assert!(logins.await.iter().all(|login| login.status == 200));
    assert_eq!(mine.get(CODES).await.expect(200)["left"], 4);
}

/// Holds up whoever writes the row of `person`, from now on and until all have come that
/// the test sends.
async fn hold_writes(db: &Db, person: &Person) -> impl Future<Output = ()> + use<> {
    const LONG_ENOUGH: Duration = Duration::from_secs(3);
    let lock = format!("SELECT 1 FROM users WHERE id = '{}' FOR UPDATE", person.id);
    let (sqlite, postgres) = match db {
        Db::Sqlite(file) => {
            (Some(file.pool().await.begin_with("BEGIN IMMEDIATE").await.unwrap()), None)
        }
        Db::Postgres(database) => {
            let mut transaction = database.pool().await.begin().await.unwrap();
            let lock = sqlx::raw_sql(sqlx::AssertSqlSafe(lock));
            lock.execute(&mut *transaction).await.unwrap();
            (None, Some(transaction))
        }
    };
    async move {
        tokio::time::sleep(LONG_ENOUGH).await;
        drop((sqlite, postgres));
    }
}

async fn a_code_that_is_wrong_counts_as_a_failed_login(db: Db) {
    let replicas = Replicas::start(db).await;
    let client = &replicas.clients[0];
    let (ann, _, codes) = Person::with_codes(&replicas, "ann").await;
    for n in 0..10 {
        ann.is_refused(client, &format!("AAAA-000{n}")).await;
    }
    let throttled = ann.log_in(client, &codes[0]).await.expect(429);
    assert_eq!(throttled["code"], "login_throttled");
    let bob = Person::join(&replicas, "bob").await;
    let ignored = bob.log_in(client, "AAAA-0000").await.expect(200);
    assert_eq!(claims(&ignored)["mfa"], false, "who is not enrolled passes no MFA");
}

async fn codes_are_made_in_a_session_that_passed_mfa_and_in_no_other(db: Db) {
    let replicas = Replicas::start(db).await;
    let client = &replicas.clients[0];
    let bob = Person::join(&replicas, "bob").await;
    let without = session(client, &bob.log_in_by(client, json!({})).await.expect(200));
    for refused in [
        without.get(CODES).await,
        without.post(CODES, json!({})).await,
        without.post(&format!("{CODES}/check"), json!({ "codes": ["AAAA-0000"] })).await,
    ] {
        assert_eq!(refused.expect(403)["code"], "mfa_required");
    }
    client.post(CODES, json!({})).await.expect(401);

    // A session from before a change of the password or of MFA makes none.
    let (ann, mine, codes) = Person::with_codes(&replicas, "ann").await;
    let database = replicas.database().await;
    let raise = format!("UPDATE users SET auth_epoch = auth_epoch + 1 WHERE id = '{}'", ann.id);
    database.execute(&raise).await;
    assert_eq!(mine.post(CODES, json!({})).await.expect(401)["code"], "session_ended");
    let mine = ann.passes(client, &codes[0]).await;
    database
        .execute(&format!("UPDATE users SET mfa_enabled = FALSE WHERE id = '{}'", ann.id))
        .await;
    assert_eq!(mine.post(CODES, json!({})).await.expect(409)["code"], "mfa_not_set_up");
}

async fn a_code_that_is_checked_is_not_spent(db: Db) {
    let replicas = Replicas::start(db).await;
    let client = &replicas.clients[0];
    let ann = Person::of_breeze(&replicas, "ann", &["ABCD-1234", "WXYZ-0000", "LAST-0001"]).await;
    let mine = ann.passes(client, "LAST-0001").await;
    let check =
        async |codes: Value| mine.post(&format!("{CODES}/check"), json!({ "codes": codes })).await;
    let checked = check(json!(["abcd-1234 ", "LAST-0001", "NONE-0000"])).await.expect(200);
    assert_eq!(checked, json!({ "work": [true, false, false], "left": 2, "outdated": true }));
    let checked = check(json!(["ABCD-1234", "WXYZ-0000"])).await.expect(200);
    assert_eq!(checked, json!({ "work": [true, true], "left": 2, "outdated": false }));
    let shown = mine.get(CODES).await.expect(200);
    assert_eq!((&shown["current"], &shown["unknown"]), (&json!(2), &json!(0)));
    for wrong in [json!([]), json!(vec!["AAAA-0000"; 11])] {
        check(wrong).await.expect(422);
    }
    for code in ["ABCD-1234", "WXYZ-0000"] {
        ann.passes(client, code).await;
        ann.is_refused(client, code).await;
    }
    // It is no way around the throttle.
    for _ in 0..10 {
        check(json!(["NONE-0000"])).await;
    }
    assert_eq!(check(json!(["NONE-0000"])).await.expect(429)["code"], "login_throttled");
}

async fn codes_end_with_the_second_factor(db: Db) {
    let replicas = Replicas::start(db).await;
    let (ann, mine, codes) = Person::with_codes(&replicas, "ann").await;
    let password = json!({ "password": PASSWORD });
    mine.post("/api/v1/auth/mfa/disable", password).await.expect(200);
    // Whatever second factor comes next has codes of its own.
    let enrolled = format!("UPDATE users SET mfa_enabled = TRUE WHERE id = '{}'", ann.id);
    replicas.database().await.execute(&enrolled).await;
    ann.is_refused(&replicas.clients[0], &codes[0]).await;
}
