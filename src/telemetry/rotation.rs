//! A log file that never grows beyond its bound, for those whose service manager keeps what it is told for ever.
//!
//! `tracing-appender` turns files by time alone, which bounds nothing.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use tracing_subscriber::fmt::MakeWriter;

use crate::config::LogFileSettings;
use crate::domain::limit::Limit;
use crate::metrics;

/// Takes one line a call. Whatever happens to the disk, writing succeeds for the caller: a line that cannot be written is
/// dropped and counted, and the next one tries again.
#[derive(Clone)]
pub struct LogFile(Arc<Mutex<Open>>);

struct Open {
    settings: LogFileSettings,
    /// `None` while it cannot be opened.
    file: Option<File>,
    bytes: u64,
    /// A part of a line was written before the disk was full: the next one begins anew.
    torn: bool,
}

impl LogFile {
    /// Opens it for appending, mode 0600, and makes its directory (0700) if there is none.
    ///
    /// # Errors
    /// What the file system said: whoever names a log wants to read it.
    pub fn open(settings: LogFileSettings) -> io::Result<Self> {
        if let Some(dir) = settings.path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        }
        let (file, bytes) = open(&settings.path)?;
        Ok(Self(Arc::new(Mutex::new(Open { settings, file: Some(file), bytes, torn: false }))))
    }
}

impl<'a> MakeWriter<'a> for LogFile {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Write for LogFile {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if open.append(line).is_err() {
            metrics::LOG_LINES_LOST.increment([]);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Open {
    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        self.look()?;
        let length = u64::try_from(line.len()).unwrap_or(u64::MAX);
        if self.bytes > 0 && self.bytes.saturating_add(length) > self.settings.bytes_max {
            self.turn()?;
        }
        let Some(file) = &mut self.file else { return Err(io::ErrorKind::NotFound.into()) };
        if self.torn {
            file.write_all(b"\n")?;
            self.bytes += 1;
            self.torn = false;
        }
        let written = file.write_all(line);
        match &written {
            Ok(()) => self.bytes += length,
            Err(_) => {
                self.bytes = file.metadata().map_or(self.bytes, |found| found.len());
                self.torn = true;
            }
        }
        written
    }

    /// Somebody else may have moved the file away, or removed it: what is written then is read by nobody.
    fn look(&mut self) -> io::Result<()> {
        let is_there = self.file.as_ref().is_some_and(|file| {
            let (own, there) = (file.metadata(), self.settings.path.metadata());
            matches!((own, there), (Ok(own), Ok(there)) if (own.dev(), own.ino()) == (there.dev(), there.ino()))
        });
        if !is_there {
            self.file = None;
            let (file, bytes) = open(&self.settings.path)?;
            (self.file, self.bytes, self.torn) = (Some(file), bytes, false);
        }
        Ok(())
    }

    /// `log` becomes `log.1`, that `log.2` and so on; the last one goes. When that fails nothing is written, so that the
    /// bound holds.
    fn turn(&mut self) -> io::Result<()> {
        let numbered = |number| self.settings.numbered(number);
        let kept = self.settings.files_max.saturating_sub(1);
        if kept == 0 {
            std::fs::remove_file(&self.settings.path)?;
        }
        if numbered(kept).exists() {
            metrics::LIMITS.increment([Limit::LogFiles.as_str()]);
        }
        for number in (1..kept).rev().filter(|number| numbered(*number).exists()) {
            std::fs::rename(numbered(number), numbered(number + 1))?;
        }
        if kept > 0 {
            std::fs::rename(&self.settings.path, numbered(1))?;
        }
        self.look()
    }
}

fn open(path: &Path) -> io::Result<(File, u64)> {
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    let bytes = file.metadata()?.len();
    Ok((file, bytes))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::PathBuf;

    use super::*;

    fn numbered(path: &Path, number: u32) -> PathBuf {
        format!("{}.{number}", path.display()).into()
    }

    fn log(dir: &Path, files_max: u32) -> (PathBuf, LogFile) {
        let path = dir.join("logs/server.log");
        let settings = LogFileSettings { path: path.clone(), bytes_max: 100, files_max };
        (path, LogFile::open(settings).unwrap())
    }

    fn say(log: &mut LogFile, numbers: std::ops::Range<u32>) {
        for number in numbers {
            log.write_all(format!("line {number:04}\n").as_bytes()).unwrap();
        }
    }

    #[test]
    fn it_turns_at_its_bound_and_keeps_the_newest() {
        let dir = tempfile::tempdir().unwrap();
        let (path, mut log) = log(dir.path(), 3);
        say(&mut log, 0..95);
        let read = |path: &Path| std::fs::read_to_string(path).unwrap();
        let all = [numbered(&path, 2), numbered(&path, 1), path.clone()].map(|path| read(&path));
        assert!(all.iter().all(|text| text.len() <= 100));
        let lines: Vec<_> = all.iter().flat_map(|text| text.lines()).map(str::to_owned).collect();
        let newest: Vec<_> = (70..95).map(|number| format!("line {number:04}")).collect();
        assert_eq!(lines, newest);
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 3);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn it_goes_on_where_it_was_and_one_file_is_enough() {
        let dir = tempfile::tempdir().unwrap();
        say(&mut log(dir.path(), 1).1, 0..7);
        let (path, mut log) = log(dir.path(), 1);
        say(&mut log, 7..12);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "line 0010\nline 0011\n");
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_was_moved_away_is_begun_anew() {
        let dir = tempfile::tempdir().unwrap();
        let (path, mut log) = log(dir.path(), 2);
        say(&mut log, 0..1);
        std::fs::remove_file(&path).unwrap();
        say(&mut log, 1..2);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "line 0001\n");
    }

    #[test]
    fn a_directory_that_cannot_be_written_keeps_the_bound_and_says_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (path, mut log) = log(dir.path(), 2);
        // what stands in the way of the turn cannot be renamed over
        std::fs::create_dir_all(numbered(&path, 1).join("x")).unwrap();
        say(&mut log, 0..50);
        assert_eq!(path.metadata().unwrap().len(), 100);
        std::fs::remove_dir_all(numbered(&path, 1)).unwrap();
        say(&mut log, 50..51);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "line 0050\n");
    }

    // the device is Linux's
    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_loses_lines_and_nothing_else() {
        let settings = LogFileSettings { path: "/dev/full".into(), bytes_max: 100, files_max: 2 };
        let mut log = LogFile::open(settings).unwrap();
        say(&mut log, 0..3);
    }
}
