//! `copyFiles`: what the owner keeps on the server for the worktrees of a client, such as `.env`.

use std::path::Path;

use super::attempt::Line;
use super::file_globs::FileGlobs;
use super::halt::Step;
use crate::git::{CommitId, GitError, Repository};

impl Line<'_> {
    /// Copies what the globs name from `<files_dir>/<org>/<repo>`, and tells what of it is missing or was left out.
    pub(super) async fn copy_files(
        &self,
        repository: &Repository,
        worktree: &Path,
        base: &CommitId,
    ) -> Step<()> {
        let globs = &self.options.copy_files;
        if globs.is_empty() {
            return Ok(());
        }
        let (org, repo) = self.client.repository.key();
        let from = self.tools.settings.files_dir.join(org).join(repo);
        let wishes = FileGlobs::new(globs, self.signals);
        let copied = match repository.copy_in(worktree, base, &from, wishes).await {
            Err(GitError::GivenUp) => return Err(self.given_up()),
            copied => copied?,
        };
        for rule in copied.unmatched {
            let name = &self.client.repository;
            self.warn(&format!("copyFiles: there is no file \"{}\" for {name} in files_dir.", globs[rule]))
                .await?;
        }
        for note in copied.notes {
            self.warn(&format!("copyFiles: {}: {}", note.path, note.text)).await?;
        }
        if !copied.copied.is_empty() {
            self.say(&format!("copied in: {}", copied.copied.join(", "))).await?;
        }
        Ok(())
    }
}
