//! What must hold in every state, and what must be reached at all.

use breeze_rollover::{
    catalog::Class,
    keyring::KeyState,
    rollover::{Mode, Phase},
};
use stateright::Property;

use super::{
    course::CutOff,
    database::{KEYS, Key, Tokens},
    protocol::Protocol,
    state::{Process, State},
};

pub const NO_FAILED_REQUEST: &str = "what a replica made is accepted by every replica that serves";
pub const NO_LOST_WRITE: &str = "the row holds the last edit";
pub const NOTHING_UNREADABLE: &str = "no key is retired or destroyed while something needs it";
pub const ONE_AT_A_TIME: &str = "one rollover at a time, and one primary key";
pub const HONEST_CUT_OFF: &str = "no replica that serves accepts a key that is said to be cut off";

/// What must hold in every state, and what some state within the bounds must show.
pub fn all(protocol: &Protocol) -> Vec<Property<Protocol>> {
    let bounds = &protocol.bounds;
    let mut all = vec![
        Property::always(NO_FAILED_REQUEST, no_failed_request),
        Property::always(NO_LOST_WRITE, no_lost_write),
        Property::always(NOTHING_UNREADABLE, nothing_unreadable),
        Property::always(ONE_AT_A_TIME, one_at_a_time),
        Property::always(HONEST_CUT_OFF, honest_cut_off),
        Property::sometimes("a rollover completes", |_, state| is_some(state, Phase::Retired)),
        Property::sometimes("a key is cut off", |_, state| cut_off(state).next().is_some()),
    ];
    if bounds.asks > 1 {
        all.extend([
            Property::sometimes("it is rolled back", |_, state| is_some(state, Phase::RolledBack)),
            Property::sometimes("it is abandoned", |_, state| is_some(state, Phase::Abandoned)),
            Property::sometimes("a key is destroyed", |_, state| is_some(state, Phase::Destroyed)),
        ]);
    }
    if bounds.faults > 0 {
        all.extend([
            Property::sometimes("a paused replica recovers", recovers),
            Property::sometimes("a crash: requested", |_, it| is_down(it, Phase::Requested)),
            Property::sometimes("a crash: staged", |_, it| is_down(it, Phase::Staged)),
            Property::sometimes("a crash: promoted", |_, it| is_down(it, Phase::Promoted)),
            Property::sometimes("a crash: drained", |_, it| is_down(it, Phase::Drained)),
            Property::sometimes("a crash: retired", |_, it| is_down(it, Phase::Retired)),
        ]);
    }
    if bounds.faults > 0 && bounds.asks > 1 {
        let is_down_then: fn(&_, &_) -> _ = |_, it| is_down(it, Phase::RollingBack);
        all.push(Property::sometimes("a crash: rolling back", is_down_then));
    }
    all
}

/// The phase is reached with a process down.
fn is_down(state: &State, phase: Phase) -> bool {
    is_some(state, phase) && state.processes.iter().any(|it| !it.is_up)
}

/// Guarantee 2.
fn no_lost_write(_: &Protocol, state: &State) -> bool {
    state.database.cell.text == state.database.edits
}

/// Guarantee 5, of rollovers and of primary keys.
fn one_at_a_time(_: &Protocol, state: &State) -> bool {
    let database = &state.database;
    let active = database.courses.iter().filter(|it| it.phase.is_active());
    let primary = database.keys.iter().filter(|&&key| key == Some(KeyState::Primary));
    active.count() <= 1 && primary.count() == 1
}

/// A replica that the database took for dead, while its process lived, serves with the
/// keys of now.
fn recovers(_: &Protocol, state: &State) -> bool {
    let knows = |it: &Process| it.is_open && it.present.epoch == state.database.epoch;
    state.lapses > 0 && is_some(state, Phase::Promoted) && state.processes.iter().all(knows)
}

fn is_some(state: &State, phase: Phase) -> bool {
    state.database.courses.iter().any(|it| it.phase == phase)
}

/// Guarantee 1. A hard rollover says beforehand what it breaks.
fn no_failed_request(protocol: &Protocol, state: &State) -> bool {
    let database = &state.database;
    let mut serving = state.processes.iter().filter(|it| protocol.serves(it));
    match (protocol.bounds.mode, protocol.class()) {
        (Mode::Hard, _) => true,
        // A token is presented at the beginning of a request.
        (Mode::Graceful, Class::Signing) => {
            serving.all(|process| live_tokens(state).all(|key| process.present.accepts(key)))
        }
        (Mode::Graceful, Class::Sealing) => {
            // A request may read a row as long as it lasts.
            database.cell.late
                || serving
                    .all(|process| process.in_use().all(|keys| keys.accepts(database.cell.key)))
        }
        (Mode::Graceful, _) => unreachable!("the model signs or seals"),
    }
}

/// Guarantee 3. A value that was written late is opened from custody.
fn nothing_unreadable(protocol: &Protocol, state: &State) -> bool {
    let database = &state.database;
    match protocol.class() {
        Class::Signing => {
            protocol.bounds.mode == Mode::Hard
                || live_tokens(state).all(|key| database.accepts(key))
        }
        Class::Sealing => {
            let cell = database.cell;
            let is_at_work =
                database.courses.iter().any(|it| it.phase.is_active() && it.from == cell.key);
            match database.state(cell.key) {
                None | Some(KeyState::Destroyed) => false,
                Some(KeyState::Retired) => {
                    cell.late || (protocol.bounds.mode == Mode::Hard && is_at_work)
                }
                Some(_) => true,
            }
        }
        _ => unreachable!("the model signs or seals"),
    }
}

/// Guarantee 6.
fn honest_cut_off(protocol: &Protocol, state: &State) -> bool {
    let serving = || state.processes.iter().filter(|it| protocol.serves(it));
    let in_use = || serving().flat_map(Process::in_use);
    cut_off(state).all(|key| in_use().all(|keys| !keys.accepts(key)))
}

/// The keys of which the system says that they are cut off.
fn cut_off(state: &State) -> impl Iterator<Item = Key> {
    let told = state.database.courses.iter().filter(|it| it.cut_off == CutOff::Told);
    told.map(|course| course.from)
}

fn live_tokens(state: &State) -> impl Iterator<Item = Key> {
    (0..KEYS as Key).filter(|&key| state.database.tokens[key as usize] != Tokens::None)
}
