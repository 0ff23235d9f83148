//! Whether the kernel killed for want of memory: it counts, and says so nowhere else that an ordinary user may read.

use std::path::{Path, PathBuf};

/// The kernel's count of processes that it killed for want of memory.
///
/// It is looked at before and after a death: a death by SIGKILL that nobody here has sent, beside a count that has
/// risen, was such a kill. The machine's count also rises when somebody else's process is killed within the same two
/// seconds, so it is only asked where the group has none of its own.
#[derive(Clone, Debug)]
pub struct OomKills {
    /// A file with a line `oom_kill <count>`.
    file: PathBuf,
    /// The count at the last look and at the one before: a kill may be counted for a while before the death is seen.
    looks: [Option<u64>; 2],
}

impl OomKills {
    /// Those of the whole machine (or container), as `/proc/vmstat` has them (kernel 4.13).
    #[must_use]
    pub fn of_machine() -> Self {
        Self::in_file("/proc/vmstat".into())
    }

    /// Those of a control group (version 2), given as its directory.
    #[must_use]
    pub(super) fn of_group(dir: &Path) -> Self {
        Self::in_file(dir.join("memory.events"))
    }

    /// Those of the control group of this process, where that counts memory; else those of the machine.
    pub(super) fn of_this_process() -> Self {
        let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let own = groups.lines().find_map(|line| line.strip_prefix("0::/"));
        ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"]
            .into_iter()
            .filter_map(|root| Some(Self::of_group(&Path::new(root).join(own?))))
            .find(|kills| kills.count().is_some())
            .unwrap_or_else(Self::of_machine)
    }

    fn in_file(file: PathBuf) -> Self {
        let mut kills = Self { file, looks: [None; 2] };
        kills.look();
        kills.look();
        kills
    }

    /// To be called about once a second while nothing has died.
    pub fn look(&mut self) {
        self.looks = [self.looks[1], self.count()];
    }

    /// True when the count has risen within the last two looks.
    #[must_use]
    pub fn have_risen(&self) -> bool {
        matches!((self.looks[0], self.count()), (Some(before), Some(now)) if now > before)
    }

    fn count(&self) -> Option<u64> {
        let text = std::fs::read_to_string(&self.file).ok()?;
        text.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_that_rises_between_two_looks_is_seen_and_forgotten_after_them() {
        let dir = tempfile::tempdir().unwrap();
        let set = |count: u64| {
            let text = format!("low 0\nhigh 3\nmax 9\noom 9\noom_kill {count}\noom_group_kill 0\n");
            std::fs::write(dir.path().join("memory.events"), text).unwrap();
        };
        set(4);
        let mut kills = OomKills::of_group(dir.path());
        assert!(!kills.have_risen());
        set(5);
        assert!(kills.have_risen());
        kills.look();
        assert!(kills.have_risen(), "counted a moment before the death is seen");
        kills.look();
        assert!(!kills.have_risen(), "that was another death");
    }

    #[test]
    fn where_nothing_is_counted_nothing_has_risen() {
        let mut kills = OomKills::of_group(Path::new("/nowhere"));
        kills.look();
        assert!(!kills.have_risen());
    }
}
