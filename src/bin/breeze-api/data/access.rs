//! Enrolment keys and enrolled agents. Of every secret only the hash is kept, beside the
//! id of the pepper or the generation that it stands under.

use async_trait::async_trait;
use breeze_rollover::{
    clock::Timestamp,
    digest::{AgentHashes, Hash},
    rollover::Reliance,
};
use sqlx::FromRow;

use super::{DataError, Reach, RowId, Window};

/// An enrolment key.
#[derive(Debug, Clone, FromRow)]
pub(crate) struct EnrolmentKey {
    pub(crate) id: RowId,
    pub(crate) org_id: RowId,
    pub(crate) site_id: Option<RowId>,
    pub(crate) name: String,
    /// The hash of a secret of its own.
    pub(crate) key_secret_hash: Option<String>,
    pub(crate) usage_count: i64,
    pub(crate) max_usage: Option<i64>,
    /// Milliseconds since the Unix epoch.
    pub(crate) expires_at: Option<i64>,
}

impl EnrolmentKey {
    /// Whether an agent may enrol with it at `now`.
    pub(crate) fn is_usable(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|until| now.as_millis() < until)
            && self.max_usage.is_none_or(|most| self.usage_count < most)
    }
}

/// A hash, and the id of the pepper or of the generation that it stands under.
#[derive(Debug, Clone)]
pub(crate) struct Under {
    pub(crate) hash: Hash,
    pub(crate) key: String,
}

/// An enrolment key that is to be created.
#[derive(Debug, Clone)]
pub(crate) struct NewEnrolmentKey {
    pub(crate) id: RowId,
    pub(crate) org_id: RowId,
    pub(crate) site_id: Option<RowId>,
    pub(crate) name: String,
    pub(crate) key: Under,
    pub(crate) secret: Option<Hash>,
    pub(crate) max_usage: Option<i64>,
    pub(crate) expires_at: Timestamp,
    pub(crate) created_by: RowId,
}

#[async_trait]
pub(crate) trait EnrolmentKeys {
    async fn enrolment_keys(
        &self,
        reach: Reach,
        window: Window,
    ) -> Result<Vec<EnrolmentKey>, DataError>;
    async fn create_enrolment_key(&self, new: &NewEnrolmentKey) -> Result<EnrolmentKey, DataError>;

    /// Ends an enrolment key at `now`, if it has not ended before. Answers whether it is
    /// there.
    async fn expire_enrolment_key(
        &self,
        id: RowId,
        reach: Reach,
        now: Timestamp,
    ) -> Result<bool, DataError>;

    /// The enrolment key that is stored as one of `candidates`.
    async fn find_enrolment_key(
        &self,
        candidates: &[Hash],
    ) -> Result<Option<EnrolmentKey>, DataError>;

    /// Uses `found` once, hashes it as `primary` from now on, and stores the agent that
    /// enrols with it, all in one transaction. Answers false, and does nothing, when the
    /// key has ended or is used up meanwhile: of several who use it at once, no more
    /// enrol than it allows.
    async fn enrol(
        &self,
        found: &EnrolmentKey,
        primary: &Under,
        agent: &NewAgent,
        now: Timestamp,
    ) -> Result<bool, DataError>;

    /// How many usable enrolment keys are hashed with one of `peppers`, and how many do
    /// not tell.
    async fn enrolment_keys_under(
        &self,
        peppers: &[String],
        now: Timestamp,
    ) -> Result<Reliance, DataError>;

    /// How many usable enrolment keys are presented beside the service's secret, for want
    /// of one of their own.
    async fn enrolment_keys_without_secret(&self, now: Timestamp) -> Result<u64, DataError>;
}

/// An agent that enrols.
#[derive(Debug, Clone)]
pub(crate) struct NewAgent {
    pub(crate) id: RowId,
    pub(crate) agent_id: String,
    pub(crate) hostname: String,
    pub(crate) os_type: &'static str,
    pub(crate) os_version: String,
    pub(crate) architecture: String,
    pub(crate) agent_version: String,
    pub(crate) token: Under,
}

/// What is stored of an enrolled agent's tokens.
#[derive(Debug, Clone, FromRow)]
pub(crate) struct Agent {
    pub(crate) id: RowId,
    pub(crate) agent_id: String,
    pub(crate) agent_token_hash: Option<String>,
    pub(crate) agent_token_generation: Option<String>,
    pub(crate) pending_token_hash: Option<String>,
    pub(crate) pending_token_generation: Option<String>,
    pub(crate) pending_token_expires_at: Option<i64>,
    pub(crate) previous_token_hash: Option<String>,
    pub(crate) previous_token_generation: Option<String>,
    pub(crate) previous_token_expires_at: Option<i64>,
}

impl Agent {
    /// Its tokens of the generations that are live.
    pub(crate) fn hashes(&self, is_live: impl Fn(&str) -> bool) -> AgentHashes {
        let token = |hash: &Option<String>, generation: &Option<String>| {
            let generation = generation.as_deref();
            let hash = hash.as_deref().filter(|_| generation.is_some_and(&is_live));
            hash.and_then(|hash| hash.parse::<Hash>().ok())
        };
        let until = |millis: Option<i64>| millis.map(Timestamp::from_millis);
        let pending = token(&self.pending_token_hash, &self.pending_token_generation);
        let previous = token(&self.previous_token_hash, &self.previous_token_generation);
        AgentHashes {
            current: token(&self.agent_token_hash, &self.agent_token_generation),
            pending: pending.zip(until(self.pending_token_expires_at)),
            previous: previous.zip(until(self.previous_token_expires_at)),
        }
    }
}

#[async_trait]
pub(crate) trait Agents {
    /// The agent that has a token stored as `hash`, whatever that still counts for.
    async fn agent_by_token(&self, hash: &Hash) -> Result<Option<Agent>, DataError>;

    /// Notes that an agent gave a sign of life.
    async fn note_agent(&self, id: RowId, now: Timestamp) -> Result<(), DataError>;

    /// Stores the next token of an agent, pending until `until`, if `current` is its
    /// current one still. Another one that was pending is forgotten.
    async fn offer_agent_token(
        &self,
        id: RowId,
        current: &Hash,
        next: &Under,
        until: Timestamp,
    ) -> Result<bool, DataError>;

    /// The pending token takes the place of the current one, which counts beside it until
    /// `until`; does nothing if that is done already.
    async fn promote_agent_token(
        &self,
        id: RowId,
        pending: &Hash,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<(), DataError>;

    /// Takes the tokens that were issued before there were generations for ones of
    /// `generation`, unless an agent has a token of some generation already.
    async fn adopt_agent_tokens(&self, generation: &str) -> Result<u64, DataError>;

    /// How many agents have a token that counts of one of `generations`, and how many do
    /// not tell.
    async fn agents_under(
        &self,
        generations: &[String],
        now: Timestamp,
    ) -> Result<Reliance, DataError>;
}
