//! Access and refresh tokens of one session.

use breeze_rollover::{
    catalog::Secret,
    clock::Timestamp,
    keyring::Keychain,
    problem::Problem,
    token::{self, Lifetimes, NewToken, Scope, SignError},
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

/// The two tokens, and the row that makes the refresh token count once.
pub(crate) struct Issued {
    pub(crate) access: SecretString,
    pub(crate) refresh: SecretString,
    pub(crate) row: NewRefreshToken,
}

/// Signs the next two tokens of `session`, both with the primary key of `keychain`.
/// They say what `user` is now, not what it was when the session began.
pub(crate) fn issue(
    keychain: &Keychain,
    user: &User,
    session: Session,
    lifetimes: &Lifetimes,
    now: Timestamp,
) -> Result<Issued, Problem> {
    let ring = keychain.signing(Secret::JwtSecret).map_err(unsigned)?;
    let scope: Scope = user.scope.parse().map_err(unsigned)?;
    let (jti, family) = (RowId::new(), session.family);
    let claims = |token: NewToken| {
        token
            .email(user.email.clone())
            .org_id(user.org_id.map(|id| id.to_string()))
            .partner_id(user.partner_id.map(|id| id.to_string()))
            .mfa(session.mfa)
            .aep(user.auth_epoch)
            .mep(user.mfa_epoch)
    };
    let sub = user.id.to_string();
    let access = claims(NewToken::access(sub.clone(), scope))
        .sid(family.to_string())
        .lifetime(lifetimes.access);
    let refresh = claims(NewToken::refresh(sub, scope, jti.to_string()))
        .fam(family.to_string())
        .lifetime(lifetimes.refresh);
    Ok(Issued {
        access: token::sign(ring, &access, now).map_err(unmade)?,
        refresh: token::sign(ring, &refresh, now).map_err(unmade)?,
        row: NewRefreshToken {
            jti,
            family,
            user_id: user.id,
            expires_at: now.plus(lifetimes.refresh),
        },
    })
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
