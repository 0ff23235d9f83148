//! Instants as the domain sees them: whole milliseconds of Unix time.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

/// Unix time in milliseconds. Ordering of jobs and events never rests on it (clocks jump); ids and numbers do that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    #[must_use]
    pub const fn from_ms(ms: i64) -> Self {
        Self(ms)
    }

    #[must_use]
    pub const fn as_ms(self) -> i64 {
        self.0
    }

    /// Time since `earlier`; zero when the clock was set back in between.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }
}

/// A day of UTC, counted from 1970-01-01.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(i64);

impl Day {
    const MS: i64 = 86_400_000;

    #[must_use]
    pub const fn of(at: Timestamp) -> Self {
        Self(at.0.div_euclid(Self::MS))
    }

    #[must_use]
    pub const fn from_number(number: i64) -> Self {
        Self(number)
    }

    #[must_use]
    pub const fn number(self) -> i64 {
        self.0
    }

    /// The first instant of the day after it.
    #[must_use]
    pub const fn end(self) -> Timestamp {
        Timestamp(self.0.saturating_add(1).saturating_mul(Self::MS))
    }
}

impl fmt::Display for Timestamp {
    /// The plain number; people see RFC 3339, which `wire` renders.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ms", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_ends_where_the_next_one_begins() {
        for (ms, day) in [(0, 0), (86_399_999, 0), (86_400_000, 1), (-1, -1)] {
            let at = Timestamp::from_ms(ms);
            assert_eq!(Day::of(at), Day::from_number(day));
            assert_eq!(Day::of(Day::of(at).end()).number(), day + 1);
        }
    }
}
