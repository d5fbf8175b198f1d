//! Discovery profiles. Communities and credentials are write-only: of the former a
//! read shows how many there are, of the latter their shape.

use axum::{Router, extract::State, response::Response, routing::get};
use breeze_rollover::problem::Problem;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{
    Value,
    value::{RawValue, to_raw_value},
};

use super::{
    answer::{self, List},
    row::{Row, Unread, masked, require_object, require_text},
};
use crate::{
    data::{DiscoveryProfile, DiscoveryProfileDraft, RowId},
    extract::{Caller, Columns, Id, IfMatch, Json, Page},
    state::App,
};

const TABLE: &str = "discovery_profiles";
const WHAT: &str = "discovery profile";

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/discovery/profiles", get(page).post(create))
        .route("/discovery/profiles/{id}", get(read).patch(edit).delete(remove))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct View {
    id: RowId,
    org_id: Option<RowId>,
    name: Option<String>,
    snmp_community_count: Option<usize>,
    /// Every text masked.
    snmp_credentials: Option<Value>,
    version: i64,
    #[serde(flatten)]
    unread: Unread,
}

impl View {
    async fn of(profile: DiscoveryProfile, columns: &Columns) -> Self {
        let row = Row::new(columns, TABLE, profile.id);
        let mut unread = Unread::default();
        let communities =
            row.document("snmp_communities", profile.snmp_communities.as_deref()).await;
        let communities = unread.note("snmpCommunities", communities);
        let credentials =
            row.document("snmp_credentials", profile.snmp_credentials.as_deref()).await;
        let credentials = unread.note("snmpCredentials", credentials);
        Self {
            id: profile.id,
            org_id: profile.org_id,
            name: profile.name,
            snmp_community_count: communities.as_ref().and_then(Value::as_array).map(Vec::len),
            snmp_credentials: credentials.map(masked),
            version: profile.version,
            unread,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Create {
    org_id: Option<RowId>,
    name: String,
    snmp_communities: Option<Vec<String>>,
    snmp_credentials: Option<Box<RawValue>>,
}

/// An absent member stays as it is; `[]` empties the communities, `{}` the credentials.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Edit {
    name: Option<String>,
    snmp_communities: Option<Vec<String>>,
    snmp_credentials: Option<Box<RawValue>>,
}

impl Edit {
    /// Checked, and sealed for its row.
    fn draft(self, row: &Row<'_>) -> Result<DiscoveryProfileDraft, Problem> {
        require_text("name", self.name.as_deref())?;
        require_object("snmpCredentials", self.snmp_credentials.as_deref())?;
        let communities = self
            .snmp_communities
            .map(|communities| to_raw_value(&communities).expect("a list of text is plain JSON"));
        Ok(DiscoveryProfileDraft {
            name: self.name,
            snmp_communities: row.seal_document("snmp_communities", communities.as_deref())?,
            snmp_credentials: row
                .seal_document("snmp_credentials", self.snmp_credentials.as_deref())?,
        })
    }
}

async fn page(
    State(app): State<App>,
    caller: Caller,
    columns: Columns,
    Page(window): Page,
) -> Result<axum::Json<List<View>>, Problem> {
    let rows = app.data.discovery_profiles(caller.reach()?, window).await?;
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
        snmp_communities: body.snmp_communities,
        snmp_credentials: body.snmp_credentials,
    };
    let draft = whole.draft(&Row::new(&columns, TABLE, id))?;
    let created = app.data.create_discovery_profile(id, org_id, &draft).await?;
    Ok(answer::created(
        "discovery/profiles",
        id,
        created.version,
        &View::of(created, &columns).await,
    ))
}

async fn read(
    State(app): State<App>,
    caller: Caller,
    columns: Columns,
    Id(id): Id,
) -> Result<Response, Problem> {
    let found = app.data.discovery_profile(id, caller.reach()?).await?;
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
    match app.data.edit_discovery_profile(id, reach, expected, &draft).await? {
        Some(edited) => Ok(answer::row(edited.version, &View::of(edited, &columns).await)),
        None => {
            let is_there = app.data.discovery_profile(id, reach).await?.is_some();
            Err(answer::unedited(WHAT, is_there))
        }
    }
}

async fn remove(State(app): State<App>, caller: Caller, Id(id): Id) -> Result<StatusCode, Problem> {
    answer::deleted(WHAT, app.data.delete_discovery_profile(id, caller.reach()?).await?)
}
