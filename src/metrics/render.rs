//! One scrape, in Prometheus's text format.

use metrics::{counter, describe_counter, describe_gauge, gauge, with_local_recorder};
use metrics_exporter_prometheus::PrometheusBuilder;

use crate::{
    catalog::Secret,
    clock::Timestamp,
    keyring::KeyState,
    operator::{Operator, Refusal, SecretView},
    rollover::Rollover,
    schedule::Due,
    store::{Custody, KeyRecord, PassProgress, ReplicaRecord},
    worker::primary,
};

/// What the store has, at one moment.
struct Seen {
    custody: Custody,
    secrets: Vec<SecretView>,
    rollovers: Vec<(Rollover, Option<PassProgress>)>,
    replicas: Vec<ReplicaRecord>,
    quarantined: usize,
}

/// Quarantined values are counted up to here.
const MOST: u32 = 10_000;

/// Everything there is to tell now.
pub async fn render(operator: &Operator) -> String {
    let seen = see(operator)
        .await
        .inspect_err(|error| tracing::warn!(%error, "a scrape lacks what the store has"));
    // A recorder of this scrape alone: nothing of an earlier one is left in it.
    let recorder = PrometheusBuilder::new().build_recorder();
    with_local_recorder(&recorder, || {
        tell_process(operator);
        gauge!("breeze_store_up").set(f64::from(u8::from(seen.is_ok())));
        if let Ok(seen) = &seen {
            tell(seen, operator.worker().replica().clock().now());
        }
    });
    recorder.handle().render()
}

async fn see(operator: &Operator) -> Result<Seen, Refusal> {
    let store = operator.worker().replica().store();
    let mut rollovers = vec![];
    for rollover in store.active_rollovers().await? {
        let pass = store.pass(rollover.id, rollover.pass).await?;
        rollovers.push((rollover, pass));
    }
    Ok(Seen {
        custody: store.custody().await?,
        secrets: operator.secrets().await?,
        rollovers,
        replicas: store.replicas().await?,
        quarantined: store.quarantined(MOST).await?.len(),
    })
}

/// What this process knows by itself.
fn tell_process(operator: &Operator) {
    describe_gauge!("breeze_store_up", "Whether the store answered this scrape");
    describe_gauge!("breeze_fenced", "Whether this process is without its lease");
    describe_gauge!("breeze_epoch_applied", "The epoch of the keychain in use");
    describe_gauge!(
        "breeze_secrets_manager_up",
        "Whether the secrets manager gave the keys when it was last asked"
    );
    describe_counter!("breeze_lazy_rewrapped_total", "Rows rewrapped after a read");
    describe_counter!("breeze_lazy_superseded_total", "Rows edited before their lazy rewrap");
    describe_counter!("breeze_lazy_dropped_total", "Offers dropped since the queue was full");
    describe_counter!("breeze_audit_failures_total", "Audit entries that could not be written");
    let keychain = operator.worker().replica().keychain();
    let keychain = keychain.load();
    gauge!("breeze_fenced").set(f64::from(u8::from(keychain.fence().check().is_err())));
    gauge!("breeze_epoch_applied").set(keychain.epoch().0 as f64);
    if let Some(managed) = operator.worker().replica().managed() {
        gauge!("breeze_secrets_manager_up").set(f64::from(u8::from(!managed.is_away())));
    }
    let lazy = operator.lazy_totals();
    counter!("breeze_lazy_rewrapped_total").absolute(lazy.rewrapped);
    counter!("breeze_lazy_superseded_total").absolute(lazy.superseded);
    counter!("breeze_lazy_dropped_total").absolute(lazy.dropped);
    counter!("breeze_audit_failures_total").absolute(operator.unaudited());
}

fn tell(seen: &Seen, now: Timestamp) {
    describe_gauge!("breeze_epoch", "The present epoch");
    gauge!("breeze_epoch").set(seen.custody.epoch.0 as f64);
    describe_gauge!("breeze_quarantined_values", "Values that no key opens, up to 10000");
    gauge!("breeze_quarantined_values").set(seen.quarantined as f64);
    tell_secrets(&seen.custody, &seen.secrets, now);
    seen.custody.keys.iter().for_each(tell_key);
    tell_replicas(&seen.replicas, seen.custody.epoch.0);
    seen.rollovers.iter().for_each(|(rollover, pass)| tell_rollover(rollover, pass.as_ref()));
}

fn tell_secrets(custody: &Custody, secrets: &[SecretView], now: Timestamp) {
    describe_gauge!("breeze_secret_age_seconds", "How long the primary key has served");
    describe_gauge!("breeze_secret_due_timestamp_seconds", "When the secret is due");
    describe_gauge!("breeze_secret_due", "1 for how the secret stands to its schedule");
    for view in secrets {
        let Some(key) = primary(custody, view.secret) else { continue };
        let since = key.promoted_at.unwrap_or(key.created_at);
        let name = view.secret.name();
        let age = now.since(since).as_secs_f64();
        gauge!("breeze_secret_age_seconds", "secret" => name).set(age);
        let due_at = since.as_seconds() as f64 + view.interval_days as f64 * 86_400.0;
        gauge!("breeze_secret_due_timestamp_seconds", "secret" => name).set(due_at);
        for due in Due::ALL {
            let is_so = f64::from(u8::from(view.due == Some(due)));
            gauge!("breeze_secret_due", "secret" => name, "due" => due.as_str()).set(is_so);
        }
    }
}

fn tell_key(key: &KeyRecord) {
    describe_counter!("breeze_key_presented_total", "How often others have presented the key");
    describe_counter!("breeze_key_seals_total", "How often the key has sealed");
    if matches!(key.state, KeyState::Retired | KeyState::Destroyed) {
        return;
    }
    let labels = [
        ("secret", key.secret.name().to_owned()),
        ("key", key.id.to_string()),
        ("state", key.state.as_str().to_owned()),
    ];
    counter!("breeze_key_presented_total", &labels).absolute(key.presented);
    counter!("breeze_key_seals_total", &labels).absolute(key.seals);
}

fn tell_replicas(replicas: &[ReplicaRecord], epoch: u64) {
    describe_gauge!("breeze_replicas", "Replicas, by whether their lease runs");
    describe_gauge!("breeze_replicas_behind", "Live replicas that lack the present epoch");
    let live = || replicas.iter().filter(|replica| replica.live);
    let lapsed = replicas.iter().filter(|replica| !replica.live && replica.left_at.is_none());
    gauge!("breeze_replicas", "state" => "live").set(live().count() as f64);
    gauge!("breeze_replicas", "state" => "lapsed").set(lapsed.count() as f64);
    let behind = live().filter(|replica| replica.applied.0 < epoch);
    gauge!("breeze_replicas_behind").set(behind.count() as f64);
}

fn tell_rollover(rollover: &Rollover, pass: Option<&PassProgress>) {
    describe_gauge!("breeze_rollover_phase", "1 for the phase of each rollover in progress");
    describe_gauge!("breeze_rollover_rows_scanned", "Rows looked at in the present pass");
    describe_gauge!("breeze_rollover_rows_rewrapped", "Rows rewrapped in the present pass");
    let secret: Secret = rollover.secret;
    let labels = [
        ("secret", secret.name()),
        ("mode", rollover.mode.as_str()),
        ("phase", rollover.phase.as_str()),
    ];
    gauge!("breeze_rollover_phase", &labels).set(1.0);
    if let Some(pass) = pass {
        let name = secret.name();
        gauge!("breeze_rollover_rows_scanned", "secret" => name).set(pass.scanned as f64);
        gauge!("breeze_rollover_rows_rewrapped", "secret" => name).set(pass.rewrapped as f64);
    }
}
