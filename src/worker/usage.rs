//! What an attempt used up.

use super::attempt::Line;
use super::halt::Step;
use crate::agent::{AgentVerdict, Capabilities};
use crate::domain::job::{Effects, Start, Usage};

impl Line<'_> {
    /// Records what the agent used up and which conversation it held.
    pub(super) async fn account(&mut self, capabilities: Capabilities, verdict: &AgentVerdict) -> Step<()> {
        let used = &verdict.usage;
        let mut usage = Usage {
            input_tokens: used.input_tokens,
            output_tokens: used.output_tokens,
            cache_read_tokens: used.cache_read_tokens,
            cache_write_tokens: used.cache_write_tokens,
            cost_micro_usd: used.cost_usd_micros,
            turns: u64::from(used.turns),
            duration_ms: used.duration_ms,
        };
        if capabilities.counts_whole_session {
            usage = usage.without_tokens_of(self.used_before().await?);
        }
        self.tools.store.record_usage(self.lease, usage).await?;
        self.job.usage = usage;
        if let Some(session) = &verdict.session_id {
            self.effects(Effects { session_id: Some(session.clone()), ..Effects::default() }).await?;
        }
        Ok(())
    }

    /// What is known of the conversation that this attempt continues: the earlier jobs of the chain that held it, and the
    /// earlier attempts of this one. An attempt that did not come to tell its usage is in the next total.
    async fn used_before(&self) -> Step<Usage> {
        let Start::Resume { session_id: Some(session) } = &self.job.start else {
            return Ok(Usage::default());
        };
        let chain = self.tools.store.chain_of(&self.job.chain.root).await?;
        let held = |job: &&crate::domain::job::Job| {
            job.number < self.job.number && job.effects.session_id.as_ref() == Some(session)
        };
        let jobs = chain.iter().filter(held).fold(Usage::default(), |sum, job| sum.plus(job.usage));
        let attempts = self.tools.store.list_attempts(self.job.number).await?;
        let earlier = attempts.iter().filter(|attempt| attempt.number < self.lease.attempt);
        Ok(earlier.fold(jobs, |sum, attempt| sum.plus(attempt.usage)))
    }
}
