//! Follows the log of a step from a stored position until its end.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

use super::inspect::{StepState, inspect};
use super::log::{LogChain, LogPosition, ReadChain, Record};
use super::{ProcessError, StepDir};

/// How long a new record may stay unseen when no bell rings.
const LOOK: Duration = Duration::from_secs(1);

/// The same at first when there is no bell: the shim is just beginning or just ending. Doubles up to [`LOOK`].
const LOOK_WITHOUT_BELL: Duration = Duration::from_millis(10);

/// What comes out of a [`Tail`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tailed {
    /// The next record.
    Record(Record),
    /// So many records were overwritten in the tail files before they were read.
    Skipped {
        /// How many.
        records: u64,
    },
    /// The shim is dead and its log ends with bytes that are no record. Comes once, before the end.
    Torn,
    /// Everything is read, and nothing will follow. Comes once.
    Ended(StepState),
}

/// Reader that follows. Its reads are small and of local files, done in place without a thread.
#[derive(Debug)]
pub struct Tail {
    step: StepDir,
    chain: LogChain,
    bell: Option<UnixStream>,
    /// How long to wait before the next try to connect.
    pause: Duration,
    /// The state in which nothing more is written; what is read after it was seen is all there is.
    last: Option<StepState>,
    torn_told: bool,
    ended: bool,
}

impl Tail {
    /// Goes on at `from`: the default for the beginning, or the [`Self::position`] stored with the last record.
    #[must_use]
    pub fn open(step: &StepDir, from: LogPosition) -> Self {
        let chain = LogChain::open(step, from);
        Self {
            step: step.clone(),
            chain,
            bell: None,
            pause: LOOK_WITHOUT_BELL,
            last: None,
            torn_told: false,
            ended: false,
        }
    }

    /// Behind everything that was given out.
    #[must_use]
    pub fn position(&self) -> LogPosition {
        self.chain.position()
    }

    /// Waits for what comes next; `None` after [`Tailed::Ended`]. Nothing is lost when the future is dropped.
    ///
    /// # Errors
    /// [`ProcessError::Io`] when a file cannot be read, [`ProcessError::Format`] at the first record of a newer program. It may
    /// be called again.
    pub async fn next(&mut self) -> Result<Option<Tailed>, ProcessError> {
        // A long log must not keep the thread for itself.
        tokio::task::consume_budget().await;
        while !self.ended {
            let looked = self.chain.next().map_err(ProcessError::io("cannot read the log"))?;
            match (looked, self.last.take()) {
                (ReadChain::Record(record), last) => {
                    self.last = last;
                    return Ok(Some(Tailed::Record(record)));
                }
                (ReadChain::Skipped(records), last) => {
                    self.last = last;
                    return Ok(Some(Tailed::Skipped { records }));
                }
                (ReadChain::Newer, last) => {
                    self.last = last;
                    return Err(ProcessError::Format("the log"));
                }
                (ReadChain::Nothing { torn: true }, Some(last)) if !self.torn_told => {
                    self.torn_told = true;
                    self.last = Some(last);
                    return Ok(Some(Tailed::Torn));
                }
                (ReadChain::Nothing { .. }, Some(last)) => {
                    self.ended = true;
                    return Ok(Some(Tailed::Ended(last)));
                }
                (ReadChain::Nothing { .. }, None) => match inspect(&self.step)? {
                    StepState::Running(_) => self.wait().await,
                    last => self.last = Some(last),
                },
            }
        }
        Ok(None)
    }

    /// Until the bell rings, the shim is gone, or it is time to look anyway.
    async fn wait(&mut self) {
        if self.bell.is_none() {
            self.bell = watch(&self.step).await;
        }
        if let Some(bell) = &self.bell {
            match tokio::time::timeout(LOOK, heard(bell)).await {
                Ok(true) => self.pause = LOOK_WITHOUT_BELL,
                Ok(false) => self.bell = None,
                Err(_) => {}
            }
        }
        if self.bell.is_none() {
            tokio::time::sleep(self.pause).await;
            self.pause = LOOK.min(self.pause * 2);
        }
    }
}

/// A connection on which the shim rings. Its answer counts as the first ring, so nothing written meanwhile is missed.
async fn watch(step: &StepDir) -> Option<UnixStream> {
    let asked = async {
        let mut stream = UnixStream::connect(step.socket()).await?;
        stream.write_all(b"1 watch\n").await?;
        Ok::<_, std::io::Error>(stream)
    };
    tokio::time::timeout(LOOK, asked).await.ok()?.ok()
}

/// Empties the bell. False: the shim has closed it.
async fn heard(bell: &UnixStream) -> bool {
    let mut rings = [0_u8; 512];
    while bell.readable().await.is_ok() {
        match bell.try_read(&mut rings) {
            Ok(count) => return count > 0,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => return false,
        }
    }
    false
}
