//! A user who is enrolled in MFA, and what they do with their recovery codes.

use breeze_rollover::{digest::Hash, material::Material};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    replicas::{PEPPER, Replicas},
    support::http::{Answer, Client},
};

pub const CODES: &str = "/api/v1/auth/mfa/recovery-codes";
pub const PASSWORD: &str = "correct horse battery";

#[derive(Debug, Clone)]
pub struct Person {
    pub id: Uuid,
    pub email: String,
}

impl Person {
    /// A user of an organization, without MFA.
    pub async fn join(replicas: &Replicas, name: &str) -> Self {
        let email = format!("{name}@example.test");
        let body = json!({
            "email": email, "name": name, "password": PASSWORD, "orgId": Uuid::from_u128(7),
        });
        let created = replicas.operator.post("/api/v1/users", body).await.expect(201);
        Self { id: created["id"].as_str().unwrap().parse().unwrap(), email }
    }

    /// A user whom Breeze has enrolled, with these unused codes: a bare array of hashes.
    pub async fn of_breeze(replicas: &Replicas, name: &str, codes: &[&str]) -> Self {
        let person = Self::join(replicas, name).await;
        let hashes: Vec<_> = codes.iter().map(|code| hashed(code)).collect();
        let sql = format!(
            "UPDATE users SET mfa_enabled = TRUE, mfa_recovery_codes = '{}' WHERE id = '{}'",
            Value::from(hashes),
            person.id
        );
        replicas.database().await.execute(&sql).await;
        person
    }

    /// A user with ten codes of ours, and their session, which passed MFA.
    pub async fn with_codes(replicas: &Replicas, name: &str) -> (Self, Client, Vec<String>) {
        let person = Self::of_breeze(replicas, name, &["ABCD-1234"]).await;
        let client = &replicas.clients[0];
        let session = person.passes(client, "ABCD-1234").await;
        let codes = make(&session).await;
        (person, session, codes)
    }

    /// Logs in by a recovery code.
    pub async fn log_in(&self, client: &Client, code: &str) -> Answer {
        self.log_in_by(client, json!({ "recoveryCode": code })).await
    }

    /// Logs in with `more` than address and password.
    pub async fn log_in_by(&self, client: &Client, more: Value) -> Answer {
        let mut body = json!({ "email": self.email, "password": PASSWORD });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        client.post("/api/v1/auth/login", body).await
    }

    /// A session of theirs, begun by a recovery code.
    pub async fn passes(&self, client: &Client, code: &str) -> Client {
        session(client, &self.log_in(client, code).await.expect(200))
    }

    /// Asserts that `code` opens nothing.
    pub async fn is_refused(&self, client: &Client, code: &str) {
        assert_eq!(self.log_in(client, code).await.expect(401)["code"], "mfa_invalid", "{code}");
    }
}

/// What Breeze stores of a code.
pub fn hashed(code: &str) -> String {
    Hash::peppered(&Material::new(PEPPER.trim()).unwrap(), code).to_string()
}

/// The session that a login began.
pub fn session(client: &Client, login: &Value) -> Client {
    client.bearing(login["tokens"]["accessToken"].as_str().unwrap())
}

/// New codes, in the place of all that there were.
pub async fn make(session: &Client) -> Vec<String> {
    let made = session.post(CODES, json!({})).await;
    assert_eq!(made.header("cache-control"), Some("no-store"));
    let made = made.expect(201);
    let codes = made["codes"].as_array().unwrap().iter();
    codes.map(|code| code.as_str().unwrap().to_owned()).collect()
}
