//! What a step may use of the machine, beyond what its shim holds by itself: processes, memory, the worktree's size.
//!
//! Where a step has a systemd scope the kernel holds processes and memory too, and harder; this watch names the limit.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::{JoinError, JoinHandle, spawn_blocking};
use tokio::time::{Instant, sleep_until};

use super::attempt::Line;
use crate::domain::step_limit::StepLimit;
use crate::git::{SizeCaps, WorktreeSize, measure_worktree};
use crate::process::{OomKills, StepDir, Survivor, TreeUse, TreeWatch};

/// Between two looks at the processes of a step. A fork storm reaches thousands within a second.
const TREE_EVERY: Duration = Duration::from_millis(500);
/// A look at the processes is followed by a pause of so many times its length: at most a fifth of one core.
const TREE_REST: u32 = 4;
/// Between two looks at the worktree: at 2 GB/s it has grown by 10 GB meanwhile.
const SIZE_EVERY: Duration = Duration::from_secs(5);
/// The same for a walk through the worktree: at most a twentieth of one core and of the disk.
const SIZE_REST: u32 = 20;
/// Between two looks at the count of kills for want of memory.
const OOM_EVERY: Duration = Duration::from_secs(1);
/// The first look at the worktree, for a step that begins with the flood.
const SIZE_FIRST: Duration = Duration::from_secs(1);
/// Of what a runaway wrote this much is kept: enough to see what it was, small beside what it is removed for.
const RUNAWAY_KEPT: SizeCaps = SizeCaps { bytes_max: 1 << 30, files_max: 100_000 };

/// The numbers of one step.
#[derive(Clone, Copy, Debug)]
pub struct StepLimits {
    /// Bytes of output that are kept from its beginning.
    pub output_bytes_kept: u64,
    /// Bytes of output at which the step is ended.
    pub output_bytes_end: u64,
    /// Files that one process may have open.
    pub open_files_max: u64,
    /// Processes and threads, the shim included.
    pub processes_max: u64,
    /// Bytes of all processes together.
    pub memory_bytes_max: Option<u64>,
    pub worktree: SizeCaps,
}

impl StepLimits {
    /// What is kept of a runaway's worktree.
    pub(super) fn runaway_kept(&self) -> SizeCaps {
        SizeCaps {
            bytes_max: self.worktree.bytes_max.min(RUNAWAY_KEPT.bytes_max),
            files_max: self.worktree.files_max.min(RUNAWAY_KEPT.files_max),
        }
    }

    fn judge_tree(&self, used: &TreeUse) -> Option<StepLimit> {
        // in a scope the kernel stops at the number, so there is never one more
        if used.tasks + 1 >= self.processes_max {
            return Some(StepLimit::Processes);
        }
        self.memory_bytes_max.is_some_and(|max| used.memory_bytes > max).then_some(StepLimit::Memory)
    }

    fn judge_worktree(&self, size: &WorktreeSize) -> Option<StepLimit> {
        if size.files > self.worktree.files_max {
            return Some(StepLimit::WorktreeFiles);
        }
        (size.bytes > self.worktree.bytes_max).then_some(StepLimit::WorktreeBytes)
    }
}

/// Where a step writes what stays on the disk: its worktree, and the repository that stands in the place of the clone in a sandbox.
#[derive(Clone, Debug)]
pub(super) struct Grounds {
    pub(super) worktree: PathBuf,
    pub(super) shadow: Option<PathBuf>,
}

impl Grounds {
    /// The bytes of both together. Files are counted in each by itself: a commit of a large worktree has an object for every file.
    fn measure(&self, caps: &SizeCaps, stop: &AtomicBool) -> WorktreeSize {
        let size = measure_worktree(&self.worktree, caps, stop);
        let Some(shadow) = self.shadow.as_ref().filter(|_| !caps.are_passed_by(&size)) else { return size };
        let left = SizeCaps { bytes_max: caps.bytes_max - size.bytes, files_max: caps.files_max };
        let inside = measure_worktree(shadow, &left, stop);
        WorktreeSize { bytes: size.bytes + inside.bytes, files: size.files.max(inside.files) }
    }
}

impl Line<'_> {
    pub(super) fn grounds(&self, worktree: &Path) -> Grounds {
        let repository = self.tools.repository(&self.client).ok();
        let shadow = repository.and_then(|repository| repository.shadow_path(worktree).ok());
        Grounds { worktree: worktree.to_owned(), shadow }
    }

    /// As [`flooded`], of a worktree of this job.
    pub(super) async fn has_flooded(&self, worktree: &Path) -> Option<StepLimit> {
        flooded(self.tools.settings.step_limits, &self.grounds(worktree)).await
    }
}

/// The limit that a worktree is beyond in which nothing runs any more: what was written since the last look, or while nobody
/// looked, counts too.
async fn flooded(limits: StepLimits, grounds: &Grounds) -> Option<StepLimit> {
    let grounds = grounds.clone();
    let measure = spawn_blocking(move || grounds.measure(&limits.worktree, &AtomicBool::new(false)));
    let limit = limits.judge_worktree(&measure.await.ok()?)?;
    tracing::warn!(?limit, "the worktree is too large at the end of its step");
    Some(limit)
}

/// Looks at one step from time to time, on threads that may block.
pub(super) struct LimitWatch {
    limits: StepLimits,
    grounds: Grounds,
    /// With a look under way that has it.
    tree: TreeWatch,
    members: Vec<Survivor>,
    /// For a shim that is killed by the kernel: it can leave no record.
    oom_kills: OomKills,
    oom_look_at: Instant,
    looking: Option<JoinHandle<Looked>>,
    /// The step is being ended for a limit: the others do not matter any more.
    is_over: bool,
    tree_at: Instant,
    size_at: Instant,
    /// Ends a walk under way together with this.
    stop: Arc<AtomicBool>,
}

enum Looked {
    Tree(TreeWatch, TreeUse, Duration),
    Size(WorktreeSize, Duration),
}

impl LimitWatch {
    pub(super) fn new(step: &StepDir, grounds: Grounds, limits: StepLimits) -> Self {
        let now = Instant::now();
        Self {
            limits,
            grounds,
            tree: TreeWatch::new(step),
            members: Vec::new(),
            oom_kills: OomKills::of_machine(),
            oom_look_at: now,
            looking: None,
            is_over: false,
            tree_at: now,
            size_at: now + SIZE_FIRST,
            stop: Arc::default(),
        }
    }

    /// As [`flooded`], of its worktree.
    pub(super) async fn flooded(&self) -> Option<StepLimit> {
        flooded(self.limits, &self.grounds).await
    }

    /// Who belonged to the step at the last look.
    pub(super) fn members(&self) -> &[Survivor] {
        &self.members
    }

    /// Whether the kernel has killed for want of memory in the last seconds, be it this step or another one.
    pub(super) fn memory_ran_out(&self) -> bool {
        self.oom_kills.have_risen()
    }

    /// Waits until a limit is hit, the first one. After it the tree is only looked at, without an end: a supervisor that its
    /// agent stops while it is being ended is told to go on there. Nothing is lost when the future is dropped.
    pub(super) async fn hit(&mut self) -> StepLimit {
        loop {
            let looking = match &mut self.looking {
                Some(looking) => looking,
                None => {
                    sleep_until(if self.is_over { self.tree_at } else { self.tree_at.min(self.size_at) })
                        .await;
                    self.looking.insert(self.look())
                }
            };
            let looked = looking.await;
            self.looking = None;
            if let Some(limit) = self.judge(looked) {
                self.is_over = true;
                return limit;
            }
        }
    }

    fn look(&self) -> JoinHandle<Looked> {
        let began = Instant::now();
        if self.is_over || self.tree_at <= self.size_at {
            let (mut tree, memory_max) = (self.tree.clone(), self.limits.memory_bytes_max);
            return spawn_blocking(move || {
                let used = tree.look(memory_max);
                Looked::Tree(tree, used, began.elapsed())
            });
        }
        let (grounds, caps, stop) = (self.grounds.clone(), self.limits.worktree, Arc::clone(&self.stop));
        spawn_blocking(move || Looked::Size(grounds.measure(&caps, &stop), began.elapsed()))
    }

    fn judge(&mut self, looked: Result<Looked, JoinError>) -> Option<StepLimit> {
        let now = Instant::now();
        if now >= self.oom_look_at {
            self.oom_look_at = now + OOM_EVERY;
            self.oom_kills.look();
        }
        match looked {
            Ok(Looked::Tree(tree, used, took)) => {
                self.members = tree.members();
                self.tree = tree;
                self.tree_at = now + TREE_EVERY.max(took * TREE_REST);
                let hit = self.limits.judge_tree(&used).filter(|_| !self.is_over);
                if hit.is_some() {
                    tracing::warn!(used.tasks, used.memory_bytes, ?hit, "a limit is hit");
                }
                hit
            }
            Ok(Looked::Size(size, took)) => {
                self.size_at = now + SIZE_EVERY.max(took * SIZE_REST);
                let hit = self.limits.judge_worktree(&size).filter(|_| !self.is_over);
                if hit.is_some() {
                    tracing::warn!(size.bytes, size.files, ?hit, "a limit is hit");
                }
                hit
            }
            Err(error) => {
                // a bug of ours, or the end of the runtime: the other limits hold on
                tracing::error!(%error, "a look at a step failed");
                (self.tree_at, self.size_at) = (now + SIZE_EVERY, now + SIZE_EVERY);
                None
            }
        }
    }
}

impl Drop for LimitWatch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: StepLimits = StepLimits {
        output_bytes_kept: 1,
        output_bytes_end: 1,
        open_files_max: 1,
        processes_max: 100,
        memory_bytes_max: Some(1_000),
        worktree: SizeCaps { bytes_max: 5_000, files_max: 20 },
    };

    #[test]
    fn each_number_has_its_limit() {
        let tree = |tasks, memory_bytes| LIMITS.judge_tree(&TreeUse { tasks, memory_bytes });
        assert_eq!(
            (tree(98, 1_000), tree(99, 0), tree(1, 1_001)),
            (None, Some(StepLimit::Processes), Some(StepLimit::Memory))
        );
        let free = StepLimits { memory_bytes_max: None, ..LIMITS };
        assert_eq!(free.judge_tree(&TreeUse { tasks: 1, memory_bytes: u64::MAX }), None);
        let size = |bytes, files| LIMITS.judge_worktree(&WorktreeSize { bytes, files });
        assert_eq!(size(5_000, 20), None);
        assert_eq!(
            (size(5_001, 1), size(1, 21)),
            (Some(StepLimit::WorktreeBytes), Some(StepLimit::WorktreeFiles))
        );
    }

    #[test]
    fn what_stands_in_the_place_of_the_clone_counts_too() {
        let dir = tempfile::tempdir().unwrap();
        let (worktree, shadow) = (dir.path().join("worktree"), dir.path().join("shadow"));
        for (path, files) in [(&worktree, 3), (&shadow, 5)] {
            std::fs::create_dir(path).unwrap();
            (0..files).for_each(|n| std::fs::write(path.join(n.to_string()), [7_u8; 10_000]).unwrap());
        }
        let caps = SizeCaps { bytes_max: 1 << 30, files_max: 1_000 };
        let measure = |shadow: Option<&PathBuf>, caps: &SizeCaps| {
            let grounds = Grounds { worktree: worktree.clone(), shadow: shadow.cloned() };
            grounds.measure(caps, &AtomicBool::new(false))
        };
        let (alone, both) = (measure(None, &caps), measure(Some(&shadow), &caps));
        assert_eq!((alone.files, both.files), (3, 5), "the larger of the two");
        assert!(both.bytes >= alone.bytes + 50_000, "{alone:?} {both:?}");
        let small = SizeCaps { bytes_max: alone.bytes + 20_000, ..caps };
        assert!(small.are_passed_by(&measure(Some(&shadow), &small)));
        assert!(!small.are_passed_by(&measure(None, &small)));
        assert_eq!(measure(Some(&dir.path().join("nowhere")), &caps), alone);
    }

    #[test]
    fn of_a_runaway_no_more_is_kept_than_it_was_allowed() {
        assert_eq!(LIMITS.runaway_kept(), LIMITS.worktree);
        let wide = SizeCaps { bytes_max: u64::MAX, files_max: u64::MAX };
        assert_eq!(StepLimits { worktree: wide, ..LIMITS }.runaway_kept(), RUNAWAY_KEPT);
    }
}
