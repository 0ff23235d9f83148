//! The calls about callbacks.

use std::time::Duration;

use reqwest::Method;

use super::{ApiClient, ApiError};
use crate::wire::delivery::{
    Delivery, DeliveryPage, DeliveryView, ResumeRequest, Resumed, SuspendedUrls, TestRequest, Tested,
};

/// A receiver may take half a minute for its answer.
const TEST_LIMIT: Duration = Duration::from_secs(40);

impl ApiClient {
    /// Deliveries of all jobs, newest first; `state` as in the answers, separated by commas.
    ///
    /// # Errors
    /// For a state that does not exist.
    pub async fn list_all_deliveries(
        &self,
        state: Option<String>,
        url: Option<String>,
        limit: Option<u32>,
        after: Option<String>,
    ) -> Result<DeliveryPage, ApiError> {
        let limit = limit.map(|limit| limit.to_string());
        let pairs = [("state", state), ("url", url), ("limit", limit), ("after", after)];
        let pairs: Vec<_> =
            pairs.into_iter().filter_map(|(name, value)| value.map(|value| (name, value))).collect();
        self.call(Method::GET, &["deliveries"], &pairs).answer().await
    }

    /// # Errors
    /// When there is no such delivery.
    pub async fn delivery(&self, id: &str) -> Result<DeliveryView, ApiError> {
        self.call(Method::GET, &["deliveries", id], &[]).answer().await
    }

    /// # Errors
    /// When there is no such delivery.
    pub async fn redeliver(&self, id: &str) -> Result<Delivery, ApiError> {
        self.call(Method::POST, &["deliveries", id, "redeliver"], &[]).answer().await
    }

    /// # Errors
    /// When it cannot be asked.
    pub async fn suspended_urls(&self) -> Result<SuspendedUrls, ApiError> {
        self.call(Method::GET, &["webhooks", "suspended"], &[]).answer().await
    }

    /// # Errors
    /// When the URL is not suspended.
    pub async fn resume_webhook(&self, url: String) -> Result<Resumed, ApiError> {
        self.call(Method::POST, &["webhooks", "resume"], &[]).json(&ResumeRequest { url }).answer().await
    }

    /// # Errors
    /// When the URL may not be called.
    pub async fn test_webhook(&self, request: &TestRequest) -> Result<Tested, ApiError> {
        let call = self.call(Method::POST, &["webhooks", "test"], &[]);
        call.json(request).patience(TEST_LIMIT).answer().await
    }
}
