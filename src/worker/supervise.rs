//! Following a step: its log becomes messages, its silence and its size are watched, the outside reaches it.

use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::attempt::Line;
use super::halt::{Halt, Step};
use super::inward::{INTERRUPT, Interruptions};
use super::limits::LimitWatch;
use super::step_end::{
    Asked, CANCEL, Exited, STOP, StepEnd, ToldLimit, Wait, leaves_the_result, limit_of, word_of,
};
use super::told::told;
use super::visit::ATTACH;
use crate::agent::{self, AgentEvent, AgentReader, AgentVerdict, StepExit};
use crate::domain::event::EventKind;
use crate::domain::step_limit::StepLimit;
use crate::domain::time::Timestamp;
use crate::metrics;
use crate::process::{
    Control, ExitCause, ExitRecord, Record, StepDir, StepState, Stream, Tail, Tailed, inspect, machine_start,
};
use crate::store::{Ingest, IngestedMessage};

/// Messages wait this long for company before they are stored: people read no faster, and ten writes a second per job
/// are nothing to the store.
const FLUSH_AFTER: Duration = Duration::from_millis(100);
/// Text that is stored at once, in bytes: the bound of what a flood can hold in memory.
const FLUSH_BYTES: usize = 256 * 1024;
/// Plain lines in one message, in bytes: one screen's scroll, and few enough rows for a million lines.
const MESSAGE_BYTES: usize = 32 * 1024;
/// What an event without text counts for: its row and its place in memory.
const EVENT_BYTES: usize = 128;
/// How often the outside is looked at while the step is silent.
const LOOK: Duration = Duration::from_secs(1);
/// A tool may work this long without a word: builds and test suites do.
pub(super) const IDLE_IN_TOOL_MAX: Duration = Duration::from_secs(2 * 3_600);
/// An agent that has told its result may be silent so long: what it left running in the background may still wake it, and
/// its hooks run.
const IDLE_WHEN_DONE_MAX: Duration = Duration::from_secs(120);
/// An agent that waits in vain is ended after so much silence.
const VAIN_AFTER: Duration = Duration::from_secs(5);
/// Who ends everything on the machine reaches a supervisor and this server within so long of each other.
const STOPPED_TOGETHER: Duration = Duration::from_secs(2);

/// What has been read of a step, and what of it is stored.
struct Reading {
    /// Taken when the step is judged.
    reader: Option<AgentReader>,
    /// When the first record was written.
    began: Option<Timestamp>,
    /// When the last record was written, or the following began.
    at: Timestamp,
    /// Millionths of a US dollar, while the agent tells and is not done.
    cost_usd_micros: Option<u64>,
    /// Records whose messages are in the store already: they are read again for the reader's sake only.
    stored: u64,
    records: u64,
    pending: Vec<IngestedMessage>,
    pending_bytes: usize,
    /// When the oldest pending message came: an agent that is never silent is heard all the same.
    pending_since: Option<Instant>,
    tools_open: u32,
    /// The agent has told that it came to its end, and nothing of a further turn since.
    done: bool,
    /// What the agent waits for since its last sign, if that does not come.
    wait: Option<Wait>,
    /// The last thing that it waited for so.
    waited: Option<Wait>,
    /// The limit that stands in its way, as it told.
    told_limit: Option<ToldLimit>,
    /// Of a clock that stands while the machine sleeps: CLOCK_MONOTONIC on Linux, CLOCK_UPTIME_RAW on macOS (std::time::Instant).
    last_sign: Instant,
}

impl Line<'_> {
    /// Follows the step until it has ended and everything it said is stored.
    pub(super) async fn supervise(
        &self,
        step: &StepDir,
        worktree: &Path,
        reader: AgentReader,
        name: &str,
        idle_max: Duration,
    ) -> Step<StepEnd> {
        let _followed = metrics::SHIMS.hold();
        let steps = self.tools.store.list_steps(self.lease.job, self.lease.attempt).await?;
        let stored = steps.iter().find(|known| known.name == name).map_or(0, |known| known.log_records);
        let mut reading = Reading::new(reader, stored, self.now());
        let was_over = matches!(inspect(step), Ok(StepState::Exited(_)));
        let mut tail = Tail::open(step, Default::default());
        let mut asked = Asked::default();
        let allowance = self.allowance().await?;
        let mut limits = LimitWatch::new(step, self.grounds(worktree), self.tools.settings.step_limits);
        let mut hit = None;
        let mut interruptions = Interruptions::of(&self.tools.store, self.lease, name);
        let state = loop {
            let wait = if reading.pending.is_empty() { LOOK } else { FLUSH_AFTER };
            let signals = self.signals;
            let looked = tokio::select! {
                biased;
                () = signals.shutdown.cancelled(), if !signals.stop_agents.is_cancelled() => {
                    // both may have come while this waited
                    if !signals.stop_agents.is_cancelled() {
                        self.flush(name, &mut reading).await?;
                        return Err(Halt::Shutdown);
                    }
                    Ok(Ok(None))
                }
                () = signals.cancel.cancelled(), if !asked.cancel => Ok(Ok(None)),
                () = signals.stop_agents.cancelled(), if !asked.stop => Ok(Ok(None)),
                limit = limits.hit() => {
                    hit = Some(limit);
                    Ok(Ok(None))
                }
                wanted = interruptions.wanted() => {
                    wanted?;
                    Ok(Ok(None))
                }
                looked = timeout(wait, tail.next()) => looked,
            };
            match looked {
                Ok(Ok(Some(Tailed::Ended(state)))) => break state,
                Ok(Ok(Some(tailed))) => reading.take(tailed),
                Ok(Ok(None)) => {}
                Ok(Err(error)) => return Err(error.into()),
                Err(_elapsed) => self.flush(name, &mut reading).await?,
            }
            if reading.is_due() {
                self.flush(name, &mut reading).await?;
            }
            let idle = reading.silent_for() > idle_limit(&reading, idle_max);
            let too_dear =
                allowance.is_some_and(|most| reading.cost_usd_micros.is_some_and(|cost| cost >= most));
            let over = hit.or(too_dear.then_some(StepLimit::Budget));
            let word = reading.waits_in_vain().map(Wait::word).or(interruptions.word());
            self.ask(step, idle, over, word, &mut asked).await;
        };
        let end = self.conclude((step, name), reading, state, (&asked, was_over), &limits).await?;
        if !matches!(end, StepEnd::NotReleased) {
            self.take_back().await?;
        }
        Ok(end)
    }

    /// Passes on what the outside wants; a shim that is just ending needs no asking.
    async fn ask(
        &self,
        step: &StepDir,
        idle: bool,
        hit: Option<StepLimit>,
        word: Option<&'static str>,
        asked: &mut Asked,
    ) {
        let control = Control::new(step);
        if self.signals.stop_agents.is_cancelled() && !asked.stop {
            asked.stop = true;
            if let Err(error) = control.stop(STOP) {
                tracing::debug!(%error, "the step could not be stopped");
            }
        }
        let limit = hit.or(idle.then_some(StepLimit::Idle)).filter(|_| asked.limit.is_none());
        let (word, ended) = if self.signals.cancel.is_cancelled() && !asked.cancel {
            asked.cancel = true;
            tracing::info!("cancelling the step");
            (CANCEL, control.cancel().await)
        } else if let Some(limit) = limit {
            asked.limit = Some(limit);
            tracing::info!(limit = limit.as_str(), "ending the step");
            (limit.as_str(), control.end(limit.as_str()).await)
        } else if let Some(word) = word.filter(|_| asked.word.is_none()) {
            asked.word = Some(word);
            tracing::info!(word, "ending the step");
            (word, control.end(word).await)
        } else {
            return;
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "the step could not be asked to end");
            // without its socket the shim still takes the signal
            let _ = control.stop(word);
        }
    }

    async fn conclude(
        &self,
        (step, name): (&StepDir, &str),
        mut reading: Reading,
        state: StepState,
        (asked, was_over): (&Asked, bool),
        limits: &LimitWatch,
    ) -> Step<StepEnd> {
        let record = match state {
            StepState::Exited(record) => record,
            StepState::NotStarted | StepState::NotReleased => return Ok(StepEnd::NotReleased),
            StepState::Running(shim) | StepState::Lost(shim) => {
                // before anything else: the count is only telling for some seconds
                let out_of_memory = limits.memory_ran_out();
                self.flush(name, &mut reading).await?;
                let members = limits.members().to_vec();
                let took = reading.at.since(reading.began.unwrap_or(reading.at));
                let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
                // what it wrote into its files may have gone with the machine
                let done = reading.done && machine_start().is_some_and(|boot| boot == shim.boot_id);
                let verdict = Some(Box::new(reading.lost(done)));
                return Ok(StepEnd::Lost { members, out_of_memory, verdict, done, took_ms });
            }
        };
        let word = word_of(&record, step.order().as_deref());
        let by_others = record.cause == ExitCause::Stopped && word.is_none() && !was_over;
        if by_others && timeout(STOPPED_TOGETHER, self.signals.shutdown.cancelled()).await.is_ok() {
            self.flush(name, &mut reading).await?;
            return Err(Halt::Shutdown);
        }
        let mut limit = limit_of(&record, word.as_deref(), asked);
        if limit.is_none() && !was_over {
            limit = limits.flooded().await;
        }
        let waited = reading.waited.take().filter(|wait| word.as_deref() == Some(wait.word()));
        let done = reading.done && waited.is_none() && leaves_the_result(record.cause, limit);
        let mut verdict = Box::new(reading.finish(&record, done));
        if let Some(wait) = &waited {
            verdict.outcome = wait.outcome(&verdict.outcome);
        }
        self.flush(name, &mut reading).await?;
        Ok(StepEnd::Exited(Exited {
            limit,
            interrupted: word.as_deref() == Some(INTERRUPT),
            attached: word.as_deref() == Some(ATTACH),
            in_vain: waited.is_some(),
            done,
            stopped_by_others: by_others,
            members: limits.members().to_vec(),
            record,
            verdict,
        }))
    }

    /// Stores what was read since the last time.
    async fn flush(&self, name: &str, reading: &mut Reading) -> Step<()> {
        if reading.records <= reading.stored {
            return Ok(());
        }
        let messages = std::mem::take(&mut reading.pending);
        reading.pending_bytes = 0;
        reading.pending_since = None;
        let ingest = Ingest { messages, log_records: reading.records };
        self.tools.store.ingest(self.lease, name, ingest).await?;
        reading.stored = reading.records;
        Ok(())
    }
}

fn idle_limit(reading: &Reading, idle_max: Duration) -> Duration {
    match reading.tools_open {
        _ if reading.done => idle_max.min(IDLE_WHEN_DONE_MAX),
        0 => idle_max,
        _ => idle_max.max(IDLE_IN_TOOL_MAX),
    }
}

impl Reading {
    fn new(reader: AgentReader, stored: u64, at: Timestamp) -> Self {
        Self {
            reader: Some(reader),
            began: None,
            at,
            cost_usd_micros: None,
            stored,
            records: 0,
            pending: Vec::new(),
            pending_bytes: 0,
            pending_since: None,
            tools_open: 0,
            done: false,
            wait: None,
            waited: None,
            told_limit: None,
            last_sign: Instant::now(),
        }
    }

    /// Whether what is pending has waited long enough, or is a lot.
    fn is_due(&self) -> bool {
        let waited = self.pending_since.is_some_and(|since| since.elapsed() >= FLUSH_AFTER);
        waited || self.pending_bytes >= FLUSH_BYTES
    }

    /// It says nothing else for a while: one that only tells what it has refused itself goes on, or ends.
    fn waits_in_vain(&self) -> Option<&Wait> {
        self.wait.as_ref().filter(|_| self.silent_for() >= VAIN_AFTER)
    }

    fn silent_for(&self) -> Duration {
        self.last_sign.elapsed()
    }

    fn take(&mut self, tailed: Tailed) {
        match tailed {
            Tailed::Record(record) => self.take_record(&record),
            Tailed::Skipped { records } => {
                self.records += records;
                self.note(&format!("{records} blocks of output were dropped: the output limit was reached"));
            }
            Tailed::Torn => self.note("the last words of the step were lost"),
            Tailed::Ended(_) => {}
        }
    }

    fn take_record(&mut self, record: &Record) {
        self.records = record.sequence + 1;
        self.at = Timestamp::from_ms(record.wall_ms);
        self.began.get_or_insert(self.at);
        match record.stream {
            Stream::Stdout => self.feed(agent::Stream::Stdout, record),
            Stream::Stderr => self.feed(agent::Stream::Stderr, record),
            Stream::Gap => self.note("some output was lost: the disk was full"),
            Stream::Cut => self.note("the output limit was reached: the middle of the output is dropped"),
            Stream::Slept => {
                // whoever it waits for has to be reached again first
                self.last_sign = Instant::now();
                self.note("the machine slept meanwhile");
            }
            Stream::Note => self.note(&String::from_utf8_lossy(&record.payload)),
            Stream::In | Stream::Released => {}
        }
    }

    fn feed(&mut self, stream: agent::Stream, record: &Record) {
        let Some(reader) = &mut self.reader else { return };
        let events = reader.feed(stream, &record.payload);
        self.last_sign = Instant::now();
        for event in &events {
            self.take_event(event, Timestamp::from_ms(record.wall_ms));
        }
    }

    fn take_event(&mut self, event: &AgentEvent, at: Timestamp) {
        self.done = match event {
            AgentEvent::Ended { ok, .. } => *ok,
            event => self.done && !event.is_progress(),
        };
        // who has told its result waits for nothing more
        let wait = Wait::begun_by(event, at, self.told_limit).filter(|_| !self.done);
        self.told_limit = ToldLimit::after(self.told_limit, event);
        if wait.is_some() || event.is_progress() || matches!(event, AgentEvent::Ended { .. }) {
            self.wait.clone_from(&wait);
        }
        self.waited = wait.or(self.waited.take());
        match event {
            AgentEvent::ToolUse { .. } => self.tools_open += 1,
            AgentEvent::ToolResult { .. } => self.tools_open = self.tools_open.saturating_sub(1),
            AgentEvent::Progress { cost_usd_micros, .. } => self.cost_usd_micros = *cost_usd_micros,
            // the result is there: nothing is saved by ending it now
            AgentEvent::Ended { .. } => self.cost_usd_micros = None,
            _ => {}
        }
        self.push(told(event, at));
    }

    fn note(&mut self, text: &str) {
        self.push(IngestedMessage::note(text.to_owned(), self.at));
    }

    fn push(&mut self, said: IngestedMessage) {
        // read a second time after a restart: it has its message already
        if self.records <= self.stored {
            return;
        }
        self.pending_bytes += said.text.len() + EVENT_BYTES;
        self.pending_since.get_or_insert_with(Instant::now);
        // plain lines of one stream share a message, so that a million of them are not a million rows
        if let Some(last) = self.pending.last_mut()
            && said.event == EventKind::AgentOutput
            && (last.event, last.kind) == (said.event, said.kind)
            && last.text.len() + said.text.len() < MESSAGE_BYTES
        {
            last.text.push('\n');
            last.text.push_str(&said.text);
        } else {
            self.pending.push(said);
        }
    }

    /// What it told, of a step whose end nobody saw.
    fn lost(&mut self, done: bool) -> AgentVerdict {
        let reader = self.reader.take().expect("a reading is finished once");
        let exit = if done { StepExit::DONE } else { StepExit::default() };
        reader.finish(exit).1
    }

    /// The judgement, and the messages that were still in the making.
    fn finish(&mut self, record: &ExitRecord, done: bool) -> AgentVerdict {
        // how its process went says nothing of what it had told before
        let exit = if done { StepExit::DONE } else { StepExit { code: record.code, signal: record.signal } };
        let reader = self.reader.take().expect("a reading is finished once");
        let (events, verdict) = reader.finish(exit);
        // what comes out now belongs to no record: it counts as one more, which is stored once like the others
        self.records += 1;
        for event in &events {
            self.take_event(event, Timestamp::from_ms(record.ended_at_ms));
        }
        verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::registry::find_agent;
    use crate::domain::agent_kind::AgentKind;

    fn record(sequence: u64, stream: Stream, payload: &[u8]) -> Record {
        Record { sequence, monotonic_ms: 0, wall_ms: 0, stream, payload: payload.to_vec() }
    }

    /// As if nothing had been heard for ten minutes.
    fn silent_reading() -> Reading {
        let agent = find_agent(AgentKind::Command);
        let reader = AgentReader::new(agent.parser(Path::new("/w")));
        let mut reading = Reading::new(reader, 0, Timestamp::from_ms(0));
        reading.last_sign = Instant::now() - Duration::from_secs(600);
        reading
    }

    #[test]
    fn silence_is_allowed_for_as_long_as_there_may_be_a_reason() {
        let mut reading = silent_reading();
        let max = Duration::from_secs(900);
        assert_eq!(idle_limit(&reading, max), max);
        reading.tools_open = 1;
        assert_eq!(idle_limit(&reading, max), IDLE_IN_TOOL_MAX);
        reading.take_event(&AgentEvent::Ended { ok: true, text: String::new() }, Timestamp::from_ms(0));
        assert_eq!(idle_limit(&reading, max), IDLE_WHEN_DONE_MAX);
        assert_eq!(idle_limit(&reading, Duration::from_secs(5)), Duration::from_secs(5));
        // somebody has woken it
        reading.take_event(&AgentEvent::Message { text: String::new() }, Timestamp::from_ms(0));
        assert_eq!(idle_limit(&reading, max), IDLE_IN_TOOL_MAX);
        reading.tools_open = 0;
        reading.take_event(&AgentEvent::Ended { ok: false, text: String::new() }, Timestamp::from_ms(0));
        assert_eq!(idle_limit(&reading, max), max);
    }

    #[test]
    fn a_wait_that_is_over_is_none_however_long_it_was() {
        let nap = AgentEvent::Retrying { attempt: 1, attempts_max: 2, delay_ms: 700_000, status: Some(429) };
        let at = Timestamp::from_ms(0);
        let mut reading = silent_reading();
        reading.take_event(&nap, at);
        assert!(reading.waits_in_vain().is_some());
        // it has just said so, and may go on
        reading.last_sign = Instant::now();
        assert_eq!(reading.waits_in_vain(), None);
        for over in [
            AgentEvent::Message { text: String::new() },
            AgentEvent::ToolResult { id: String::new(), ok: false, summary: String::new() },
            AgentEvent::Ended { ok: false, text: String::new() },
        ] {
            let mut reading = silent_reading();
            reading.take_event(&nap, at);
            reading.take_event(&over, at);
            assert_eq!(reading.waits_in_vain(), None, "{over:?}");
        }
    }

    #[test]
    fn output_and_a_machine_that_wakes_begin_the_silence_anew_and_nothing_else_does() {
        for (stream, ends_silence) in [
            (Stream::Stdout, true),
            (Stream::Stderr, true),
            (Stream::Slept, true),
            (Stream::Note, false),
            (Stream::Gap, false),
            (Stream::Cut, false),
        ] {
            let mut reading = silent_reading();
            reading.take_record(&record(0, stream, &28_800_000_u64.to_le_bytes()));
            assert_eq!(reading.silent_for() < Duration::from_secs(300), ends_silence, "{stream:?}");
        }
    }
}
