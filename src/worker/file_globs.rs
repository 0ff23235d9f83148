//! Globs of the owner, asked about files one after another for as long as the job wants to know.

use tokio_util::sync::CancellationToken;

use super::Signals;
use crate::domain::glob::Globs;
use crate::git::Wishes;

pub(super) struct FileGlobs {
    globs: Globs,
    /// A walk over a million files is not worth waiting for when the job is cancelled or the server leaves.
    ends: [CancellationToken; 2],
}

impl FileGlobs {
    pub(super) fn new(globs: &[String], signals: &Signals) -> Self {
        Self { globs: Globs::new(globs), ends: [signals.cancel.clone(), signals.shutdown.clone()] }
    }
}

impl Wishes for FileGlobs {
    fn count(&self) -> usize {
        self.globs.count()
    }

    fn met_by(&mut self, path: &[u8]) -> Vec<usize> {
        self.globs.fitting(path)
    }

    fn may_be_met_below(&mut self, dir: &[u8]) -> bool {
        self.globs.may_fit_below(dir)
    }

    fn are_given_up(&self) -> bool {
        self.ends.iter().any(CancellationToken::is_cancelled)
    }
}
