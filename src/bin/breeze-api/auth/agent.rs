//! Agents: whether they may enrol, and who presents an agent token.
//!
//! 1. A token counts only while its generation is live: who was issued one before a hard
//!    rollover enrols anew.
//! 2. The pending token takes the place of the current one when it is first presented,
//!    before the request is answered.
//! 3. Outside callers see one dull 401.

use std::time::Duration;

use axum::extract::FromRequestParts;
use breeze_rollover::{
    catalog::Secret,
    clock::Timestamp,
    digest::{self, Hash, PresentedToken},
    ids::KeyId,
    keyring::{Fenced, KeyState, Keychain, NoKeyring},
    material::NoEntropy,
    problem::Problem,
};
use http::{HeaderMap, HeaderValue, header, request::Parts};
use secrecy::{ExposeSecret, SecretString};

use crate::{
    data::{EnrolmentKey, RowId, Under},
    extract::Columns,
    state::App,
};

/// How long a new token waits for its agent to present it.
const PENDING: Duration = Duration::from_secs(24 * 60 * 60);

/// What happens to an agent that enrols without a secret where none is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Enforcement {
    /// It is refused.
    Refuse,
    /// It enrols, and the log tells of it.
    Warn,
    /// It enrols.
    Allow,
}

/// How agents enrol and how long their tokens overlap.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AgentPolicy {
    pub(crate) enforcement: Enforcement,
    /// How long an enrolment key lives, unless it is told otherwise.
    pub(crate) key_lifetime: Duration,
    /// How long the token before counts beside the one that took its place.
    pub(crate) overlap: Duration,
    /// How long at least the old enrolment secret is accepted; the catalog's own if not said.
    pub(crate) secret_grace: Option<Duration>,
}

impl AgentPolicy {
    /// Whether an agent with `presented` may enrol with `key`. The secret of the key
    /// takes precedence over the one of the service.
    pub(crate) fn admit(
        &self,
        keychain: &Keychain,
        key: &EnrolmentKey,
        presented: Option<&SecretString>,
        now: Timestamp,
    ) -> Result<(), Problem> {
        let presented = presented.map(|secret| digest::trim(secret.expose_secret()));
        let presented = presented.filter(|secret| !secret.is_empty());
        if let Some(own) = &key.key_secret_hash {
            let own: Option<Hash> = own.parse().ok();
            let is_it = own.zip(presented).is_some_and(|(own, it)| own == Hash::of(it));
            return if is_it { Ok(()) } else { Err(unfit_secret()) };
        }
        match keychain.verbatim(Secret::AgentEnrollmentSecret) {
            Ok(ring) => match presented.and_then(|secret| ring.accept(secret, now)) {
                Some(_) => Ok(()),
                None => Err(unfit_secret()),
            },
            Err(NoKeyring(_)) => match self.enforcement {
                Enforcement::Refuse => Err(unfit_secret()),
                Enforcement::Warn => {
                    tracing::warn!("an agent enrols without a secret; set AGENT_ENROLLMENT_SECRET");
                    Ok(())
                }
                Enforcement::Allow => Ok(()),
            },
        }
    }
}

fn unfit_secret() -> Problem {
    Problem::forbidden("the enrolment secret is missing or wrong; ask for the present one")
        .coded("enrolment_secret")
}

/// A new token under the present generation, and what is stored of it.
pub(crate) fn mint_token(keychain: &Keychain) -> Result<(SecretString, Under), Problem> {
    let ring = keychain.verbatim(Secret::AgentTokens).map_err(unmade)?;
    let generation = ring.make(|primary| Ok::<KeyId, Fenced>(primary.id().clone()))?;
    let token = digest::agent_token().map_err(unmade::<NoEntropy>)?;
    let hash = Hash::of(token.expose_secret());
    Ok((token, Under { hash, key: generation.to_string() }))
}

/// Until when a token that is offered now waits to be presented.
pub(crate) fn pending_until(now: Timestamp) -> Timestamp {
    now.plus(PENDING)
}

pub(crate) fn unmade<E: std::fmt::Display>(error: E) -> Problem {
    tracing::error!(%error, "nothing can be issued");
    Problem::internal()
}

/// The agent that calls, by its token.
#[derive(Debug, Clone)]
pub(crate) struct CallingAgent {
    pub(crate) id: RowId,
    pub(crate) agent_id: String,
    /// The hash of the token that it presents.
    pub(crate) presented: Hash,
    /// Whether it should ask for another: it presents one of an older generation, or one
    /// whose place is taken.
    pub(crate) must_rotate: bool,
}

impl FromRequestParts<App> for CallingAgent {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let presented = Hash::of(bearer(&parts.headers).ok_or_else(unknown)?);
        let Columns(sealed) = Columns::from_request_parts(parts, app).await?;
        let keychain = sealed.keychain();
        let ring = keychain.verbatim(Secret::AgentTokens).map_err(unmade)?;
        let now = app.clock.now();
        let agent = app.data.agent_by_token(&presented).await?.ok_or_else(unknown)?;
        let hashes = agent.hashes(|generation| ring.get(generation).is_some());
        let which = hashes.presented(&presented, now);
        // From the end of the lease on others may have ended a generation, or begun one.
        keychain.fence().check()?;
        let which = which.ok_or_else(unknown)?;
        let generation = match which {
            PresentedToken::Current => &agent.agent_token_generation,
            PresentedToken::Pending => &agent.pending_token_generation,
            PresentedToken::Previous => &agent.previous_token_generation,
        };
        // Not merely another than the primary: a process that has yet to hear of a
        // promotion must not have the newest tokens changed back.
        let key = generation.as_deref().and_then(|generation| ring.get(generation));
        let is_old = key.is_some_and(|key| key.state() == KeyState::Retiring);
        if which == PresentedToken::Pending {
            let until = now.plus(app.agents.overlap);
            app.data.promote_agent_token(agent.id, &presented, now, until).await?;
        }
        Ok(Self {
            id: agent.id,
            agent_id: agent.agent_id,
            presented,
            must_rotate: which == PresentedToken::Previous || is_old,
        })
    }
}

/// The one bearer token, if it can be an agent's.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next().filter(|_| values.next().is_none())?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("Bearer") && token.starts_with("brz_")).then_some(token)
}

fn unknown() -> Problem {
    Problem::unauthorized("the agent token is not accepted; enrol again")
        .coded("agent_token")
        .with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use breeze_rollover::{
        ids::Epoch,
        keyring::{AnyKeyring, Key, Keyring},
        material::Material,
    };

    use super::*;

    fn key(own_secret: Option<&str>) -> EnrolmentKey {
        EnrolmentKey {
            id: RowId::new(),
            org_id: RowId::new(),
            site_id: None,
            name: "a key".to_owned(),
            key_secret_hash: own_secret.map(|secret| Hash::of(secret).to_string()),
            usage_count: 0,
            max_usage: None,
            expires_at: None,
        }
    }

    fn keychain(secret: Option<&str>) -> Keychain {
        let keychain = Keychain::new(Epoch(1));
        let Some(secret) = secret else { return keychain };
        let key = Key::verbatim(
            KeyId::new("s").unwrap(),
            KeyState::Primary,
            Material::new(secret).unwrap(),
            Arc::default(),
        );
        let ring = Keyring::new(vec![key]).unwrap();
        keychain.with(Secret::AgentEnrollmentSecret, AnyKeyring::Verbatim(ring))
    }

    fn admits(
        enforcement: Enforcement,
        global: Option<&str>,
        own: Option<&str>,
        presented: Option<&str>,
    ) -> bool {
        let policy = AgentPolicy {
            enforcement,
            key_lifetime: Duration::from_secs(1),
            overlap: Duration::from_secs(1),
            secret_grace: None,
        };
        let presented = presented.map(SecretString::from);
        let now = Timestamp::from_millis(0);
        policy.admit(&keychain(global), &key(own), presented.as_ref(), now).is_ok()
    }

    #[test]
    fn the_secret_of_a_key_takes_precedence_and_none_at_all_is_what_the_mode_says() {
        use Enforcement::{Allow, Refuse, Warn};
        assert!(admits(Refuse, Some("global"), None, Some(" global\n")));
        assert!(!admits(Allow, Some("global"), None, Some("another")));
        assert!(!admits(Allow, Some("global"), None, None));
        assert!(admits(Refuse, Some("global"), Some("own"), Some("own")));
        assert!(!admits(Allow, Some("global"), Some("own"), Some("global")));
        assert!(!admits(Allow, None, Some("own"), None));
        for (mode, admitted) in [(Refuse, false), (Warn, true), (Allow, true)] {
            assert_eq!(admits(mode, None, None, None), admitted);
        }
    }
}
