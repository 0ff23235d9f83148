//! Words for an agent: stored before they are answered, and given to its next turn.

use super::App;
use super::caller::Caller;
use super::error::AppError;
use crate::agent::registry::find_agent;
use crate::domain::id::JobRef;
use crate::domain::inward::{Hears, Word};
use crate::domain::job::JobView;
use crate::domain::token::Scope;

impl App {
    /// Tells the agent of a live job something, or interrupts it. What was accepted once is not told twice when it comes
    /// again under its name.
    ///
    /// # Errors
    /// [`AppError::Forbidden`], [`AppError::NotFound`]; [`AppError::NotSupported`] for an agent that hears nothing;
    /// [`AppError::Conflict`] when no turn of the agent follows.
    pub async fn tell_agent(&self, caller: &Caller, job: &str, word: Word) -> Result<(), AppError> {
        caller.needs(Scope::Operate)?;
        let view = self.view(caller, job).await?;
        self.refuse_to_deaf(&view, &word).await?;
        self.0.store.say_to_agent(&JobRef::Number(view.job.number), word, &caller.name).await?;
        Ok(())
    }

    /// The attempt that runs has its own options; the next one has those that hold by then.
    async fn refuse_to_deaf(&self, view: &JobView, word: &Word) -> Result<(), AppError> {
        let job = &view.job;
        let attempts = self.0.store.list_attempts(job.number).await?;
        let running = attempts.last().filter(|attempt| attempt.ended_at.is_none());
        let agent = match running.and_then(|attempt| attempt.options.agent.clone()) {
            Some(agent) => agent,
            None => {
                let client = self.0.store.get_client(&job.client_id).await?;
                self.login(&job.request.own_options(), &client.options)
            }
        };
        let Some(kind) = self.0.settings.agents.get(&agent) else { return Ok(()) };
        if find_agent(*kind).capabilities().hears != Hears::Never {
            return Ok(());
        }
        let (what, instead) = match word {
            Word::Message { .. } => ("message", "cancel the job and retry it with another prompt"),
            Word::Interrupt => ("interrupt", "cancel the job to end it"),
        };
        let detail = format!(
            "{what} is not heard: the agent \"{agent}\" is of the kind {kind}, which has no conversation that could go \
             on; {instead}"
        );
        Err(AppError::not_supported("/type", &detail))
    }
}
