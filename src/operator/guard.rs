//! Installs and removes the guard: whoever still seals under a retired key is refused by
//! the database itself.
//!
//! 1. It is off unless somebody installs it, and removing it leaves nothing behind.
//! 2. Each table is one change, with its audit entry inside; what is as it should be
//!    already is not touched. One that fails half-way goes on when it is asked again.
//! 3. It needs no keys: no replica, no root key.

use std::sync::Arc;

use serde_json::json;

use super::{Refusal, checked_reason};
use crate::{
    clock::Clock,
    column::Registry,
    store::{Actor, AuditEntry, Guarding, Outcome, Store, TableGuard},
};

/// The guard on the registered columns of a database.
#[derive(Debug, Clone)]
pub struct Guard {
    store: Arc<dyn Store>,
    registry: Arc<Registry>,
    clock: Arc<dyn Clock>,
}

impl Guard {
    /// The guard on the columns of `registry` in the database of `store`.
    #[must_use]
    pub const fn new(
        store: Arc<dyn Store>,
        registry: Arc<Registry>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { store, registry, clock }
    }

    /// How it stands to each registered column, and to others that it is on.
    ///
    /// # Errors
    /// [`Refusal`] when the store does not answer, and on a database that has no guard.
    pub async fn status(&self) -> Result<Vec<TableGuard>, Refusal> {
        Ok(self.store.guard(&self.registry).await?)
    }

    /// Puts it on every registered column that is there, and tells how it stands then.
    ///
    /// # Errors
    /// [`Refusal`]; tables before the one that it tells of are guarded.
    pub async fn install(&self, actor: Actor, why: &str) -> Result<Vec<TableGuard>, Refusal> {
        let because = checked_reason(why)?;
        for found in self.status().await? {
            let Some(table) = self.registry.table(&found.table) else { continue };
            let is_stale = found.columns(Guarding::Unguarded).next().is_some()
                || found.columns(Guarding::Unregistered).next().is_some();
            if is_stale {
                let columns = [Guarding::Guarded, Guarding::Unguarded];
                let columns = columns.into_iter().flat_map(|guarding| found.columns(guarding));
                let entry = self.entry("guard.install", &found, columns, &actor, &because);
                self.store.guard_table(table, &entry).await?;
            }
        }
        self.status().await
    }

    /// Takes it off every table that it is on, and tells which these were.
    ///
    /// # Errors
    /// [`Refusal`]; it is off the tables before the one that this tells of.
    pub async fn remove(&self, actor: Actor, why: &str) -> Result<Vec<String>, Refusal> {
        let because = checked_reason(why)?;
        let mut removed = vec![];
        for found in self.status().await?.into_iter().filter(|table| table.installed) {
            let columns = [Guarding::Guarded, Guarding::Unregistered];
            let columns = columns.into_iter().flat_map(|guarding| found.columns(guarding));
            let entry = self.entry("guard.remove", &found, columns, &actor, &because);
            self.store.unguard_table(&found.table, &entry).await?;
            removed.push(found.table);
        }
        self.store.drop_guard().await?;
        Ok(removed)
    }

    fn entry<'a>(
        &self,
        action: &str,
        table: &TableGuard,
        columns: impl Iterator<Item = &'a str>,
        actor: &Actor,
        because: &str,
    ) -> AuditEntry {
        AuditEntry {
            at: self.clock.now(),
            actor: actor.clone(),
            action: action.to_owned(),
            resource_type: "table",
            resource_id: None,
            resource_name: Some(table.table.clone()),
            details: json!({ "because": because, "columns": columns.collect::<Vec<_>>() }),
            outcome: Outcome::Success,
        }
    }
}
