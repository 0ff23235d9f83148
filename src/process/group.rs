//! The process group of a short command that must not outlive whoever waits for it.

use std::io;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::process::{Child, Command};

/// A process group that ends with whoever asks: when there is an answer, when there is none in time, and when nobody waits any more.
pub struct OwnGroup(Option<Pid>);

impl OwnGroup {
    /// Starts `command` in a group of its own, in a directory that nobody will want to remove.
    ///
    /// # Errors
    /// The system cannot start it.
    pub fn spawn(command: &mut Command) -> io::Result<(Child, Self)> {
        let child = command.current_dir("/").kill_on_drop(true).process_group(0).spawn()?;
        let leader = child.id().and_then(|id| i32::try_from(id).ok());
        Ok((child, Self(leader.map(Pid::from_raw))))
    }
}

impl Drop for OwnGroup {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // nobody is left in it, as a rule
            let _ = killpg(group, Signal::SIGKILL);
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    /// Whether a process of that number is there and has not ended.
    #[cfg(target_os = "linux")]
    pub(crate) fn lives(pid: &str) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
    }
}
