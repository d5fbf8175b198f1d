//! Sign-ons at an OpenID provider that are on their way while `APP_ENCRYPTION_KEY` rolls over.

use std::{cell::Cell, collections::VecDeque, time::Duration};

use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::{
    idp::{COOKIE, Company, SignOn},
    sign_on::{KEY, breeze_cookie},
    sign_on_refused::longest,
    support::{
        deployment::{Db, on_both_databases},
        http::Client,
    },
};

on_both_databases!(with openid_tests, "needs an OpenID provider; tests/run installs one":
    a_sign_on_that_began_before_a_promotion_finishes_after_it_on_another_replica,
    sign_ons_go_on_through_a_graceful_rollover,
    a_hard_rollover_ends_sign_ons_on_their_way_and_new_ones_work,
);

const APP: &str = "APP_ENCRYPTION_KEY";

/// Whether the key of before vouches for it.
fn is_of_before(sign_on: &SignOn) -> bool {
    let cookie = breeze_cookie(KEY, &sign_on.parameter("state"));
    sign_on.browser.cookie(COOKIE) == Some(cookie.as_str())
}

/// They come back to `client`, and are signed on.
async fn finish(company: &Company, sign_on: &SignOn, client: &Client) {
    let back = company.comes_back(sign_on, "ann").await;
    sign_on.browser.at(client).get(&back).await.expect(200);
}

async fn a_sign_on_that_began_before_a_promotion_finishes_after_it_on_another_replica(db: Db) {
    let company = Company::start(db).await;
    company.has("ann").await;
    assert_eq!(longest(&company.replicas).await, 600);
    let [one, other] = &company.replicas.clients;
    let (before, aside) = (company.begin(one).await, company.begin(other).await);
    let rollover = company.replicas.begin(APP, "graceful").await;
    // All is rewrapped, and the key of before stays for those that are on their way.
    company.replicas.waits_for(&rollover, "the longest lifetime").await;
    let after = company.begin(other).await;
    assert!(is_of_before(&before) && is_of_before(&aside) && !is_of_before(&after));
    for (sign_on, client) in [(&before, other), (&aside, one), (&after, one)] {
        finish(&company, sign_on, client).await;
    }
    let now = company.replicas.operator.get(&rollover).await.expect(200);
    assert_eq!(now["phase"], "promoted", "{now}");
}

/// How long a sign-on may take, and how long each takes here.
const LIFETIME: Duration = Duration::from_secs(12);
const AWAY: Duration = Duration::from_secs(2);

/// How many are away at a time: what they are finished in is short of their lifetime.
const MANY: usize = 4;

async fn sign_ons_go_on_through_a_graceful_rollover(db: Db) {
    let seconds = LIFETIME.as_secs().to_string();
    let company = Company::with(db, &[("SSO_STATE_TTL_SECONDS", &seconds)]).await;
    company.has("ann").await;
    let [one, other] = &company.replicas.clients;
    let is_over = Cell::new(false);
    let rollover = async {
        sleep(AWAY).await;
        let rollover = company.replicas.begin(APP, "graceful").await;
        company.replicas.ends(&rollover, "retired").await;
        sleep(AWAY).await;
        is_over.set(true);
    };
    // Many at a time are at the provider, each for a while, and come back elsewhere.
    let traffic = async {
        let (mut away, mut finished) = (VecDeque::new(), [0, 0]);
        while !is_over.get() {
            for (here, there) in [(one, other), (other, one)] {
                if away.len() < MANY {
                    away.push_back((Instant::now(), there, company.begin(here).await));
                }
            }
            let is_due = away.front().is_some_and(|(since, ..)| since.elapsed() >= AWAY);
            if is_due && let Some((since, there, sign_on)) = away.pop_front() {
                let back = company.comes_back(&sign_on, "ann").await;
                let answer = sign_on.browser.at(there).get(&back).await;
                let (took, old) = (since.elapsed(), is_of_before(&sign_on));
                let told = answer.body.escape_ascii();
                assert_eq!(answer.status, 200, "after {took:?}, of the old key: {old}: {told}");
                finished[usize::from(is_of_before(&sign_on))] += 1;
            }
            sleep(Duration::from_millis(20)).await;
        }
        finished
    };
    let ((), [after, before]) = tokio::join!(rollover, traffic);
    assert!(before >= 4 && after >= 4, "{before} of the old key's, {after} of the new one's");
}

async fn a_hard_rollover_ends_sign_ons_on_their_way_and_new_ones_work(db: Db) {
    let company = Company::start(db).await;
    company.has("ann").await;
    let [one, other] = &company.replicas.clients;
    let before = company.begin(one).await;
    let rollover = company.replicas.begin(APP, "hard").await;
    company.replicas.ends(&rollover, "retired").await;
    let back = company.comes_back(&before, "ann").await;
    let refused = before.browser.at(other).get(&back).await.expect(401);
    assert_eq!(refused["code"], "sso_state_invalid");
    assert!(refused["detail"].as_str().unwrap().ends_with("begin again"), "{refused}");
    // Until the client secret is rewrapped, nobody can redeem a code.
    let test = format!("/api/v1/sso/providers/{}/test", company.provider);
    while company.replicas.operator.post(&test, json!({})).await.status != 200 {
        sleep(Duration::from_millis(100)).await;
    }
    let (_, answer) = company.signs_on("ann").await;
    answer.expect(200);
}
