//! A browser: it keeps the cookies that it is sent, by path and age, and sends them back.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use http::{
    Method, Request,
    header::{COOKIE, SET_COOKIE},
};
use serde_json::Value;

use crate::support::http::{Answer, Client};

/// One cookie that is kept.
#[derive(Debug, Clone)]
struct Kept {
    value: String,
    path: String,
    until: Instant,
}

/// A browser with a cookie jar (RFC 6265, section 5), for one host.
#[derive(Clone)]
pub struct Browser {
    client: Client,
    jar: BTreeMap<String, Kept>,
}

impl Browser {
    pub fn on(client: &Client) -> Self {
        Self { client: client.clone(), jar: BTreeMap::new() }
    }

    /// The same browser, which a load balancer leads to another replica.
    pub fn at(&self, client: &Client) -> Self {
        Self { client: client.clone(), jar: self.jar.clone() }
    }

    /// The value of a cookie that it keeps.
    pub fn cookie(&self, name: &str) -> Option<&str> {
        self.jar.get(name).map(|kept| kept.value.as_str())
    }

    /// Puts another value in the place of one that it keeps.
    pub fn tamper(&mut self, name: &str, value: impl Into<String>) {
        self.jar.get_mut(name).unwrap().value = value.into();
    }

    pub async fn get(&mut self, path: &str) -> Answer {
        self.ask(Method::GET, path, None, None).await
    }

    /// As a page of ours does it: the CSRF cookie is repeated in the header.
    pub async fn send(&mut self, method: Method, path: &str, body: Option<Value>) -> Answer {
        let proof = self.cookie("breeze_csrf_token").map(str::to_owned);
        self.ask(method, path, body, proof.as_deref()).await
    }

    pub async fn ask(
        &mut self,
        method: Method,
        path: &str,
        body: Option<Value>,
        proof: Option<&str>,
    ) -> Answer {
        let now = Instant::now();
        self.jar.retain(|_, kept| now < kept.until);
        let sent = self.jar.iter().filter(|(_, kept)| path.starts_with(&kept.path));
        let sent: Vec<_> = sent.map(|(name, kept)| format!("{name}={}", kept.value)).collect();
        let mut request = Request::builder().method(method).uri(path);
        if !sent.is_empty() {
            request = request.header(COOKIE, sent.join("; "));
        }
        if let Some(proof) = proof {
            request = request.header("x-breeze-csrf", proof);
        }
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let body = body.map_or_else(String::new, |body| body.to_string());
        let answer = self.client.send(request.body(body).unwrap()).await.unwrap();
        for set in answer.headers.get_all(SET_COOKIE) {
            self.keep(set.to_str().unwrap(), now);
        }
        answer
    }

    fn keep(&mut self, set: &str, now: Instant) {
        let mut parts = set.split("; ");
        let (name, value) = parts.next().unwrap().split_once('=').unwrap();
        let attribute = |wanted: &str| {
            let find = |part: &str| Some(part.strip_prefix(wanted)?.strip_prefix('=')?.to_owned());
            set.split("; ").find_map(find)
        };
        let max_age: u64 = attribute("Max-Age").unwrap().parse().unwrap();
        if max_age == 0 {
            self.jar.remove(name);
            return;
        }
        let kept = Kept {
            value: value.to_owned(),
            path: attribute("Path").unwrap(),
            until: now + Duration::from_secs(max_age),
        };
        self.jar.insert(name.to_owned(), kept);
    }
}
