//! Long work that belongs to nobody: it goes on when the caller who began it leaves, and a second caller joins it.

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::error::AppError;
use crate::store::Call;

/// What an operation comes to, shared by all who wait.
pub(super) type Shared<T> = Result<T, Arc<AppError>>;

type Running<T> = HashMap<String, watch::Receiver<Option<Shared<T>>>>;

/// The operations under way.
#[derive(Default)]
pub(super) struct Operations {
    clones: Arc<Mutex<Running<ClonedClient>>>,
    set: Mutex<JoinSet<()>>,
    /// Something was ended before it was done, because the server stops.
    stopped: AtomicBool,
}

/// The result of a registration: the client as it stands after its clone.
pub(super) type ClonedClient = crate::domain::client::Client;

impl Operations {
    /// Joins the clone operation under `key`, or begins it with `begin`. Resolves when the operation is over.
    pub(super) async fn clone_once<F>(
        &self,
        key: &str,
        begin: impl FnOnce() -> F,
    ) -> Result<ClonedClient, AppError>
    where
        F: Future<Output = Result<ClonedClient, AppError>> + Send + 'static,
    {
        let mut result = self.join_or_begin(key, begin);
        let shared = match result.wait_for(Option::is_some).await {
            Ok(value) => value.clone(),
            // the sender is gone without a result: the server is stopping, or the operation panicked
            Err(_) => None,
        };
        match shared {
            Some(Ok(client)) => Ok(client),
            Some(Err(error)) => Err(AppError::Shared(error)),
            None => Err(self.abandoned()),
        }
    }

    /// As [`Self::clone_once`], without waiting for the result.
    pub(super) fn begin_clone<F>(&self, key: &str, begin: impl FnOnce() -> F)
    where
        F: Future<Output = Result<ClonedClient, AppError>> + Send + 'static,
    {
        drop(self.join_or_begin(key, begin));
    }

    /// Runs `work` to its end whether or not the caller stays.
    pub(super) async fn detached<T, F>(&self, work: F) -> Result<T, AppError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, AppError>> + Send + 'static,
    {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        self.spawn(async move {
            // nobody there any more: the work is done all the same
            let _ = sender.send(work.await);
        });
        receiver.await.unwrap_or_else(|_| Err(self.abandoned()))
    }

    /// Runs `work` to its end; nobody waits for it.
    pub(super) fn begin(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.spawn(work);
    }

    /// Gives what is under way at most `limit`, ends the rest and waits until it is gone.
    pub(super) async fn stop(&self, limit: Duration) {
        let mut set = std::mem::take(&mut *self.set.lock().unwrap_or_else(PoisonError::into_inner));
        let finished = timeout(limit, async { while set.join_next().await.is_some() {} }).await;
        if finished.is_err() {
            self.stopped.store(true, Ordering::SeqCst);
            set.shutdown().await;
        }
    }

    /// What is told to those who waited for something that was ended.
    fn abandoned(&self) -> AppError {
        match self.stopped.load(Ordering::SeqCst) {
            true => AppError::Draining,
            false => AppError::Internal("an operation was abandoned".to_owned()),
        }
    }

    fn join_or_begin<F>(
        &self,
        key: &str,
        begin: impl FnOnce() -> F,
    ) -> watch::Receiver<Option<Shared<ClonedClient>>>
    where
        F: Future<Output = Result<ClonedClient, AppError>> + Send + 'static,
    {
        let mut clones = self.clones.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = clones.get(key) {
            return running.clone();
        }
        let (sender, receiver) = watch::channel(None);
        clones.insert(key.to_owned(), receiver.clone());
        let entry = Entry { key: key.to_owned(), clones: Arc::clone(&self.clones) };
        let work = begin();
        self.spawn(async move {
            let result = work.await.map_err(Arc::new);
            // gone from the table first: who comes after the result begins anew
            drop(entry);
            let _ = sender.send(Some(result));
        });
        receiver
    }

    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let mut set = self.set.lock().unwrap_or_else(PoisonError::into_inner);
        while set.try_join_next().is_some() {}
        // what is written for a call is written down as such, wherever it is carried out
        match Call::current() {
            Some(call) => set.spawn(async move { call.around(work).await }),
            None => set.spawn(work),
        };
    }
}

/// Takes the operation out of the table, also when it is aborted or panics.
struct Entry {
    key: String,
    clones: Arc<Mutex<Running<ClonedClient>>>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.clones.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn what_is_under_way_gets_its_time() {
        let operations = Arc::new(Operations::default());
        let (begun, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let work = {
            let (begun, go) = (Arc::clone(&begun), Arc::clone(&go));
            async move {
                begun.notify_one();
                go.notified().await;
                Ok(7)
            }
        };
        let caller = operations.detached(work);
        let stop = async {
            begun.notified().await;
            go.notify_one();
            operations.stop(Duration::from_secs(30)).await;
        };
        let (result, ()) = tokio::join!(caller, stop);
        assert_eq!(result.unwrap(), 7);
    }

    #[tokio::test]
    async fn who_waited_for_what_was_ended_hears_that_the_server_stops() {
        let operations = Operations::default();
        let begun = Arc::new(Notify::new());
        let work = {
            let begun = Arc::clone(&begun);
            async move {
                begun.notify_one();
                std::future::pending::<()>().await;
                Ok(())
            }
        };
        let caller = operations.detached(work);
        let stop = async {
            begun.notified().await;
            operations.stop(Duration::ZERO).await;
        };
        let (result, ()) = tokio::join!(caller, stop);
        assert!(matches!(result, Err(AppError::Draining)), "{result:?}");
    }
}
