//! What handlers take from a request. Whatever does not fit is answered with a
//! problem, and with nothing of what was sent.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{FromRequest, FromRequestParts, Path, Request},
};
use breeze_rollover::{
    layer::{jwt::Denied, sealed::Sealed},
    problem::Problem,
    token::{Claims, Scope},
};
use http::{HeaderMap, StatusCode, header, request::Parts};
use http_body_util::BodyExt;
use serde::{Deserialize, de::DeserializeOwned};

use crate::data::{Reach, RowId, Window};

/// The most bytes of a request body.
pub(crate) const BODY_LIMIT: usize = 1 << 20;
/// The most bytes that are read and thrown away, so that who sends too much reads
/// the answer rather than a broken connection.
const DRAIN_LIMIT: usize = 32 << 20;

/// A JSON body.
pub(crate) struct Json<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            return Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_media_type",
                "Not JSON",
                "send the body as application/json",
            ));
        }
        parse(&collect(request.into_body()).await?).map(Self)
    }
}

/// A JSON body, or none at all.
pub(crate) struct MaybeJson<T>(pub(crate) T);

impl<T: DeserializeOwned + Default, S: Send + Sync> FromRequest<S> for MaybeJson<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        if request.headers().contains_key(header::CONTENT_TYPE) {
            return Json::from_request(request, state).await.map(|Json(body)| Self(body));
        }
        if collect(request.into_body()).await?.is_empty() {
            return Ok(Self(T::default()));
        }
        Err(Problem::bad_request("send the body as application/json, or none"))
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok())
    else {
        return false;
    };
    let essence = value.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}

/// The body, if it keeps to the limit.
async fn collect(mut body: Body) -> Result<Vec<u8>, Problem> {
    let (mut bytes, mut seen) = (Vec::new(), 0);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Problem::bad_request("the body broke off; send it again"))?;
        let Some(data) = frame.data_ref() else { continue };
        seen += data.len();
        if seen <= BODY_LIMIT {
            bytes.extend_from_slice(data);
        } else if seen > DRAIN_LIMIT {
            break;
        } else {
            bytes = Vec::new();
        }
    }
    if seen > BODY_LIMIT {
        return Err(Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too_large",
            "Too large",
            format!("send at most {BODY_LIMIT} bytes"),
        )
        .with("limit", BODY_LIMIT));
    }
    Ok(bytes)
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(bytes).map_err(|error| {
        let place = format!("line {}, column {}", error.line(), error.column());
        if !error.is_data() {
            return Problem::bad_request(format!("the body is no JSON: see {place}"));
        }
        // Of serde's own words only those that name members: others quote values.
        let told = error.to_string();
        let named = ["missing field", "unknown field", "duplicate field"];
        let detail = match told.split(" at line ").next() {
            Some(told) if named.iter().any(|name| told.starts_with(name)) && told.len() < 300 => {
                format!("{told}: see {place}")
            }
            _ => format!("a member has a value that will not do: see {place}"),
        };
        Problem::unprocessable(detail)
    })
}

/// The id in the path.
pub(crate) struct Id(pub(crate) RowId);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(text): Path<String> = Path::from_request_parts(parts, state)
            .await
            .map_err(|_| Problem::bad_request("the path must be UTF-8"))?;
        text.parse()
            .map(Self)
            .map_err(|_| Problem::bad_request("the id in the path must be a UUID"))
    }
}

/// Which page of a list: `?after=<id>&limit=<1..=200>`.
pub(crate) struct Page(pub(crate) Window);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PageQuery {
    after: Option<RowId>,
    limit: Option<u32>,
}

impl<S: Send + Sync> FromRequestParts<S> for Page {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let query = axum::extract::Query::<PageQuery>::try_from_uri(&parts.uri)
            .map_err(|_| Problem::bad_request("a page is ?after=<id>&limit=<1 to 200>"))?;
        let limit = query.limit.unwrap_or(50).clamp(1, 200);
        Ok(Self(Window { after: query.after, limit }))
    }
}

/// The version that an edit expects, from `If-Match: "<version>"`.
pub(crate) struct IfMatch(pub(crate) Option<i64>);

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Some(value) = parts.headers.get(header::IF_MATCH) else { return Ok(Self(None)) };
        let text = value.to_str().unwrap_or_default().trim();
        if text == "*" {
            return Ok(Self(None));
        }
        let version = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
        let version = version.and_then(|text| text.parse().ok());
        version.map(|version| Self(Some(version))).ok_or_else(|| {
            Problem::bad_request("If-Match must be the ETag of an earlier answer, with its quotes")
        })
    }
}

/// Sealed columns, with the keys of this request.
pub(crate) struct Columns(pub(crate) Sealed);

impl<S: Send + Sync> FromRequestParts<S> for Columns {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get().cloned().map(Self).ok_or_else(|| {
            tracing::error!("a route that reads sealed columns stands outside the sealed layer");
            Problem::internal()
        })
    }
}

/// Who asks, from a verified access token.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Caller {
    pub(crate) id: RowId,
    scope: Option<Scope>,
    org_id: Option<RowId>,
    mfa: bool,
    /// The family of the session, if the token is ours.
    pub(crate) session: Option<RowId>,
}

impl Caller {
    /// Which rows they may see.
    pub(crate) fn reach(&self) -> Result<Reach, Problem> {
        match (self.scope, self.org_id) {
            (Some(Scope::System), _) => Ok(Reach::All),
            (Some(Scope::Organization | Scope::Partner), Some(id)) => Ok(Reach::Organization(id)),
            _ => Err(Problem::forbidden("the token names no organization; sign in to one")
                .coded("no_organization")),
        }
    }

    /// The organization of a new row: the one that is asked for, if it is in reach.
    pub(crate) fn placing(&self, asked: Option<RowId>) -> Result<Option<RowId>, Problem> {
        match self.reach()? {
            Reach::All => Ok(asked),
            Reach::Organization(own) if asked.is_none_or(|asked| asked == own) => Ok(Some(own)),
            Reach::Organization(_) => {
                Err(Problem::forbidden("the organization is not yours; leave orgId out"))
            }
        }
    }

    /// Demands system scope, and a second factor.
    pub(crate) fn require_system(&self) -> Result<(), Problem> {
        if self.scope != Some(Scope::System) {
            let detail = "only system scope may do this; ask an administrator";
            return Err(Problem::forbidden(detail).coded("insufficient_scope"));
        }
        self.require_mfa()
    }

    /// Demands a second factor.
    pub(crate) fn require_mfa(&self) -> Result<(), Problem> {
        if self.mfa { Ok(()) } else { Err(Denied::MfaRequired.into()) }
    }

    /// Demands that it is they who hold something, or else what administers.
    pub(crate) fn require_holder(&self, holder: Option<RowId>) -> Result<(), Problem> {
        if holder == Some(self.id) { Ok(()) } else { self.require_system() }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let claims = parts.extensions.get::<Arc<Claims>>().ok_or_else(|| {
            tracing::error!("a route that asks who calls stands outside the JWT layer");
            Problem::internal()
        })?;
        let id = claims.sub.parse().map_err(|_| {
            Problem::unauthorized("the token names no user of this API; sign in again")
                .coded("unknown_user")
        })?;
        let parsed = |text: &Option<String>| text.as_ref().and_then(|text| text.parse().ok());
        Ok(Self {
            id,
            scope: claims.scope,
            mfa: claims.mfa,
            org_id: parsed(&claims.org_id),
            session: parsed(&claims.sid),
        })
    }
}
