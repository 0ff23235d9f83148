//! The time that passes evenly, for the waits that we choose ourselves: a backoff of 15 s, a callback's next try, the
//! 24 h of a repeated request; and for how long a job has been running.
//!
//! What others name (a job's `runAt`, the end of a usage limit) is an instant of the wall clock, whoever sets that. What
//! we choose is a length, and somebody who sets the wall clock back by a day must not make it a day longer. So such an
//! instant is stored in steady milliseconds: like Unix time when the database was made, and from there on counted with
//! the machine's own time, sleep included. While the machine is off only the wall clock can tell how long.

use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};

use crate::clock::Clock;
use crate::domain::time::Timestamp;

/// The wall clock is taken as set by somebody when it has moved against the steady time by more than this.
const SET_MS_MIN: i64 = 1_000;
/// How often the two are noted though nothing happened. Only a start after a power cut looks at it, and a wall clock that
/// was set back meanwhile then costs at most so much.
const NOTED_EVERY_MS: i64 = 3_600_000;

/// Both clocks are read one after the other, in whole milliseconds: so much apart they have not moved, and an instant that
/// goes to the one and back is shown as it came. A wait may be so much shorter or longer than was said.
const JITTER_MS: i64 = 2;

/// Now, on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) wall: Timestamp,
    steady_ms: i64,
    /// Steady minus wall time, to within [`JITTER_MS`].
    ahead_ms: i64,
}

impl Moment {
    /// Now, in steady milliseconds. Not by way of the wall clock: one that is slewed by a little would take them along.
    pub(crate) fn steady_ms(self) -> i64 {
        self.steady_ms
    }

    /// The steady milliseconds at which the wall clock shows `wall`, if nobody sets it.
    pub(crate) fn to_steady(self, wall: Timestamp) -> i64 {
        wall.as_ms().saturating_add(self.ahead_ms)
    }

    /// What the wall clock shows at these steady milliseconds, if nobody sets it.
    pub(crate) fn to_wall(self, steady_ms: i64) -> Timestamp {
        Timestamp::from_ms(steady_ms.saturating_sub(self.ahead_ms))
    }
}

/// Both clocks at one instant, as a later start finds them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Note {
    pub(crate) boot: String,
    pub(crate) since_boot_ms: i64,
    pub(crate) wall_ms: i64,
    pub(crate) steady_ms: i64,
}

impl Note {
    pub(crate) fn to_text(&self) -> String {
        format!("{} {} {} {}", self.steady_ms, self.wall_ms, self.since_boot_ms, self.boot)
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(4, ' ');
        let mut number = || parts.next()?.parse().ok();
        let (steady_ms, wall_ms, since_boot_ms) = (number()?, number()?, number()?);
        Some(Self { boot: parts.next()?.to_owned(), since_boot_ms, wall_ms, steady_ms })
    }
}

/// The steady time of one start of the server.
#[derive(Debug)]
pub(crate) struct Steady {
    clock: Clock,
    boot: String,
    /// Steady time when the machine was started.
    boot_at_ms: i64,
    /// Steady minus wall time, as last seen to move.
    ahead_ms: AtomicI64,
    noted: Mutex<Option<Note>>,
}

impl Steady {
    /// Goes on where `noted` left off; without a note it begins as the wall clock.
    pub(crate) fn resume(clock: &Clock, noted: Option<&Note>) -> Self {
        let (boot, since_boot, wall) = (clock.boot(), clock.since_boot_ms(), clock.now_ms());
        let boot_at_ms = match noted {
            // where boots have no name, one that was shorter before may still be another one: then less has passed than is
            // true, and everything waits a little longer
            Some(note) if note.boot == boot && note.since_boot_ms <= since_boot => {
                note.steady_ms - note.since_boot_ms
            }
            // a wall clock that shows an earlier time than before the start tells nothing about the time between
            Some(note) => note.steady_ms + (wall - note.wall_ms).max(0) - since_boot,
            None => wall - since_boot,
        };
        let ahead_ms = AtomicI64::new(boot_at_ms + since_boot - wall);
        Self { clock: clock.clone(), boot, boot_at_ms, ahead_ms, noted: Mutex::new(None) }
    }

    pub(crate) fn moment(&self) -> Moment {
        let wall = Timestamp::from_ms(self.clock.now_ms());
        let steady_ms = self.boot_at_ms + self.clock.since_boot_ms();
        let (ahead_ms, before) = (steady_ms - wall.as_ms(), self.ahead_ms.load(Ordering::Relaxed));
        if (ahead_ms - before).abs() <= JITTER_MS {
            return Moment { wall, steady_ms, ahead_ms: before };
        }
        self.ahead_ms.store(ahead_ms, Ordering::Relaxed);
        Moment { wall, steady_ms, ahead_ms }
    }

    /// What has to be written now, so that a later start goes on evenly; `None` while the last note still serves.
    pub(crate) fn due_note(&self) -> Option<Note> {
        let now = self.moment();
        let note = Note {
            boot: self.boot.clone(),
            since_boot_ms: now.steady_ms() - self.boot_at_ms,
            wall_ms: now.wall.as_ms(),
            steady_ms: now.steady_ms(),
        };
        let mut noted = self.noted.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(last) = &*noted {
            let set_by_ms = (note.wall_ms - last.wall_ms) - (note.steady_ms - last.steady_ms);
            if set_by_ms.abs() > SET_MS_MIN {
                tracing::warn!(set_by_ms, "the wall clock was set");
            } else if note.steady_ms - last.steady_ms < NOTED_EVERY_MS {
                return None;
            }
        }
        *noted = Some(note.clone());
        Some(note)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: i64 = 86_400_000;

    fn noted(clock: &Clock, before: Option<&Note>) -> Note {
        let note = Steady::resume(clock, before).due_note().unwrap();
        assert_eq!(Note::parse(&note.to_text()), Some(note.clone()));
        note
    }

    #[test]
    fn it_begins_as_the_wall_clock_and_nobody_sets_it() {
        let clock = Clock::manual(1_000_000, 1);
        let steady = Steady::resume(&clock, None);
        assert_eq!(steady.moment().steady_ms(), 1_000_000);
        let due = steady.moment().to_steady(Timestamp::from_ms(1_015_000));
        for set in [-DAY_MS, 3 * DAY_MS] {
            clock.set_by_ms(set);
            clock.advance_ms(5_000);
            let now = steady.moment();
            assert_eq!(
                now.to_wall(due),
                now.wall + std::time::Duration::from_millis((due - now.steady_ms()) as u64)
            );
        }
        assert_eq!(steady.moment().steady_ms(), 1_010_000);
    }

    #[test]
    fn a_restart_of_the_server_goes_on_though_the_clock_was_set_meanwhile() {
        let clock = Clock::manual(1_000_000, 1);
        let note = noted(&clock, None);
        clock.advance_ms(60_000);
        clock.set_by_ms(-DAY_MS);
        assert_eq!(Steady::resume(&clock, Some(&note)).moment().steady_ms(), 1_060_000);
    }

    #[test]
    fn a_restart_of_the_machine_believes_the_wall_clock_but_never_goes_back() {
        let clock = Clock::manual(1_000_000, 1);
        let first = noted(&clock, None);
        clock.reboot();
        clock.set_by_ms(60_000);
        let second = noted(&clock, Some(&first));
        assert_eq!(second.steady_ms, 1_060_000);
        clock.reboot();
        clock.set_by_ms(-DAY_MS);
        let third = noted(&clock, Some(&second));
        assert_eq!(third.steady_ms, 1_060_000);
        // set right again before the next start: that day was no time that passed, and the note says so
        let steady = Steady::resume(&clock, Some(&third));
        steady.due_note().unwrap();
        clock.set_by_ms(DAY_MS);
        let fourth = steady.due_note().unwrap();
        clock.reboot();
        assert_eq!(noted(&clock, Some(&fourth)).steady_ms, 1_060_000);
    }

    #[test]
    fn it_is_noted_once_an_hour_and_when_the_clock_was_set() {
        let clock = Clock::manual(1_000_000, 1);
        let steady = Steady::resume(&clock, None);
        assert!(steady.due_note().is_some());
        clock.advance_ms(NOTED_EVERY_MS - 1);
        clock.set_by_ms(-SET_MS_MIN);
        assert_eq!(steady.due_note(), None);
        clock.advance_ms(1);
        assert!(steady.due_note().is_some());
        clock.set_by_ms(SET_MS_MIN + 1);
        assert!(steady.due_note().is_some());
        assert_eq!(steady.due_note(), None);
    }

    #[test]
    fn what_is_no_note_is_none() {
        for text in ["", "1 2 3", "1 2 x boot", "a b c d"] {
            assert_eq!(Note::parse(text), None, "{text}");
        }
        assert_eq!(Note::parse("1 2 3 ").map(|note| note.boot), Some(String::new()));
    }
}
