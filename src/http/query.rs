//! Query parameters, read leniently by name: unknown ones are ignored, wrong types are 400.

use std::collections::HashMap;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::problem::ApiError;
use crate::app::AppError;

pub(super) struct Query(HashMap<String, String>);

impl Query {
    /// `None` when absent or empty.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.0.get(name).filter(|text| !text.is_empty()).cloned()
    }

    pub(super) fn integer(&self, name: &str) -> Result<Option<i64>, ApiError> {
        let Some(text) = self.text(name) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| malformed(name, "a whole number"))
    }

    /// A place in a list, counted from 0; the beginning when absent.
    pub(super) fn position(&self, name: &str) -> Result<usize, ApiError> {
        let Some(text) = self.text(name) else { return Ok(0) };
        text.parse().map_err(|_| malformed(name, "a whole number from 0"))
    }

    pub(super) fn flag(&self, name: &str) -> Result<bool, ApiError> {
        match self.text(name).as_deref() {
            None | Some("false" | "0") => Ok(false),
            Some("true" | "1") => Ok(true),
            Some(_) => Err(malformed(name, "true or false")),
        }
    }
}

fn malformed(name: &str, wanted: &str) -> ApiError {
    AppError::Malformed(format!("the query parameter {name} must be {wanted}")).into()
}

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        let query = parts.uri.query().unwrap_or_default();
        let mut parameters = HashMap::new();
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()).into_owned() {
            if parameters.contains_key(&name) {
                // which one was meant is a guess that callers and proxies make differently
                let detail = "a query parameter may be given once only".to_owned();
                return Err(AppError::Malformed(detail).into());
            }
            parameters.insert(name, value);
        }
        Ok(Self(parameters))
    }
}
