//! SSO providers. `clientSecret` is write-only: reads show its last characters.

use axum::{
    Router,
    extract::State,
    response::Response,
    routing::{get, post},
};
use breeze_rollover::{material::Material, problem::Problem};
use http::StatusCode;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    answer::{self, List},
    row::{Row, Unread, hint, require_text},
};
use crate::{
    data::{RowId, SsoProvider, SsoProviderDraft},
    extract::{Caller, Columns, Id, IfMatch, Json, Page},
    state::App,
};

const TABLE: &str = "sso_providers";
const WHAT: &str = "SSO provider";

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/sso/providers", get(page).post(create))
        .route("/sso/providers/{id}", get(read).patch(edit).delete(remove))
        .route("/sso/providers/{id}/test", post(test))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct View {
    id: RowId,
    org_id: Option<RowId>,
    name: Option<String>,
    issuer: Option<String>,
    client_id: Option<String>,
    has_client_secret: bool,
    client_secret_hint: Option<String>,
    version: i64,
    #[serde(flatten)]
    unread: Unread,
}

impl View {
    async fn of(provider: SsoProvider, columns: &Columns) -> Self {
        let mut unread = Unread::default();
        let secret = provider.client_secret.as_deref().filter(|secret| !secret.is_empty());
        let opened = Row::new(columns, TABLE, provider.id).text("client_secret", secret).await;
        Self {
            id: provider.id,
            org_id: provider.org_id,
            name: provider.name,
            issuer: provider.issuer,
            client_id: provider.client_id,
            has_client_secret: secret.is_some(),
            client_secret_hint: unread.note("clientSecret", opened).as_ref().map(hint),
            version: provider.version,
            unread,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Create {
    org_id: Option<RowId>,
    name: String,
    issuer: Option<String>,
    client_id: Option<String>,
    client_secret: Option<SecretString>,
}

/// An absent member stays as it is; `""` empties it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Edit {
    name: Option<String>,
    issuer: Option<String>,
    client_id: Option<String>,
    client_secret: Option<SecretString>,
}

async fn page(
    State(app): State<App>,
    caller: Caller,
    columns: Columns,
    Page(window): Page,
) -> Result<axum::Json<List<View>>, Problem> {
    let rows = app.data.sso_providers(caller.reach()?, window).await?;
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
    require_text("name", Some(&body.name))?;
    let id = RowId::new();
    let row = Row::new(&columns, TABLE, id);
    let draft = SsoProviderDraft {
        name: Some(body.name),
        issuer: body.issuer,
        client_id: body.client_id,
        client_secret: row.seal("client_secret", body.client_secret.as_ref())?,
    };
    let created = app.data.create_sso_provider(id, org_id, &draft).await?;
    Ok(answer::created("sso/providers", id, created.version, &View::of(created, &columns).await))
}

async fn read(
    State(app): State<App>,
    caller: Caller,
    columns: Columns,
    Id(id): Id,
) -> Result<Response, Problem> {
    let found = app.data.sso_provider(id, caller.reach()?).await?;
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
    require_text("name", body.name.as_deref())?;
    let row = Row::new(&columns, TABLE, id);
    let draft = SsoProviderDraft {
        name: body.name,
        issuer: body.issuer,
        client_id: body.client_id,
        client_secret: row.seal("client_secret", body.client_secret.as_ref())?,
    };
    match app.data.edit_sso_provider(id, reach, expected, &draft).await? {
        Some(edited) => Ok(answer::row(edited.version, &View::of(edited, &columns).await)),
        None => {
            let is_there = app.data.sso_provider(id, reach).await?.is_some();
            Err(answer::unedited(WHAT, is_there))
        }
    }
}

async fn remove(State(app): State<App>, caller: Caller, Id(id): Id) -> Result<StatusCode, Problem> {
    answer::deleted(WHAT, app.data.delete_sso_provider(id, caller.reach()?).await?)
}

/// Opens the client secret, as a sign-in would before it talks to the provider, and
/// tells it by its fingerprint, so that an administrator can compare it.
async fn test(
    State(app): State<App>,
    caller: Caller,
    columns: Columns,
    Id(id): Id,
) -> Result<axum::Json<Value>, Problem> {
    let found = app.data.sso_provider(id, caller.reach()?).await?;
    let found = found.ok_or_else(|| answer::missing(WHAT))?;
    let row = Row::new(&columns, TABLE, id);
    let secret = row.text("client_secret", found.client_secret.as_deref()).await?;
    let secret = secret.and_then(|secret| Material::new(secret).ok()).ok_or_else(|| {
        Problem::conflict("the provider has no client secret; set one").coded("no_secret")
    })?;
    Ok(axum::Json(json!({ "ok": true, "fingerprint": secret.fingerprint() })))
}
