//! How much a caller who may only submit can ask for: never more than whoever runs the server has set.

use super::{EffectiveOptions, OptionName, RunOptions};

/// A number that is above what the owner has set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Above {
    pub name: OptionName,
    /// The most that may be asked for, as it is written: money in US dollars.
    pub most: f64,
}

impl RunOptions {
    /// The first number of these that is above that of the `owner`: his profile, his client, `[defaults]`, and what holds where
    /// none of them says anything. What has no limit there has none here.
    #[must_use]
    pub fn above(&self, owner: &EffectiveOptions) -> Option<Above> {
        let numbers = [
            (OptionName::MaxTurns, self.max_turns.map(u64::from), owner.max_turns.map(u64::from)),
            (OptionName::MaxBudgetUsd, self.max_budget_usd_micros, owner.max_budget_usd_micros),
            (
                OptionName::MaxBudgetUsdPerDay,
                self.max_budget_usd_per_day_micros,
                owner.max_budget_usd_per_day_micros,
            ),
            (OptionName::TimeoutSeconds, self.timeout_seconds, Some(owner.timeout_seconds)),
            (OptionName::IdleTimeoutSeconds, self.idle_timeout_seconds, Some(owner.idle_timeout_seconds)),
            (OptionName::MaxAttempts, self.max_attempts.map(u64::from), Some(owner.max_attempts.into())),
            (OptionName::VerifyRounds, self.verify_rounds.map(u64::from), Some(owner.verify_rounds.into())),
        ];
        let (name, most) = numbers.into_iter().find_map(|(name, asked, most)| {
            let most = most?;
            (asked? > most).then_some((name, most))
        })?;
        let is_money = matches!(name, OptionName::MaxBudgetUsd | OptionName::MaxBudgetUsdPerDay);
        #[expect(clippy::cast_precision_loss, reason = "rules.rs keeps all of them far below 2^53")]
        let most = most as f64 / if is_money { 1e6 } else { 1.0 };
        Some(Above { name, most })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Set = fn(&mut RunOptions, u32);

    const NUMBERS: &[(OptionName, Set)] = &[
        (OptionName::MaxTurns, |o, n| o.max_turns = Some(n)),
        (OptionName::MaxBudgetUsd, |o, n| o.max_budget_usd_micros = Some(u64::from(n) * 1_000_000)),
        (OptionName::MaxBudgetUsdPerDay, |o, n| {
            o.max_budget_usd_per_day_micros = Some(u64::from(n) * 1_000_000);
        }),
        (OptionName::TimeoutSeconds, |o, n| o.timeout_seconds = Some(n.into())),
        (OptionName::IdleTimeoutSeconds, |o, n| o.idle_timeout_seconds = Some(n.into())),
        (OptionName::MaxAttempts, |o, n| o.max_attempts = Some(n)),
        (OptionName::VerifyRounds, |o, n| o.verify_rounds = Some(n)),
    ];

    fn with(set: Set, number: u32) -> RunOptions {
        let mut options = RunOptions::default();
        set(&mut options, number);
        options
    }

    #[test]
    fn no_number_may_be_above_the_owners() {
        for &(name, set) in NUMBERS {
            let owner = EffectiveOptions::resolve(with(set, 5), false);
            for (number, expected) in [(4, None), (5, None), (6, Some(Above { name, most: 5.0 }))] {
                assert_eq!(with(set, number).above(&owner), expected, "{name:?} {number}");
            }
        }
    }

    #[test]
    fn what_nobody_has_limited_has_the_limit_that_holds_then() {
        let owner = EffectiveOptions::resolve(RunOptions::default(), false);
        let most = NUMBERS.iter().map(|(_, set)| with(*set, 10_000).above(&owner).map(|above| above.most));
        let most: Vec<_> = most.collect();
        assert_eq!(most, [None, None, None, Some(3600.0), Some(900.0), Some(3.0), Some(1.0)]);
    }
}
