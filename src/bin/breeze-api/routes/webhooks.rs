//! Webhooks. `url` is shown to whoever may see the webhook; `secret` is write-only, and
//! of `headers` a read shows the names.

use axum::{
    Router,
    extract::State,
    response::Response,
    routing::{get, post},
};
use breeze_rollover::problem::Problem;
use hmac::{Hmac, KeyInit, Mac};
use http::StatusCode;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json, value::RawValue};
use sha2::Sha256;

use super::{
    answer::{self, List},
    row::{Row, Unread, hint, masked, require_object, require_text},
};
use crate::{
    data::{RowId, Webhook, WebhookDraft},
    extract::{Caller, Columns, Id, IfMatch, Json, Page},
    state::App,
};

const TABLE: &str = "webhooks";
const WHAT: &str = "webhook";

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/webhooks", get(page).post(create))
        .route("/webhooks/{id}", get(read).patch(edit).delete(remove))
        .route("/webhooks/{id}/test", post(test))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct View {
    id: RowId,
    org_id: Option<RowId>,
    name: Option<String>,
    url: Option<String>,
    has_secret: bool,
    secret_hint: Option<String>,
    /// Every value masked.
    headers: Option<Value>,
    version: i64,
    #[serde(flatten)]
    unread: Unread,
}

impl View {
    async fn of(webhook: Webhook, columns: &Columns) -> Self {
        let row = Row::new(columns, TABLE, webhook.id);
        let mut unread = Unread::default();
        let secret = webhook.secret.as_deref().filter(|secret| !secret.is_empty());
        let url = unread.note("url", row.text("url", Some(&webhook.url)).await);
        let opened = unread.note("secret", row.text("secret", secret).await);
        let headers = row.document("headers", webhook.headers.as_deref()).await;
        let headers = unread.note("headers", headers);
        Self {
            id: webhook.id,
            org_id: webhook.org_id,
            name: webhook.name,
            url: url.map(|url| url.expose_secret().to_owned()),
            has_secret: secret.is_some(),
            secret_hint: opened.as_ref().map(hint),
            headers: headers.map(masked),
            version: webhook.version,
            unread,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Create {
    org_id: Option<RowId>,
    name: String,
    url: SecretString,
    secret: Option<SecretString>,
    headers: Option<Box<RawValue>>,
}

/// An absent member stays as it is; `""` empties the secret, `{}` the headers.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Edit {
    name: Option<String>,
    url: Option<SecretString>,
    secret: Option<SecretString>,
    headers: Option<Box<RawValue>>,
}

impl Edit {
    /// Checked, and sealed for its row.
    fn draft(self, row: &Row<'_>) -> Result<WebhookDraft, Problem> {
        require_text("name", self.name.as_deref())?;
        require_object("headers", self.headers.as_deref())?;
        let is_http = |url: &SecretString| {
            let url = url.expose_secret();
            url.starts_with("https://") || url.starts_with("http://")
        };
        if !self.url.as_ref().is_none_or(is_http) {
            return Err(Problem::unprocessable("url must begin with https:// or http://"));
        }
        Ok(WebhookDraft {
            name: self.name,
            url: row.seal("url", self.url.as_ref())?,
            secret: row.seal("secret", self.secret.as_ref())?,
            headers: row.seal_document("headers", self.headers.as_deref())?,
        })
    }
}

async fn page(
    State(app): State<App>,
    caller: Caller,
    columns: Columns,
    Page(window): Page,
) -> Result<axum::Json<List<View>>, Problem> {
    let rows = app.data.webhooks(caller.reach()?, window).await?;
    let views = answer::views(rows, |row| View::of(row, &columns)).await;
    Ok(answer::list(views, window.limit, |view| view.id))
}

async fn create(
    State(app): State<App>,
    caller: Caller,
    columns: Columns,
    Json(body): Json<Create>,
) -> Result<Response, Problem> {
    let org_id = caller.placing(body.org_id)?;
    let id = RowId::new();
    let whole = Edit {
        name: Some(body.name),
        url: Some(body.url),
        secret: body.secret,
        headers: body.headers,
    };
    let draft = whole.draft(&Row::new(&columns, TABLE, id))?;
    let created = app.data.create_webhook(id, org_id, &draft).await?;
    Ok(answer::created("webhooks", id, created.version, &View::of(created, &columns).await))
}

async fn read(
    State(app): State<App>,
    caller: Caller,
    columns: Columns,
    Id(id): Id,
) -> Result<Response, Problem> {
    let found = app.data.webhook(id, caller.reach()?).await?;
    let found = found.ok_or_else(|| answer::missing(WHAT))?;
    Ok(answer::row(found.version, &View::of(found, &columns).await))
}

async fn edit(
    State(app): State<App>,
    caller: Caller,
    columns: Columns,
    Id(id): Id,
    IfMatch(expected): IfMatch,
    Json(body): Json<Edit>,
) -> Result<Response, Problem> {
    let reach = caller.reach()?;
    let draft = body.draft(&Row::new(&columns, TABLE, id))?;
    match app.data.edit_webhook(id, reach, expected, &draft).await? {
        Some(edited) => Ok(answer::row(edited.version, &View::of(edited, &columns).await)),
        None => {
            let is_there = app.data.webhook(id, reach).await?.is_some();
            Err(answer::unedited(WHAT, is_there))
        }
    }
}

async fn remove(State(app): State<App>, caller: Caller, Id(id): Id) -> Result<StatusCode, Problem> {
    answer::deleted(WHAT, app.data.delete_webhook(id, caller.reach()?).await?)
}

/// The payload of a test delivery.
const TEST_PAYLOAD: &str = r#"{"event":"test"}"#;

/// Signs a test delivery, as a delivery would be signed, and answers what would be
/// sent. Nothing is sent: that belongs to Breeze's own dispatcher.
async fn test(
    State(app): State<App>,
    caller: Caller,
    columns: Columns,
    Id(id): Id,
) -> Result<axum::Json<Value>, Problem> {
    let found = app.data.webhook(id, caller.reach()?).await?;
    let found = found.ok_or_else(|| answer::missing(WHAT))?;
    let row = Row::new(&columns, TABLE, id);
    row.text("url", Some(&found.url)).await?;
    row.document("headers", found.headers.as_deref()).await?;
    let secret = row.text("secret", found.secret.as_deref()).await?;
    let signature = secret.map(|secret| {
        let mac = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes())
            .expect("HMAC takes a key of any length")
            .chain_update(TEST_PAYLOAD);
        mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    });
    Ok(axum::Json(json!({ "ok": true, "payload": TEST_PAYLOAD, "signature": signature })))
}
