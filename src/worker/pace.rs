//! How fast the bulk rewrap goes: foreground traffic comes first.
//!
//! 1. Batches grow while the database answers within the set point, and shrink
//!    in proportion when it does not.
//! 2. A batch past the set point is followed by a rest as long as itself.
//! 3. A ceiling on rows a second holds over any time longer than a second.

use std::time::Duration;

/// The controller of one process; all its ranges share it.
#[derive(Debug, Clone)]
pub struct Pace {
    set_point: Duration,
    largest: u32,
    batch: u32,
}

/// The smallest batch that adaptation leads to.
const SMALLEST: u32 = 10;

impl Pace {
    /// Batches of at most `largest` rows, aimed to take `set_point` each.
    #[must_use]
    pub fn new(set_point: Duration, largest: u32) -> Self {
        let largest = largest.max(1);
        Self { set_point, largest, batch: largest.min(250) }
    }

    /// How many rows the next batch should have under `ceiling` rows a second:
    /// at most a quarter of a second's worth.
    #[must_use]
    pub fn batch(&self, ceiling: Option<u32>) -> u32 {
        ceiling.map_or(self.batch, |ceiling| self.batch.min((ceiling / 4).max(1)))
    }

    /// Learns from a batch of `rows` that took `took`, and answers how long to rest.
    pub fn rest_after(&mut self, rows: u32, took: Duration, ceiling: Option<u32>) -> Duration {
        let rest = if took <= self.set_point {
            if rows >= self.batch {
                self.batch = self.batch.saturating_add(self.batch / 2 + 1).min(self.largest);
            }
            Duration::ZERO
        } else {
            let share = self.set_point.as_secs_f64() / took.as_secs_f64();
            let smaller = (f64::from(self.batch) * share) as u32;
            self.batch = smaller.clamp(SMALLEST.min(self.largest), self.largest);
            took
        };
        let due = ceiling.map_or(Duration::ZERO, |ceiling| {
            Duration::from_secs_f64(f64::from(rows) / f64::from(ceiling.max(1)))
        });
        rest.max(due.saturating_sub(took))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAST: Duration = Duration::from_millis(10);
    const SLOW: Duration = Duration::from_millis(400);

    #[test]
    fn batches_grow_on_a_fast_database_and_shrink_on_a_slow_one() {
        let mut pace = Pace::new(Duration::from_millis(100), 1000);
        for _ in 0..10 {
            assert_eq!(pace.rest_after(pace.batch(None), FAST, None), Duration::ZERO);
        }
        assert_eq!(pace.batch(None), 1000);
        assert_eq!(pace.rest_after(1000, SLOW, None), SLOW, "it rests as long as it worked");
        assert_eq!(pace.batch(None), 250);
        for _ in 0..20 {
            pace.rest_after(pace.batch(None), SLOW, None);
        }
        assert_eq!(pace.batch(None), SMALLEST);
    }

    #[test]
    fn the_ceiling_holds_and_may_change_at_any_time() {
        let mut pace = Pace::new(Duration::from_millis(100), 1000);
        for ceiling in [3, 100, 100_000] {
            let (mut rows, mut time) = (0, Duration::ZERO);
            while time < Duration::from_secs(2) {
                let batch = pace.batch(Some(ceiling));
                let rest = pace.rest_after(batch, Duration::from_micros(1), Some(ceiling));
                rows += batch;
                time += rest + Duration::from_micros(1);
            }
            let rate = f64::from(rows) / time.as_secs_f64();
            assert!(rate <= f64::from(ceiling) * 1.001, "{rate} rows/s under {ceiling}");
            assert!(rate >= f64::from(ceiling) * 0.9, "{rate} rows/s under {ceiling}");
        }
    }

    #[test]
    fn a_short_last_batch_teaches_nothing() {
        let mut pace = Pace::new(Duration::from_millis(100), 1000);
        pace.rest_after(1, FAST, None);
        assert_eq!(pace.batch(None), 250);
    }
}
