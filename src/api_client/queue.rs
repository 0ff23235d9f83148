//! The calls about the queue and the server itself.

use reqwest::Method;

use super::{ApiClient, ApiError};
use crate::wire::health::Health;
use crate::wire::queue::Queue;
use crate::wire::request::{PauseRequest, TryNowRequest};

impl ApiClient {
    /// How the server is.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub async fn health(&self) -> Result<Health, ApiError> {
        self.call(Method::GET, &["health"], &[]).answer().await
    }

    /// What runs, and the first 200 of what waits.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub async fn queue(&self) -> Result<Queue, ApiError> {
        self.call(Method::GET, &["queue"], &[]).answer().await
    }

    /// Starts no further jobs. Doing it twice is fine.
    ///
    /// # Errors
    /// When the token may not.
    pub async fn pause_queue(&self, reason: Option<String>) -> Result<Queue, ApiError> {
        self.call(Method::POST, &["queue", "pause"], &[]).json(&PauseRequest { reason }).answer().await
    }

    /// Starts jobs again. Doing it twice is fine.
    ///
    /// # Errors
    /// When the token may not.
    pub async fn resume_queue(&self) -> Result<Queue, ApiError> {
        self.call(Method::POST, &["queue", "resume"], &[]).answer().await
    }

    /// Sends a job of each held login, or of this one, out as a probe.
    ///
    /// # Errors
    /// When the token may not, or the login is not configured.
    pub async fn try_now(&self, login: Option<String>) -> Result<Queue, ApiError> {
        self.call(Method::POST, &["queue", "try-now"], &[]).json(&TryNowRequest { login }).answer().await
    }
}
