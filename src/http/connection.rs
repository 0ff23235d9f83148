//! One connection: counted, and closed when its peer sends nothing useful for too long.
//!
//! The server library has no limit for how long the head of a request may take, so the stream itself has one: while no
//! request is being answered, a read that brings no whole head in time ends the connection.

use std::future::Future as _;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep_until};

use super::crowd::{Crowd, Place};
use super::lengths::{Lengths, TooLarge};
use crate::domain::limit::Limit;
use crate::metrics;

/// Connections at once: each costs a descriptor and some kilobytes, and a usual process has 1,024 descriptors, of which
/// this leaves half to the database, logs and agents.
const CONNECTIONS_MAX: usize = 512;
/// Of one peer: a quarter is left to everybody else.
const CONNECTIONS_PER_PEER_MAX: usize = 384;
/// The head of a request is some hundred bytes: ten seconds are generous on any line.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// Longer than the pauses of a client that asks every minute.
const IDLE_MAX: Duration = Duration::from_secs(75);
/// A reader that takes nothing for so long is gone, or holds what others could use. Whoever was only slow comes again with
/// the number of its last event.
const TAKES_NOTHING_MAX: Duration = Duration::from_secs(30);
/// After a failed accept: the kernel is out of something, which does not change at once.
const ACCEPT_AGAIN: Duration = Duration::from_millis(200);

/// How much of the server one peer can take.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConnectionLimits {
    pub(super) connections: usize,
    /// Of one address.
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

#[derive(Debug)]
struct Activity {
    limits: ConnectionLimits,
    /// Requests that are being answered.
    busy: usize,
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
    /// Whoever waits for the peer.
    reader: Option<Waker>,
}

impl Connection {
    fn new(limits: ConnectionLimits, peer: IpAddr) -> Self {
        let deadline = Instant::now() + limits.head;
        let activity = Activity {
            limits,
            busy: 0,
            deadline,
            head_begun: true,
            was_used: false,
            has_both_lengths: false,
            had_large_head: false,
            is_closed: false,
            reader: None,
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
        });
        Busy(self.clone())
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

    /// Closes it if no request has come through it yet.
    pub(super) fn close_if_unused(&self) -> bool {
        self.with(|activity| !activity.was_used && activity.close())
    }

    /// Closes it if no request is being answered.
    pub(super) fn close_if_idle(&self) -> bool {
        self.with(Activity::close)
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

    /// An answer is on its way: the peer may rest afterwards.
    fn has_written(&self) {
        self.with(Activity::rest);
    }
}

impl Activity {
    /// Not twice: who makes room needs another place each time.
    fn close(&mut self) -> bool {
        if self.busy > 0 || self.is_closed {
            return false;
        }
        (self.is_closed, self.deadline) = (true, Instant::now());
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
        true
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

/// Accepts as many connections as are allowed. For a further one somebody makes room who brings nothing; else it waits, and those
/// behind it in the kernel's queue.
pub(super) struct Bounded {
    listener: TcpListener,
    free: Arc<Semaphore>,
    crowd: Arc<Crowd>,
    limits: ConnectionLimits,
}

impl Bounded {
    pub(super) fn new(listener: TcpListener, limits: ConnectionLimits) -> Self {
        let free = Arc::new(Semaphore::new(limits.connections));
        Self { listener, free, crowd: Arc::default(), limits }
    }

    /// Who has as many as one may have gives one up for a further one, if there is one that nobody is answered on.
    fn has_room_for(&self, peer: IpAddr) -> bool {
        if self.crowd.count_of(peer) < self.limits.per_peer {
            return true;
        }
        metrics::LIMITS.increment([Limit::PeerConnections.as_str()]);
        self.crowd.make_room(Some(peer))
    }

    /// A place among all; when there is none, somebody makes room, or has to end first.
    async fn permit(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(permit) = Arc::clone(&self.free).try_acquire_owned() {
            return Some(permit);
        }
        metrics::LIMITS.increment([Limit::Connections.as_str()]);
        self.crowd.make_room(None);
        // never closed, so this resolves with a permit
        Arc::clone(&self.free).acquire_owned().await.ok()
    }
}

impl Listener for Bounded {
    type Io = Stream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, peer) = match self.listener.accept().await {
                Ok(came) => came,
                Err(error) => {
                    tracing::debug!(%error, "could not accept a connection");
                    tokio::time::sleep(ACCEPT_AGAIN).await;
                    continue;
                }
            };
            // who is turned away hears it when he reads
            if self.has_room_for(peer.ip())
                && let Some(permit) = self.permit().await
            {
                return (Stream::new(stream, peer.ip(), (permit, &self.crowd), self.limits), peer);
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

impl Connected<IncomingStream<'_, Bounded>> for Connection {
    fn connect_info(stream: IncomingStream<'_, Bounded>) -> Self {
        stream.io().connection.clone()
    }
}

/// A connection with its limits.
pub(super) struct Stream {
    stream: TcpStream,
    connection: Connection,
    lengths: Lengths,
    timer: Pin<Box<Sleep>>,
    /// Runs while a write waits for the peer.
    blocked: Option<Pin<Box<Sleep>>>,
    blocked_max: Duration,
    _permit: OwnedSemaphorePermit,
    _place: Place,
    _counted: metrics::Held,
}

impl Stream {
    fn new(
        stream: TcpStream,
        peer: IpAddr,
        (permit, crowd): (OwnedSemaphorePermit, &Arc<Crowd>),
        limits: ConnectionLimits,
    ) -> Self {
        let connection = Connection::new(limits, peer);
        let place = crowd.enter(connection.clone());
        let deadline = connection.with(|activity| activity.deadline);
        Self {
            stream,
            connection,
            lengths: Lengths::default(),
            timer: Box::pin(sleep_until(deadline)),
            blocked: None,
            blocked_max: limits.blocked,
            _permit: permit,
            _place: place,
            _counted: metrics::HTTP_CONNECTIONS.hold(),
        }
    }

    /// Ready when the peer is out of time; else wakes the reader when it will be.
    fn poll_deadline(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            let (busy, deadline) = self.connection.with(|activity| {
                activity.reader = Some(context.waker().clone());
                (activity.busy > 0, activity.deadline)
            });
            let now = Instant::now();
            if !busy && now >= deadline {
                return Poll::Ready(());
            }
            // while a request is answered the clock stands: look again later
            let look_at =
                if busy { now + self.connection.with(|activity| activity.limits.head) } else { deadline };
            self.timer.as_mut().reset(look_at);
            ready!(self.timer.as_mut().poll(context));
        }
    }
}

impl Stream {
    /// Passes on what a write came to; one that has waited too long fails.
    fn written(
        &mut self,
        context: &mut Context<'_>,
        result: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if result.is_ready() {
            self.blocked = None;
            if matches!(result, Poll::Ready(Ok(_))) {
                self.connection.has_written();
            }
            return result;
        }
        let limit = self.blocked_max;
        let timer = self.blocked.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + limit)));
        ready!(timer.as_mut().poll(context));
        metrics::LIMITS.increment([Limit::SlowReader.as_str()]);
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        if let Poll::Ready(result) = Pin::new(&mut self.stream).poll_read(context, buffer) {
            self.connection.has_read();
            match self.lengths.read(&buffer.filled()[before..]) {
                Ok(false) => {}
                Ok(true) => self.connection.with(|activity| activity.has_both_lengths = true),
                Err(TooLarge) => self.connection.with(|activity| activity.had_large_head = true),
            }
            // a peer that sends byte by byte is out of time as well
            if self.connection.with(|activity| activity.busy > 0 || Instant::now() < activity.deadline) {
                return Poll::Ready(result);
            }
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        ready!(self.poll_deadline(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.written(context, result)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.written(context, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
