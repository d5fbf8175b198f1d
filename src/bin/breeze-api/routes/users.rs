//! Users. Whoever may see a row sees the users of their organization; only system
//! scope creates, edits and deletes them.

use axum::{Router, extract::State, response::Response, routing::get};
use breeze_rollover::{problem::Problem, token::Scope};
use http::StatusCode;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::{
    answer::{self, List},
    row::require_text,
};
use crate::{
    auth::PasswordError,
    data::{Reach, RowId, User, UserDraft},
    extract::{Caller, Id, IfMatch, Json, Page},
    state::App,
};

const WHAT: &str = "user";

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/users", get(page).post(create))
        .route("/users/me", get(me))
        .route("/users/{id}", get(read).patch(edit).delete(remove))
}

/// A user as others may see it: no hash, no seed.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct View {
    id: RowId,
    email: Option<String>,
    name: Option<String>,
    status: String,
    scope: String,
    org_id: Option<RowId>,
    mfa_enabled: bool,
    version: i64,
}

impl From<User> for View {
    fn from(user: User) -> Self {
        Self {
            id: user.id,
            email: user.email,
            name: user.name,
            status: user.status,
            scope: user.scope,
            org_id: user.org_id,
            mfa_enabled: user.mfa_enabled,
            version: user.version,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Create {
    email: String,
    name: String,
    scope: Option<Scope>,
    org_id: Option<RowId>,
    password: SecretString,
}

/// An absent member stays as it is. A new password ends every session of the user.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Edit {
    email: Option<String>,
    name: Option<String>,
    scope: Option<Scope>,
    org_id: Option<RowId>,
    password: Option<SecretString>,
}

async fn page(
    State(app): State<App>,
    caller: Caller,
    Page(window): Page,
) -> Result<axum::Json<List<View>>, Problem> {
    let rows = app.data.users(caller.reach()?, window).await?;
    let views: Vec<_> = rows.into_iter().map(View::from).collect();
    Ok(answer::list(views, window.limit, |view| view.id))
}

async fn create(
    State(app): State<App>,
    caller: Caller,
    Json(body): Json<Create>,
) -> Result<Response, Problem> {
    caller.require_system()?;
    require_text("name", Some(&body.name))?;
    let scope = body.scope.unwrap_or(Scope::Organization);
    if scope != Scope::System && body.org_id.is_none() {
        return Err(Problem::unprocessable("a user of one organization needs its orgId"));
    }
    let draft = UserDraft {
        email: address(Some(body.email))?,
        name: Some(body.name),
        scope: Some(scope.as_str()),
        org_id: body.org_id,
        password_hash: Some(app.passwords.hash(body.password).await?),
        mfa_secret: None,
    };
    let id = RowId::new();
    let created = app.data.create_user(id, &draft).await?;
    Ok(answer::created("users", id, created.version, &View::from(created)))
}

/// The user of the token, as the database knows them now.
pub(super) async fn me(State(app): State<App>, caller: Caller) -> Result<Response, Problem> {
    let found = app.data.user(caller.id, Reach::All).await?;
    let found = found.ok_or_else(|| {
        Problem::not_found("the user of this token is gone; sign in as another")
            .coded("unknown_user")
    })?;
    Ok(answer::row(found.version, &View::from(found)))
}

async fn read(State(app): State<App>, caller: Caller, Id(id): Id) -> Result<Response, Problem> {
    let found = app.data.user(id, caller.reach()?).await?;
    let found = found.ok_or_else(|| answer::missing(WHAT))?;
    Ok(answer::row(found.version, &View::from(found)))
}

async fn edit(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id,
    IfMatch(expected): IfMatch,
    Json(body): Json<Edit>,
) -> Result<Response, Problem> {
    caller.require_system()?;
    require_text("name", body.name.as_deref())?;
    let draft = UserDraft {
        email: address(body.email)?,
        name: body.name,
        scope: body.scope.map(Scope::as_str),
        org_id: body.org_id,
        ..UserDraft::default()
    };
    let password_hash = match body.password {
        Some(password) => Some(app.passwords.hash(password).await?),
        None => None,
    };
    let Some(mut edited) = app.data.edit_user(id, expected, &draft).await? else {
        let is_there = app.data.user(id, Reach::All).await?.is_some();
        return Err(answer::unedited(WHAT, is_there));
    };
    if let Some(hash) = password_hash {
        app.data.set_password(id, &hash).await?;
        edited = app.data.user(id, Reach::All).await?.ok_or_else(|| answer::missing(WHAT))?;
    }
    Ok(answer::row(edited.version, &View::from(edited)))
}

async fn remove(State(app): State<App>, caller: Caller, Id(id): Id) -> Result<StatusCode, Problem> {
    caller.require_system()?;
    if id == caller.id {
        return Err(Problem::conflict("nobody deletes themselves; ask another administrator"));
    }
    answer::deleted(WHAT, app.data.delete_user(id).await?)
}

/// An address in lower case, if it looks like one.
fn address(email: Option<String>) -> Result<Option<String>, Problem> {
    let Some(email) = email else { return Ok(None) };
    let email = email.trim().to_lowercase();
    let parts =
        email.split_once('@').is_some_and(|(name, host)| !name.is_empty() && !host.is_empty());
    if parts && email.len() <= 255 && !email.contains(char::is_whitespace) {
        return Ok(Some(email));
    }
    Err(Problem::unprocessable("email must be an e-mail address"))
}

impl From<PasswordError> for Problem {
    fn from(error: PasswordError) -> Self {
        match error {
            PasswordError::Length => Self::unprocessable(error.to_string()),
            error => {
                tracing::error!(%error, "a password could not be hashed");
                Self::internal()
            }
        }
    }
}
