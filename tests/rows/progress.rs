//! A batch and its cursor are one: both are durable, or neither is.

use std::time::Duration;

use breeze_rollover::{
    catalog::Secret,
    clock::Timestamp,
    envelope::Target,
    ids::{KeyId, ReplicaId, RolloverId},
    rollover::{Mode, Phase, Rollover},
    store::{Change, NewRange, Progress, Quarantined, Range, RolloverChange},
};

use super::*;

const LEASE: Duration = Duration::from_secs(60);

on_both! {
    async fn a_batch_moves_its_cursor_and_a_lost_lease_writes_nothing(db: &Db) {
        db.migrate().await;
        let shape = with_webhooks(db).await;
        for id in [NIL, ONE, TWO] {
            db.insert_webhook(id.parse().unwrap(), "enc:v2:old:u", "{}", "[]").await;
        }
        let range = claimed(db).await;
        let rows = stale(db, &shape, &webhook_aims()).await;
        let updates: Vec<_> = rows.iter().map(|row| update(row, 0, "enc:v3:new:u")).collect();
        db.run(&format!("UPDATE webhooks SET url = 'enc:v3:new:edit' WHERE id = '{TWO}'")).await;

        let stolen = Progress {
            range: Range { holder: ReplicaId::new(), ..range.clone() },
            ..progress(&range, &rows[0].key)
        };
        let lost = db.rows().write(&shape, &updates[..1], Some(&stolen)).await.unwrap();
        assert_eq!(lost, Written::LeaseLost);
        assert_eq!(stale(db, &shape, &webhook_aims()).await.len(), 2, "nothing was written");
        assert_eq!(db.store().quarantined(10).await.unwrap(), []);

        let first = progress(&range, &rows[0].key);
        let written = db.rows().write(&shape, &updates[..1], Some(&first)).await.unwrap();
        assert_eq!(written, Written::Done { rewrapped: 1 });
        assert_eq!(db.store().quarantined(10).await.unwrap().len(), 1);
        let again = db.rows().write(&shape, &updates[..1], Some(&first)).await.unwrap();
        assert_eq!(again, Written::LeaseLost, "a cursor moves only from where it was seen");

        let range = Range { cursor: Some(rows[0].key.clone()), ..range };
        let second = Progress { quarantined: Vec::new(), ..progress(&range, &rows[1].key) };
        let empty = db.rows().write(&shape, &[], Some(&second)).await.unwrap();
        assert_eq!(empty, Written::Done { rewrapped: 0 }, "the cursor moves alone");
        let range = Range { cursor: Some(rows[1].key.clone()), ..range };
        let third = Progress { quarantined: Vec::new(), ..progress(&range, &rows[2].key) };
        let written = db.rows().write(&shape, &updates[1..], Some(&third)).await.unwrap();
        assert_eq!(written, Written::Done { rewrapped: 1 });
        let pass = db.store().pass(range.rollover, 1).await.unwrap().unwrap();
        assert_eq!((pass.scanned, pass.rewrapped, pass.superseded), (30, 2, 1));
    }
}

fn progress(range: &Range, cursor: &RowKey) -> Progress {
    let bad = Quarantined {
        table: "webhooks".into(),
        column: "headers".into(),
        row: cursor.clone(),
        path: "/token".into(),
        error: "unknown key".into(),
        seen_at: Timestamp::from_seconds(1),
    };
    Progress {
        range: range.clone(),
        cursor: cursor.clone(),
        scanned: 10,
        lease: LEASE,
        quarantined: vec![bad],
    }
}

/// The only range of the only pass of a rollover.
async fn claimed(db: &Db) -> Range {
    let now = Timestamp::from_seconds(1_790_000_000);
    let rollover = Rollover {
        id: RolloverId::new(),
        secret: Secret::AppEncryptionKey,
        mode: Mode::Graceful,
        dry_run: false,
        phase: Phase::Promoted,
        revision: 0,
        paused_at: None,
        reason: "due".into(),
        requested_by: "admin@example.com".into(),
        from_key: KeyId::new("old").unwrap(),
        to_key: None,
        created_at: now,
        updated_at: now,
        settled_at: None,
        target: Target::Bound,
        pass: 1,
        max_rows_per_second: None,
        blocked_by: None,
        accept_quarantined: false,
        accept_loss: false,
        probed_at: None,
        ask_at: None,
        asked_by: None,
        revoking_at: None,
        revoked_at: None,
        report: None,
        cut_off: None,
    };
    let id = rollover.id;
    let change = Change {
        rollover: Some(RolloverChange::Begin { rollover: Box::new(rollover), alongside: false }),
        ranges: vec![NewRange {
            rollover: id,
            pass: 1,
            table: "webhooks".into(),
            number: 0,
            after: None,
            upto: None,
        }],
        ..Change::default()
    };
    db.store().commit(&change).await.unwrap();
    db.store().claim_range(id, 1, ReplicaId::new(), LEASE).await.unwrap().unwrap()
}
