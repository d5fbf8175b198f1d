//! Sign-ons elsewhere that are on their way while `APP_ENCRYPTION_KEY` rolls over.

use std::time::Duration;

use breeze_rollover::{
    catalog::Secret,
    digest::state,
    embed::Database,
    operator::Request,
    rollover::{Mode, Phase},
};

use crate::support::app::{TestApp, on_both_databases, request, setup};

on_both_databases!(
    a_sign_on_that_began_before_a_promotion_finishes_and_the_old_key_waits_for_it,
    a_hard_rollover_ends_sign_ons_that_are_on_their_way,
);

const WAY: Duration = Duration::from_secs(4);

async fn app(database: Database) -> TestApp {
    let signing = setup(&database).longest(Secret::AppEncryptionKey, WAY);
    TestApp::join(signing, database).await
}

fn app_key(mode: Mode) -> Request {
    request(Secret::AppEncryptionKey, mode)
}

async fn a_sign_on_that_began_before_a_promotion_finishes_and_the_old_key_waits_for_it(
    database: Database,
) {
    let app = app(database).await;
    let keychain = || app.rollovers.replica().keychain().load();
    let sign = |text: &str| {
        let chain = keychain();
        state::sso(chain.sealing(Secret::AppEncryptionKey).unwrap(), text).unwrap()
    };
    let accepts = |text: &str, cookie: &str| {
        let chain = keychain();
        state::verify_sso(chain.sealing(Secret::AppEncryptionKey).unwrap(), text, cookie).is_some()
    };
    let before = sign("before");
    let began = app.begin(app_key(Mode::Graceful)).await.unwrap();
    app.reaches(began.id, Phase::Promoted).await;
    let promoted_at = std::time::Instant::now();
    // As soon as this process has heard of it, it signs with the new key.
    while sign("before") == before {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let after = sign("after");
    // There is nothing to rewrap: it waits for those that are on their way, and no other.
    app.blocked(began.id, "the longest lifetime").await;
    while app.rollover(began.id).await.phase == Phase::Promoted {
        assert!(accepts("before", &before) && accepts("after", &after));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(promoted_at.elapsed() > WAY - Duration::from_secs(1), "{:?}", promoted_at.elapsed());
    app.reaches(began.id, Phase::Retired).await;
    while accepts("before", &before) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(accepts("after", &after));
    app.rollovers.leave().await;
}

async fn a_hard_rollover_ends_sign_ons_that_are_on_their_way(database: Database) {
    let app = app(database).await;
    let ring = |text: &str, cookie: &str| {
        let chain = app.rollovers.replica().keychain().load();
        state::verify_sso(chain.sealing(Secret::AppEncryptionKey).unwrap(), text, cookie).is_some()
    };
    let cookie = {
        let chain = app.rollovers.replica().keychain().load();
        state::sso(chain.sealing(Secret::AppEncryptionKey).unwrap(), "s").unwrap()
    };
    assert!(ring("s", &cookie));
    let began = app.begin(app_key(Mode::Hard)).await.unwrap();
    app.reaches(began.id, Phase::Retired).await;
    while ring("s", &cookie) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    app.rollovers.leave().await;
}
