//! The calls about named tokens, and what else lets somebody in.

use reqwest::Method;

use super::{ApiClient, ApiError};
use crate::wire::pass::Pass;
use crate::wire::token::{Token, TokenCreated, TokenList, TokenRequest};

impl ApiClient {
    /// All tokens, the newest first.
    ///
    /// # Errors
    /// When the token may not.
    pub async fn list_tokens(&self) -> Result<Vec<Token>, ApiError> {
        let list: TokenList = self.call(Method::GET, &["tokens"], &[]).answer().await?;
        Ok(list.tokens)
    }

    /// Makes a token.
    ///
    /// # Errors
    /// [`ApiError::Conflict`] when the name is taken; when a rule is broken.
    pub async fn create_token(&self, request: &TokenRequest) -> Result<TokenCreated, ApiError> {
        // without a key: the answer to a repeat shows no token
        self.call(Method::POST, &["tokens"], &[]).json(request).answer().await
    }

    /// Makes a link that opens the dashboard, once.
    ///
    /// # Errors
    /// When it cannot be asked.
    pub async fn create_pass(&self) -> Result<Pass, ApiError> {
        // without a key: a repeat gets another one
        self.call(Method::POST, &["passes"], &[]).json(&serde_json::json!({})).answer().await
    }

    /// Revokes a token.
    ///
    /// # Errors
    /// When there is none of that id.
    pub async fn revoke_token(&self, id: &str) -> Result<Token, ApiError> {
        self.call(Method::DELETE, &["tokens", id], &[]).answer().await
    }
}
