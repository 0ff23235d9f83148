//! What work has cost, summed up.

use super::job::Usage;
use super::named::named_enum;

/// The most that one run can count as, of each kind of token, of turns, milliseconds, and millionths of a dollar: a
/// million dollars. What an agent prints is not ours, and a sum of millions of such runs stays a number.
pub const TOLD_MAX: u64 = 1_000_000_000_000;

named_enum! {
    /// What sums are made by.
    Grouping {
        Client = "client",
        Day = "day",
        Label = "label",
    }
}

/// Sums over runs of agents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UsageSums {
    /// Of those that said it; the cost is `None` when nobody did.
    pub usage: Usage,
    /// Agents that ran to an end, whatever that was.
    pub runs: u64,
    /// Those of them whose cost nobody told.
    pub runs_without_cost: u64,
}
