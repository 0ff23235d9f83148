//! The connections that there are: how many are of one peer, and which one goes when there is no room for another.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use super::connection::{Connection, Spare};

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

    /// How many there are of a [`network`](super::throttle::network).
    pub(super) fn count_of(&self, network: IpAddr) -> usize {
        let members = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        members.all.values().filter(|one| one.network() == network).count()
    }

    /// Closes one connection, of `network` or of all: the oldest on which no good token has come and nobody is answered; else
    /// the oldest that rests; else the oldest that keeps its body waiting; else the oldest of the named token that has the most.
    /// What the built-in token is answered is never broken off. False: there is none.
    pub(super) fn make_room(&self, network: Option<IpAddr>) -> bool {
        let members = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // by age alone: whoever came just now is not asked to go before he could say who he is
        let is_asked = |one: &&Connection| network.is_none_or(|network| one.network() == network);
        let all = || members.all.values().filter(|one| !one.is_closed()).filter(is_asked);
        let is_one = |spare: Spare| all().any(|one| one.gives_way(&spare));
        if [Spare::Strangers, Spare::Resting, Spare::Bodies].into_iter().any(is_one) {
            return true;
        }
        let mut counts = HashMap::new();
        for key in all().filter_map(Connection::named) {
            *counts.entry(key).or_insert(0_usize) += 1;
        }
        counts.into_iter().max_by_key(|(_, count)| *count).is_some_and(|(key, _)| is_one(Spare::Of(key)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.crowd.0.lock().unwrap_or_else(PoisonError::into_inner).all.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::super::connection::ConnectionLimits;
    use super::*;

    /// In the order in which they give way, and two that do not.
    #[tokio::test]
    async fn strangers_give_way_first_and_the_owner_never() {
        let crowd = Arc::new(Crowd::default());
        let peer = "127.0.0.1".parse().unwrap();
        let mut places = Vec::new();
        let mut come = |token: &str| {
            let connection = Connection::new(ConnectionLimits::default(), peer);
            match token {
                "" => {}
                "owner" => connection.belongs_to(None),
                key => connection.belongs_to(Some(key)),
            }
            places.push(crowd.enter(connection.clone()));
            connection
        };
        let owner_waits = come("owner");
        let _owner = (owner_waits.enter(), owner_waits.awaits());
        let answered_stranger = come("");
        let _answered = answered_stranger.enter();
        let named_rests = come("one");
        let named_sends = come("one");
        let _sends = (named_sends.enter(), named_sends.awaits());
        let crowding: Vec<_> = (0..3).map(|_| come("two")).collect();
        let _crowding: Vec<_> = crowding.iter().map(Connection::enter).collect();
        let stranger_sends = come("");
        let _stranger_sends = (stranger_sends.enter(), stranger_sends.awaits());
        let stranger_rests = come("");
        let order =
            [&stranger_sends, &stranger_rests, &named_rests, &named_sends].into_iter().chain(&crowding);
        for (at, next) in order.enumerate() {
            assert!(!next.is_closed(), "{at}");
            assert!(crowd.make_room(Some(peer)), "{at}");
            assert!(next.is_closed(), "{at}");
        }
        assert!(!crowd.make_room(None));
        assert!(!owner_waits.is_closed() && !answered_stranger.is_closed());
        let elsewhere = "10.0.0.1".parse().unwrap();
        assert_eq!((crowd.count_of(peer), crowd.count_of(elsewhere)), (9, 0));
    }

    /// A body that is whole when its connection had to go is not acted on; a request that came first keeps its connection.
    #[tokio::test]
    async fn who_gives_way_is_told_apart_from_who_was_quick() {
        let connect = || Connection::new(ConnectionLimits::default(), "10.0.0.1".parse().unwrap());
        let (late, quick) = (connect(), connect());
        let (_busy, awaited) = (late.enter(), late.awaits());
        assert!(late.gives_way(&Spare::Strangers) && !late.gives_way(&Spare::Strangers));
        assert!(!awaited.came());
        assert!(quick.gives_way(&Spare::Strangers));
        let (_busy, awaited) = (quick.enter(), quick.awaits());
        assert!(awaited.came() && !quick.is_closed());
        assert!(!quick.gives_way(&Spare::Strangers), "it is being answered");
    }
}
