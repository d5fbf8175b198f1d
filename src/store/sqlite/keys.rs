//! The epoch, and every key in custody.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use sqlx::{SqliteConnection, SqlitePool};

use crate::{
    catalog::Secret,
    clock::Timestamp,
    ids::{Epoch, KeyId},
    material::Fingerprint,
    store::{
        Custody, KeyChange, StoreError,
        refusal::{Refusal, expect_rows},
        stored::{KeyRow, millis, signed, unsigned},
    },
};

/// The epoch: one row, one page.
const EPOCH: &str = "SELECT epoch FROM rollover_meta";

/// The next epoch. The transaction has the write lock.
const BUMP_EPOCH: &str = "UPDATE rollover_meta SET epoch = epoch + 1 RETURNING epoch";

/// Every key. A handful of rows a secret.
const KEYS: &str = "
    SELECT secret, id, fingerprint, state, unnamed, origin, rank, sealed,
           created_at, promoted_at, retired_at, compromised_at, seals,
           longest_lifetime, presented, presented_at
    FROM rollover_key
    ORDER BY secret, rank, id";

/// How many keys are sealed under each root key, which the material names.
const SEALED_UNDER: &str = "
    SELECT substr(sealed, 9, 16), count(*) FROM rollover_key
    WHERE sealed IS NOT NULL GROUP BY substr(sealed, 9, 16)";

/// The secrets that have a primary key. Served by `rollover_key_one_primary_a_secret`.
const PRIMARIES: &str = "SELECT secret FROM rollover_key WHERE state = 'primary'";

/// A new key. The primary key refuses one that is there already.
const ADD: &str = "
    INSERT INTO rollover_key
        (secret, id, fingerprint, state, unnamed, origin, rank, sealed,
         created_at, promoted_at, retired_at, compromised_at, seals, longest_lifetime,
         presented, presented_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)";

/// From state $3 to $4, if it still is in $3. Served by the primary key.
const MOVE: &str = "
    UPDATE rollover_key SET
        state = $4,
        sealed = CASE WHEN $4 = 'destroyed' THEN NULL ELSE sealed END,
        promoted_at = CASE WHEN $4 = 'primary' THEN coalesce(promoted_at, $5) ELSE promoted_at END,
        retired_at = CASE WHEN $4 = 'retired' THEN $5 ELSE retired_at END,
        compromised_at = CASE WHEN $4 = 'destroyed' THEN compromised_at END
    WHERE secret = $1 AND id = $2 AND state = $3";

/// A retired key is compromised since $3. Served by the primary key.
const COMPROMISE: &str = "
    UPDATE rollover_key SET compromised_at = $3
    WHERE secret = $1 AND id = $2 AND state = 'retired'";

/// Other sealed material, if it still is the one that was read. Served by the primary key.
const RESEAL: &str =
    "UPDATE rollover_key SET sealed = $4 WHERE secret = $1 AND id = $2 AND sealed = $3";

/// Never lower than before. Served by the primary key.
const RAISE_LIFETIME: &str = "
    UPDATE rollover_key SET longest_lifetime = max(longest_lifetime, $3)
    WHERE secret = $1 AND id = $2";

/// Added up by the database, so that no replica's count is lost. Served by the primary key.
const SETTLE_SEALS: &str =
    "UPDATE rollover_key SET seals = seals + $3 WHERE secret = $1 AND id = $2 RETURNING seals";

/// Added up like seals; the last time never goes back. Served by the primary key.
const NOTE_PRESENTED: &str = "
    UPDATE rollover_key SET presented = presented + $3,
        presented_at = max(coalesce(presented_at, $4), $4)
    WHERE secret = $1 AND id = $2";

pub(super) async fn epoch(connection: &mut SqliteConnection) -> Result<Epoch, StoreError> {
    let epoch = sqlx::query_scalar(EPOCH).fetch_one(connection).await?;
    Ok(Epoch(unsigned("meta", "epoch", epoch)?))
}

pub(super) async fn custody(pool: &SqlitePool) -> Result<Custody, StoreError> {
    let mut snapshot = pool.begin().await?;
    let epoch = epoch(&mut snapshot).await?;
    let rows: Vec<KeyRow> = sqlx::query_as(KEYS).fetch_all(&mut *snapshot).await?;
    snapshot.commit().await?;
    let keys = rows.into_iter().filter_map(KeyRow::known).collect::<Result<_, _>>()?;
    Ok(Custody { epoch, keys })
}

pub(super) async fn sealed_under(
    pool: &SqlitePool,
) -> Result<BTreeMap<Fingerprint, u64>, StoreError> {
    let rows: Vec<(String, i64)> = sqlx::query_as(SEALED_UNDER).fetch_all(pool).await?;
    let known =
        rows.into_iter().filter_map(|(root_key, count)| Some((root_key.parse().ok()?, count)));
    known.map(|(root_key, count)| Ok((root_key, unsigned("key", "sealed", count)?))).collect()
}

pub(super) async fn raise_lifetime(
    pool: &SqlitePool,
    secret: Secret,
    key: &KeyId,
    lifetime: Duration,
) -> Result<(), StoreError> {
    let raised = sqlx::query(RAISE_LIFETIME)
        .bind(secret.name())
        .bind(key.as_str())
        .bind(millis(lifetime))
        .execute(pool)
        .await?;
    match raised.rows_affected() {
        1 => Ok(()),
        _ => Err(StoreError::NoKey { secret, key: key.clone() }),
    }
}

pub(super) async fn settle_seals(
    pool: &SqlitePool,
    secret: Secret,
    key: &KeyId,
    count: u64,
) -> Result<u64, StoreError> {
    let seals = sqlx::query_scalar(SETTLE_SEALS)
        .bind(secret.name())
        .bind(key.as_str())
        .bind(signed(count))
        .fetch_all(pool)
        .await?
        .pop()
        .ok_or_else(|| StoreError::NoKey { secret, key: key.clone() })?;
    unsigned("key", "seals", seals)
}

pub(super) async fn note_presented(
    pool: &SqlitePool,
    secret: Secret,
    key: &KeyId,
    count: u64,
    last: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(NOTE_PRESENTED)
        .bind(secret.name())
        .bind(key.as_str())
        .bind(signed(count))
        .bind(last.as_millis())
        .execute(pool)
        .await?;
    Ok(())
}

pub(super) async fn bump_epoch(transaction: &mut SqliteConnection) -> Result<Epoch, StoreError> {
    let epoch = sqlx::query_scalar(BUMP_EPOCH).fetch_one(transaction).await?;
    Ok(Epoch(unsigned("meta", "epoch", epoch)?))
}

/// Applies `changes` in order. No secret loses its primary key over it.
pub(super) async fn change(
    transaction: &mut SqliteConnection,
    changes: &[KeyChange],
) -> Result<(), Refusal> {
    let before = primaries(transaction).await?;
    for change in changes {
        apply(transaction, change).await?;
    }
    let after = primaries(transaction).await?;
    match before.difference(&after).next() {
        Some(&secret) => Err(StoreError::NoPrimary(secret).into()),
        None => Ok(()),
    }
}

async fn apply(transaction: &mut SqliteConnection, change: &KeyChange) -> Result<(), Refusal> {
    let statement = match change {
        KeyChange::Add(key) => {
            let row = KeyRow::from(&**key);
            sqlx::query(ADD)
                .bind(row.secret)
                .bind(row.id)
                .bind(row.fingerprint)
                .bind(row.state)
                .bind(row.unnamed)
                .bind(row.origin)
                .bind(row.rank)
                .bind(row.sealed)
                .bind(row.created_at)
                .bind(row.promoted_at)
                .bind(row.retired_at)
                .bind(row.compromised_at)
                .bind(row.seals)
                .bind(row.longest_lifetime)
                .bind(row.presented)
                .bind(row.presented_at)
        }
        KeyChange::Move { secret, key, from, to, at } => sqlx::query(MOVE)
            .bind(secret.name())
            .bind(key.as_str())
            .bind(from.as_str())
            .bind(to.as_str())
            .bind(at.as_millis()),
        KeyChange::Compromise { secret, key, at } => {
            sqlx::query(COMPROMISE).bind(secret.name()).bind(key.as_str()).bind(at.as_millis())
        }
        KeyChange::Reseal { secret, key, old, new } => {
            sqlx::query(RESEAL).bind(secret.name()).bind(key.as_str()).bind(old).bind(new)
        }
    };
    expect_rows(statement.execute(transaction).await?.rows_affected(), 1)
}

async fn primaries(transaction: &mut SqliteConnection) -> Result<BTreeSet<Secret>, StoreError> {
    let names: Vec<String> = sqlx::query_scalar(PRIMARIES).fetch_all(transaction).await?;
    Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
}
