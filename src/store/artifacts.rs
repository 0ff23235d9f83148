//! The files that jobs have kept: `<data_dir>/artifacts/<job>/<attempt>/<place>`, where the place is that in the list which
//! the job's row has. What the row does not name is half a copy, or past its time.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use super::logs::numbers_below;
use crate::domain::id::JobNumber;
use crate::failpoint::{self, Edge};

/// Where kept files are.
#[derive(Clone, Debug)]
pub struct ArtifactFiles {
    root: PathBuf,
}

impl ArtifactFiles {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// Every job that has kept files, in no order.
    #[must_use]
    pub fn jobs(&self) -> Vec<JobNumber> {
        numbers_below(&self.root).map(JobNumber).collect()
    }

    pub(super) fn highest_job(&self) -> Option<JobNumber> {
        numbers_below(&self.root).max().map(JobNumber)
    }

    /// The attempts of a job of which there are files, be they half copies.
    #[must_use]
    pub fn attempts(&self, job: JobNumber) -> Vec<u32> {
        numbers_below(&self.job_dir(job)).filter_map(|number| u32::try_from(number).ok()).collect()
    }

    #[must_use]
    pub fn job_dir(&self, job: JobNumber) -> PathBuf {
        self.root.join(job.0.to_string())
    }

    #[must_use]
    pub fn attempt_dir(&self, job: JobNumber, attempt: u32) -> PathBuf {
        self.job_dir(job).join(attempt.to_string())
    }

    /// The file at this place of the job's list.
    #[must_use]
    pub fn file(&self, job: JobNumber, attempt: u32, place: usize) -> PathBuf {
        self.attempt_dir(job, attempt).join(place.to_string())
    }

    /// Makes the directory of a job, durably, for those of its attempts.
    ///
    /// # Errors
    /// What the file system said.
    pub fn make_job_dir(&self, job: JobNumber) -> io::Result<()> {
        for made in [self.root.clone(), self.job_dir(job)] {
            make(&made)?;
        }
        Ok(())
    }

    /// Gives the `count` files that one job has kept in an attempt to an attempt of another too, which has none yet. They
    /// take no room a second time, and either job may be forgotten before the other.
    ///
    /// # Errors
    /// What the file system said.
    pub fn take_over(&self, from: (JobNumber, u32), to: (JobNumber, u32), count: usize) -> io::Result<()> {
        self.make_job_dir(to.0)?;
        let dir = self.attempt_dir(to.0, to.1);
        failpoint::at(Edge::TakeOverArtifacts, || {
            make(&dir)?;
            for place in 0..count {
                match std::fs::hard_link(self.file(from.0, from.1, place), dir.join(place.to_string())) {
                    // by a server that was killed over it
                    Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                    linked => linked?,
                }
            }
            File::open(&dir)?.sync_all()
        })
    }
}

fn make(dir: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    File::open(dir.parent().unwrap_or(Path::new("/")))?.sync_all()
}
