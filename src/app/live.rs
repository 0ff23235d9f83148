//! Words for an agent that runs.

use super::App;
use super::caller::{Caller, Scope};
use super::error::AppError;
use crate::wire::live::Inward;

impl App {
    /// Tells the running agent of a job something, or interrupts it. No agent takes either yet.
    ///
    /// # Errors
    /// [`AppError::Forbidden`], [`AppError::NotFound`], [`AppError::NotSupported`].
    pub async fn tell_agent(&self, caller: &Caller, job: &str, word: &Inward) -> Result<(), AppError> {
        caller.needs(Scope::Operate)?;
        self.view(job).await?;
        Err(AppError::not_supported(
            "/type",
            match word {
                Inward::Message { .. } => {
                    "message is not supported by this version: nothing can be said to a running agent; cancel the job \
                     and retry it with another prompt"
                }
                Inward::Interrupt => {
                    "interrupt is not supported by this version: a running agent can be ended by cancelling its job"
                }
            },
        ))
    }
}
