//! Files that a job has kept.

use super::App;
use super::caller::Caller;
use super::error::AppError;

impl App {
    /// Opens a file that the job has kept, by its path in the worktree; gives its length too. The path only chooses among those
    /// that are recorded, and none of it becomes part of a path of this machine.
    ///
    /// # Errors
    /// [`AppError::NotFound`] for the job or the file, also where it is past its time.
    pub async fn open_artifact(
        &self,
        caller: &Caller,
        job: &str,
        path: &str,
    ) -> Result<(tokio::fs::File, u64), AppError> {
        let job = self.view(caller, job).await?.job;
        let not_found = AppError::NotFound("artifact");
        let Some(kept) = job.artifacts else { return Err(not_found) };
        let Some((place, bytes)) = kept.find(path) else { return Err(not_found) };
        let file = self.0.store.artifacts().file(job.number, kept.attempt, place);
        let unreadable = |error: std::io::Error| AppError::Internal(format!("a kept file: {error}"));
        let file = match tokio::fs::File::open(file).await {
            // past its time since, or left behind when the database was put back elsewhere
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(not_found),
            file => file.map_err(unreadable)?,
        };
        let found = file.metadata().await.map_err(unreadable)?.len();
        if found != bytes {
            return Err(AppError::Internal(format!("a kept file has {found} bytes instead of {bytes}")));
        }
        Ok((file, bytes))
    }
}
