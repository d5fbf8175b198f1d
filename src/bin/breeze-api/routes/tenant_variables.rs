//! Tenant variables. Scripts read their values, so that a read shows them; in the
//! database each is sealed for its own row.

use axum::{Router, extract::State, response::Response, routing::get};
use breeze_rollover::problem::Problem;
use http::StatusCode;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use super::{
    answer::{self, List},
    row::{Row, Unread, require_text},
};
use crate::{
    data::{RowId, TenantVariable, TenantVariableDraft},
    extract::{Caller, Columns, Id, IfMatch, Json, Page},
    state::App,
};

const TABLE: &str = "tenant_variables";
const WHAT: &str = "tenant variable";

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/tenant-variables", get(page).post(create))
        .route("/tenant-variables/{id}", get(read).patch(edit).delete(remove))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct View {
    id: RowId,
    org_id: Option<RowId>,
    name: Option<String>,
    value: Option<String>,
    version: i64,
    #[serde(flatten)]
    unread: Unread,
}

impl View {
    async fn of(variable: TenantVariable, columns: &Columns) -> Self {
        let mut unread = Unread::default();
        let opened =
            Row::new(columns, TABLE, variable.id).text("value", Some(&variable.value)).await;
        let value = unread.note("value", opened);
        Self {
            id: variable.id,
            org_id: variable.org_id,
            name: variable.name,
            value: value.map(|value| value.expose_secret().to_owned()),
            version: variable.version,
            unread,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Create {
    org_id: Option<RowId>,
    name: String,
    value: SecretString,
}

/// An absent member stays as it is.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Edit {
    name: Option<String>,
    value: Option<SecretString>,
}

async fn page(
    State(app): State<App>,
    caller: Caller,
    columns: Columns,
    Page(window): Page,
) -> Result<axum::Json<List<View>>, Problem> {
    let rows = app.data.tenant_variables(caller.reach()?, window).await?;
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
    let id = RowId::new(); // known before the insert: the value is bound to it
    let draft = TenantVariableDraft {
        name: Some(body.name),
        value: Row::new(&columns, TABLE, id).seal("value", Some(&body.value))?,
    };
    let created = app.data.create_tenant_variable(id, org_id, &draft).await?;
    Ok(answer::created("tenant-variables", id, created.version, &View::of(created, &columns).await))
}

async fn read(
    State(app): State<App>,
    caller: Caller,
    columns: Columns,
    Id(id): Id,
) -> Result<Response, Problem> {
    let found = app.data.tenant_variable(id, caller.reach()?).await?;
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
    let draft = TenantVariableDraft {
        name: body.name,
        value: Row::new(&columns, TABLE, id).seal("value", body.value.as_ref())?,
    };
    match app.data.edit_tenant_variable(id, reach, expected, &draft).await? {
        Some(edited) => Ok(answer::row(edited.version, &View::of(edited, &columns).await)),
        None => {
            let is_there = app.data.tenant_variable(id, reach).await?.is_some();
            Err(answer::unedited(WHAT, is_there))
        }
    }
}

async fn remove(State(app): State<App>, caller: Caller, Id(id): Id) -> Result<StatusCode, Problem> {
    answer::deleted(WHAT, app.data.delete_tenant_variable(id, caller.reach()?).await?)
}
