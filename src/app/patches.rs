//! Changes of what is there, made of what was read: of two at the same moment both are made.

use super::error::{AppError, CHANGED};

/// How often a change is made anew because another one came first: each time somebody else has got what he wanted.
const TRIES_MAX: u32 = 100;

/// Makes a change of what it reads itself, anew where somebody else has changed that meanwhile.
pub(super) async fn until_unchanged<T, F: Future<Output = Result<T, AppError>>>(
    change: impl Fn() -> F,
) -> Result<T, AppError> {
    for _ in 1..TRIES_MAX {
        match change().await {
            Err(AppError::Conflict { code: CHANGED, .. }) => {}
            done => return done,
        }
    }
    change().await
}
