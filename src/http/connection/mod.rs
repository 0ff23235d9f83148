//! One connection: counted, and closed when its peer sends nothing useful for too long.
//!
//! Promises: while no request is being answered, a read that brings no whole head in time ends the connection (the server library
//! has no limit for that); when there are too many, somebody gives way, and strangers do so before whoever has shown a token.
//!
//! Must not know: routes, bodies, what is answered. A request says that it has begun ([`Connection::enter`]), that its body is awaited,
//! and whose it is.
//!
//! Fails: by the end of the connection. Tested: here by itself, in `serve.rs` and `crowd.rs` by sockets, whole in `tests/it`.

mod listener;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;
use std::time::Duration;

use tokio::time::Instant;

use super::throttle::network;

pub(super) use listener::Bounded;

/// Connections at once: each costs a descriptor and some kilobytes, and a usual process has 1,024 descriptors, of which
/// this leaves half to the database, logs and agents.
const CONNECTIONS_MAX: usize = 512;
/// Of one network: a quarter is left to everybody else.
const CONNECTIONS_PER_PEER_MAX: usize = 384;
/// The head of a request is some hundred bytes: ten seconds are generous on any line.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// Longer than the pauses of a client that asks every minute.
const IDLE_MAX: Duration = Duration::from_secs(75);
/// A reader that takes nothing for so long is gone, or holds what others could use. Whoever was only slow comes again with
/// the number of its last event.
const TAKES_NOTHING_MAX: Duration = Duration::from_secs(30);

/// How much of the server one peer can take.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConnectionLimits {
    pub(super) connections: usize,
    /// Of one network: an IPv4 address, a `/64` of IPv6, this machine itself.
    pub(super) per_peer: usize,
    /// From the connection, or from the first byte of a further request, to the end of its head.
    pub(super) head: Duration,
    /// How long an idle connection is kept for a further request.
    pub(super) idle: Duration,
    /// How long a peer may take nothing of what it is sent.
    pub(super) blocked: Duration,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            connections: CONNECTIONS_MAX,
            per_peer: CONNECTIONS_PER_PEER_MAX,
            head: HEAD_WITHIN,
            idle: IDLE_MAX,
            blocked: TAKES_NOTHING_MAX,
        }
    }
}

/// What a request can say about its connection.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    activity: Arc<Mutex<Activity>>,
    peer: IpAddr,
}

/// Whose token came on a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Holder {
    /// None yet, or none that was good.
    Stranger,
    /// The token with this key.
    Named(Arc<str>),
    BuiltIn,
}

/// Which connections give way to another one.
#[derive(Clone, Debug)]
pub(super) enum Spare {
    /// On which no good token has come, unless it is being answered.
    Strangers,
    /// On which nobody is answered.
    Resting,
    /// That keep a body waiting, but for those of the built-in token.
    Bodies,
    /// All of the named token with this key.
    Of(Arc<str>),
}

#[derive(Debug)]
struct Activity {
    limits: ConnectionLimits,
    /// Requests that are being answered.
    busy: usize,
    /// Those of them whose body is still to come.
    awaited: usize,
    holder: Holder,
    /// When the peer has to be done with what it does; counts only while `busy` is 0.
    deadline: Instant,
    /// Bytes of the next head have come.
    head_begun: bool,
    /// A whole request has come at some time.
    was_used: bool,
    /// The last request told the length of its body twice.
    has_both_lengths: bool,
    /// A head was larger than what is kept of one; what follows it is not looked at.
    had_large_head: bool,
    /// Somebody else needs its place.
    is_closed: bool,
    /// So was it while a request was under way: nothing goes either way any more.
    is_cut: bool,
    /// Whoever waits for what the peer sends.
    reader: Option<Waker>,
    /// Whoever waits for it to take something.
    writer: Option<Waker>,
}

impl Connection {
    pub(super) fn new(limits: ConnectionLimits, peer: IpAddr) -> Self {
        let deadline = Instant::now() + limits.head;
        let activity = Activity {
            limits,
            busy: 0,
            awaited: 0,
            holder: Holder::Stranger,
            deadline,
            head_begun: true,
            was_used: false,
            has_both_lengths: false,
            had_large_head: false,
            is_closed: false,
            is_cut: false,
            reader: None,
            writer: None,
        };
        Self { activity: Arc::new(Mutex::new(activity)), peer }
    }

    /// Who is at the other end: the last proxy if there is one, whatever a header says.
    pub(super) fn peer(&self) -> IpAddr {
        self.peer
    }

    /// While the guard lives, the connection's request is being answered and no limit runs.
    pub(super) fn enter(&self) -> Busy {
        self.with(|activity| {
            activity.busy += 1;
            activity.was_used = true;
            // its request came first
            activity.is_closed = activity.is_cut;
        });
        Busy(self.clone())
    }

    /// While the guard lives, the body of the connection's request is awaited: it may have to give way meanwhile.
    pub(super) fn awaits(&self) -> Awaited {
        self.with(|activity| activity.awaited += 1);
        Awaited(Some(self.clone()))
    }

    /// A good token came on it, the named one with this key or the built-in one: it does not give way to strangers.
    pub(super) fn belongs_to(&self, named: Option<&str>) {
        let holder = named.map_or(Holder::BuiltIn, |key| Holder::Named(key.into()));
        self.with(|activity| activity.holder = holder);
    }

    /// The key of the named token that came on it last.
    pub(super) fn named(&self) -> Option<Arc<str>> {
        self.with(|activity| match &activity.holder {
            Holder::Named(key) => Some(Arc::clone(key)),
            _ => None,
        })
    }

    /// What it is one of, in the eyes of limits.
    pub(super) fn network(&self) -> IpAddr {
        network(self.peer)
    }

    /// Whether its request with Transfer-Encoding, which is its last one, has a Content-Length too.
    pub(super) fn has_both_lengths(&self) -> bool {
        self.with(|activity| activity.has_both_lengths)
    }

    /// Whether a head has come that was too large to be looked at; the answer under way has to be the last one. It may be the head
    /// of the request behind the one that is being answered.
    pub(super) fn had_large_head(&self) -> bool {
        self.with(|activity| activity.had_large_head)
    }

    /// Closes it if it is one of these.
    pub(super) fn gives_way(&self, spare: &Spare) -> bool {
        self.with(|activity| {
            let brings_nothing = activity.busy == activity.awaited;
            let is_one = match spare {
                Spare::Strangers => activity.holder == Holder::Stranger && brings_nothing,
                Spare::Resting => activity.busy == 0,
                Spare::Bodies => activity.holder != Holder::BuiltIn && brings_nothing,
                Spare::Of(key) => activity.holder == Holder::Named(Arc::clone(key)),
            };
            is_one && activity.close()
        })
    }

    /// Whether it had to give way.
    pub(super) fn is_closed(&self) -> bool {
        self.with(|activity| activity.is_closed)
    }

    fn with<T>(&self, act: impl FnOnce(&mut Activity) -> T) -> T {
        act(&mut self.activity.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn has_read(&self) {
        self.with(|activity| {
            if activity.busy == 0 && !activity.head_begun && !activity.is_closed {
                activity.head_begun = true;
                activity.deadline = Instant::now() + activity.limits.head;
            }
        });
    }

    /// An answer is on its way: the peer may rest afterwards. What the library says to who asked for nothing is none.
    fn has_written(&self) {
        self.with(|activity| {
            if activity.was_used {
                activity.rest();
            }
        });
    }
}

impl Activity {
    /// Not twice: who makes room needs another place each time.
    fn close(&mut self) -> bool {
        if self.is_closed {
            return false;
        }
        (self.is_closed, self.is_cut, self.deadline) = (true, self.busy > 0, Instant::now());
        for waker in [self.reader.take(), self.writer.take()].into_iter().flatten() {
            waker.wake();
        }
        true
    }

    /// Nothing more is read.
    fn is_out_of_time(&self) -> bool {
        self.is_cut || (self.busy == 0 && Instant::now() >= self.deadline)
    }

    /// Nothing more is written. An answer that is whole may still be on its way to who takes his time.
    fn is_gone(&self) -> bool {
        self.is_cut || (self.is_closed && self.busy == 0)
    }

    fn rest(&mut self) {
        if self.is_closed {
            return;
        }
        self.deadline = Instant::now() + self.limits.idle;
        self.head_begun = false;
    }
}

pub(super) struct Busy(Connection);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.with(|activity| {
            activity.busy -= 1;
            activity.rest();
        });
    }
}

pub(super) struct Awaited(Option<Connection>);

impl Awaited {
    /// The body is there; whether its connection still is. From here on it does not give way as one that waits.
    pub(super) fn came(mut self) -> bool {
        self.end()
    }

    fn end(&mut self) -> bool {
        self.0.take().is_some_and(|connection| {
            connection.with(|activity| {
                activity.awaited -= 1;
                !activity.is_cut
            })
        })
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the library says by itself, to who has not asked for anything yet, is no reason to wait longer for a request.
    #[tokio::test(start_paused = true)]
    async fn only_an_answer_gives_time_for_a_further_request() {
        let connection = Connection::new(ConnectionLimits::default(), IpAddr::from([192, 0, 2, 1]));
        let deadline = || connection.with(|activity| activity.deadline);
        let first = deadline();
        tokio::time::advance(HEAD_WITHIN / 2).await;
        connection.has_written();
        assert_eq!(deadline(), first);

        drop(connection.enter());
        assert_eq!(deadline(), Instant::now() + IDLE_MAX);
        tokio::time::advance(IDLE_MAX / 2).await;
        connection.has_written();
        assert_eq!(deadline(), Instant::now() + IDLE_MAX);
    }
}
