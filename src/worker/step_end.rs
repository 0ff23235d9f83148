//! How a supervised step ended, and who wanted it to.
//!
//! The exit record alone does not say: what runs in a step may signal its supervisor, and write to its socket. What was
//! ordered is believed where this server ordered it, or may have before it was restarted.

use crate::agent::AgentVerdict;
use crate::domain::step_limit::StepLimit;
use crate::process::{ExitCause, ExitRecord, Survivor};

/// The word in the exit record of a step that waited for what does not come.
pub(super) const VAIN: &str = "vain";

/// How a supervised step ended.
pub(super) enum StepEnd {
    /// Its shim left at the barrier: nothing ran.
    NotReleased,
    /// Its shim is dead and left no record.
    Lost {
        /// Who belonged to it when it was last looked at.
        members: Vec<Survivor>,
        /// The kernel killed for want of memory at that time.
        out_of_memory: bool,
        /// As far as it came to tell; `None` when its log cannot be read.
        verdict: Option<Box<AgentVerdict>>,
        /// It had told that it is done.
        done: bool,
        /// From its first word to its last.
        took_ms: u64,
    },
    Exited(Exited),
}

/// A step whose supervisor has told its end.
pub(super) struct Exited {
    pub(super) record: ExitRecord,
    pub(super) verdict: Box<AgentVerdict>,
    /// The limit for which it was ended, whoever held it.
    pub(super) limit: Option<StepLimit>,
    /// It was ended because somebody wanted that, as the record or this server says.
    pub(super) interrupted: bool,
    /// It was ended because it waited in vain: what it had told by then decides.
    pub(super) in_vain: bool,
    /// It had told that it is done, and was ended because its process was not.
    pub(super) done: bool,
    /// Its supervisor was told to stop while this server followed it, and not by this server.
    pub(super) stopped_by_others: bool,
    /// Who belonged to it when it was last looked at.
    pub(super) members: Vec<Survivor>,
}

/// What this server has asked of a step.
#[derive(Default)]
pub(super) struct Asked {
    pub(super) cancel: bool,
    /// To end, with a word that says why.
    pub(super) word: Option<&'static str>,
    pub(super) stop: bool,
    pub(super) limit: Option<StepLimit>,
}

impl Asked {
    /// The limit that a step was ended for. Who ended by itself at that moment has its result.
    pub(super) fn limit_of(&self, record: &ExitRecord) -> Option<StepLimit> {
        match record.cause {
            ExitCause::WallLimit => Some(StepLimit::Wall),
            ExitCause::OutputLimit => Some(StepLimit::Output),
            ExitCause::Ended => record.text.as_deref().and_then(StepLimit::parse),
            // a shim without a socket, or of an older program, takes no word
            ExitCause::Cancelled if !self.cancel => self.limit,
            ExitCause::Stopped if !self.stop && !self.cancel => self.limit,
            _ => None,
        }
    }

    /// Whether the step was ended with this word, and for nothing else.
    pub(super) fn has_said(&self, word: &str, record: &ExitRecord) -> bool {
        match record.cause {
            ExitCause::Ended => record.text.as_deref() == Some(word),
            ExitCause::Stopped => {
                self.word == Some(word) && !self.stop && !self.cancel && self.limit.is_none()
            }
            _ => false,
        }
    }

    /// Whether nothing that this server asked explains that the supervisor was told to stop.
    pub(super) fn knows_no_stop(&self, record: &ExitRecord) -> bool {
        let asked = self.stop || self.cancel || self.word.is_some() || self.limit.is_some();
        record.cause == ExitCause::Stopped && !asked
    }
}

/// Whether a step that had told its result was ended for a reason that takes nothing from it: only a cancel does.
pub(super) fn leaves_the_result(cause: ExitCause) -> bool {
    matches!(cause, ExitCause::WallLimit | ExitCause::OutputLimit | ExitCause::Ended | ExitCause::Stopped)
}

#[cfg(test)]
mod tests {
    use super::super::inward::INTERRUPT;
    use super::*;
    use crate::process::ExitUsage;

    fn record(cause: ExitCause, text: Option<&str>) -> ExitRecord {
        ExitRecord {
            cause,
            code: None,
            signal: None,
            out_of_memory: false,
            text: text.map(str::to_owned),
            no_program: false,
            started_at_ms: 0,
            ended_at_ms: 0,
            output_bytes: 0,
            dropped_bytes: 0,
            survivors: 0,
            log_synced: true,
            usage: ExitUsage::default(),
        }
    }

    #[test]
    fn a_supervisor_that_only_takes_a_signal_was_interrupted_all_the_same() {
        let interrupt = Asked { word: Some(INTERRUPT), ..Asked::default() };
        let stopped = record(ExitCause::Stopped, None);
        assert!(Asked::default().has_said(INTERRUPT, &record(ExitCause::Ended, Some(INTERRUPT))));
        assert!(interrupt.has_said(INTERRUPT, &stopped) && !interrupt.knows_no_stop(&stopped));
        // somebody else's end is not taken for it
        assert!(!Asked::default().has_said(INTERRUPT, &stopped) && Asked::default().knows_no_stop(&stopped));
        assert!(!interrupt.has_said(INTERRUPT, &record(ExitCause::Ended, Some("budget"))));
        assert!(!interrupt.has_said(VAIN, &stopped));
        for asked in [
            Asked { stop: true, word: Some(INTERRUPT), ..Asked::default() },
            Asked { cancel: true, word: Some(INTERRUPT), ..Asked::default() },
            Asked { limit: Some(StepLimit::Idle), word: Some(INTERRUPT), ..Asked::default() },
        ] {
            assert!(!asked.has_said(INTERRUPT, &stopped) && !asked.knows_no_stop(&stopped));
        }
        assert!(!Asked::default().knows_no_stop(&record(ExitCause::Ended, None)));
    }
}
