//! The listener with its bounds, and the stream of a connection with its clocks.

use std::future::Future as _;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use super::super::crowd::{Crowd, Place};
use super::super::lengths::{Lengths, Unread};
use super::super::throttle::network;
use super::{Connection, ConnectionLimits};
use crate::domain::limit::Limit;
use crate::metrics;

/// Who was told to make room does so at once; one that does not is not waited for any longer than this.
const ROOM_WITHIN: Duration = Duration::from_secs(1);
/// After a failed accept: the kernel is out of something, which does not change at once.
const ACCEPT_AGAIN: Duration = Duration::from_millis(200);

/// Accepts as many connections as are allowed. For a further one somebody makes room who brings nothing; else it waits, and those
/// behind it in the kernel's queue.
pub(in super::super) struct Bounded {
    listener: TcpListener,
    free: Arc<Semaphore>,
    crowd: Arc<Crowd>,
    limits: ConnectionLimits,
}

impl Bounded {
    pub(in super::super) fn new(listener: TcpListener, limits: ConnectionLimits) -> Self {
        let free = Arc::new(Semaphore::new(limits.connections));
        Self { listener, free, crowd: Arc::default(), limits }
    }

    /// Who has as many as one may have gives one up for a further one, if there is one that nobody is answered on.
    fn has_room_for(&self, peer: IpAddr) -> bool {
        let network = network(peer);
        if self.crowd.count_of(network) < self.limits.per_peer {
            return true;
        }
        metrics::LIMITS.increment([Limit::PeerConnections.as_str()]);
        self.crowd.make_room(Some(network))
    }

    /// A place among all; when there is none, somebody makes room, or has to end first.
    async fn permit(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(permit) = Arc::clone(&self.free).try_acquire_owned() {
            return Some(permit);
        }
        metrics::LIMITS.increment([Limit::Connections.as_str()]);
        loop {
            self.crowd.make_room(None);
            // never closed, so this resolves with a permit
            if let Ok(permit) = timeout(ROOM_WITHIN, Arc::clone(&self.free).acquire_owned()).await {
                return permit.ok();
            }
        }
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
pub(in super::super) struct Stream {
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
            let (is_over, busy, deadline) = self.connection.with(|activity| {
                activity.reader = Some(context.waker().clone());
                (activity.is_out_of_time(), activity.busy > 0, activity.deadline)
            });
            let now = Instant::now();
            if is_over {
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
        let is_gone = self.connection.with(|activity| {
            activity.writer = Some(context.waker().clone());
            activity.is_gone()
        });
        if is_gone {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
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
                Err(Unread::TooLarge) => self.connection.with(|activity| activity.had_large_head = true),
                Err(Unread::OtherProtocol) => return Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
            }
            // a peer that sends byte by byte is out of time as well
            if self.connection.with(|activity| activity.is_out_of_time()) {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            return Poll::Ready(result);
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
        if self.connection.with(|activity| activity.is_gone()) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
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
        if self.connection.with(|activity| activity.is_gone()) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let result = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.written(context, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
