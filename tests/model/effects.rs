//! What each thing that happens changes.

use super::{
    course::CutOff,
    database::{Cell, Tokens},
    protocol::{Happens, Protocol},
    rules::Rule,
    state::{Lease, Process, State, Writing},
};

impl Protocol {
    /// `happens` has happened.
    pub fn happen(&self, state: &mut State, happens: Happens) {
        let State { database, processes, orphans, .. } = state;
        match happens {
            Happens::Crash(it) => {
                orphans.extend(std::mem::take(&mut processes[it]).lease);
                state.crashes += 1;
            }
            Happens::Start(it) => {
                let present = database.snapshot();
                processes[it] = Process { is_up: true, present, ..Process::default() };
            }
            Happens::Renew(it) => {
                let process = &mut processes[it];
                let (applied, settled) = (process.present.epoch, process.settled());
                let owes = process.lease.and_then(|lease| lease.owes);
                let owes = owes.filter(|&epoch| settled < epoch);
                process.lease = Some(Lease { applied, settled, owes });
                process.answer = (!process.is_open).then_some(database.epoch);
            }
            Happens::Lose(it) => processes[it].answer = None,
            Happens::Receive(it) => {
                let process = &mut processes[it];
                let epoch = process.answer.take();
                process.is_open =
                    Some(process.present.epoch) >= epoch || !self.keeps(Rule::LiftAfterApplying);
            }
            Happens::Fence(it) => {
                let process = &mut processes[it];
                process.is_open = false;
                // A request that is under way then may last longer than the pause.
                let under_way = process.held.or(Some(process.present));
                process.held = under_way.filter(|_| !self.keeps(Rule::FenceRequests));
                if let Some(writing) = &mut process.writing {
                    writing.late = true;
                }
                state.lapses += 1;
            }
            Happens::Expire(it) => {
                let process = &mut processes[it];
                process.lease = None;
                process.answer = None; // its lease has run out too
                if process.is_open {
                    state.lapses += 1;
                }
            }
            Happens::ExpireOrphan(it) => {
                orphans.remove(it);
            }
            Happens::Apply { replica, is_held } => {
                let process = &mut processes[replica];
                if is_held {
                    process.held = Some(process.present);
                }
                process.present = database.snapshot();
            }
            Happens::EndRequest(it) => processes[it].held = None,
            Happens::Sign(_, key) => database.tokens[key as usize] = Tokens::Newer,
            Happens::Seal(it, keys) => {
                let Some(key) = keys.primary() else { return };
                let writing = Writing { epoch: keys.epoch, key, read: None, late: false };
                processes[it].writing = Some(writing);
            }
            Happens::Rewrap(it) => {
                let writing = self.rewrapped(state, &state.processes[it]);
                state.processes[it].writing = writing;
            }
            Happens::Write(it) => {
                let Some(writing) = processes[it].writing.take() else { return };
                let (key, late) = (writing.key, writing.late);
                match writing.read {
                    None => {
                        database.edits += 1;
                        database.cell = Cell { key, text: database.edits, late };
                    }
                    Some(read) if read == database.cell || !self.keeps(Rule::CompareAndSet) => {
                        database.cell = Cell { key, text: read.text, late };
                    }
                    Some(_) => {}
                }
            }
            Happens::Decide(decision) => {
                state.asks += u8::from(decision.is_asked());
                state.decisions.insert(decision);
            }
            Happens::Commit(decision) => {
                state.decisions.remove(&decision);
                if let Some(change) = state.database.change(decision, &self.bounds) {
                    state.commit(&change, self.keeps(Rule::OneAtATime));
                }
            }
            Happens::LifetimeEnds(course) => {
                database.courses[course].lifetime_over = true;
                for tokens in database.tokens.iter_mut().filter(|it| **it == Tokens::Older) {
                    *tokens = Tokens::None;
                }
            }
            Happens::TellCutOff(course) => database.courses[course].cut_off = CutOff::Told,
        }
    }
}
