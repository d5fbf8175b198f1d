//! The hours in which rollovers may begin by themselves.

use std::{fmt, str::FromStr};

use crate::clock::Timestamp;

const DAY: i64 = 24 * 60 * 60;

/// Hours of each day, by UTC: `02:00-04:30`. One that ends before it begins goes on
/// past midnight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    from: i64,
    until: i64,
}

impl Window {
    /// Whether `now` is within it; its end is not.
    #[must_use]
    pub const fn covers(self, now: Timestamp) -> bool {
        let second = now.as_seconds().rem_euclid(DAY);
        if self.from < self.until {
            self.from <= second && second < self.until
        } else {
            self.from <= second || second < self.until
        }
    }
}

impl FromStr for Window {
    type Err = WindowFault;

    fn from_str(text: &str) -> Result<Self, WindowFault> {
        let (from, until) = text.trim().split_once('-').ok_or(WindowFault)?;
        let window = Self { from: second(from)?, until: second(until)? };
        if window.from == window.until { Err(WindowFault) } else { Ok(window) }
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let clock = |second: i64| format!("{:02}:{:02}", second / 3600, second / 60 % 60);
        write!(f, "{}-{}", clock(self.from), clock(self.until))
    }
}

/// `hh:mm`, from 00:00 to 23:59, as a second of the day.
fn second(text: &str) -> Result<i64, WindowFault> {
    let (hour, minute) = text.trim().split_once(':').ok_or(WindowFault)?;
    let number = |text: &str, below: i64| {
        let is_number = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<i64>().ok().filter(|n| is_number && *n < below).ok_or(WindowFault)
    };
    Ok(number(hour, 24)? * 3600 + number(minute, 60)? * 60)
}

/// Text that is no window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a window is two times of the day in UTC, such as 02:00-04:30")]
pub struct WindowFault;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_covers_its_hours_also_past_midnight() {
        let at = |hour: i64, minute: i64| Timestamp::from_seconds(hour * 3600 + minute * 60);
        let night: Window = "02:00-04:30".parse().unwrap();
        assert_eq!(
            [at(1, 59), at(2, 0), at(4, 29), at(4, 30)].map(|now| night.covers(now)),
            [false, true, true, false]
        );
        let late: Window = "23:30-01:00".parse().unwrap();
        assert_eq!(
            [at(23, 29), at(23, 30), at(0, 59), at(1, 0)].map(|now| late.covers(now)),
            [false, true, true, false]
        );
        assert_eq!(
            (night.to_string(), late.to_string()),
            ("02:00-04:30".into(), "23:30-01:00".into())
        );
    }

    #[test]
    fn what_is_no_window_is_refused() {
        for text in
            ["", "02:00", "2:00-04:00", "02:00-24:00", "02:60-03:00", "02:00-02:00", "+2:00-03:00"]
        {
            assert_eq!(text.parse::<Window>(), Err(WindowFault), "{text}");
        }
    }
}
