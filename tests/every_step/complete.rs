//! The courses leave nothing out: every transition of the product's table, and every step
//! that its source can tell the audit trail, is on one.

use std::{
    collections::{BTreeSet, HashSet},
    fs,
    path::Path,
};

use super::*;
use course::events;
use support::app::on_both_databases;

/// The step by which another rollover takes over.
const TAKES_OVER: &str = "supersede";

/// Every legal transition.
fn transitions() -> BTreeSet<(Phase, Phase)> {
    let all = Phase::ALL.into_iter().flat_map(|phase| events().map(move |event| (phase, event)));
    all.filter_map(|(phase, event)| Some((phase, phase.next(event).ok()?))).collect()
}

/// Every step, as the source of the steps names it to the audit trail.
fn steps() -> BTreeSet<String> {
    let store = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store");
    let parts = fs::read_dir(store.join("step")).into_iter().flatten();
    let files = parts.map(|file| file.unwrap().path()).chain([store.join("step.rs")]);
    let source: String = files.map(|file| fs::read_to_string(file).unwrap()).collect();
    let named = ["entry(\"", "change(\"", "change_retiring(\"", "telling(\""];
    let named = named.iter().flat_map(|call| source.split(call).skip(1));
    let steps = named.map(|rest| rest.split('"').next().unwrap());
    steps.filter(|step| *step != TAKES_OVER).map(|step| format!("rollover.{step}")).collect()
}

async fn every_transition_and_every_step_is_on_a_course(database: Database) {
    let classes = Secret::all().map(|secret| secret.entry().class);
    let each = classes.collect::<HashSet<_>>().into_iter();
    let courses: Vec<_> = each
        .flat_map(|class| [Mode::Graceful, Mode::Hard].map(|mode| Course::all(class, mode)))
        .flatten()
        .collect();
    let ground = Ground::of(&courses[0], database).await;
    let (mut gone, mut told) = (BTreeSet::new(), BTreeSet::new());
    for course in &courses {
        let id = ground.goes(course).await.id;
        gone.extend(course.phases().zip(course.phases().skip(1)));
        let trail = ground.trail(id).await;
        let phases: Vec<Phase> = trail
            .iter()
            .map(|entry| {
                entry.details.as_ref().unwrap()["phase"].as_str().unwrap().parse().unwrap()
            })
            .collect();
        let mut passed = phases;
        passed.dedup();
        assert_eq!(passed, course.phases().collect::<Vec<_>>(), "{course:?}");
        told.extend(trail.into_iter().map(|entry| entry.action));
    }
    assert_eq!(gone, transitions());
    assert_eq!(told, steps());
}

on_both_databases!(every_transition_and_every_step_is_on_a_course);
