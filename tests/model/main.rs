//! The protocol of rollovers and leases as a model, explored in every order.
//!
//! The phase table, the planner and the steps are the product's own
//! (`rollover::{Phase, plan}`, `store::step`). What the model adds is what surrounds them:
//! replicas that apply an epoch sooner or later, renewals and answers that are late or
//! lost, crashes and restarts, leases that run out while their process is paused, requests
//! that hold an older keychain, users who edit the row that is rewrapped, and operators
//! who ask for things at the same time.
//!
//! 1. With every rule kept, no order of events breaks a guarantee, and every run reaches
//!    what it is about: it is not empty.
//! 2. With any one rule broken, an order is found that breaks a guarantee.
//!
//! Left out: the environment's keys, other secrets beside this one, and pausing a rollover,
//! which is the same as nobody looking at it.
//!
//! The runs that take minutes: `cargo test --all-features --test model -- --ignored`.

#![cfg(feature = "store")]
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub,
    reason = "tests say what they expect, and what they found"
)]

mod course;
mod database;
mod decisions;
mod effects;
mod properties;
mod protocol;
mod rules;
mod state;

use breeze_rollover::{catalog::Secret, rollover::Mode};
use properties::{
    HONEST_CUT_OFF, NO_FAILED_REQUEST, NO_LOST_WRITE, NOTHING_UNREADABLE, ONE_AT_A_TIME,
};
use protocol::Protocol;
use rules::{Bounds, Rule};
use state::State;
use stateright::{Checker, HasDiscoveries, Model};

/// Explores every order within `bounds`. Replicas are alike, so that it does not matter
/// which of them does what.
fn hold(bounds: Bounds) {
    let protocol = Protocol { bounds, broken: None };
    let checker = protocol.checker().symmetry_fn(State::sorted).threads(2).spawn_dfs().join();
    println!("{} states, the longest way {}", checker.unique_state_count(), checker.max_depth());
    checker.assert_properties();
}

/// Breaks `rule`, and finds how that breaks `guarantee`.
fn breaks(rule: Rule, guarantee: &'static str, bounds: Bounds) {
    let protocol = Protocol { bounds, broken: Some(rule) };
    let found = HasDiscoveries::AnyOf([guarantee].into());
    let checker = protocol.checker().finish_when(found).spawn_bfs().join();
    let example = checker.assert_any_discovery(guarantee);
    println!("{rule:?} broken: {:#?}", example.into_actions());
}

#[test]
fn every_rule_kept_two_replicas_roll_over_a_signing_key() {
    hold(Bounds::of(Secret::JwtSecret, 2));
}

#[test]
fn every_rule_kept_two_replicas_roll_over_a_sealing_key() {
    hold(Bounds { asks: 1, ..Bounds::of(Secret::AppEncryptionKey, 2) });
}

#[test]
fn every_rule_kept_a_rollover_of_a_sealing_key_is_rolled_back() {
    hold(Bounds { faults: 0, ..Bounds::of(Secret::AppEncryptionKey, 2) });
}

#[test]
fn every_rule_kept_a_signing_key_is_cut_off_at_once() {
    hold(Bounds { mode: Mode::Hard, asks: 1, ..Bounds::of(Secret::JwtSecret, 2) });
}

#[test]
fn every_rule_kept_a_signing_key_that_was_cut_off_comes_back() {
    hold(Bounds { mode: Mode::Hard, faults: 0, ..Bounds::of(Secret::JwtSecret, 2) });
}

#[test]
fn every_rule_kept_a_sealing_key_is_cut_off_at_once() {
    let mode = Mode::Hard;
    hold(Bounds { mode, asks: 1, edits: 0, ..Bounds::of(Secret::AppEncryptionKey, 2) });
}

#[test]
fn every_rule_kept_operators_begin_and_roll_back_at_the_same_time() {
    hold(Bounds { rollovers: 2, asks: 3, faults: 0, ..Bounds::of(Secret::JwtSecret, 2) });
}

#[test]
fn every_rule_kept_three_replicas_roll_over_a_signing_key() {
    hold(Bounds { asks: 1, ..Bounds::of(Secret::JwtSecret, 3) });
}

#[test]
fn every_rule_kept_three_replicas_roll_over_a_sealing_key() {
    hold(Bounds { asks: 1, faults: 0, ..Bounds::of(Secret::AppEncryptionKey, 3) });
}

#[test]
#[ignore = "takes minutes"]
fn every_rule_kept_whatever_befalls_two_replicas() {
    for secret in [Secret::JwtSecret, Secret::AppEncryptionKey] {
        for mode in [Mode::Graceful, Mode::Hard] {
            hold(Bounds { mode, ..Bounds::of(secret, 2) });
        }
    }
    hold(Bounds { faults: 2, ..Bounds::of(Secret::JwtSecret, 2) });
    hold(Bounds { rollovers: 2, asks: 4, ..Bounds::of(Secret::JwtSecret, 2) });
}

#[test]
#[ignore = "takes minutes"]
fn every_rule_kept_whatever_befalls_three_replicas() {
    hold(Bounds::of(Secret::JwtSecret, 3));
    hold(Bounds { asks: 1, ..Bounds::of(Secret::AppEncryptionKey, 3) });
}

#[test]
fn promoting_before_all_acknowledge_is_found() {
    let bounds = Bounds { faults: 0, ..Bounds::of(Secret::JwtSecret, 2) };
    breaks(Rule::PromoteWhatAllRead, NO_FAILED_REQUEST, bounds);
}

#[test]
fn promoting_while_a_request_holds_a_keychain_without_the_key_is_found() {
    let bounds = Bounds { faults: 0, ..Bounds::of(Secret::AppEncryptionKey, 2) };
    breaks(Rule::PromoteWhatRequestsRead, NO_FAILED_REQUEST, bounds);
}

#[test]
fn retiring_before_the_census_is_zero_is_found() {
    let bounds = Bounds { faults: 0, asks: 1, ..Bounds::of(Secret::AppEncryptionKey, 2) };
    breaks(Rule::RetireAtZero, NOTHING_UNREADABLE, bounds);
}

#[test]
fn a_census_with_the_keys_of_before_is_found() {
    let bounds = Bounds { asks: 1, edits: 0, ..Bounds::of(Secret::AppEncryptionKey, 2) };
    breaks(Rule::CountWithPresentKeys, NOTHING_UNREADABLE, bounds);
}

#[test]
fn retiring_before_the_longest_lifetime_has_passed_is_found() {
    let bounds = Bounds { faults: 0, asks: 1, ..Bounds::of(Secret::JwtSecret, 2) };
    breaks(Rule::RetireAfterLifetime, NOTHING_UNREADABLE, bounds);
}

#[test]
fn skipping_the_fence_is_found() {
    breaks(Rule::Fence, NO_FAILED_REQUEST, Bounds::of(Secret::JwtSecret, 2));
}

#[test]
fn skipping_the_fence_in_a_cut_off_is_found() {
    let bounds = Bounds { mode: Mode::Hard, ..Bounds::of(Secret::JwtSecret, 2) };
    breaks(Rule::Fence, HONEST_CUT_OFF, bounds);
}

#[test]
fn lifting_the_fence_before_applying_is_found() {
    breaks(Rule::LiftAfterApplying, NO_FAILED_REQUEST, Bounds::of(Secret::JwtSecret, 2));
}

#[test]
fn a_request_from_before_the_fence_that_goes_on_after_it_is_found() {
    let bounds = Bounds { asks: 1, ..Bounds::of(Secret::JwtSecret, 2) };
    breaks(Rule::FenceRequests, NOTHING_UNREADABLE, bounds);
}

#[test]
fn a_rewrap_without_compare_and_set_is_found() {
    let bounds = Bounds { faults: 0, ..Bounds::of(Secret::AppEncryptionKey, 2) };
    breaks(Rule::CompareAndSet, NO_LOST_WRITE, bounds);
}

#[test]
fn two_rollovers_at_once_are_found() {
    let bounds = Bounds { rollovers: 2, faults: 0, ..Bounds::of(Secret::JwtSecret, 2) };
    breaks(Rule::OneAtATime, ONE_AT_A_TIME, bounds);
}

#[test]
fn a_cut_off_that_is_told_at_the_commit_is_found() {
    let bounds = Bounds { mode: Mode::Hard, faults: 0, ..Bounds::of(Secret::JwtSecret, 2) };
    breaks(Rule::SayWhatIsSo, HONEST_CUT_OFF, bounds);
}
