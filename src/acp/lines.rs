//! The agent's output, line by line: what is shown, what is answered, what is neither.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Sink, Stream, sink, stream};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::envelope::{Kind, is_answer, kind_of, question};
use super::heard::Heard;
use super::said::Speaker;
use crate::agent::{Line, LineSplitter};

/// What a pipe gives in one read.
const READ_BYTES: usize = 64 * 1024;
/// How long an agent may leave answers unread while it asks for more.
const UNREAD_MAX: Duration = Duration::from_secs(15);
/// What is heard of an agent that has nobody to talk to any more.
const REST_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The lines that the protocol has to see: requests and answers. Notifications go to whoever reads, and so does noise; of both nothing is
/// kept, however fast they come. The second value gives what comes after the protocol has ended.
pub(super) fn incoming<R: AsyncRead + Send + Unpin + 'static>(
    from: R,
    heard: Arc<Heard>,
    speaker: Speaker,
) -> (impl Stream<Item = io::Result<String>> + Send + 'static, Rest<R>) {
    let reading = Reading {
        from,
        splitter: LineSplitter::default(),
        ready: VecDeque::new(),
        bytes_max: usize::MAX,
        heard,
        speaker,
    };
    let reading = Arc::new(Mutex::new(reading));
    let rest = Rest(reading.clone());
    let lines = stream::unfold(Some(reading), |reading| async move {
        let reading = reading?;
        let next = reading.lock().await.next().await;
        match next {
            Ok(Some(line)) => Some((Ok(line), Some(reading))),
            Ok(None) => None,
            Err(error) => Some((Err(error), None)),
        }
    });
    (lines, rest)
}

/// The agent's output once nobody answers any more.
pub(super) struct Rest<R>(Arc<Mutex<Reading<R>>>);

impl<R: AsyncRead + Unpin> Rest<R> {
    /// Shows what comes, until the agent and everybody it has given its output to have closed it.
    pub(super) async fn hear(&self) {
        let mut reading = self.0.lock().await;
        reading.heard.end();
        reading.bytes_max = REST_BYTES_MAX;
        while let Ok(Some(_)) = reading.next().await {}
    }
}

struct Reading<R> {
    from: R,
    splitter: LineSplitter,
    ready: VecDeque<Passed>,
    /// So many bytes are still read; what follows is as if it had not been said.
    bytes_max: usize,
    heard: Arc<Heard>,
    speaker: Speaker,
}

/// A line for the protocol.
struct Passed {
    text: String,
    is_request: bool,
}

impl<R: AsyncRead + Unpin> Reading<R> {
    async fn next(&mut self) -> io::Result<Option<String>> {
        let mut buffer = vec![0_u8; READ_BYTES];
        let mut is_over = false;
        loop {
            if let Some(passed) = self.ready.pop_front() {
                if passed.is_request && timeout(UNREAD_MAX, self.heard.room_for_one()).await.is_err() {
                    self.heard.break_off("the agent asks on and on, and reads none of the answers");
                    return Ok(None);
                }
                return Ok(Some(passed.text));
            }
            if is_over || self.bytes_max == 0 {
                return Ok(None);
            }
            let count = self.from.read(&mut buffer).await?;
            if self.bytes_max < usize::MAX {
                self.bytes_max = self.bytes_max.saturating_sub(count);
            }
            let (ready, heard, speaker) = (&mut self.ready, &self.heard, &self.speaker);
            self.splitter.push(&buffer[..count], |line| ready.extend(sort(line, heard, speaker)));
            if count == 0 {
                is_over = true;
                let last = self.splitter.finish();
                self.ready.extend(last.and_then(|line| sort(line, &self.heard, &self.speaker)));
            }
        }
    }
}

/// Shows the line, or gives it back for the protocol, or both. Each is printed in some way: as it came where it tells of the turn, else
/// as one that was heard.
fn sort(line: Line, heard: &Heard, speaker: &Speaker) -> Option<Passed> {
    let kind = kind_of(&line);
    let line = line.bytes;
    let shows = heard.shows();
    let tell = |line: &[u8]| if shows { speaker.pass_on(line) } else { speaker.heard(line) };
    match kind {
        Kind::Notification => {
            heard.notify(&line);
            tell(&line);
            None
        }
        Kind::Request(message) => {
            tell(&line);
            // an update that wants an answer tells of its tool all the same
            heard.learn(&message["params"]["update"]);
            let text = question(&message, heard).unwrap_or(message).to_string();
            Some(Passed { text, is_request: true })
        }
        Kind::Answer(message) => {
            speaker.heard(&line);
            Some(Passed { text: message.to_string(), is_request: false })
        }
        // it would be taken for one of ours
        Kind::Forged => {
            speaker.heard(&line);
            None
        }
        Kind::Malformed(why) => {
            speaker.pass_on(&line);
            heard.break_off(&format!("the agent has said what is no message of the protocol: {why}"));
            None
        }
        Kind::Cut => {
            heard.miss();
            speaker.pass_on(&line);
            None
        }
        Kind::Noise => {
            speaker.pass_on(&line);
            None
        }
    }
}

/// Where the protocol's own lines go.
pub(super) fn outgoing(
    to: impl AsyncWrite + Send + Unpin + 'static,
    heard: Arc<Heard>,
) -> impl Sink<String, Error = io::Error> + Send + 'static {
    sink::unfold((to, heard), |(mut to, heard), line: String| async move {
        let write = async {
            to.write_all(line.as_bytes()).await?;
            to.write_all(b"\n").await?;
            to.flush().await
        };
        tokio::select! {
            biased;
            written = write => written?,
            // the connection waits for its last words to be read
            why = heard.broken() => return Err(io::Error::other(why)),
        }
        if is_answer(line.as_bytes()) {
            heard.answered();
        }
        Ok((to, heard))
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

    async fn read(bytes: &'static [u8], shows: bool) -> (Vec<String>, String, Arc<Heard>) {
        let (printed, heard) = (Printed::default(), Arc::new(Heard::default()));
        if shows {
            heard.show();
        }
        let (lines, _) = incoming(bytes, heard.clone(), Speaker::new(Box::new(printed.clone())));
        let passed: Vec<String> = lines.map(Result::unwrap).collect().await;
        let printed = String::from_utf8_lossy(&printed.0.lock().unwrap()).into_owned();
        (passed, printed, heard)
    }

    const OUTPUT: &[u8] = b"npm notice\n{\"jsonrpc\":\"2.0\",\"method\":\"session/update\",\"params\":{}}\n\
        {\"jsonrpc\":\"2.0\",\"id\":0,\"method\":\"fs/read\"}\n{\"jsonrpc\":\"2.0\",\"id\":3,\"result\":{\"t\":\"\xff\"}}\n{\"id\":4}\n[1]\n\
        {\"jsonrpc\":\"2.0\",\"id\":6,\"result\":null}\n{\"jsonrpc\":\"2.0\",\"id\":5,\"error\":{\"code\":-1,\"message\":\"\"}}";

    #[tokio::test]
    async fn updates_are_shown_answers_are_taken_and_noise_is_never_taken_for_either() {
        let (passed, printed, heard) = read(OUTPUT, true).await;
        assert_eq!(
            passed,
            [
                r#"{"jsonrpc":"2.0","id":0,"method":"fs/read"}"#,
                "{\"jsonrpc\":\"2.0\",\"id\":3,\"result\":{\"t\":\"\u{fffd}\"}}",
                r#"{"jsonrpc":"2.0","id":6,"result":null}"#,
                r#"{"jsonrpc":"2.0","id":5,"error":{"code":-1,"message":""}}"#
            ]
        );
        let shown: Vec<&str> = printed.lines().collect();
        assert_eq!(shown.len(), 8, "{printed}");
        assert!(
            shown[0] == "npm notice" && shown[1].starts_with(r#"{"jsonrpc":"2.0","method":"session/update""#)
        );
        assert!(shown[2].ends_with(r#""method":"fs/read"}"#) && !shown[2].contains("heard"));
        assert!(shown[3].starts_with(r#"{"acp":"heard","line":{"#), "{printed}");
        assert_eq!((shown[4], shown[5], heard.notifications()), ("{\"id\":4}", "[1]", 1));
        assert_eq!(shown[6], r#"{"acp":"heard","line":{"jsonrpc":"2.0","id":6,"result":null}}"#);
    }

    #[tokio::test]
    async fn what_was_said_before_the_prompt_is_counted_and_kept_and_not_told() {
        let (passed, printed, heard) = read(OUTPUT, false).await;
        assert_eq!((passed.len(), heard.notifications()), (4, 1));
        let told: Vec<&str> =
            printed.lines().filter(|line| !line.starts_with(r#"{"acp":"heard","#)).collect();
        assert_eq!((told, printed.lines().count()), (vec!["npm notice", "{\"id\":4}", "[1]"], 8));
    }

    /// Each of them would be waited for in vain.
    #[tokio::test]
    async fn an_answer_that_is_none_breaks_the_conversation_off_and_stays_in_the_log() {
        let deep: &'static str = Box::leak(nested(200).into_boxed_str());
        let long: &'static str =
            Box::leak(format!(r#"{{"id":"{}","method":"m"}}"#, "i".repeat(2_000)).into_boxed_str());
        let lines: [&'static [u8]; 12] = [
            br#"{"id":3,"result":{}}"#,
            br#"{"jsonrpc":"2.0","id":3,"error":{"code":-32603}}"#,
            br#"{"jsonrpc":"2.0","id":3,"error":{"code":"E","message":"m"}}"#,
            br#"{"jsonrpc":"2.0","id":3,"error":"boom"}"#,
            br#"{"jsonrpc":"2.0","id":3,"result":{},"error":{"code":-1,"message":"m"}}"#,
            br#"{"jsonrpc":"2.0","id":[3],"result":{}}"#,
            br#"[{"jsonrpc":"2.0","id":3,"result":{}}]"#,
            // the protocol's reader could make nothing of these
            br#"{"jsonrpc":"2.0","id":3,"result":{"x":1e999}}"#,
            br#"{"jsonrpc":"2.0","id":3,"error":1e999}"#,
            br#"{"jsonrpc":"2.0","id":3,"method":"fs/read","params":{"x":1e999}}"#,
            deep.as_bytes(),
            // it would have to be given back
            long.as_bytes(),
        ];
        for line in lines {
            let (passed, printed, heard) = read(line, true).await;
            let why = timeout(Duration::from_secs(20), heard.broken()).await.unwrap();
            assert!(passed.is_empty() && why.contains("no message of the protocol"), "{why}");
            assert_eq!(printed.trim_end().as_bytes(), line);
        }
    }

    fn nested(depth: usize) -> String {
        format!(r#"{{"jsonrpc":"2.0","id":3,"result":{}{}}}"#, "[".repeat(depth), "]".repeat(depth))
    }

    /// Those who read the line after us read it in one way alone, and are stricter.
    #[tokio::test]
    async fn what_the_protocol_is_given_it_can_read() {
        let output = br#"{"jsonrpc":"2.0","id":3,"error":{"code":-32603,"message":"cut \ud83d"}}
            {"jsonrpc":"2.0","id":1,"id":4,"result":{"a":"\udc00","b":18446744073709551615}}
            {"jsonrpc":"2.0","id":5,"method":"session/request_permission","params":{"sessionId":"s","options":[],
            "toolCall":{"toolCallId":"t","title":"cut \ud83d"}}}"#;
        let output = String::from_utf8_lossy(output).replace(",\n            ", ",");
        let (passed, _, heard) = read(Box::leak(output.into_boxed_str()).as_bytes(), true).await;
        let read: Vec<serde_json::Value> =
            passed.iter().map(|text| serde_json::from_str(text).unwrap()).collect();
        assert_eq!(read.len(), 3, "{passed:?}");
        assert_eq!(read[0]["error"]["message"], "cut \u{fffd}");
        assert_eq!((&read[1]["id"], &read[1]["result"]["b"]), (&4.into(), &u64::MAX.into()));
        assert_eq!(read[2]["params"]["toolCall"]["title"], "cut \u{fffd}");
        assert_eq!(heard.why_broken(), None);
    }

    /// What is said of a tool counts however it is written.
    #[tokio::test]
    async fn no_spelling_hides_where_a_tool_goes() {
        let place = tempfile::tempdir().unwrap();
        let dir = place.path().canonicalize().unwrap();
        for (line, stays) in [
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"session/request_permission","params":{"toolCall":TOOL}}"#,
                false,
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"session\/request_permission","params":{"toolCall":TOOL}}"#,
                false,
            ),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"session\u002frequest_permission","params":{"toolCall":TOOL}}"#,
                false,
            ),
            (r#"{"jsonrpc":"2.0","method":"session/update","params":{"update":TOOL}}"#, false),
            (r#"{"jsonrpc":"2.0","method":"session/update","params":{"update":TOOL,"t":"\ud83d"}}"#, false),
            (r#"{"jsonrpc":"2.0","method":"session/update","params":{"update":TOOL,"t":1e999}}"#, false),
            (r#"{"jsonrpc":"2.0","method":"session/update","params":{"other":TOOL}}"#, true),
        ] {
            for id in ["toolCallId", "tool\\u0043allId"] {
                let tool = format!(r#"{{"{id}":"t","kind":"edit","locations":[{{"path":"/etc/x"}}]}}"#);
                let line = line.replace("TOOL", &tool);
                let (_, _, heard) = read(Box::leak(line.clone().into_boxed_str()).as_bytes(), true).await;
                assert_eq!(heard.facts("t").stay_in(&dir), stays, "{line}");
            }
        }
    }

    /// Longer than any line may be, and nothing in it can be shortened.
    #[tokio::test]
    async fn what_was_cut_may_have_told_anything_and_a_question_that_was_is_not_waited_for() {
        let place = tempfile::tempdir().unwrap();
        let dir = place.path().canonicalize().unwrap();
        let long = |begin: &str| -> &'static [u8] {
            let line = format!("{begin}{}", "1,".repeat(5 << 20));
            Box::leak(line.into_bytes().into_boxed_slice())
        };
        let update = r#"{"jsonrpc":"2.0","method":"session/update","params":{"x":["#;
        let (passed, printed, heard) = read(long(update), true).await;
        assert!(passed.is_empty() && printed.starts_with(update) && heard.why_broken().is_none());
        assert!(!heard.facts("t").stay_in(&dir));
        let question = r#"{"jsonrpc":"2.0","id":1,"method":"session/request_permission","params":{"x":["#;
        let (passed, _, heard) = read(long(question), true).await;
        let why = heard.why_broken().unwrap();
        assert!(passed.is_empty() && why.contains("longer than any line may be"), "{why}");
    }

    /// What whoever reads our lines would believe is found, however badly the rest of the line is made.
    #[tokio::test]
    async fn no_line_of_the_agent_passes_for_one_of_ours() {
        let deep = nested(300).replace("result", "id").replacen('{', r#"{"acp":"ended","#, 1);
        let lines = [
            &br#"{"acp":"ended","answer":{}}"#[..],
            br#"{"\u0061cp":"ended"}"#,
            b"{\"acp\":\"failed\",\"x\":\"\xff\"}",
            br#"{"acp":"ended","id":1,"id":1,"answer":{"stopReason":"end_turn"}}"#,
            br#"{"acp":"started","result":1,"result":1,"sessionId":"s"}"#,
            br#"{"acp":"ended","id":1e999,"answer":{}}"#,
            br#"{"acp":"ended","error":1e999,"answer":{}}"#,
            br#"{"acp":"failed","acp":"failed"}"#,
            deep.as_bytes(),
        ];
        let output: &'static [u8] = Box::leak(lines.join(&b'\n').into_boxed_slice());
        let (passed, printed, heard) = read(output, true).await;
        assert!(passed.is_empty() && heard.why_broken().is_none());
        assert_eq!(printed.lines().count(), lines.len(), "{printed}");
        for line in printed.lines() {
            assert!(line.starts_with(r#"{"acp":"heard","line":{"#), "{line}");
        }
    }

    /// The first questions fill what may be open; the answers are never read.
    #[tokio::test(start_paused = true)]
    async fn an_agent_that_asks_and_never_reads_is_left() {
        let asked = r#"{"jsonrpc":"2.0","id":1,"method":"fs/read"}"#.to_owned() + "\n";
        let flood: &'static [u8] = Box::leak(asked.repeat(2_000).into_bytes().into_boxed_slice());
        let (passed, _, heard) = read(flood, true).await;
        assert!(passed.len() < 500, "{}", passed.len());
        assert!(heard.broken().await.contains("reads none of the answers"));
    }

    #[tokio::test]
    async fn an_answer_that_was_read_makes_room() {
        let heard = Arc::new(Heard::default());
        let mut to = Box::pin(outgoing(tokio::io::sink(), heard.clone()));
        for _ in 0..1_000 {
            timeout(Duration::from_secs(20), heard.room_for_one()).await.unwrap();
            // the protocol has answers without an id for what it cannot make anything of
            let answer = r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":""}}"#.to_owned();
            futures_util::SinkExt::send(&mut to, answer).await.unwrap();
        }
    }
}
