//! The files of the attempts: where each one's steps keep their logs, and the transcript that people read.
//!
//! `<data_dir>/attempts/<job>/<attempt>/<step>/…` belongs to the step's shim; `…/<attempt>/transcript` is written here,
//! only behind the length that the database vouches for.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::view::IngestedMessage;
use crate::domain::attachment::AttachedFile;
use crate::domain::id::JobNumber;

/// Shown where the transcript is shorter than its rows: the rows survived a power cut that the text did not.
const LOST: &str = "(this output was lost in a power failure)";

/// Where attempts keep their files.
#[derive(Clone, Debug)]
pub struct Logs {
    root: PathBuf,
}

impl Logs {
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// The directory of all attempts of a job.
    #[must_use]
    pub fn job_dir(&self, job: JobNumber) -> PathBuf {
        self.root.join(job.0.to_string())
    }

    /// Every job that has files, in no order.
    #[must_use]
    pub fn jobs(&self) -> Vec<JobNumber> {
        numbers_below(&self.root).map(JobNumber).collect()
    }

    pub(super) fn highest_job(&self) -> Option<JobNumber> {
        numbers_below(&self.root).max().map(JobNumber)
    }

    pub(super) fn newest_attempt(&self, job: JobNumber) -> Option<u32> {
        numbers_below(&self.job_dir(job)).filter_map(|number| u32::try_from(number).ok()).max()
    }

    /// The attempts of a job that have files, with the names of their steps.
    #[must_use]
    pub fn steps_of(&self, job: JobNumber) -> Vec<(u32, String)> {
        let attempts = numbers_below(&self.job_dir(job)).filter_map(|number| u32::try_from(number).ok());
        attempts
            .flat_map(|attempt| {
                let dirs = entries(&self.attempt_dir(job, attempt)).filter(|entry| entry.path().is_dir());
                dirs.filter_map(|entry| entry.file_name().into_string().ok())
                    .map(|step| (attempt, step))
                    .collect::<Vec<_>>()
            })
            .collect()
    }

    /// Makes the directory of a step, with every name on the way on disk: a power cut must not take what a step has spent
    /// out of sight while its row stays.
    ///
    /// # Errors
    /// What the file system said.
    pub fn make_step_dir(&self, job: JobNumber, attempt: u32, step: &str) -> io::Result<PathBuf> {
        let dir = self.step_dir(job, attempt, step);
        let above = [self.root.clone(), self.job_dir(job), self.attempt_dir(job, attempt), dir.clone()];
        for made in above {
            match std::fs::DirBuilder::new().mode(0o700).create(&made) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                other => other?,
            }
            File::open(made.parent().unwrap_or(Path::new("/")))?.sync_all()?;
        }
        Ok(dir)
    }

    /// The directory of one step; its name comes from us (`agent-1`), never from a caller.
    #[must_use]
    pub fn step_dir(&self, job: JobNumber, attempt: u32, step: &str) -> PathBuf {
        self.attempt_dir(job, attempt).join(step)
    }

    /// Where the files that came with a job are laid out.
    #[must_use]
    pub fn attachments_dir(&self, job: JobNumber) -> PathBuf {
        self.job_dir(job).join("attachments")
    }

    /// Writes the files that came with a job into their directory, which must not be there; gives their paths.
    ///
    /// # Errors
    /// What the file system said.
    pub fn lay_out_attachments(&self, job: JobNumber, files: &[AttachedFile]) -> io::Result<Vec<PathBuf>> {
        let dir = self.attachments_dir(job);
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(self.job_dir(job))?;
        std::fs::DirBuilder::new().mode(0o700).create(&dir)?;
        let write = |file: &AttachedFile| {
            let path = dir.join(&file.name);
            OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&path)?
                .write_all(&file.content)?;
            Ok(path)
        };
        files.iter().map(write).collect()
    }

    #[must_use]
    pub fn attempt_dir(&self, job: JobNumber, attempt: u32) -> PathBuf {
        self.job_dir(job).join(attempt.to_string())
    }

    /// Bytes of a transcript from `offset` on, at most so many; fewer where the file ends, none where there is no file.
    ///
    /// # Errors
    /// What the file system said.
    pub async fn read_transcript(
        &self,
        job: JobNumber,
        attempt: u32,
        offset: u64,
        bytes: u64,
    ) -> io::Result<Vec<u8>> {
        let path = transcript_path(&self.attempt_dir(job, attempt));
        let read = tokio::task::spawn_blocking(move || {
            let mut piece = vec![0; usize::try_from(bytes).map_err(io::Error::other)?];
            let file = match File::open(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
                file => file?,
            };
            let mut filled = 0;
            while filled < piece.len() {
                match file.read_at(&mut piece[filled..], offset + filled as u64) {
                    Ok(0) => break,
                    Ok(count) => filled += count,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            piece.truncate(filled);
            Ok(piece)
        });
        read.await.map_err(io::Error::other)?
    }

    /// A reader of the transcripts of one job; it keeps files open between reads.
    pub(super) fn transcripts(&self, job: JobNumber) -> Transcripts {
        Transcripts { dir: self.job_dir(job), open: HashMap::new() }
    }

    /// Writes the texts from `offset` on, each on lines of its own; what an interrupted write left behind that place is cut off first.
    pub(super) fn append_transcript(
        &self,
        job: JobNumber,
        attempt: u32,
        offset: u64,
        messages: &[IngestedMessage],
    ) -> io::Result<()> {
        let dir = self.attempt_dir(job, attempt);
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
        let mut file =
            OpenOptions::new().create(true).truncate(false).write(true).open(transcript_path(&dir))?;
        file.set_len(offset)?;
        io::Seek::seek(&mut file, io::SeekFrom::Start(offset))?;
        let listed = || messages.iter().filter(|message| message.is_listed);
        let size = listed().map(|message| message.text.len() + 1).sum();
        let mut text = Vec::with_capacity(size);
        for message in listed() {
            text.extend_from_slice(message.text.as_bytes());
            text.extend_from_slice(separator(&message.text).as_bytes());
        }
        file.write_all(&text)
    }
}

/// What follows a message in the transcript, which is read as a whole too: each message begins a line there.
pub(super) fn separator(text: &str) -> &'static str {
    if text.ends_with('\n') { "" } else { "\n" }
}

fn entries(dir: &Path) -> impl Iterator<Item = std::fs::DirEntry> + use<> {
    std::fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok)
}

pub(super) fn numbers_below(dir: &Path) -> impl Iterator<Item = i64> + use<> {
    entries(dir).filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn transcript_path(attempt_dir: &Path) -> PathBuf {
    attempt_dir.join("transcript")
}

pub(super) struct Transcripts {
    dir: PathBuf,
    open: HashMap<u32, Option<File>>,
}

impl Transcripts {
    pub(super) fn read(&mut self, attempt: u32, offset: u64, bytes: u64) -> io::Result<String> {
        let dir = &self.dir;
        let file = match self.open.entry(attempt) {
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(entry) => {
                match File::open(transcript_path(&dir.join(attempt.to_string()))) {
                    Ok(file) => entry.insert(Some(file)),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => entry.insert(None),
                    Err(error) => return Err(error),
                }
            }
        };
        let Some(file) = file else { return Ok(LOST.to_owned()) };
        let mut buffer = vec![0; usize::try_from(bytes).map_err(io::Error::other)?];
        match file.read_exact_at(&mut buffer, offset) {
            // a file that was cut short and written to again has a hole there
            Ok(()) if bytes > 0 && buffer.iter().all(|byte| *byte == 0) => Ok(LOST.to_owned()),
            Ok(()) => Ok(String::from_utf8_lossy(&buffer).into_owned()),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(LOST.to_owned()),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::MessageKind;
    use crate::domain::time::Timestamp;

    fn message(text: &str) -> IngestedMessage {
        IngestedMessage::output(MessageKind::Stdout, text.to_owned(), Timestamp::from_ms(0))
    }

    #[test]
    fn what_an_interrupted_write_left_is_cut_off() {
        let dir = tempfile::tempdir().unwrap();
        let logs = Logs::new(dir.path().to_owned());
        let job = JobNumber(7);
        logs.append_transcript(job, 1, 0, &[message("one"), message("two")]).unwrap();
        logs.append_transcript(job, 1, 4, &[message("TWO")]).unwrap();
        let mut reader = logs.transcripts(job);
        assert_eq!(reader.read(1, 0, 3).unwrap(), "one");
        assert_eq!(reader.read(1, 4, 3).unwrap(), "TWO");
        assert_eq!(reader.read(1, 8, 3).unwrap(), LOST);
        assert_eq!(reader.read(2, 0, 3).unwrap(), LOST);
    }

    #[test]
    fn read_as_a_whole_each_message_begins_a_line() {
        let dir = tempfile::tempdir().unwrap();
        let logs = Logs::new(dir.path().to_owned());
        let job = JobNumber(7);
        logs.append_transcript(job, 1, 0, &[message("one"), message("two\n"), message("three")]).unwrap();
        let text = std::fs::read_to_string(transcript_path(&logs.attempt_dir(job, 1))).unwrap();
        assert_eq!(text, "one\ntwo\nthree\n");
    }
}
