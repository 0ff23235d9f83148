//! Orders to a living shim.

use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::inspect::{StepState, inspect};
use super::{ProcessError, StepDir, durable, system};
use crate::failpoint::{self, Edge};

/// A shim answers from its poll loop within milliseconds, unless the disk holds up a write to the log.
const ANSWER_MAX: Duration = Duration::from_secs(15);

/// Between two tries to connect to a shim that lives.
const CONNECT_LOOK: Duration = Duration::from_millis(20);

/// Longest answer: an exit record.
const ANSWER_BYTES_MAX: u64 = 8 << 10;

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageFate {
    /// In the log; waits until the command reads.
    Queued,
    /// Wholly in the pipe of the command.
    Written,
    /// The command closed its input in the middle of it.
    Uncertain,
    /// The command closed its input before its first byte.
    NotWritten,
}

/// Speaks to the shim of one step. Every call has a deadline of 15 s.
#[derive(Clone, Debug)]
pub struct Control {
    step: StepDir,
}

impl Control {
    /// Connects anew for every call, so it may be made before the step runs.
    #[must_use]
    pub fn new(step: &StepDir) -> Self {
        Self { step: step.clone() }
    }

    /// Ends the tree: interrupt, terminate, kill. Answers at once; the exit record tells the end. May be repeated.
    ///
    /// # Errors
    /// [`ProcessError::Gone`] when there is no shim: [`inspect`](super::inspect) tells why.
    pub async fn cancel(&self) -> Result<(), ProcessError> {
        failpoint::around(Edge::AskCancel, self.ask(b"1 cancel\n")).await.map(drop)
    }

    /// As [`Self::cancel`], with the cause [`ExitCause::Ended`](super::ExitCause::Ended) and `word` (1 to 32 of `a-z_`)
    /// in the record: whoever reads that later knows why. A shim of an older program is cancelled.
    ///
    /// # Errors
    /// As [`Self::cancel`].
    pub async fn end(&self, word: &str) -> Result<(), ProcessError> {
        match self.ask(format!("1 end {word}\n").as_bytes()).await {
            Err(ProcessError::Refused(_)) => self.cancel().await,
            answered => answered.map(drop),
        }
    }

    /// Sends SIGINT to the command's process group, and nothing else follows.
    ///
    /// # Errors
    /// As [`Self::cancel`]; [`ProcessError::Refused`] when the command has ended.
    pub async fn interrupt(&self) -> Result<(), ProcessError> {
        self.ask(b"1 interrupt\n").await.map(drop)
    }

    /// Closes the command's standard input behind the last message. May be repeated.
    ///
    /// # Errors
    /// As [`Self::cancel`].
    pub async fn close_stdin(&self) -> Result<(), ProcessError> {
        self.ask(b"1 close-stdin\n").await.map(drop)
    }

    /// Hands `text` to the command's standard input. `id` (1 to 128 bytes without blanks) names the message: the
    /// same id again writes nothing and tells what became of the first one. At most about 300 kB.
    ///
    /// # Errors
    /// As [`Self::cancel`]; [`ProcessError::Refused`] when the command takes no messages, or too many wait.
    pub async fn message(&self, id: &str, text: &[u8]) -> Result<MessageFate, ProcessError> {
        if id.is_empty() || id.len() > 128 || id.contains([' ', '\n']) {
            return Err(ProcessError::Spec("the id of a message must have 1 to 128 bytes without blanks"));
        }
        let mut request = format!("1 message {id} {}\n", text.len()).into_bytes();
        request.extend_from_slice(text);
        match self.ask(&request).await?.as_str() {
            "queued" => Ok(MessageFate::Queued),
            "written" => Ok(MessageFate::Written),
            "uncertain" => Ok(MessageFate::Uncertain),
            "not-written" => Ok(MessageFate::NotWritten),
            _ => Err(ProcessError::Format("the supervisor's answer")),
        }
    }

    /// Sends SIGTERM to the shim, which ends its tree with the cause `stopped`. For when the socket is gone. A shim that somebody
    /// stopped is told to go on behind it, for it would not hear of it. The `word` is noted before ([`StepDir::order`]): a
    /// signal says neither who sent it nor why.
    ///
    /// # Errors
    /// [`ProcessError::Gone`] when there is no living shim; nothing is signalled then.
    pub fn stop(&self, word: &str) -> Result<(), ProcessError> {
        match inspect(&self.step)? {
            StepState::Running(shim) => {
                // on a full disk it ends all the same
                let _ = durable::write(&self.step.order_file(), word.as_bytes());
                let told = || {
                    let is_told = system::signal(shim.pid, shim.started, Signal::SIGTERM);
                    is_told && {
                        // it may have ended meanwhile, which is as good
                        let _ = system::signal(shim.pid, shim.started, Signal::SIGCONT);
                        true
                    }
                };
                failpoint::at(Edge::AskStop, told).then_some(()).ok_or(ProcessError::Gone)
            }
            _ => Err(ProcessError::Gone),
        }
    }

    async fn ask(&self, request: &[u8]) -> Result<String, ProcessError> {
        let asked = async {
            let mut stream = self.connect().await?;
            stream.write_all(request).await.map_err(|_| ProcessError::Gone)?;
            read_line(&mut stream).await.map_err(|_| ProcessError::Gone)
        };
        let line = tokio::time::timeout(ANSWER_MAX, asked)
            .await
            .map_err(|_| ProcessError::Deadline(ANSWER_MAX.as_secs()))??;
        match line.strip_prefix("no ") {
            Some(why) => Err(ProcessError::Refused(why.to_owned())),
            None => Ok(line),
        }
    }

    /// A shim that was released a moment ago has no socket yet; one that is ending may have none any more.
    async fn connect(&self) -> Result<UnixStream, ProcessError> {
        loop {
            if let Ok(stream) = UnixStream::connect(self.step.socket()).await {
                return Ok(stream);
            }
            if !matches!(inspect(&self.step)?, StepState::Running(_)) {
                return Err(ProcessError::Gone);
            }
            tokio::time::sleep(CONNECT_LOOK).await;
        }
    }
}

async fn read_line(stream: &mut UnixStream) -> std::io::Result<String> {
    let mut line = Vec::new();
    let mut limited = stream.take(ANSWER_BYTES_MAX);
    while !line.ends_with(b"\n") {
        if limited.read_buf(&mut line).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    line.pop();
    String::from_utf8(line).map_err(|_| std::io::ErrorKind::InvalidData.into())
}
