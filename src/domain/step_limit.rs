//! What a step may use of the machine: each limit with its name, its number's place and the reason it ends a job with.
//!
//! This table is the source; records and documentation use its names. A name never changes.

use super::limit::Limit;
use super::reason::ReasonCode;

macro_rules! limits {
    ($($variant:ident, $name:literal, $reason:ident, $metric:ident, $set_by:literal, $watched_by:literal, $about:literal;)+) => {
        /// A limit of one step, in the order of the documentation.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum StepLimit {
            $(#[doc = $about] $variant,)+
        }

        impl StepLimit {
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The name in logs and in the record of a step.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// How a job ends that has hit it.
            #[must_use]
            pub const fn reason(self) -> ReasonCode {
                match self { $(Self::$variant => ReasonCode::$reason,)+ }
            }

            /// The value of `limit` under which a hit is counted.
            #[must_use]
            pub const fn metric(self) -> Limit {
                match self { $(Self::$variant => Limit::$metric,)+ }
            }

            /// The run option or configuration key that holds its number, the unit in its name.
            #[must_use]
            pub const fn set_by(self) -> &'static str {
                match self { $(Self::$variant => $set_by,)+ }
            }

            /// Who notices, for people.
            #[must_use]
            pub const fn watched_by(self) -> &'static str {
                match self { $(Self::$variant => $watched_by,)+ }
            }

            /// One sentence for people.
            #[must_use]
            pub const fn about(self) -> &'static str {
                match self { $(Self::$variant => $about,)+ }
            }
        }
    };
}

limits! {
    Wall, "wall", Timeout, Timeout, "timeoutSeconds", "the shim, also while no server runs",
        "Time while the machine is awake.";
    Idle, "idle", IdleTimeout, IdleTimeout, "idleTimeoutSeconds", "the server",
        "Time without a word from the agent while the machine is awake; two hours inside a tool call.";
    Output, "output", OutputLimit, Output, "limits.step_output_bytes_end", "the shim, also while no server runs",
        "Bytes written to both streams, kept or not.";
    Budget, "budget", MaxBudget, MaxBudget, "maxBudgetUsd", "the agent where it can, else the server",
        "Money that the agent says it has cost, over all attempts of the job.";
    Memory, "memory", OutOfMemory, Memory, "limits.step_memory_bytes_max", "the kernel in a scope; the server everywhere",
        "Memory of all processes of the step together, shared pages counted once.";
    Processes, "processes", ResourceLimit, Processes, "limits.step_processes_max", "the kernel in a scope; the server everywhere",
        "Processes and threads of the step.";
    WorktreeBytes, "worktree_bytes", ResourceLimit, WorktreeBytes, "limits.worktree_bytes_max", "the server",
        "Disk blocks that the files of the worktree take, and of the repository that it has for itself in the sandbox; what the clone shares is not among them.";
    WorktreeFiles, "worktree_files", ResourceLimit, WorktreeFiles, "limits.worktree_files_max", "the server",
        "Files, directories and links in the worktree, or in the repository that it has for itself in the sandbox.";
}

impl StepLimit {
    /// The limit of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|limit| limit.as_str() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_is_found_by_its_name_and_ends_a_job_with_one_of_six_reasons() {
        let reasons: Vec<_> = StepLimit::ALL.iter().map(|limit| limit.reason().as_str()).collect();
        let expected = ["timeout", "idle_timeout", "output_limit", "max_budget", "out_of_memory"];
        assert_eq!(reasons[..5], expected);
        assert!(reasons[5..].iter().all(|reason| *reason == "resource_limit"), "{reasons:?}");
        for limit in StepLimit::ALL {
            assert_eq!(StepLimit::parse(limit.as_str()), Some(*limit));
        }
        assert_eq!(StepLimit::parse("nonsense"), None);
    }
}
