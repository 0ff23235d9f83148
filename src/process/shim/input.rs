//! Live messages for the standard input of the command.

use std::collections::{HashMap, VecDeque};
use std::io::{ErrorKind, Write};
use std::process::ChildStdin;

use crate::process::log::{FRAME_PAYLOAD_BYTES_MAX, LogWriter, Stream};

/// Text that waits for a command which does not read: a few of the largest prompts (256 KiB).
const QUEUE_BYTES_MAX: usize = 1 << 20;

/// Ids that are remembered to refuse repeats; more than any conversation has.
const IDS_MAX: usize = 10_000;

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Queued,
    Written,
    /// A part of it was written before the command closed its input.
    Uncertain,
    /// The command closed its input before.
    NotWritten,
}

impl Fate {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Written => "written",
            Self::Uncertain => "uncertain",
            Self::NotWritten => "not-written",
        }
    }
}

pub(super) struct Input {
    pipe: Option<ChildStdin>,
    queue: VecDeque<Message>,
    queue_bytes: usize,
    close_when_empty: bool,
    fates: HashMap<String, Fate>,
}

struct Message {
    id: String,
    text: Vec<u8>,
    written: usize,
}

impl Input {
    pub(super) fn new(pipe: Option<ChildStdin>) -> Self {
        Self { pipe, queue: VecDeque::new(), queue_bytes: 0, close_when_empty: false, fates: HashMap::new() }
    }

    /// The pipe, while something waits to be written.
    pub(super) fn waiting(&self) -> Option<&ChildStdin> {
        self.pipe.as_ref().filter(|_| !self.queue.is_empty())
    }

    /// Takes a message, logged before its first byte is written. A known id is answered, not written again.
    pub(super) fn push(
        &mut self,
        id: String,
        text: Vec<u8>,
        log: &mut LogWriter,
    ) -> Result<Fate, &'static str> {
        if let Some(fate) = self.fates.get(&id) {
            return Ok(*fate);
        }
        if self.pipe.is_none() || self.close_when_empty {
            return Err("the command takes no messages");
        }
        if self.queue_bytes + text.len() > QUEUE_BYTES_MAX || self.fates.len() >= IDS_MAX {
            return Err("too many messages wait");
        }
        let mut prefix = vec![u8::try_from(id.len()).map_err(|_| "the id is too long")?];
        prefix.extend_from_slice(id.as_bytes());
        for piece in text.chunks(FRAME_PAYLOAD_BYTES_MAX - prefix.len()) {
            if !log.append(Stream::In, &[prefix.as_slice(), piece].concat()) {
                return Err("the message cannot be logged: no room");
            }
        }
        self.queue_bytes += text.len();
        self.fates.insert(id.clone(), Fate::Queued);
        self.queue.push_back(Message { id: id.clone(), text, written: 0 });
        self.write();
        Ok(self.fates[&id])
    }

    /// Closes the pipe behind the last message.
    pub(super) fn close(&mut self) {
        self.close_when_empty = true;
        self.write();
    }

    /// Writes what the pipe takes.
    pub(super) fn write(&mut self) {
        while let (Some(pipe), Some(message)) = (&mut self.pipe, self.queue.front_mut()) {
            match pipe.write(&message.text[message.written..]) {
                Ok(count) => message.written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => self.give_up(),
            }
            if self.queue.front().is_some_and(|message| message.written == message.text.len()) {
                self.settle(Fate::Written);
            }
        }
        if self.close_when_empty {
            self.pipe = None;
        }
    }

    /// No byte can be written any more.
    pub(super) fn give_up(&mut self) {
        self.pipe = None;
        while let Some(message) = self.queue.front() {
            self.settle(if message.written > 0 { Fate::Uncertain } else { Fate::NotWritten });
        }
    }

    fn settle(&mut self, fate: Fate) {
        if let Some(message) = self.queue.pop_front() {
            self.queue_bytes -= message.text.len();
            self.fates.insert(message.id, fate);
        }
    }
}
