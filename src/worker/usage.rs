//! What an attempt used up, and what it may use.

use super::attempt::Line;
use super::halt::{Halt, Step};
use crate::agent::{AgentVerdict, Capabilities, one_line};
use crate::domain::job::{Effects, Usage};
use crate::domain::reason::ReasonCode;
use crate::domain::usage::TOLD_MAX;

/// Of the word by which an agent names its credential; those of real ones have 20 bytes.
const AUTHENTICATION_BYTES_MAX: usize = 100;

impl Line<'_> {
    /// Records what a step of the agent used up and which conversation it held, however the step ended. `took_ms` is how
    /// long it was seen to run, for agents that do not say.
    pub(super) async fn account(
        &mut self,
        step: &str,
        capabilities: Capabilities,
        verdict: &AgentVerdict,
        took_ms: u64,
    ) -> Step<()> {
        let told = &verdict.usage;
        let session = verdict.session_id.as_deref();
        let tells_total = told.cost_usd_micros.is_none() && told.session_cost_usd_micros.is_some();
        let before = match session {
            _ if verdict.began_session => Usage::default(),
            Some(session) if capabilities.counts_whole_session || tells_total || told.tokens_of_session => {
                self.tools.store.used_in_session(self.lease, step, session).await?
            }
            _ => Usage::default(),
        };
        let mut usage = Usage {
            input_tokens: told.input_tokens.min(TOLD_MAX),
            output_tokens: told.output_tokens.min(TOLD_MAX),
            cache_read_tokens: told.cache_read_tokens.min(TOLD_MAX),
            cache_write_tokens: told.cache_write_tokens.min(TOLD_MAX),
            cost_micro_usd: told
                .cost_usd_micros
                .or_else(|| {
                    let total = told.session_cost_usd_micros?;
                    // less than was known can be no total: it is the newest part alone
                    Some(total.checked_sub(before.cost_micro_usd.unwrap_or(0)).unwrap_or(total))
                })
                .map(|cost| cost.min(TOLD_MAX)),
            turns: u64::from(told.turns),
            duration_ms: if told.duration_ms > 0 { told.duration_ms } else { took_ms }.min(TOLD_MAX),
        };
        // who is said to tell a total may tell the newest part alone
        if capabilities.counts_whole_session || told.tokens_of_session && usage.may_hold_tokens_of(before) {
            usage = usage.without_tokens_of(before);
        }
        self.job.usage = self.tools.store.record_usage(self.lease, step, session, usage).await?;
        let authentication =
            verdict.auth_source.as_deref().map(|source| one_line(source, AUTHENTICATION_BYTES_MAX));
        if session.is_some() || authentication.is_some() {
            let session_id = session.map(str::to_owned);
            self.effects(Effects { session_id, authentication, ..Effects::default() }).await?;
        }
        Ok(())
    }

    /// The money that the agent may still use, in millionths of a US dollar: what is left to the job, or to its client
    /// for today, whichever is less. `None`: as much as it likes.
    pub(super) async fn allowance(&self) -> Step<Option<u64>> {
        let of_job = self.options.max_budget_usd_micros.map(|budget| budget.saturating_sub(self.cost()));
        let of_day = match self.options.max_budget_usd_per_day_micros {
            Some(budget) => {
                let spent = self.tools.store.cost_today(&self.client.id).await?;
                Some(budget.saturating_sub(spent))
            }
            None => None,
        };
        Ok([of_job, of_day].into_iter().flatten().min())
    }

    /// Nothing starts without money left for it. An attempt whose agent `ran` before has cost something, and counts.
    pub(super) async fn refuse_unpaid(&self, ran: bool) -> Step<()> {
        match self.allowance().await? {
            Some(0) => Err(self.budget_spent(ran, "").await?),
            _ => Ok(()),
        }
    }

    /// The end of an attempt for want of money. A job that is stopped for its client's day goes on tomorrow; only if the
    /// money is really gone by our own books, or it would start again at once.
    pub(super) async fn budget_spent(&self, ran: bool, said: &str) -> Step<Halt> {
        let of_job = self.options.max_budget_usd_micros;
        if of_job.is_none_or(|budget| self.cost() < budget)
            && let Some(budget) = self.options.max_budget_usd_per_day_micros
        {
            let spent = self.tools.store.cost_today(&self.client.id).await?;
            if spent >= budget {
                let detail = format!("{} of {} (maxBudgetUsdPerDay).", dollars(spent), dollars(budget));
                let code = ReasonCode::ClientBudget;
                return Ok(if ran { Halt::fault(code, &detail) } else { Halt::unspent(code, &detail) });
            }
        }
        let detail = match of_job {
            Some(budget) => format!("{} of {} (maxBudgetUsd). {said}", dollars(self.cost()), dollars(budget)),
            None => said.to_owned(),
        };
        Ok(Halt::fault(ReasonCode::MaxBudget, &detail))
    }

    /// What the job has cost so far, as far as it was told.
    fn cost(&self) -> u64 {
        self.job.usage.cost_micro_usd.unwrap_or(0)
    }
}

/// Millionths of a dollar with as many digits as are needed, at least cents.
fn dollars(micros: u64) -> String {
    let (whole, rest) = (micros / 1_000_000, format!("{:06}", micros % 1_000_000));
    let digits = rest.trim_end_matches('0').len().max(2);
    format!("${whole}.{}", &rest[..digits])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_amounts_are_not_rounded_away() {
        let shown = [0, 1, 10_000, 1_250_000, 2_003_400, 12_000_000].map(dollars);
        assert_eq!(shown, ["$0.00", "$0.000001", "$0.01", "$1.25", "$2.0034", "$12.00"]);
    }
}
