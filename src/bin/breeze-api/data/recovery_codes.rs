//! MFA recovery codes. Of each only the hash is kept: in Breeze's own array, which Breeze
//! goes on to read, and beside it under which pepper the hash stands.
//!
//! A hash is noted with its pepper, not a user: an array that Breeze has written anew
//! meanwhile is not mistaken for ours, and its codes are of a pepper that is not known.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use breeze_rollover::{
    clock::Timestamp,
    digest::Hash,
    keyring::{KeyState, Keyring, Verbatim},
    rollover::Reliance,
};
use serde::Serialize;
use sqlx::FromRow;

use super::{DataError, RowId, Under, Window};

/// What is stored of one user's recovery codes. Not `Debug`: it holds hashes.
#[derive(Clone, FromRow)]
pub(crate) struct RecoveryCodes {
    pub(crate) id: RowId,
    pub(crate) email: Option<String>,
    /// A JSON array of hashes.
    hashes: Option<String>,
    /// A JSON object: hash to the id of its pepper.
    peppers: Option<String>,
    /// Whether codes were taken back, and none were made since.
    pub(crate) are_due: bool,
}

/// How the unused codes of one user stand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Standing {
    /// Under the present pepper.
    pub(crate) current: usize,
    /// Under an older one that is accepted still.
    pub(crate) older: usize,
    /// Under one that is not known.
    pub(crate) unknown: usize,
    /// Under one that is not accepted any more: they have stopped working.
    pub(crate) ended: usize,
}

impl Standing {
    /// Codes that may work.
    pub(crate) const fn left(&self) -> usize {
        self.current + self.older + self.unknown
    }

    /// Whether new ones should be made in the place of some.
    pub(crate) const fn is_outdated(&self) -> bool {
        self.older + self.unknown + self.ended > 0
    }
}

impl RecoveryCodes {
    /// How they stand while `ring` is accepted. What is no array of hashes is no code.
    pub(crate) fn standing(&self, ring: &Keyring<Verbatim>) -> Standing {
        fn read<T: serde::de::DeserializeOwned + Default>(json: Option<&String>) -> T {
            json.and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default()
        }
        let hashes: BTreeSet<String> = read(self.hashes.as_ref());
        let peppers: BTreeMap<String, String> = read(self.peppers.as_ref());
        let mut standing = Standing::default();
        for hash in hashes {
            let under = peppers.get(&hash).map(|id| ring.get(id).map(|key| key.state()));
            *match under {
                None => &mut standing.unknown,
                Some(None) => &mut standing.ended,
                Some(Some(state)) if is_current(state) => &mut standing.current,
                Some(Some(_)) => &mut standing.older,
            } += 1;
        }
        standing
    }
}

/// The peppers whose codes are not outdated.
pub(crate) fn current_peppers(ring: &Keyring<Verbatim>) -> Vec<String> {
    let current = ring.keys().filter(|key| is_current(key.state()));
    current.map(|key| key.id().to_string()).collect()
}

/// A key that is staged here may be the primary elsewhere already.
const fn is_current(state: KeyState) -> bool {
    matches!(state, KeyState::Primary | KeyState::Staged)
}

/// Codes as they are stored: the array, and which pepper made each.
pub(super) fn documents(codes: &[Under]) -> (String, String) {
    let hashes: Vec<String> = codes.iter().map(|code| code.hash.to_string()).collect();
    let peppers: serde_json::Map<_, _> =
        codes.iter().map(|code| (code.hash.to_string(), code.key.as_str().into())).collect();
    (serde_json::Value::from(hashes).to_string(), serde_json::Value::from(peppers).to_string())
}

/// A user who is to be told by mail.
#[derive(Debug, Clone, FromRow)]
pub(crate) struct RecoveryNotice {
    pub(crate) id: RowId,
    pub(crate) email: String,
}

#[async_trait]
pub(crate) trait RecoveryCodeSets {
    /// What is stored of a user's codes.
    async fn recovery_codes(&self, user: RowId) -> Result<Option<RecoveryCodes>, DataError>;

    /// Puts `codes` in the place of all that there were. Answers false, and does nothing,
    /// when the user is not enrolled in MFA.
    async fn replace_recovery_codes(&self, user: RowId, codes: &[Under])
    -> Result<bool, DataError>;

    /// Spends the code that is stored as one of `candidates`, in one statement: of several
    /// who present it at once, one is answered true.
    async fn spend_recovery_code(
        &self,
        user: RowId,
        candidates: &[Hash],
    ) -> Result<bool, DataError>;

    /// Hashes the code that is stored as one of `candidates` as `primary` from now on, and
    /// spends it not. Answers whether it is there.
    async fn rehash_recovery_code(
        &self,
        user: RowId,
        candidates: &[Hash],
        primary: &Under,
    ) -> Result<bool, DataError>;

    /// Users with a code that stands under none of `current`.
    async fn outdated_recovery_codes(
        &self,
        current: &[String],
        window: Window,
    ) -> Result<Vec<RecoveryCodes>, DataError>;

    /// Takes back those codes of `users` that stand under none of `current`, and notes
    /// that new ones are due, and, with `by_mail`, that whoever has an address is to be
    /// told. Answers of whom codes were taken: not of those who have made new ones
    /// meanwhile.
    async fn take_back_recovery_codes(
        &self,
        users: &[RowId],
        current: &[String],
        by_mail: bool,
        now: Timestamp,
    ) -> Result<Vec<RowId>, DataError>;

    /// A user who is to be told by mail at `now`, and nobody else's until `until`.
    async fn claim_recovery_notice(
        &self,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Option<RecoveryNotice>, DataError>;

    /// Notes that a user was told.
    async fn end_recovery_notice(&self, user: RowId) -> Result<(), DataError>;

    /// How many users have an unused code under one of `peppers`, and how many others have
    /// one that does not tell.
    async fn recovery_codes_under(&self, peppers: &[String]) -> Result<Reliance, DataError>;

    /// Unused codes, and whose they are: how many of each.
    async fn count_recovery_codes(&self) -> Result<(u64, u64), DataError>;
}

/// What was counted.
pub(super) fn counted((codes, users): (i64, i64)) -> (u64, u64) {
    let count = |rows| u64::try_from(rows).unwrap_or(0);
    (count(codes), count(users))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use breeze_rollover::{ids::KeyId, keyring::Key, material::Material};

    use super::*;

    fn ring() -> Keyring<Verbatim> {
        let key = |id, state| {
            let material = Material::new(id).expect("not empty");
            Key::verbatim(KeyId::new(id).expect("valid"), state, material, Arc::default())
        };
        let keys =
            [("old", KeyState::Retiring), ("now", KeyState::Primary), ("next", KeyState::Staged)];
        Keyring::new(keys.map(|(id, state)| key(id, state)).into()).expect("valid")
    }

    fn stored(hashes: &str, peppers: Option<&str>) -> RecoveryCodes {
        RecoveryCodes {
            id: RowId::new(),
            email: None,
            hashes: Some(hashes.to_owned()),
            peppers: peppers.map(str::to_owned),
            are_due: false,
        }
    }

    #[test]
    fn each_code_stands_under_the_pepper_that_is_noted_for_its_hash() {
        let noted = r#"{"a":"now","b":"next","c":"old","d":"gone","spent":"old"}"#;
        let standing = stored(r#"["a","b","c","d","e"]"#, Some(noted)).standing(&ring());
        assert_eq!(standing, Standing { current: 2, older: 1, unknown: 1, ended: 1 });
        assert_eq!((standing.left(), standing.is_outdated()), (4, true));
        assert_eq!(current_peppers(&ring()), ["now", "next"]);
    }

    #[test]
    fn what_is_no_array_of_hashes_is_no_code() {
        for hashes in ["null", "{}", "\"a\"", "[1]", "not JSON"] {
            assert_eq!(stored(hashes, None).standing(&ring()), Standing::default(), "{hashes}");
        }
        assert!(!Standing::default().is_outdated());
    }

    #[test]
    fn codes_are_stored_as_an_array_of_hashes_with_the_pepper_of_each() {
        let code = |text| Under { hash: Hash::of(text), key: "now".to_owned() };
        let (hashes, peppers) = documents(&[code("x"), code("y")]);
        assert_eq!(hashes, format!("[\"{}\",\"{}\"]", Hash::of("x"), Hash::of("y")));
        let standing = stored(&hashes, Some(&peppers)).standing(&ring());
        assert_eq!(standing, Standing { current: 2, ..Standing::default() });
    }
}
