//! A hold on long runs of the git program that outlive this server.
//!
//! A killed server cannot end its child. So the child's standard input is a file of the scratch directory that is locked
//! (`flock(2)`): the lock lasts exactly as long as one of the two lives, whatever becomes of process numbers, and the
//! file says which group to kill and which clone it worked in.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::disk;

/// How the names of such files begin.
pub(super) const STEM: &str = "leash";
/// Looks for the end of a killed program, 20 ms apart: two seconds, as for one's own.
const LOOKS_MAX: u32 = 100;
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Removed when dropped.
#[derive(Debug)]
pub(super) struct Leash {
    path: PathBuf,
    file: File,
    clone: PathBuf,
}

impl Leash {
    pub(super) fn new(scratch: &Path, name: &str, clone: &Path) -> io::Result<Self> {
        let path = scratch.join(name);
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
        let mut leash = Self { path, file, clone: clone.to_owned() };
        leash.file.try_lock()?;
        leash.hold(None)?;
        Ok(leash)
    }

    /// The program reads nothing from it.
    pub(super) fn stdin(&self) -> io::Result<Stdio> {
        Ok(self.file.try_clone()?.into())
    }

    /// Names the group that runs now. A server that is killed just before this leaves one that finishes by itself.
    pub(super) fn hold(&mut self, group: Option<u32>) -> io::Result<()> {
        let text = [
            group.unwrap_or_default().to_string().as_bytes(),
            b"\n",
            self.clone.as_os_str().as_encoded_bytes(),
        ]
        .concat();
        self.file.rewind()?;
        self.file.set_len(0)?;
        self.file.write_all(&text)
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Ends what a killed server has left running, for start. Gives the clones in which it was at work: nobody else was.
pub(super) fn end_strays(scratch: &Path) -> io::Result<Vec<PathBuf>> {
    let mut clones = Vec::new();
    for entry in fs::read_dir(scratch)? {
        let path = entry?.path();
        if !path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(STEM.as_bytes())) {
            continue;
        }
        if let Ok(mut file) = File::open(&path) {
            let mut text = Vec::new();
            file.read_to_end(&mut text)?;
            let end = text.iter().position(|byte| *byte == b'\n').unwrap_or(text.len());
            let clone = text.split_off(end);
            if file.try_lock().is_err() {
                end_group(&file, &String::from_utf8_lossy(&text))?;
            }
            clones.push(PathBuf::from(OsString::from_vec(clone.into_iter().skip(1).collect())));
        }
        disk::remove_any(&path)?;
    }
    Ok(clones)
}

fn end_group(file: &File, number: &str) -> io::Result<()> {
    // 0 and 1 are everybody's
    if let Some(group) = number.parse::<i32>().ok().filter(|group| *group > 1) {
        tracing::warn!(group, "a git program of an earlier server still runs: it is ended");
        let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
    }
    for _ in 0..LOOKS_MAX {
        if file.try_lock().is_ok() {
            return Ok(());
        }
        sleep(LOOK_AGAIN);
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, "a program of an earlier server does not end"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
    use std::process::Command;

    use super::*;

    #[test]
    fn only_what_a_dead_server_left_running_is_ended() {
        let dir = tempfile::tempdir().unwrap();
        let clone = Path::new("/r/o/x.git");
        let mut leash = Leash::new(dir.path(), "leash.1", clone).unwrap();
        let mut command = Command::new("sleep");
        let mut child = command.arg("600").stdin(leash.stdin().unwrap()).process_group(0).spawn().unwrap();
        drop(command);
        leash.hold(Some(child.id())).unwrap();
        // as when its server is gone: the name stays, and only the child has the file open
        fs::rename(dir.path().join("leash.1"), dir.path().join("leash.old")).unwrap();
        drop(leash);
        fs::write(dir.path().join("rules.x"), "").unwrap();
        assert_eq!(end_strays(dir.path()).unwrap(), [clone]);
        assert_eq!(child.wait().unwrap().signal(), Some(9));
        assert!(!dir.path().join("leash.old").exists() && dir.path().join("rules.x").exists());
    }

    #[test]
    fn a_number_that_belongs_to_somebody_else_by_now_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let mut other = Command::new("sleep").arg("600").process_group(0).spawn().unwrap();
        // nobody holds the lock: whoever has the number is not the one that was meant
        fs::write(dir.path().join("leash.2"), format!("{}\n/r/o/x.git", other.id())).unwrap();
        assert_eq!(end_strays(dir.path()).unwrap().len(), 1);
        assert!(other.try_wait().unwrap().is_none() && !dir.path().join("leash.2").exists());
        other.kill().unwrap();
        other.wait().unwrap();
    }
}
