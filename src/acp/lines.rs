//! The agent's output, line by line: what is shown, what is answered, what is neither.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use futures_util::{Sink, Stream, sink, stream};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::said::Speaker;
use crate::agent::LineSplitter;

/// What a pipe gives in one read.
const READ_BYTES: usize = 64 * 1024;

/// What is known of the agent's output from outside.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// Lines are shown: before the prompt the agent tells what was said long ago, and who it is.
    shows: AtomicBool,
    /// Notifications so far.
    notifications: AtomicU64,
}

impl Heard {
    pub(super) fn show(&self) {
        self.shows.store(true, Ordering::Release);
    }

    pub(super) fn notifications(&self) -> u64 {
        self.notifications.load(Ordering::Acquire)
    }
}

/// What a line is, as far as it matters here.
#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Notification,
    Request,
    Answer,
    /// No message at all.
    Noise,
}

#[derive(Deserialize)]
struct Envelope {
    id: Option<IgnoredAny>,
    method: Option<IgnoredAny>,
    /// It is there; an answer may well be `null`.
    #[serde(default, deserialize_with = "is_there")]
    result: bool,
    #[serde(default, deserialize_with = "is_there")]
    error: bool,
}

fn is_there<'de, D: Deserializer<'de>>(value: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(value).map(|_| true)
}

fn kind_of(line: &[u8]) -> Kind {
    let read = line.trim_ascii_start().starts_with(b"{").then(|| serde_json::from_slice::<Envelope>(line));
    match read {
        Some(Ok(Envelope { id: None, method: Some(_), .. })) => Kind::Notification,
        Some(Ok(Envelope { id: Some(_), method: Some(_), .. })) => Kind::Request,
        Some(Ok(Envelope { id: Some(_), result, error, .. })) if result || error => Kind::Answer,
        _ => Kind::Noise,
    }
}

/// The lines that the protocol has to see: requests and answers. Notifications go to whoever reads, and so does noise; of both nothing is
/// kept, however fast they come.
pub(super) fn incoming(
    from: impl AsyncRead + Send + Unpin + 'static,
    heard: Arc<Heard>,
    speaker: Speaker,
) -> impl Stream<Item = io::Result<String>> + Send + 'static {
    let reading = Reading { from, splitter: LineSplitter::default(), ready: VecDeque::new(), heard, speaker };
    stream::unfold(Some(reading), |reading| async move {
        let mut reading = reading?;
        match reading.next().await {
            Ok(Some(line)) => Some((Ok(line), Some(reading))),
            Ok(None) => None,
            Err(error) => Some((Err(error), None)),
        }
    })
}

struct Reading<R> {
    from: R,
    splitter: LineSplitter,
    ready: VecDeque<String>,
    heard: Arc<Heard>,
    speaker: Speaker,
}

impl<R: AsyncRead + Unpin> Reading<R> {
    async fn next(&mut self) -> io::Result<Option<String>> {
        let mut buffer = vec![0_u8; READ_BYTES];
        loop {
            if let Some(line) = self.ready.pop_front() {
                return Ok(Some(line));
            }
            let count = self.from.read(&mut buffer).await?;
            let (ready, heard, speaker) = (&mut self.ready, &self.heard, &self.speaker);
            self.splitter.push(&buffer[..count], |line| ready.extend(sort(line.bytes, heard, speaker)));
            if count == 0 {
                let last = self.splitter.finish();
                return Ok(last.and_then(|line| sort(line.bytes, &self.heard, &self.speaker)));
            }
        }
    }
}

/// Shows the line, or gives it back for the protocol, or both.
fn sort(line: Vec<u8>, heard: &Heard, speaker: &Speaker) -> Option<String> {
    let kind = kind_of(&line);
    if kind == Kind::Notification {
        heard.notifications.fetch_add(1, Ordering::AcqRel);
    }
    let is_shown = match kind {
        Kind::Notification | Kind::Request => heard.shows.load(Ordering::Acquire),
        Kind::Answer => false,
        Kind::Noise => true,
    };
    if is_shown {
        speaker.pass_on(&line);
    }
    // what is not UTF-8 in a text must not cost the answer
    matches!(kind, Kind::Request | Kind::Answer).then(|| match String::from_utf8(line) {
        Ok(line) => line,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    })
}

/// Where the protocol's own lines go.
pub(super) fn outgoing(
    to: impl AsyncWrite + Send + Unpin + 'static,
) -> impl Sink<String, Error = io::Error> + Send + 'static {
    sink::unfold(to, |mut to, line: String| async move {
        to.write_all(line.as_bytes()).await?;
        to.write_all(b"\n").await?;
        to.flush().await?;
        Ok(to)
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Mutex;

    use futures_util::StreamExt as _;

    use super::*;

    #[derive(Clone, Default)]
    struct Printed(Arc<Mutex<Vec<u8>>>);

    impl Write for Printed {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    async fn read(bytes: &'static [u8], shows: bool) -> (Vec<String>, String, u64) {
        let (printed, heard) = (Printed::default(), Arc::new(Heard::default()));
        if shows {
            heard.show();
        }
        let lines = incoming(bytes, heard.clone(), Speaker::new(Box::new(printed.clone())));
        let passed: Vec<String> = lines.map(Result::unwrap).collect().await;
        let printed = String::from_utf8(printed.0.lock().unwrap().clone()).unwrap();
        (passed, printed, heard.notifications())
    }

    const OUTPUT: &[u8] = b"npm notice\n{\"jsonrpc\":\"2.0\",\"method\":\"session/update\",\"params\":{}}\n\
        {\"id\":0,\"method\":\"session/request_permission\"}\n{\"id\":3,\"result\":{\"t\":\"\xff\"}}\n{\"id\":4}\n[1]\n{\"id\":6,\"result\":null}\n{\"id\":5,\"error\":{}}";

    #[tokio::test]
    async fn updates_are_shown_answers_are_taken_and_noise_is_never_taken_for_either() {
        let (passed, printed, notifications) = read(OUTPUT, true).await;
        assert_eq!(
            passed,
            [
                "{\"id\":0,\"method\":\"session/request_permission\"}",
                "{\"id\":3,\"result\":{\"t\":\"\u{fffd}\"}}",
                "{\"id\":6,\"result\":null}",
                "{\"id\":5,\"error\":{}}"
            ]
        );
        let shown: Vec<&str> = printed.lines().collect();
        assert_eq!(shown.len(), 5, "{printed}");
        assert!(
            shown[0] == "npm notice"
                && shown[1].contains("session/update")
                && shown[2].contains("request_permission")
        );
        assert_eq!((shown[3], shown[4], notifications), ("{\"id\":4}", "[1]", 1));
    }

    #[tokio::test]
    async fn what_was_said_before_the_prompt_is_counted_and_not_shown() {
        let (passed, printed, notifications) = read(OUTPUT, false).await;
        assert_eq!((passed.len(), notifications), (4, 1));
        assert_eq!(printed, "npm notice\n{\"id\":4}\n[1]\n");
    }
}
