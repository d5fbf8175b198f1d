//! Recovery codes of everyone, for an operator who retires their pepper.
//!
//! 1. Whose codes would stop working is told beforehand: whose stand under another pepper
//!    than the present one, or under one that is not known.
//! 2. A reissue takes those codes back, and no other. Each user is told so once by mail,
//!    where mails go out, and at every login until they have made new ones. No code is in
//!    a mail, nor shown to whoever asks for the reissue: a mailbox resets a password
//!    already, and must not be the second factor too.
//! 3. It goes in batches, each one statement: when it breaks off, the same call goes on,
//!    and takes nothing twice. Each batch is told in the audit trail before it is taken.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Extension, Json as Body, Router,
    extract::State,
    routing::{get, post},
};
use breeze_rollover::{
    problem::Problem,
    provider::{ProviderError, Unavailable, mail::Mail},
    replica::Replica,
    store::{Actor, AuditEntry, Outcome},
    token::Claims,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    answer::{self, List},
    recovery_codes::peppers,
    row::require_text,
};
use crate::{
    data::{RecoveryCodes, RecoveryNotice, RowId, Standing, Window, current_peppers},
    extract::{Json, Page},
    outside::Post,
    state::App,
};

/// Users of one batch, and of one audit entry.
const BATCH: u32 = 500;

/// How often this process looks for somebody to tell.
const LOOK: Duration = Duration::from_secs(5);

/// How long a user is left to the process that tells them; then another tries.
const CLAIM: Duration = Duration::from_secs(60);

/// What the handlers share.
#[derive(Clone)]
struct Reissue {
    app: App,
    replica: Arc<Replica>,
}

/// To stand behind the demands of the admin endpoint.
pub(crate) fn admin(app: App, replica: Arc<Replica>) -> Router {
    Router::new()
        .route("/recovery-codes/outdated", get(outdated))
        .route("/recovery-codes/reissue", post(reissue))
        .with_state(Reissue { app, replica })
}

impl Reissue {
    /// The peppers whose codes are not outdated, as the store knows them now: a process
    /// that has not heard of a promotion would take the newest codes for outdated.
    async fn current(&self) -> Result<Vec<String>, Problem> {
        self.replica.refresh().await.map_err(|error| {
            tracing::error!(%error, "the keys could not be read");
            Problem::unavailable("the key store does not answer; try again", LOOK)
        })?;
        Ok(current_peppers(peppers(&self.app.keychain.load())?))
    }

    /// Takes the codes of `users` back that stand under none of `current`. Answers of how
    /// many users.
    async fn take(
        &self,
        claims: &Claims,
        reason: &str,
        users: &[RowId],
        current: &[String],
    ) -> Result<usize, Problem> {
        self.tell(claims, json!({ "reason": reason, "users": users })).await?;
        let (by_mail, now) = (self.app.outside.post.is_some(), self.app.clock.now());
        let data = &self.app.data;
        Ok(data.take_back_recovery_codes(users, current, by_mail, now).await?.len())
    }

    async fn tell(&self, claims: &Claims, details: Value) -> Result<(), Problem> {
        let (id, email) = (claims.sub.parse().unwrap_or_default(), claims.email.clone());
        let entry = AuditEntry {
            at: self.app.clock.now(),
            actor: Actor::User { id, email },
            action: "recovery_codes.reissue".to_owned(),
            resource_type: "recovery_codes",
            resource_id: None,
            resource_name: None,
            details,
            outcome: Outcome::Success,
        };
        self.replica.store().record(&entry).await.map_err(|error| {
            tracing::error!(%error, "a reissue cannot be told");
            Problem::unavailable("the audit trail cannot be written; send it again", LOOK)
        })
    }
}

#[derive(Serialize)]
struct View {
    id: RowId,
    email: Option<String>,
    #[serde(flatten)]
    standing: Standing,
}

async fn outdated(
    State(reissue): State<Reissue>,
    Page(window): Page,
) -> Result<Body<List<View>>, Problem> {
    let current = reissue.current().await?;
    let rows = reissue.app.data.outdated_recovery_codes(&current, window).await?;
    let keychain = reissue.app.keychain.load();
    let ring = peppers(&keychain)?;
    let view =
        |row: RecoveryCodes| View { standing: row.standing(ring), id: row.id, email: row.email };
    Ok(answer::list(rows.into_iter().map(view).collect(), window.limit, |view| view.id))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    reason: String,
    /// Whose; everyone's that are outdated if it is left out. Of these, every code is
    /// taken back.
    users: Option<Vec<RowId>>,
}

async fn reissue(
    State(reissue): State<Reissue>,
    Extension(claims): Extension<Arc<Claims>>,
    Json(order): Json<Order>,
) -> Result<Body<Value>, Problem> {
    require_text("reason", Some(&order.reason))?;
    let mut taken = 0;
    match &order.users {
        Some(users) => {
            for users in users.chunks(BATCH as usize) {
                taken += reissue.take(&claims, &order.reason, users, &[]).await?;
            }
        }
        None => {
            let current = reissue.current().await?;
            let mut after = None;
            loop {
                let window = Window { after, limit: BATCH };
                let page = reissue.app.data.outdated_recovery_codes(&current, window).await?;
                let users: Vec<RowId> = page.iter().map(|codes| codes.id).collect();
                let Some(last) = users.last() else { break };
                after = Some(*last);
                taken += reissue.take(&claims, &order.reason, &users, &current).await?;
            }
        }
    }
    let by_mail = reissue.app.outside.post.is_some();
    Ok(Body(json!({ "users": taken, "toldByMail": by_mail })))
}

/// Tells users by mail that their codes were taken back, one after the other, for ever.
pub(crate) async fn keep_telling(app: &App) -> Infallible {
    let Some(post) = &app.outside.post else { return std::future::pending().await };
    loop {
        let now = app.clock.now();
        match app.data.claim_recovery_notice(now, now.plus(CLAIM)).await {
            Ok(Some(user)) => tell(app, post, &user).await,
            Ok(None) => tokio::time::sleep(LOOK).await,
            Err(error) => {
                tracing::warn!(%error, "nobody can be told that codes were taken back");
                tokio::time::sleep(LOOK).await;
            }
        }
    }
}

/// Whom a mail cannot reach now is tried again once the claim is over; whose mail is
/// declined is told at their login alone.
async fn tell(app: &App, post: &Post, user: &RecoveryNotice) {
    let dashboard = app.outside.dashboard.trim_end_matches('/');
    let text = format!(
        "An administrator has taken your recovery codes back: those that you hold do not work \
         any more. Sign in with the code of your authenticator app, and make new ones:\n\n\
         {dashboard}\n\n\
         Nobody will ask you for a code by mail or by telephone.\n"
    );
    let sent = match Mail::new(&user.email, "Make new recovery codes", text) {
        Ok(mail) => post.send(&mail).await,
        Err(error) => Err(Unavailable::Provider(ProviderError::Declined(error.to_string()))),
    };
    match sent {
        Ok(_) => {}
        Err(Unavailable::Provider(ProviderError::Declined(_))) => {
            tracing::warn!(user = %user.id, "a mail about recovery codes was declined");
        }
        Err(error) => {
            tracing::warn!(user = %user.id, %error, "a mail about recovery codes has to wait");
            return;
        }
    }
    if let Err(error) = app.data.end_recovery_notice(user.id).await {
        tracing::warn!(user = %user.id, %error, "they may be mailed once more");
    }
}
