//! Why all work of a login waits.

use super::id::JobNumber;
use super::reason::Reason;
use super::time::Timestamp;

/// All jobs of one login wait until the time has come or somebody says try-now; then one of them goes first as a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The `[agents.<name>]` entry.
    pub login: String,
    pub reason: Reason,
    pub since: Timestamp,
    /// `None`: until the probe succeeds or somebody says try-now.
    pub until: Option<Timestamp>,
    /// The job that is out as a probe.
    pub probe: Option<JobNumber>,
}
