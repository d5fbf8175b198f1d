//! Access and refresh tokens of one session, its cookie, and tokens to watch with.

use breeze_rollover::{
    catalog::Secret,
    clock::Timestamp,
    keyring::Keychain,
    layer::session::{self, SignCookieError},
    problem::Problem,
    token::{self, Claims, Lifetimes, NewToken, NewViewerToken, Scope, SignError},
};
use secrecy::SecretString;

use crate::data::{NewRefreshToken, RowId, User};

/// What a session keeps from one refresh to the next.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Session {
    /// The family of its refresh tokens, and the `sid` of its access tokens.
    pub(crate) family: RowId,
    /// Whether the user passed MFA when it began.
    pub(crate) mfa: bool,
}

/// The two tokens, the session as a cookie, and the row that makes the refresh token
/// count once.
pub(crate) struct Issued {
    pub(crate) access: SecretString,
    pub(crate) refresh: SecretString,
    pub(crate) session: SecretString,
    pub(crate) row: NewRefreshToken,
}

/// Signs the next two tokens of `session`, both with the primary key of `keychain`, and
/// a cookie that ends with the refresh token. They say what `user` is now, not what it was when the session began.
pub(crate) fn issue(
    keychain: &Keychain,
    user: &User,
    session: Session,
    lifetimes: &Lifetimes,
    now: Timestamp,
) -> Result<Issued, Problem> {
    let ring = keychain.signing(Secret::JwtSecret).map_err(unsigned)?;
    let (jti, family) = (RowId::new(), session.family);
    let refresh = NewToken::refresh(user.id.to_string(), scope(user)?, jti.to_string())
        .fam(family.to_string())
        .lifetime(lifetimes.refresh);
    Ok(Issued {
        access: access(keychain, user, session, lifetimes, now)?,
        refresh: token::sign(ring, &of(user, session, refresh), now).map_err(unmade)?,
        session: cookie(keychain, user, session, lifetimes, now)?,
        row: NewRefreshToken {
            jti,
            family,
            user_id: user.id,
            expires_at: now.plus(lifetimes.refresh),
        },
    })
}

/// Signs the next access token of `session`.
pub(crate) fn access(
    keychain: &Keychain,
    user: &User,
    session: Session,
    lifetimes: &Lifetimes,
    now: Timestamp,
) -> Result<SecretString, Problem> {
    let ring = keychain.signing(Secret::JwtSecret).map_err(unsigned)?;
    let access = NewToken::access(user.id.to_string(), scope(user)?)
        .sid(session.family.to_string())
        .lifetime(lifetimes.access);
    token::sign(ring, &of(user, session, access), now).map_err(unmade)
}

/// Signs a viewer token with which `user` watches the remote session `watched`. It says
/// that they passed MFA if `mfa` does, and that as long as it lives.
pub(crate) fn viewer(
    keychain: &Keychain,
    user: &User,
    watched: &str,
    mfa: bool,
    lifetimes: &Lifetimes,
    now: Timestamp,
) -> Result<SecretString, Problem> {
    let ring = keychain.signing(Secret::JwtSecret).map_err(unsigned)?;
    let (sub, email) = (user.id.to_string(), user.email.clone().unwrap_or_default());
    let token = NewViewerToken::new(sub, email, watched, RowId::new().to_string())
        .lifetime(lifetimes.viewer);
    let token = if mfa { token.assured_until(now.plus(lifetimes.viewer)) } else { token };
    token::sign_viewer(ring, &token, now).map_err(unmade)
}

/// `token` with what every token of `user` says.
fn of(user: &User, session: Session, token: NewToken) -> NewToken {
    token
        .email(user.email.clone())
        .org_id(user.org_id.map(|id| id.to_string()))
        .partner_id(user.partner_id.map(|id| id.to_string()))
        .mfa(session.mfa)
        .aep(user.auth_epoch)
        .mep(user.mfa_epoch)
}

fn scope(user: &User) -> Result<Scope, Problem> {
    user.scope.parse().map_err(unsigned)
}

/// What the cookie of `session` says.
fn cookie(
    keychain: &Keychain,
    user: &User,
    session: Session,
    lifetimes: &Lifetimes,
    now: Timestamp,
) -> Result<SecretString, Problem> {
    let data = [
        (MFA, session.mfa.into()),
        (AUTH_EPOCH, user.auth_epoch.into()),
        (MFA_EPOCH, user.mfa_epoch.into()),
    ];
    let says = session::Session {
        sub: user.id.to_string(),
        sid: session.family.to_string(),
        iat: now.as_seconds(),
        exp: now.plus(lifetimes.refresh).as_seconds(),
        data: data.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
    };
    let ring = keychain.signing(Secret::SessionSecret).map_err(unsigned)?;
    session::sign(ring, &says).map_err(|error| match error {
        SignCookieError::Fenced(fenced) => fenced.into(),
        error @ SignCookieError::TooLong => unsigned(error),
    })
}

/// As tokens name them.
const MFA: &str = "mfa";
const AUTH_EPOCH: &str = "aep";
const MFA_EPOCH: &str = "mep";

/// The session that a cookie of `user` names, if neither their password nor their MFA has
/// changed since.
pub(crate) fn session_of(says: &session::Session, user: &User) -> Option<Session> {
    let epoch = |name| says.data.get(name).and_then(serde_json::Value::as_i64);
    let is_current = says.sub == user.id.to_string()
        && epoch(AUTH_EPOCH) == Some(user.auth_epoch)
        && epoch(MFA_EPOCH) == Some(user.mfa_epoch);
    let family = says.sid.parse().ok().filter(|_| is_current)?;
    let mfa = says.data.get(MFA).and_then(serde_json::Value::as_bool) == Some(true);
    Some(Session { family, mfa })
}

fn unmade(error: SignError) -> Problem {
    match error {
        SignError::Fenced(fenced) => fenced.into(),
        error => unsigned(error),
    }
}

fn unsigned(error: impl std::fmt::Display) -> Problem {
    tracing::error!(%error, "no token could be signed");
    Problem::internal()
}

/// Whether neither the password nor MFA of `user` has changed since the token of `claims`
/// was made.
pub(crate) fn is_current(claims: &Claims, user: &User) -> bool {
    (claims.aep, claims.mep) == (Some(user.auth_epoch), Some(user.mfa_epoch))
}
