//! Carries one rollover after another through its phases, held in each while something
//! is struck.

use std::time::{Duration, Instant};

use breeze_rollover::{embed, ids::RolloverId, rollover::Phase};
use http::Method;
use serde_json::json;
use tokio::time::{sleep, timeout};

use super::{
    figures::Wrong,
    plan::{Course, Length, Strike, beyond, kind},
    rig::Rig,
};
use crate::support::deployment::Opened;

/// How long a phase may take to be reached once nothing is wrong any more.
const PATIENCE: Duration = Duration::from_secs(120);

impl Rig {
    /// Carries a course to its end, striking as it says; whether it came there.
    pub(crate) async fn run(&self, course: &Course) -> bool {
        self.hold(&[course.legs[0].0]).await;
        let id = self.begin(course.secret).await;
        for (leg, (phase, strike)) in course.legs.iter().enumerate() {
            if !self.reaches(id, *phase).await {
                return false;
            }
            match strike {
                None => self.move_on(id, course, leg).await,
                Some(strike) if self.is_struck_to_the_end(id, course, leg, strike).await => break,
                Some(_) => {}
            }
        }
        let (end, _) = course.legs.last().expect("a course has phases");
        let is_ended = self.reaches(id, *end).await;
        if is_ended {
            self.figures.rolled_over(format!("{} {end}", course.secret));
        }
        is_ended
    }

    /// Strikes in the phase of `leg`, and lets the rollover leave it; whether it came to
    /// its end meanwhile, or was waited for in vain.
    async fn is_struck_to_the_end(
        &self,
        id: RolloverId,
        course: &Course,
        leg: usize,
        strike: &Strike,
    ) -> bool {
        let Strike { fault, length, .. } = *strike;
        let (now, place) = (self.figures.elapsed().as_secs_f64(), course.legs[leg].0);
        eprintln!("{now:6.1} s: {} {place} {fault:?} {length:?}", course.secret);
        self.figures.struck(fault.name(), kind(course.secret, place, fault));
        match length {
            Length::Over(moves, ends) if fault.leaves_nobody() => {
                let is_before = moves * 2 < ends;
                if is_before {
                    self.move_on(id, course, leg).await;
                }
                self.strike(strike, sleep(ends)).await;
                if !is_before {
                    self.move_on(id, course, leg).await;
                }
                false
            }
            Length::Over(moves, ends) => {
                let during = async {
                    sleep(moves).await;
                    self.move_on(id, course, leg).await;
                    sleep(ends - moves).await;
                };
                self.strike(strike, during).await;
                false
            }
            Length::ToTheEnd(moves) => {
                let during = async {
                    sleep(moves).await;
                    for (later, (phase, _)) in course.legs.iter().enumerate().skip(leg + 1) {
                        self.move_on(id, course, later - 1).await;
                        if !self.reaches(id, *phase).await {
                            return;
                        }
                    }
                };
                self.strike(strike, during).await;
                true
            }
        }
    }

    /// Lets a rollover leave the phase of `leg` by its way.
    async fn move_on(&self, id: RolloverId, course: &Course, leg: usize) {
        let Some((next, _)) = course.legs.get(leg + 1) else { return };
        if course.back_from != Some(course.legs[leg].0) {
            return self.hold(&[*next]).await;
        }
        // It is held where it is until it has turned back.
        self.hold(&[course.legs[leg].0, *next]).await;
        // Whoever was asked may be struck, and the answer lost.
        let here = course.legs[leg].0;
        while self.rollover(id).await.is_none_or(|rollover| rollover.phase == here) {
            let sound = |replica: &usize| !self.windows.is_struck(*replica);
            let replica = (0..self.replicas.len()).find(sound).unwrap_or(0);
            let body = json!({ "reason": "a test of faults" });
            let path = format!("/admin/rollovers/{id}/roll-back");
            let operator = self.operator(replica).await;
            let asked = operator.ask(Method::POST, &path, Some(body));
            drop(timeout(Duration::from_secs(5), asked).await);
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Holds rollovers in each of `phases` from now on, and in no other.
    async fn hold(&self, phases: &[Phase]) {
        let beyond = phases.iter().filter_map(|phase| beyond(*phase));
        let beyond: Vec<_> = beyond.map(|phase| format!("|{phase}|")).collect();
        let sql = format!("UPDATE gate SET shut = '{}'", beyond.concat());
        let shut = async {
            while !self.execute(&sql).await {
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(PATIENCE, shut).await.expect("the gate is shut");
    }

    /// Waits until the rollover is in `phase`; whether it ever is.
    pub(crate) async fn reaches(&self, id: RolloverId, phase: Phase) -> bool {
        self.comes_to(id, phase, |present| present == phase).await
    }

    /// Waits until the rollover is in `phase` or has been; whether it ever is.
    pub(crate) async fn passes(&self, id: RolloverId, phase: Phase) -> bool {
        self.comes_to(id, phase, |present| present >= phase).await
    }

    async fn comes_to(&self, id: RolloverId, phase: Phase, is: impl Fn(Phase) -> bool) -> bool {
        let reached = async {
            while self.rollover(id).await.is_none_or(|rollover| !is(rollover.phase)) {
                sleep(Duration::from_millis(20)).await;
            }
        };
        let began = Instant::now();
        let is_reached = timeout(PATIENCE, reached).await.is_ok();
        self.figures.waited(began.elapsed());
        if began.elapsed() > PATIENCE / 6 {
            eprintln!("{phase} took {:?}", began.elapsed());
        }
        if !is_reached {
            let at = self.rollover(id).await;
            self.figures.wrong(Wrong::Stuck, format!("{phase} was not reached: {at:?}"));
        }
        is_reached
    }
}

/// Holds a rollover back from the phases that the table's one row names.
pub(crate) fn gate(opened: &Opened) -> &'static str {
    match &**opened {
        embed::Database::Postgres(_) => {
            "CREATE TABLE gate (shut text);
             INSERT INTO gate VALUES ('');
             GRANT SELECT ON gate TO PUBLIC;
             CREATE FUNCTION gate() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                 IF NEW.phase <> OLD.phase
                     AND EXISTS (SELECT FROM gate WHERE shut LIKE '%|' || NEW.phase || '|%')
                 THEN RAISE EXCEPTION 'the gate is shut';
                 END IF;
                 RETURN NEW;
             END $$;
             CREATE TRIGGER gate BEFORE UPDATE ON rollover.rollover
                 FOR EACH ROW EXECUTE FUNCTION gate();"
        }
        _ => {
            "CREATE TABLE gate (shut TEXT);
             INSERT INTO gate VALUES ('');
             CREATE TRIGGER gate_trigger BEFORE UPDATE ON rollover_rollover
             WHEN NEW.phase <> OLD.phase
                 AND EXISTS (SELECT 1 FROM gate WHERE shut LIKE '%|' || NEW.phase || '|%')
             BEGIN SELECT RAISE(ABORT, 'the gate is shut'); END;"
        }
    }
}
