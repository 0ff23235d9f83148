//! What the server does without being asked: start jobs, deliver callbacks, look at the agents, tidy up, back up,
//! keep the machine awake.
//!
//! Promises: every loop is a `tick` without arguments that may run at any time and any number of times: it reads the
//! rows, does what is due, and leaves the rest. Hints and timers only decide when the next tick comes, so a lost hint
//! costs time, never work. What is ready at once is taken in a fixed order, so that a simulated history replays. A loop
//! ends at its shutdown token and leaves nothing half done that a later start would not find.
//!
//! Must not know: HTTP, SQL; who carries out an attempt or a callback (`worker::Runner`, `webhook::Carrier`). Fails: a
//! failing tick is logged and tried again at the next period. Tested: in `tests/it` through the whole server, and by
//! random histories under simulated time.

mod backups;
mod deliverer;
mod dispatcher;
mod janitor;
mod mended;
mod prober;
mod pulse;
mod vigil;

use std::future::Future;
use std::time::Duration;

use tokio::sync::broadcast::{self, error::RecvError};
use tokio::time::timeout;

use crate::domain::limit::Limit;
use crate::metrics;
use crate::store::Change;

pub use backups::Backups;
pub use deliverer::{Deliverer, DelivererSettings};
pub use dispatcher::Dispatcher;
pub use janitor::Janitor;
pub use prober::{AgentProgram, Prober};
pub use pulse::Pulse;
pub use vigil::Vigil;

/// A lost hint is repaired after this at the latest.
const REPAIR_PERIOD: Duration = Duration::from_secs(30);

/// Waits for a change that `matters`, for `due`, or for the repair period; `true` when hints were lost on the way.
async fn next_change(
    changes: &mut broadcast::Receiver<Change>,
    due: Option<Duration>,
    matters: impl Fn(Change) -> bool,
) -> Woken {
    let wait = due.map_or(REPAIR_PERIOD, |due| due.min(REPAIR_PERIOD));
    let hint = async {
        loop {
            match changes.recv().await {
                Ok(change) if matters(change) => return Woken::By(change),
                Ok(_) => {}
                Err(RecvError::Lagged(_)) => {
                    metrics::LIMITS.increment([Limit::Hints.as_str()]);
                    return Woken::HintsLost;
                }
                // the store is gone; the shutdown token ends the loop
                Err(RecvError::Closed) => std::future::pending().await,
            }
        }
    };
    within(wait, hint).await
}

async fn within(wait: Duration, hint: impl Future<Output = Woken>) -> Woken {
    timeout(wait, hint).await.unwrap_or(Woken::ByTime)
}

/// Why a loop woke up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Woken {
    By(Change),
    /// Too many hints at once: everything has to be looked at.
    HintsLost,
    ByTime,
}
