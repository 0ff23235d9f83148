//! Long work that belongs to nobody: it goes on when the caller who began it leaves, and a second caller joins it.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::error::AppError;

/// What an operation comes to, shared by all who wait.
pub(super) type Shared<T> = Result<T, Arc<AppError>>;

type Running<T> = HashMap<String, watch::Receiver<Option<Shared<T>>>>;

/// The operations under way.
#[derive(Default)]
pub(super) struct Operations {
    clones: Arc<Mutex<Running<ClonedClient>>>,
    set: Mutex<JoinSet<()>>,
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
            None => Err(AppError::Internal("an operation was abandoned".to_owned())),
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
        T: Send + Sync + 'static,
        F: Future<Output = Result<T, AppError>> + Send + 'static,
    {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        self.spawn(async move {
            // nobody there any more: the work is done all the same
            let _ = sender.send(work.await);
        });
        receiver.await.unwrap_or_else(|_| Err(AppError::Internal("an operation was abandoned".to_owned())))
    }

    /// Ends everything under way and waits until it is gone.
    pub(super) async fn stop(&self) {
        let mut set = std::mem::take(&mut *self.set.lock().unwrap_or_else(PoisonError::into_inner));
        set.shutdown().await;
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
        set.spawn(work);
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
