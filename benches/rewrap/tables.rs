//! One table of sealed rows, its copies, and the floor.

use async_trait::async_trait;
use breeze_rollover::{
    column::{Column, RowKey},
    embed::Database,
    envelope::Target,
    keyring::Keychain,
};
use uuid::Uuid;

/// The table that every round begins with a copy of.
pub const SOURCE: &str = "source";
/// The copy that the worker rewraps.
pub const REWRAPPED: &str = "rewrapped";
/// The copy that the floor writes.
pub const FLOOR: &str = "floor";
/// The sealed column of all of them.
pub const COLUMN: &str = "value";

/// Rows that are inserted by one statement.
pub const CHUNK: usize = 10_000;

/// The bench's tables in one database: `id`, a random UUID as Breeze has it, is the
/// primary key.
#[async_trait]
pub trait Tables: Send + Sync {
    fn name(&self) -> &'static str;

    /// How much of the floor's speed the rewrap is to reach.
    fn goal(&self) -> f64;

    fn database(&self) -> &Database;

    /// Where other processes find it; `None` where they would only wait for each other.
    fn url(&self) -> Option<&str> {
        None
    }

    /// Makes [`SOURCE`] anew, of `rows` rows sealed by `keys`.
    async fn fill(&self, rows: usize, keys: &Keychain);

    /// Makes a copy of [`SOURCE`] anew, and leaves the database with nothing to catch
    /// up on.
    async fn copy(&self, table: &str);

    /// Every row of [`SOURCE`], by ascending key.
    async fn stored(&self) -> Vec<(String, String)>;

    /// The floor: writes `batches` to [`FLOOR`]. Answers how many rows changed.
    async fn write(&self, batches: &[Batch]) -> u64;

    /// Reads one row of [`REWRAPPED`] by its key, on connections of the application's own.
    async fn read(&self, id: &str) -> String;

    /// Changes one row of [`REWRAPPED`] by its key, on connections of the application's own.
    async fn edit(&self, id: &str, value: &str);
}

/// What the floor writes in one transaction.
pub struct Batch {
    pub ids: Vec<String>,
    pub old: Vec<String>,
    pub new: Vec<String>,
}

impl Batch {
    pub fn prepare(rows: &[(String, String)], keys: &Keychain) -> Vec<Self> {
        let batch = |rows: &[(String, String)]| {
            let (ids, old) = rows.iter().cloned().unzip();
            let new = rows.iter().map(|(id, _)| seal(keys, id, Target::Bound)).collect();
            Self { ids, old, new }
        };
        rows.chunks(1000).map(batch).collect()
    }
}

/// A new 64-byte secret for the row `id`, sealed.
pub fn seal(keys: &Keychain, id: &str, target: Target) -> String {
    let column = Column::text(REWRAPPED, COLUMN);
    let secret = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
    column.seal(keys, &RowKey::from(id), &secret, target).unwrap()
}

/// `rows` new rows, in chunks of at most [`CHUNK`], each its ids and its values.
pub fn chunks(rows: usize, keys: &Keychain) -> impl Iterator<Item = (Vec<String>, Vec<String>)> {
    (0..rows).step_by(CHUNK).map(move |first| {
        (first..rows.min(first + CHUNK))
            .map(|_| {
                let id = Uuid::new_v4().to_string();
                let value = seal(keys, &id, Target::Compatible);
                (id, value)
            })
            .unzip()
    })
}
