//! A stream of events while it comes in.

use std::time::Duration;

use reqwest::{Method, Response};
use tokio::time::timeout;

use super::{ApiClient, ApiError};
use crate::wire::event::{Event, StreamDone, StreamItem, StreamReset};

/// The server says every 15 s that it is there; whoever hears nothing for three times as long hears nobody.
const SILENT_MAX: Duration = Duration::from_secs(50);
/// The largest line of a stream: the longest message, 32 KiB, with every byte escaped and room for what is around it.
const LINE_BYTES_MAX: usize = 1 << 20;

/// Where to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// With what happens from now on.
    Now,
    /// Behind the event of this number; 0 is the beginning.
    Event(i64),
}

/// What came.
#[derive(Clone, Debug, PartialEq)]
pub enum Heard {
    Item(StreamItem),
    /// The server is there, and has nothing to say or something that this program does not know.
    Alive,
}

/// The events of a job.
#[derive(Debug)]
pub struct EventStream {
    response: Response,
    reader: BlockReader,
    waiting: std::collections::VecDeque<Heard>,
    last: Option<i64>,
    url: String,
}

impl ApiClient {
    /// The events of a job from there on, until it is over.
    ///
    /// # Errors
    /// When there is no such job, or too many streams are open.
    pub async fn follow_events(&self, job: &str, since: Since) -> Result<EventStream, ApiError> {
        let after = match since {
            Since::Now => "latest".to_owned(),
            Since::Event(number) => number.to_string(),
        };
        let query = [("after", after)];
        let response = self.call(Method::GET, &["jobs", job, "events"], &query).open().await?;
        let last = match since {
            Since::Now => None,
            Since::Event(number) => Some(number),
        };
        let url = self.base_url().to_owned();
        Ok(EventStream { response, reader: BlockReader::default(), waiting: Default::default(), last, url })
    }
}

impl EventStream {
    /// The number behind which to go on when this stream breaks off; `None` before anything was heard.
    #[must_use]
    pub fn last(&self) -> Option<i64> {
        self.last
    }

    /// What comes next; `None` when the server has ended the stream.
    ///
    /// # Errors
    /// When it broke off, or nothing has come for longer than the server is ever silent.
    pub async fn next(&mut self) -> Result<Option<Heard>, ApiError> {
        loop {
            if let Some(heard) = self.waiting.pop_front() {
                if let Heard::Item(item) = &heard {
                    self.last = item.id().or(self.last);
                }
                return Ok(Some(heard));
            }
            let broken =
                |why: String| ApiError::Unreachable { url: self.url.clone(), why, maybe_done: false };
            let piece = match timeout(SILENT_MAX, self.response.chunk()).await {
                Err(_) => return Err(broken("it has become silent".to_owned())),
                Ok(Err(_)) => return Err(broken("the stream broke off".to_owned())),
                Ok(Ok(None)) => return Ok(None),
                Ok(Ok(Some(piece))) => piece,
            };
            let mut blocks = Vec::new();
            let fits = self.reader.push(&piece, &mut blocks);
            if !fits {
                return Err(ApiError::Unintelligible {
                    url: self.url.clone(),
                    why: format!("a line of its events exceeds {LINE_BYTES_MAX} bytes"),
                });
            }
            for block in blocks {
                // a number alone tells where the stream begins; that of an item counts when the item is given out
                if block.data.is_empty() {
                    self.last = block.id.or(self.last);
                }
                self.waiting.push_back(block.heard());
            }
        }
    }
}

/// One block of a stream, as https://html.spec.whatwg.org/multipage/server-sent-events.html has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Block {
    id: Option<i64>,
    event: String,
    data: String,
}

impl Block {
    fn heard(&self) -> Heard {
        let item = match self.event.as_str() {
            "reset" => serde_json::from_str::<StreamReset>(&self.data).map(StreamItem::Reset),
            "done" => serde_json::from_str::<StreamDone>(&self.data).map(StreamItem::Done),
            _ => serde_json::from_str::<Event>(&self.data).map(|event| StreamItem::Event(Box::new(event))),
        };
        item.map_or(Heard::Alive, Heard::Item)
    }
}

/// Cuts bytes into blocks. Holds one block whose lines have a bound each.
#[derive(Debug, Default)]
struct BlockReader {
    line: Vec<u8>,
    block: Block,
}

impl BlockReader {
    /// False: a line or a block is longer than any that a server sends.
    fn push(&mut self, bytes: &[u8], blocks: &mut Vec<Block>) -> bool {
        let mut rest = bytes;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            self.line.extend_from_slice(&rest[..end]);
            rest = &rest[end + 1..];
            let line = std::mem::take(&mut self.line);
            let line = line.strip_suffix(b"\r").unwrap_or(&line);
            if line.is_empty() {
                blocks.push(std::mem::take(&mut self.block));
            } else {
                self.field(&String::from_utf8_lossy(line));
            }
            if self.block.data.len() > LINE_BYTES_MAX {
                return false;
            }
        }
        self.line.extend_from_slice(rest);
        self.line.len() <= LINE_BYTES_MAX
    }

    fn field(&mut self, line: &str) {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "id" => self.block.id = value.parse().ok().or(self.block.id),
            "event" => value.clone_into(&mut self.block.event),
            "data" => {
                if !self.block.data.is_empty() {
                    self.block.data.push('\n');
                }
                self.block.data.push_str(value);
            }
            // a comment has no name
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: &str = "id: 4\n:\n\n:\n\nevent: reset\r\ndata: {\"after\":4}\nid: 4\n\n\
        id:7\nevent: job.note\ndata: {\"seq\":7}\ndata: x\n\nevent: done\ndata:{}\n\nevent: half";

    fn read(pieces: &[&[u8]]) -> Vec<Block> {
        let mut reader = BlockReader::default();
        let mut blocks = Vec::new();
        assert!(pieces.iter().all(|piece| reader.push(piece, &mut blocks)));
        blocks
    }

    #[test]
    fn blocks_are_read_as_the_standard_says() {
        let block =
            |id, event: &str, data: &str| Block { id, event: event.to_owned(), data: data.to_owned() };
        let expected = [
            block(Some(4), "", ""),
            block(None, "", ""),
            block(Some(4), "reset", "{\"after\":4}"),
            block(Some(7), "job.note", "{\"seq\":7}\nx"),
            block(None, "done", "{}"),
        ];
        assert_eq!(read(&[TEXT.as_bytes()]), expected);
        assert_eq!(expected[2].heard(), Heard::Item(StreamItem::Reset(StreamReset { after: 4 })));
        // a later server may have events that this program does not know
        assert_eq!(block(Some(8), "job.dreamt", "{\"seq\":8}").heard(), Heard::Alive);
    }

    #[test]
    fn a_line_without_an_end_is_no_event() {
        let mut reader = BlockReader::default();
        let mut fits = true;
        for _ in 0..100 {
            fits = fits && reader.push(&[b'x'; 20_000], &mut Vec::new());
        }
        assert!(!fits);
    }

    proptest! {
        #[test]
        fn the_pieces_do_not_matter(cuts in proptest::collection::vec(0..TEXT.len(), 0..8)) {
            let mut cuts = cuts;
            cuts.sort_unstable();
            let mut pieces = Vec::new();
            let mut start = 0;
            for cut in cuts {
                pieces.push(&TEXT.as_bytes()[start..cut]);
                start = cut;
            }
            pieces.push(&TEXT.as_bytes()[start..]);
            prop_assert_eq!(read(&pieces), read(&[TEXT.as_bytes()]));
        }
    }
}
