//! Every course that a rollover can take, from the product's own table of phases and events.

use super::*;

/// One rollover, from its first phase to where nothing leads on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Course {
    pub(crate) secret: Secret,
    pub(crate) mode: Mode,
    /// Staged where its key is handed in.
    pub(crate) begins: Phase,
    /// What happens to it, in order.
    pub(crate) events: Vec<Event>,
}

impl Course {
    /// Every course of a class, by the first of its secrets.
    pub(crate) fn all(class: Class, mode: Mode) -> Vec<Self> {
        let secret = first_of(class);
        let begins = [Phase::Requested, Phase::Staged].into_iter();
        let ways = begins.flat_map(|begins| ways(&[begins]).into_iter().map(move |w| (begins, w)));
        let courses = ways.map(|(begins, events)| Self { secret, mode, begins, events });
        courses.filter(Self::is_possible).collect()
    }

    /// Whether things can come to that at all.
    fn is_possible(&self) -> bool {
        let class = self.class();
        let is_handed_in = !self.secret.entry().elsewhere.is_empty();
        let begins = match self.begins {
            // Others must have it: only what it would do is told without its value.
            Phase::Requested => self.is_rehearsal() || !is_handed_in,
            _ => is_handed_in || class == Class::Provider,
        };
        begins
            && self.phases().zip(&self.events).all(|step| match step {
                // Its provider alone can be asked for a key, and decline.
                (_, Event::Refused) => class == Class::Provider,
                // Time does not go back, what is revoked is, and a hard rollover has closed
                // the door before.
                (_, Event::SomethingLeft) => {
                    self.mode == Mode::Graceful
                        && !matches!(class, Class::Signing | Class::Provider)
                }
                // What is revoked cannot be used again.
                (Phase::Drained, Event::RollBack) => class != Class::Provider,
                _ => true,
            })
    }

    pub(crate) fn class(&self) -> Class {
        self.secret.entry().class
    }

    /// Whether it only tells what a rollover would do.
    pub(crate) fn is_rehearsal(&self) -> bool {
        self.events == [Event::Rehearsed]
    }

    /// The phases that it is in, in order.
    pub(crate) fn phases(&self) -> impl Iterator<Item = Phase> {
        let next = |phase: &mut Phase, event: &Event| {
            *phase = phase.next(*event).unwrap();
            Some(*phase)
        };
        std::iter::once(self.begins).chain(self.events.iter().scan(self.begins, next))
    }

    /// The phase that it ends in.
    pub(crate) fn end(&self) -> Phase {
        self.phases().last().unwrap()
    }

    /// What an operator asks for.
    pub(crate) fn ask(&self) -> Request {
        let value = format!("what others were given {}", Uuid::now_v7());
        Request {
            dry_run: self.is_rehearsal(),
            value: (self.begins == Phase::Staged).then(|| value.into()),
            ..request(self.secret, self.mode)
        }
    }
}

/// The first secret of a class, in the catalog's order.
pub(crate) fn first_of(class: Class) -> Secret {
    Secret::all().find(|secret| secret.entry().class == class).unwrap()
}

/// Every event of one rollover by itself. That another one takes over from it is a step of
/// that one, which `tests/operations` carries out.
pub(crate) fn events() -> impl Iterator<Item = Event> {
    Event::ALL.into_iter().filter(|event| *event != Event::Superseded)
}

/// What may happen after these phases, to where nothing leads on. No phase is come to more
/// than twice: what goes round goes round once.
fn ways(passed: &[Phase]) -> Vec<Vec<Event>> {
    let here = passed.last().unwrap();
    let mut ways = vec![];
    for event in events() {
        let Ok(next) = here.next(event) else { continue };
        if passed.iter().filter(|phase| **phase == next).count() < 2 {
            let rest = self::ways(&[passed, &[next]].concat()).into_iter();
            ways.extend(rest.map(|rest| [&[event], &rest[..]].concat()));
        }
    }
    if ways.is_empty() { vec![vec![]] } else { ways }
}
