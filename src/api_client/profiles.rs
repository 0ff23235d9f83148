//! The calls about profiles.

use reqwest::Method;

use super::{ApiClient, ApiError};
use crate::wire::profile::{
    Profile, ProfileDeleted, ProfileList, ProfilePatchRequest, ProfileRequest, ProfileSaved,
};

impl ApiClient {
    /// All profiles, by name.
    ///
    /// # Errors
    /// When the token may not.
    pub async fn list_profiles(&self) -> Result<Vec<Profile>, ApiError> {
        let list: ProfileList = self.call(Method::GET, &["profiles"], &[]).answer().await?;
        Ok(list.profiles)
    }

    /// One profile.
    ///
    /// # Errors
    /// When there is none of that name, or two.
    pub async fn get_profile(&self, name: &str) -> Result<Profile, ApiError> {
        self.call(Method::GET, &["profiles", name], &[]).answer().await
    }

    /// Makes a profile.
    ///
    /// # Errors
    /// [`ApiError::Conflict`] when the name is taken; when the template or an option breaks a rule.
    pub async fn create_profile(
        &self,
        request: &ProfileRequest,
        key: &str,
    ) -> Result<ProfileSaved, ApiError> {
        self.call(Method::POST, &["profiles"], &[]).json(request).idempotency_key(key).answer().await
    }

    /// Changes a profile; what is not said stays.
    ///
    /// # Errors
    /// When there is none of that name in the database, or a rule is broken.
    pub async fn update_profile(
        &self,
        name: &str,
        request: &ProfilePatchRequest,
    ) -> Result<ProfileSaved, ApiError> {
        self.call(Method::PATCH, &["profiles", name], &[]).json(request).answer().await
    }

    /// Deletes a profile.
    ///
    /// # Errors
    /// When there is none of that name in the database.
    pub async fn delete_profile(&self, name: &str) -> Result<ProfileDeleted, ApiError> {
        self.call(Method::DELETE, &["profiles", name], &[]).answer().await
    }
}
