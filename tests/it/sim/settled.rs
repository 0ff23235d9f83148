//! What makes a history replay: after each step of a task all that it asked of the store is done, and the wall clock
//! follows the paused time of the runtime.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use offshoot::domain::attempt::Lease;
use offshoot::domain::id::JobNumber;
use offshoot::store::{AnswerKey, KeyedAnswer, Store, StoreError};

use super::world::World;

/// A task of the server inside the simulation.
pub(super) struct Settled<F> {
    world: Arc<World>,
    inner: Pin<Box<F>>,
}

impl<F: Future> Settled<F> {
    pub(super) fn new(world: &Arc<World>, inner: F) -> Self {
        Self { world: world.clone(), inner: Box::pin(inner) }
    }
}

impl<F: Future> Future for Settled<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        self.world.tick();
        let store = self.world.store();
        let stopped = store.as_ref().map(Stopped::begin);
        let polled = self.inner.as_mut().poll(context);
        drop(stopped);
        if let Some(store) = store {
            settle(&store);
        }
        self.world.take_what_is_committed();
        polled
    }
}

/// Nothing of what is asked of the store is done while this lives: else it would be chance whether an answer comes within
/// the step that asked for it.
struct Stopped {
    writer: mpsc::Sender<()>,
    readers: mpsc::Sender<()>,
}

impl Stopped {
    fn begin(store: &Store) -> Self {
        let (writer, go) = mpsc::channel::<()>();
        let render = Box::new(move |(): &()| {
            let _ = go.recv();
            // taken back, and without the message of a panic that somebody should look at
            std::panic::resume_unwind(Box::new("on purpose"))
        });
        let asked =
            pin!(tokio::task::unconstrained(store.keep_answer(KeyedAnswer { key: nobodys_key(), render })));
        let polled = asked.poll(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_pending());
        let (readers, go) = mpsc::channel::<()>();
        drop(tokio::task::spawn_blocking(move || go.recv()));
        Self { writer, readers }
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = (self.writer.send(()), self.readers.send(()));
    }
}

fn nobodys_key() -> AnswerKey {
    let nobody = String::new;
    AnswerKey { token: nobody(), method: nobody(), path: nobody(), key: nobody(), body_hash: nobody() }
}

/// Waits until the store's writer and its readers have done all that they were asked so far.
fn settle(store: &Store) {
    // a step of a job that does not exist: refused, and nothing else
    let nobody = Lease { job: JobNumber(-1), attempt: 0, epoch: 0 };
    let refused = finish(store.begin_step(nobody, "none"));
    assert!(matches!(refused, Err(StoreError::LeaseLost(_))), "{refused:?}");
    // the runtime has one thread for blocking work, which it takes in order
    let (done, all_done) = mpsc::channel();
    drop(tokio::task::spawn_blocking(move || done.send(())));
    all_done.recv().unwrap();
}

/// Runs a future to its end at once, while no task of the server runs.
pub(super) fn finish<T>(future: impl Future<Output = T>) -> T {
    struct Awake(Thread);
    impl Wake for Awake {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Awake(std::thread::current())));
    let mut future = pin!(tokio::task::unconstrained(future));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}
