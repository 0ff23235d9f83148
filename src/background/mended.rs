//! When a held login is worth another try, by what can be seen of it from outside.
//!
//! What can be seen is little: a program may be there and not run, and a login that was revoked far away looks whole here.
//! So a look that says yes is a reason for a try at once only when it said something else before; else tries come at
//! growing intervals, for each of them starts an agent and leaves an attempt in the job.

use std::collections::BTreeMap;

use crate::domain::hold::Hold;
use crate::domain::time::Timestamp;

/// Looks between two tries of a login that looks well all the time and is not: at one look a minute this is an hour.
const LOOKS_MAX: u32 = 64;

/// What a look at a program and its login showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Look {
    /// As far as can be seen, what the login is held for is over.
    pub(super) is_well: bool,
    /// `None` when nobody told it.
    pub(super) version: Option<String>,
}

/// Follows the holds that have no end of their own.
#[derive(Debug, Default)]
pub(super) struct Watched {
    by_login: BTreeMap<String, Watch>,
}

#[derive(Debug)]
struct Watch {
    since: Timestamp,
    was_well: bool,
    version: Option<String>,
    /// Looks until the next try of one that looks well.
    left: u32,
    /// So many follow the next one.
    next: u32,
}

impl Watched {
    /// Forgets what is not held any more.
    pub(super) fn keep(&mut self, holds: &[Hold]) {
        self.by_login.retain(|login, watch| {
            holds.iter().any(|hold| hold.login == *login && hold.since == watch.since)
        });
    }

    /// One more look at a held login; whether it should be tried now. The first one of a hold is what later ones are
    /// compared with.
    pub(super) fn is_due(&mut self, hold: &Hold, look: &Look) -> bool {
        let Some(watch) = self.by_login.get_mut(&hold.login) else {
            let (was_well, version) = (look.is_well, look.version.clone());
            let watch = Watch { since: hold.since, was_well, version, left: 1, next: 2 };
            self.by_login.insert(hold.login.clone(), watch);
            return false;
        };
        watch.is_due(look)
    }

    /// The login was tried: the next try comes later.
    pub(super) fn tried(&mut self, login: &str) {
        if let Some(watch) = self.by_login.get_mut(login) {
            (watch.left, watch.next) = (watch.next, (watch.next * 2).min(LOOKS_MAX));
        }
    }
}

impl Watch {
    fn is_due(&mut self, look: &Look) -> bool {
        let is_other = look.version.is_some() && self.version.is_some() && look.version != self.version;
        // a look that wavers, as on a busy machine, must not make a circle of it
        let has_turned = look.is_well && !self.was_well && self.next < LOOKS_MAX;
        self.was_well = look.is_well;
        self.left = self.left.saturating_sub(1);
        let is_due = look.is_well && (self.left == 0 || has_turned || is_other);
        // a version that came while the login did not look well is news when it does
        if is_due || self.version.is_none() {
            self.version = look.version.clone().or(self.version.take());
        }
        if is_due {
            self.left = 0;
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::reason::{Reason, ReasonCode};

    fn hold(since: i64) -> Hold {
        Hold {
            login: "claude".to_owned(),
            reason: Reason::new(ReasonCode::NotLoggedIn, ""),
            since: Timestamp::from_ms(since),
            until: None,
            window: None,
            probe: None,
        }
    }

    fn look(is_well: bool, version: &str) -> Look {
        Look { is_well, version: Some(version.to_owned()) }
    }

    /// The looks (from 0) after which the login was tried, always in vain.
    fn tries(looks: impl IntoIterator<Item = Look>) -> Vec<usize> {
        let (mut watched, mut tried) = (Watched::default(), Vec::new());
        for (number, look) in looks.into_iter().enumerate() {
            watched.keep(&[hold(7)]);
            if watched.is_due(&hold(7), &look) {
                watched.tried("claude");
                tried.push(number);
            }
        }
        tried
    }

    #[test]
    fn one_that_always_looks_well_is_tried_less_and_less() {
        let day = tries((0..1_440).map(|_| look(true, "2.1")));
        assert_eq!(day[..8], [1, 3, 7, 15, 31, 63, 127, 191]);
        assert!(day.len() < 30, "{day:?}");
    }

    #[test]
    fn one_that_never_looks_well_is_left_alone() {
        assert_eq!(tries((0..1_440).map(|_| look(false, "2.1"))), Vec::<usize>::new());
    }

    #[test]
    fn what_has_turned_or_is_another_version_is_tried_at_once() {
        let turned = (0..100).map(|number| look(number >= 50, "2.1"));
        assert_eq!(tries(turned)[0], 50);
        let other = tries((0..100).map(|number| look(true, if number < 40 { "2.1" } else { "2.2" })));
        assert_eq!(other[..6], [1, 3, 7, 15, 31, 40]);
        // an update to a program that then asks for a new login
        let later = tries((0..300).map(|number| {
            let version = if number < 200 { "2.1" } else { "2.2" };
            look(!(200..210).contains(&number), version)
        }));
        assert!(later.contains(&210) && !later.iter().any(|look| (200..210).contains(look)), "{later:?}");
    }

    #[test]
    fn a_wavering_look_is_no_circle() {
        let day = tries((0..1_440).map(|number| look(number % 2 == 1, "2.1")));
        assert!(day.len() < 30, "{day:?}");
    }

    #[test]
    fn a_new_hold_begins_anew() {
        let mut watched = Watched::default();
        for _ in 0..200 {
            if watched.is_due(&hold(7), &look(true, "2.1")) {
                watched.tried("claude");
            }
        }
        watched.keep(&[hold(8)]);
        assert!(!watched.is_due(&hold(8), &look(true, "2.1")));
        assert!(watched.is_due(&hold(8), &look(true, "2.1")));
    }
}
