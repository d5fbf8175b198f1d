//! The audit trail cannot be altered, and shows it when it was.

use breeze_rollover::store::{Actor, AuditEntry, Change, Outcome, Store};
use serde_json::json;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::{
    backend::{Backend, at, at_once, done},
    on_both,
};

on_both! {
    an_entry_reads_back_and_pages_run_from_new_to_old,
    a_span_of_time_runs_from_old_to_new_whatever_else_there_is,
    an_entry_cannot_be_changed_or_removed,
    checksum_and_chain_are_as_section_8_has_them,
    the_chain_holds_under_concurrent_writers,
}

pub(crate) fn entry(action: &str) -> AuditEntry {
    AuditEntry {
        at: at(0),
        actor: Actor::System,
        action: action.to_owned(),
        resource_type: "rollover",
        resource_id: None,
        resource_name: Some("JWT_SECRET".to_owned()),
        details: json!({ "from": "k-1", "to": "k-2", "reason": "due | \"now\" – é" }),
        outcome: Outcome::Success,
    }
}

async fn an_entry_reads_back_and_pages_run_from_new_to_old(on: impl Backend) {
    let (user, about) = (Uuid::now_v7(), Uuid::now_v7());
    let denied = AuditEntry {
        at: at(5),
        actor: Actor::User { id: user, email: Some("a@example.com".to_owned()) },
        resource_id: Some(about),
        outcome: Outcome::Denied,
        ..entry("rollover.begin")
    };
    on.store().record(&denied).await.unwrap();
    let audit = ["one", "two", "three"].map(entry).to_vec();
    done(on.store(), &Change { audit, ..Change::default() }).await;

    let newest = on.store().audit(None, 2).await.unwrap();
    let rest = on.store().audit(Some(newest[1].id), 9).await.unwrap();
    let actions: Vec<_> = newest.iter().chain(&rest).map(|entry| entry.action.as_str()).collect();
    assert_eq!(actions, ["rollover.begin", "three", "two", "one"], "time, then order");

    let first = &newest[0];
    assert_eq!((first.timestamp, first.result.as_str()), (at(5), "denied"));
    assert_eq!((first.actor_type.as_str(), first.actor_id), ("user", user));
    assert_eq!(first.actor_email.as_deref(), Some("a@example.com"));
    assert_eq!((first.resource_type.as_str(), first.resource_id), ("rollover", Some(about)));
    assert_eq!(first.resource_name.as_deref(), Some("JWT_SECRET"));
    let mut details = denied.details;
    // The checksum covers no column of its own for it.
    details["resource"] = "JWT_SECRET".into();
    assert_eq!(first.details, Some(details));
    assert_eq!((newest[1].actor_type.as_str(), newest[1].actor_id), ("system", Uuid::nil()));
}

async fn a_span_of_time_runs_from_old_to_new_whatever_else_there_is(on: impl Backend) {
    let about = Uuid::now_v7();
    let of = |seconds, action: &str, resource_id| AuditEntry {
        at: at(seconds),
        resource_id,
        ..entry(action)
    };
    let audit = vec![
        of(5, "last", Some(about)),
        of(2, "noise", None),
        of(2, "another", Some(Uuid::now_v7())),
        of(1, "first", Some(about)),
        of(6, "after", Some(about)),
        of(0, "before", Some(about)),
    ];
    done(on.store(), &Change { audit, ..Change::default() }).await;
    let actions = async |about: Option<&[Uuid]>, limit| -> Vec<String> {
        let entries = on.store().audit_between(at(1)..=at(5), about, limit).await.unwrap();
        entries.into_iter().map(|entry| entry.action).collect()
    };
    assert_eq!(actions(Some(&[about]), 9).await, ["first", "last"], "both ends count");
    assert_eq!(actions(None, 9).await, ["first", "noise", "another", "last"]);
    assert_eq!(actions(None, 2).await, ["first", "noise"]);
    assert!(actions(Some(&[]), 9).await.is_empty());
}

async fn an_entry_cannot_be_changed_or_removed(on: impl Backend) {
    on.store().record(&entry("one")).await.unwrap();
    for attempt in [
        "UPDATE public.audit_logs SET action = 'two'",
        "DELETE FROM public.audit_logs",
        "UPDATE public.audit_log_chain SET content_checksum = ''",
        "DELETE FROM public.audit_log_chain",
    ] {
        let refused = on.execute(attempt).await.expect_err(attempt).to_string();
        assert!(refused.contains("is append-only"), "{refused}");
    }
    assert_eq!(on.store().audit(None, 9).await.unwrap()[0].action, "one");
}

async fn checksum_and_chain_are_as_section_8_has_them(on: impl Backend) {
    on.store()
        .record(&AuditEntry { resource_id: Some(Uuid::nil()), ..entry("one") })
        .await
        .unwrap();
    on.store()
        .record(&AuditEntry { details: serde_json::Value::Null, ..entry("two") })
        .await
        .unwrap();
    assert_is_chained(&on, 2).await;
}

async fn the_chain_holds_under_concurrent_writers(on: impl Backend) {
    at_once(&on, 8, |store| async move {
        for action in ["one", "two", "three"] {
            store.record(&entry(action)).await.unwrap();
        }
    })
    .await;
    assert_is_chained(&on, 24).await;
}

/// Recomputes every checksum and link from the fields of the entries.
async fn assert_is_chained<B: Backend>(on: &B, entries: usize) {
    let payloads = on.texts(B::PAYLOADS).await;
    let chain = on
        .texts(
            "SELECT checksum || ' ' || content_checksum || ' '
                || coalesce(prev_chain_checksum, '-') || ' ' || chain_checksum
             FROM public.audit_logs JOIN public.audit_log_chain ON audit_id = id
             WHERE prev_checksum IS NULL ORDER BY chain_seq",
        )
        .await;
    assert_eq!((payloads.len(), chain.len()), (entries, entries));
    let mut head = None::<String>;
    for (payload, link) in payloads.iter().zip(&chain) {
        let content = sha256(payload.as_ref().unwrap());
        let next = sha256(&format!("{}|{content}", head.as_deref().unwrap_or("")));
        let prev = head.as_deref().unwrap_or("-");
        assert_eq!(link.as_ref().unwrap(), &format!("{content} {content} {prev} {next}"));
        head = Some(next);
    }
}

fn sha256(text: &str) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}
