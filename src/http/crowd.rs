//! The connections that there are: how many are of one peer, and which one goes when there is no room for another.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use super::connection::Connection;

/// All connections in the order in which they came.
#[derive(Default)]
pub(super) struct Crowd(Mutex<Members>);

#[derive(Default)]
struct Members {
    next: u64,
    all: BTreeMap<u64, Connection>,
}

/// A connection's place; free again when this goes.
pub(super) struct Place {
    crowd: Arc<Crowd>,
    number: u64,
}

impl Crowd {
    pub(super) fn enter(self: &Arc<Self>, connection: Connection) -> Place {
        let mut members = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let number = members.next;
        members.next += 1;
        members.all.insert(number, connection);
        Place { crowd: Arc::clone(self), number }
    }

    pub(super) fn count_of(&self, peer: IpAddr) -> usize {
        let members = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        members.all.values().filter(|one| one.peer() == peer).count()
    }

    /// Closes a connection that nobody is answered on, of `peer` or of all: the oldest that has never brought a whole request,
    /// else the oldest that rests. False: there is none.
    pub(super) fn make_room(&self, peer: Option<IpAddr>) -> bool {
        let members = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all = || members.all.values().filter(|one| peer.is_none_or(|peer| one.peer() == peer));
        all().any(Connection::close_if_unused) || all().any(Connection::close_if_idle)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.crowd.0.lock().unwrap_or_else(PoisonError::into_inner).all.remove(&self.number);
    }
}
