//! Who is told what becomes of jobs, and trying one of them out.

use super::App;
use super::caller::Caller;
use super::error::AppError;
use crate::domain::id::{EventId, RANDOM_LENGTH};
use crate::domain::token::Scope;
use crate::wire::notice::{Notice, NotifyTarget, NotifyTargets, NotifyTested};

impl App {
    /// # Errors
    /// [`AppError::Forbidden`] for a token that is limited to some clients: targets hear of all.
    pub fn notify_targets(&self, caller: &Caller) -> Result<NotifyTargets, AppError> {
        caller.needs_all_clients()?;
        let targets = self.0.settings.targets.iter().map(|(name, way, on)| NotifyTarget {
            name: name.to_owned(),
            kind: way.to_string(),
            on: on.iter().map(ToString::to_string).collect(),
        });
        Ok(NotifyTargets { targets: targets.collect() })
    }

    /// Tells one target that this is a test, once, and says what came of it. Nothing is stored or repeated.
    ///
    /// # Errors
    /// [`AppError::NotFound`] for a name that is not configured.
    pub async fn test_notify(&self, caller: &Caller, name: &str) -> Result<NotifyTested, AppError> {
        caller.needs(Scope::Operate)?;
        caller.needs_all_clients()?;
        let targets = &self.0.settings.targets;
        let way = targets.way_of(name).ok_or(AppError::NotFound("target of that name in [notify]"))?;
        let event = EventId::from_random(&self.0.clock.random_text(RANDOM_LENGTH));
        let notice = Notice::test(&event, self.now());
        let began_at = tokio::time::Instant::now();
        let tried = targets.tell(name, &notice.to_bytes(), self.0.clock.now_ms() / 1_000).await;
        let duration_ms = u64::try_from(began_at.elapsed().as_millis()).unwrap_or(u64::MAX);
        let (status, error) = tried.told();
        tracing::info!(by = caller.name, target = name, status, "target of notices tried out");
        let accepted = error.is_none();
        Ok(NotifyTested {
            name: name.to_owned(),
            kind: way.to_string(),
            accepted,
            status,
            error,
            duration_ms,
        })
    }
}
