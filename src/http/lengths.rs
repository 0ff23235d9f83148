//! Whether the head of a request told the length of its body twice, by Content-Length and by Transfer-Encoding, which is how requests
//! are smuggled (RFC 9112, sections 6.1 and 6.3).
//!
//! The server library drops the one beside the other before anybody is asked, so the stream reads along: heads by the parser of
//! that library, with its limits, and bodies by their Content-Length. Nothing is looked for in a body. A request with
//! Transfer-Encoding or Upgrade is the last one of its connection (`serve.rs` closes it), so what comes after its head, chunks or the
//! frames of a WebSocket, is never followed.

use std::mem::MaybeUninit;

/// Bytes of one head that are kept. All headers together may have 32 KiB, and the library takes no address above 64 KiB; the library
/// itself reads on to some 400 KiB before it gives up.
const HEAD_BYTES_MAX: usize = 128 * 1024;
/// As many headers as the library takes.
const HEADERS_MAX: usize = 100;

/// What is not read on.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// A head of more than 128 KiB, which was not kept: whether it has both is not known. It is the last one that is read here, so it
    /// has to be the last one of its connection (`serve.rs` closes it); with Transfer-Encoding it is refused (`guard.rs`).
    TooLarge,
    /// HTTP/2 without asking (RFC 9113, section 3.3). The library would speak it; none of the limits here know it, so the connection ends.
    OtherProtocol,
}

/// How the preface of HTTP/2 begins, which a client sends instead of a request. It has the form of a head, so it is whole here before
/// the library has read all of it.
const HTTP_2: &[u8] = b"PRI * HTTP/2";

/// Where the peer is in what it sends.
#[derive(Debug)]
pub(super) enum Lengths {
    /// In a head, of which these bytes have come: whole lines, and the beginning of the next.
    Head(Vec<u8>),
    /// In a body of which so many bytes are to come.
    Body(u64),
    /// In what is no request, or in the last one.
    Over,
}

impl Default for Lengths {
    fn default() -> Self {
        Self::Head(Vec::new())
    }
}

impl Lengths {
    /// Reads on; whether a head that ends here has both.
    pub(super) fn read(&mut self, mut bytes: &[u8]) -> Result<bool, Unread> {
        while !bytes.is_empty() {
            match self {
                Self::Over => break,
                Self::Body(left) => {
                    let here = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                    bytes = &bytes[here..];
                    *left -= here as u64;
                    if *left == 0 {
                        *self = Self::default();
                    }
                }
                Self::Head(head) => {
                    let line = bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |at| at + 1);
                    if head.len() + line > HEAD_BYTES_MAX {
                        *self = Self::Over;
                        return Err(Unread::TooLarge);
                    }
                    head.extend_from_slice(&bytes[..line]);
                    bytes = &bytes[line..];
                    if head.ends_with(b"\n\n") || head.ends_with(b"\n\r\n") {
                        if head.starts_with(HTTP_2) {
                            *self = Self::Over;
                            return Err(Unread::OtherProtocol);
                        }
                        let (both, next) = after(head);
                        *self = next.unwrap_or_else(|| Self::Head(std::mem::take(head)));
                        if both {
                            return Ok(true);
                        }
                    } else if matches!(&head[..], b"\n" | b"\r\n") {
                        // empty lines before a request are none of it
                        head.clear();
                    }
                }
            }
        }
        Ok(false)
    }
}

/// Whether this head has both lengths, and what follows it; `None`: it has no end yet.
fn after(head: &[u8]) -> (bool, Option<Lengths>) {
    let mut headers = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(head, &mut headers) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return (false, None),
        // the library refuses it too, and closes
        Err(_) => return (false, Some(Lengths::Over)),
    }
    let value = |name: &str| request.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
    let length = value("content-length");
    if value("transfer-encoding").is_some() {
        return (length.is_some(), Some(Lengths::Over));
    }
    if value("upgrade").is_some() {
        return (false, Some(Lengths::Over));
    }
    let next = match length.map_or(Some(0), |header| digits(header.value)) {
        Some(0) => Lengths::default(),
        Some(bytes) => Lengths::Body(bytes),
        None => Lengths::Over,
    };
    (false, Some(next))
}

/// As the library reads them: no sign, no list.
fn digits(value: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(value).ok()?;
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: &str =
        "POST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n";

    /// However it is cut, the answer is the same.
    fn read(text: &str) -> Vec<bool> {
        let one_by_one = |size: usize| {
            let mut lengths = Lengths::default();
            text.as_bytes().chunks(size).any(|piece| lengths.read(piece).unwrap())
        };
        [1, 2, 7, text.len()].map(one_by_one).to_vec()
    }

    #[test]
    fn both_lengths_are_seen_wherever_they_stand_and_however_they_come() {
        let seen = [
            BOTH.to_owned(),
            BOTH.to_ascii_lowercase().replace("http/1.1", "HTTP/1.1").replace("post", "POST"),
            BOTH.replace("\r\n", "\n"),
            format!("\r\n\n{BOTH}"),
            format!("GET /a HTTP/1.1\r\nHost: x\r\n\r\n{BOTH}"),
            format!("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc{BOTH}"),
            "POST / HTTP/1.1\r\nTRANSFER-ENCODING: chunked\r\ncontent-LENGTH: nonsense\r\n\r\n".to_owned(),
        ];
        for text in seen {
            assert_eq!(read(&text), [true; 4], "{text:?}");
        }
    }

    #[test]
    fn bodies_are_passed_over_and_nothing_is_followed_after_the_last_head() {
        let unseen = [
            format!("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{BOTH}", BOTH.len()),
            format!("POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{BOTH}"),
            format!("GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\r\n{BOTH}"),
            // refused by the library, which closes
            format!("POST /a HTTP/1.1\r\nContent-Length : 3\r\n\r\n{BOTH}"),
            format!("POST /a HTTP/1.1\r\nContent-Length: +3\r\n\r\n{BOTH}"),
            BOTH[..BOTH.len() - 1].to_owned(),
        ];
        for text in unseen {
            assert_eq!(read(&text), [false; 4], "{text:?}");
        }
    }

    #[test]
    fn another_protocol_is_seen_before_the_library_has_its_whole_preface() {
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        for size in [1, 7, preface.len()] {
            let mut lengths = Lengths::default();
            let mut pieces = preface.chunks(size);
            let seen = pieces.position(|piece| lengths.read(piece) == Err(Unread::OtherProtocol));
            assert!(seen.is_some_and(|at| at * size < preface.len() - 1), "{size}: {seen:?}");
        }
    }

    #[test]
    fn no_more_of_a_head_is_kept_than_one_may_have() {
        let mut lengths = Lengths::default();
        let blanks = vec![b' '; HEAD_BYTES_MAX];
        assert_eq!(lengths.read(b"GET / HTTP/1.1\r\nA:"), Ok(false));
        assert_eq!(lengths.read(&blanks), Err(Unread::TooLarge));
        assert!(matches!(lengths, Lengths::Over), "{lengths:?}");
    }
}
