//! The calls about who is told.

use std::time::Duration;

use reqwest::Method;

use super::{ApiClient, ApiError};
use crate::wire::notice::{NotifyTargets, NotifyTested};

/// A receiver or a program may take half a minute.
const TEST_LIMIT: Duration = Duration::from_secs(40);

impl ApiClient {
    /// # Errors
    /// When it cannot be asked.
    pub async fn notify_targets(&self) -> Result<NotifyTargets, ApiError> {
        self.call(Method::GET, &["notify"], &[]).answer().await
    }

    /// # Errors
    /// When there is no target of that name.
    pub async fn test_notify(&self, name: &str) -> Result<NotifyTested, ApiError> {
        self.call(Method::POST, &["notify", name, "test"], &[]).patience(TEST_LIMIT).answer().await
    }
}
