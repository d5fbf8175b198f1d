//! A real OpenID provider, `oidc-provider-mock` of PyPI, of a test's own; and a company whose
//! people sign on there.

use std::{path::PathBuf, process::Stdio, time::Duration};

use http::Request;
use serde_json::{Value, json};
use tokio::{
    process::{Child, Command},
    time::sleep,
};
use uuid::Uuid;

use crate::{
    jar::Browser,
    person::Person,
    replicas::Replicas,
    support::{
        deployment::Db,
        free_port,
        http::{Answer, Client},
    },
};

/// Where browsers come back to, as it is registered. The tests lead them to a replica.
pub const CALLBACK: &str = "https://breeze.example.test/api/v1/sso/callback";

/// Breeze's name for the cookie.
pub const COOKIE: &str = "breeze_sso_state";

/// A provider, ended with this value.
pub struct Idp {
    port: u16,
    process: Child,
}

impl Idp {
    pub async fn start() -> Self {
        let folder = std::env::var_os("BREEZE_TEST_OPENID_BIN").expect("tests/run names it");
        let port = free_port();
        let process = Command::new(PathBuf::from(folder).join("oidc-provider-mock"))
            .args(["--port", &port.to_string()])
            .args(["--require-registration=true", "--require-nonce=true"])
            .env_clear()
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let idp = Self { port, process };
        let discovery = || Request::get("/.well-known/openid-configuration").body(String::new());
        while Client::on(port).send(discovery().unwrap()).await.is_err() {
            sleep(Duration::from_millis(50)).await;
        }
        idp
    }

    pub fn issuer(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Ends it.
    pub async fn ends(&mut self) {
        self.process.kill().await.unwrap();
    }

    /// Registers the API: its client id and secret.
    pub async fn register(&self) -> (String, String) {
        let body = json!({ "redirect_uris": [CALLBACK] });
        let made = Client::on(self.port).post("/oauth2/clients", body).await.expect(201);
        let text = |name: &str| made[name].as_str().unwrap().to_owned();
        (text("client_id"), text("client_secret"))
    }

    /// Whoever is `name` there has these claims.
    pub async fn knows(&self, name: &str, claims: Value) {
        Client::on(self.port).put(&format!("/users/{name}"), claims).await.expect(204);
    }

    /// Fills in its form, at the address that a browser was sent to, and answers the path
    /// that it is sent back to.
    pub async fn submits(&self, to: &str, form: &str) -> String {
        let path = to.strip_prefix(&self.issuer()).unwrap();
        let request = Request::post(path).header("content-type", FORM).body(form.to_owned());
        let answer = Client::on(self.port).send(request.unwrap()).await.unwrap();
        assert_eq!(answer.status, 302, "{}", answer.body.escape_ascii());
        let back = answer.header("location").unwrap();
        back.strip_prefix("https://breeze.example.test").unwrap().to_owned()
    }
}

const FORM: &str = "application/x-www-form-urlencoded";

/// Two replicas, and an organization whose people sign on at a provider.
pub struct Company {
    pub replicas: Replicas,
    pub idp: Idp,
    /// The provider's row.
    pub provider: String,
    pub secret: String,
}

impl Company {
    /// Whose sign-ons may take as long as Breeze's.
    pub async fn start(db: Db) -> Self {
        Self::with(db, &[]).await
    }

    /// With `more` variables.
    pub async fn with(db: Db, more: &[(&str, &str)]) -> Self {
        let variables: Vec<_> =
            [("SSO_CALLBACK_URL", CALLBACK)].iter().chain(more).copied().collect();
        let (replicas, idp) = (Replicas::with(db, &variables).await, Idp::start().await);
        let (id, secret) = idp.register().await;
        let mut company = Self { replicas, idp, provider: String::new(), secret };
        company.provider = company.has_provider(json!({ "clientId": id })).await;
        company
    }

    /// A provider of this company, or of what `changes` says.
    pub async fn has_provider(&self, changes: Value) -> String {
        let mut body = json!({
            "name": "the company's", "orgId": Uuid::from_u128(7), "issuer": self.idp.issuer(),
            "clientId": "nobody", "clientSecret": self.secret,
        });
        body.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        let made = self.replicas.operator.post("/api/v1/sso/providers", body).await.expect(201);
        made["id"].as_str().unwrap().to_owned()
    }

    /// A user without MFA, whose address the provider has verified.
    pub async fn has(&self, name: &str) -> Person {
        let person = Person::join(&self.replicas, name).await;
        self.vouches_for(name, &person.email).await;
        person
    }

    /// The provider has verified that `email` is the address of `name`.
    pub async fn vouches_for(&self, name: &str, email: &str) {
        self.idp.knows(name, json!({ "email": email, "email_verified": true })).await;
    }

    /// A browser that is sent away at `client`.
    pub async fn begin(&self, client: &Client) -> SignOn {
        let mut browser = Browser::on(client);
        let answer = browser.get(&format!("/api/v1/sso/login/{}", self.provider)).await;
        assert_eq!(answer.status, 302, "{}", answer.body.escape_ascii());
        let to = answer.header("location").unwrap().to_owned();
        SignOn { browser, to, answer }
    }

    /// `name` signs on at the provider, for which they were sent away, and is sent back.
    pub async fn comes_back(&self, sign_on: &SignOn, name: &str) -> String {
        self.idp.submits(&sign_on.to, &format!("sub={name}")).await
    }

    /// The whole of it: `name` begins at one replica and comes back to the other.
    pub async fn signs_on(&self, name: &str) -> (Browser, Answer) {
        let [one, other] = &self.replicas.clients;
        let sign_on = self.begin(one).await;
        let back = self.comes_back(&sign_on, name).await;
        let mut browser = sign_on.browser.at(other);
        let answer = browser.get(&back).await;
        (browser, answer)
    }
}

/// A sign-on that has begun.
pub struct SignOn {
    pub browser: Browser,
    /// Where it was sent.
    pub to: String,
    /// How.
    pub answer: Answer,
}

impl SignOn {
    /// The value of `name` in the address that the browser was sent to.
    pub fn parameter(&self, name: &str) -> String {
        parameter(&self.to, name)
    }
}

/// The value of `name` in an address. None here is escaped but addresses.
pub fn parameter(address: &str, name: &str) -> String {
    let query = address.split_once('?').unwrap().1;
    let value = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    value.unwrap_or_else(|| panic!("{address} has no {name}")).to_owned()
}
