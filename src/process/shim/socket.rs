//! The control socket, protocol 1. A request is one line that begins with the protocol number:
//! `1 watch`, `1 cancel`, `1 end <word>`, `1 interrupt`, `1 close-stdin`, `1 record`, `1 message <id> <length>` followed by that
//! many bytes. The answer is one line: `ok`, a message's fate, `no <why>`. After `ok` to `watch` a byte `!` comes
//! for new records, coalesced; end-of-file means that the shim is gone.

use std::fs::Permissions;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};

use crate::process::{StepDir, system};

/// The server holds one connection to watch and one per request; the rest is for a person with a tool.
const CONNECTIONS_MAX: usize = 16;

/// One message with the largest prompt (256 KiB) and its line.
const REQUEST_BYTES_MAX: usize = 300 << 10;

/// A connection that asks for nothing makes room after this time.
const IDLE_MS_MAX: u64 = 10_000;

/// What somebody asks of the shim.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Request {
    Watch,
    Cancel,
    /// Cancel, with a word for the record.
    End(String),
    Interrupt,
    CloseStdin,
    Record,
    Message {
        id: String,
        text: Vec<u8>,
    },
}

pub(super) struct ControlSocket {
    listener: UnixListener,
    connections: Vec<Connection>,
}

struct Connection {
    stream: UnixStream,
    unread: Vec<u8>,
    watches: bool,
    heard_at: u64,
    broken: bool,
}

impl ControlSocket {
    /// A socket that is there already belongs to a dead shim of this step: the log can be begun only once.
    pub(super) fn bind(step: &StepDir) -> io::Result<Self> {
        let path = step.socket();
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        std::fs::set_permissions(&path, Permissions::from_mode(0o700))?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, connections: Vec::new() })
    }

    /// What to poll for reading.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        std::iter::once(self.listener.as_fd()).chain(self.connections.iter().map(|one| one.stream.as_fd()))
    }

    /// Accepts, reads, and hands every whole request to `answer`, which gives the line to send back.
    pub(super) fn serve(&mut self, mut answer: impl FnMut(Request) -> String) {
        let now = system::awake_ms();
        self.accept(now);
        for connection in &mut self.connections {
            connection.read(now);
            while let Some(request) = connection.take_request() {
                let line = match request {
                    Ok(Request::Watch) => {
                        connection.watches = true;
                        "ok".to_owned()
                    }
                    Ok(request) => answer(request),
                    Err(why) => {
                        connection.broken = true;
                        format!("no {why}")
                    }
                };
                connection.send(format!("{line}\n").as_bytes());
            }
            connection.broken |= !connection.watches && now.saturating_sub(connection.heard_at) > IDLE_MS_MAX;
        }
        self.connections.retain(|connection| !connection.broken);
    }

    /// Tells every watcher that there are new records. Never waits: a bell that is still unheard is enough.
    pub(super) fn ring(&mut self) {
        for connection in self.connections.iter_mut().filter(|connection| connection.watches) {
            match connection.stream.write(b"!") {
                Err(error) if error.kind() != ErrorKind::WouldBlock => connection.broken = true,
                _ => {}
            }
        }
    }

    fn accept(&mut self, now: u64) {
        while let Ok((stream, _)) = self.listener.accept() {
            let own_user = system::peer_uid(&stream).is_ok_and(|uid| uid == nix::unistd::geteuid().as_raw());
            if own_user && self.connections.len() < CONNECTIONS_MAX && stream.set_nonblocking(true).is_ok() {
                let unread = Vec::new();
                self.connections.push(Connection {
                    stream,
                    unread,
                    watches: false,
                    heard_at: now,
                    broken: false,
                });
            }
        }
    }
}

impl Connection {
    fn read(&mut self, now: u64) {
        let mut buffer = [0_u8; 8192];
        while self.unread.len() <= REQUEST_BYTES_MAX {
            match self.stream.read(&mut buffer) {
                Ok(0) => self.broken = true,
                Ok(count) => {
                    self.unread.extend_from_slice(&buffer[..count]);
                    self.heard_at = now;
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => self.broken |= error.kind() != ErrorKind::WouldBlock,
            }
            return;
        }
    }

    /// `None`: nothing whole yet.
    fn take_request(&mut self) -> Option<Result<Request, &'static str>> {
        match parse(&self.unread) {
            Ok(Some((request, used))) => {
                self.unread.drain(..used);
                Some(Ok(request))
            }
            Ok(None) if self.unread.len() > REQUEST_BYTES_MAX => {
                self.unread.clear();
                Some(Err("the request is too long"))
            }
            Ok(None) => None,
            Err(why) => {
                self.unread.clear();
                Some(Err(why))
            }
        }
    }

    /// Answers are short and the buffer is empty when they are sent; a peer that does not read loses them.
    fn send(&mut self, bytes: &[u8]) {
        self.broken |= self.stream.write_all(bytes).is_err();
    }
}

/// The first request of `bytes` and its length; `None` while it is not whole.
fn parse(bytes: &[u8]) -> Result<Option<(Request, usize)>, &'static str> {
    let Some(end) = memchr::memchr(b'\n', bytes) else { return Ok(None) };
    let line = std::str::from_utf8(&bytes[..end]).map_err(|_| "the request is not text")?;
    let words: Vec<&str> = line.split(' ').collect();
    let request = match words.as_slice() {
        ["1", "watch"] => Request::Watch,
        ["1", "cancel"] => Request::Cancel,
        ["1", "end", word] if is_word(word) => Request::End((*word).to_owned()),
        ["1", "interrupt"] => Request::Interrupt,
        ["1", "close-stdin"] => Request::CloseStdin,
        ["1", "record"] => Request::Record,
        ["1", "message", id, length] if !id.is_empty() && id.len() <= 128 => {
            let length: usize = length.parse().map_err(|_| "the length is not a number")?;
            if length > REQUEST_BYTES_MAX - end {
                return Err("the message is too long");
            }
            let Some(text) = bytes.get(end + 1..end + 1 + length) else { return Ok(None) };
            let request = Request::Message { id: (*id).to_owned(), text: text.to_vec() };
            return Ok(Some((request, end + 1 + length)));
        }
        ["1", ..] => return Err("unknown request"),
        _ => return Err("unknown protocol"),
    };
    Ok(Some((request, end + 1)))
}

/// Short and harmless wherever it is shown.
fn is_word(word: &str) -> bool {
    (1..=32).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_of_protocol_1_are_understood_and_others_refused() {
        assert_eq!(parse(b"1 cancel\nrest"), Ok(Some((Request::Cancel, 9))));
        assert_eq!(parse(b"1 canc"), Ok(None));
        assert_eq!(parse(b"1 end worktree_bytes\n"), Ok(Some((Request::End("worktree_bytes".into()), 21))));
        let message = Request::Message { id: "m-1".into(), text: b"a\nb".to_vec() };
        assert_eq!(parse(b"1 message m-1 3\na\nb1 watch\n"), Ok(Some((message, 19))));
        assert_eq!(parse(b"1 message m-1 3\na\n"), Ok(None));
        for bad in [
            &b"2 cancel\n"[..],
            b"1 dance\n",
            b"1 end\n",
            b"1 end Too-Loud\n",
            b"1 message m x\n",
            b"1 message m 999999999\n",
            b"\xff\n",
            b"\n",
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}
