//! What an older program wrote is read for ever, and what a newer one wrote is refused by name.
//!
//! `tests/fixtures/process/v<format>/` holds the files of a step as that format's first program wrote them; the frames were
//! made by a program that shares no code with this one. A folder is never changed; a new format gets a new one.

#![allow(clippy::unwrap_used, reason = "a test may end here")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use offshoot::process::{
    ExitCause, LogPosition, ProcessError, Stdin, StepDir, StepState, Stream, Tail, Tailed, inspect,
};
use tempfile::TempDir;

use crate::process_rig::{Rig, finish, text_of, until_says};

const V1: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/process/v1");

/// A step directory filled with these files of the fixture.
pub(crate) struct Old {
    dir: TempDir,
    pub(crate) step: StepDir,
}

impl Old {
    pub(crate) fn with(files: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let name = "test-7-1-agent-1".parse().unwrap();
        let step = StepDir::new(dir.path().join("step"), dir.path().join("run"), name).unwrap();
        std::fs::create_dir(step.dir()).unwrap();
        std::fs::create_dir(step.run_dir()).unwrap();
        for file in files {
            std::fs::copy(Path::new(V1).join("step").join(file), step.dir().join(file)).unwrap();
        }
        Self { dir, step }
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.step.dir().join(name)
    }

    /// Changes the bytes of a file.
    pub(crate) fn edit(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = std::fs::read(self.file(name)).unwrap();
        change(&mut bytes);
        std::fs::write(self.file(name), bytes).unwrap();
    }

    fn newer(&self, name: &str) {
        self.edit(name, |bytes| {
            let text = String::from_utf8(bytes.clone()).unwrap();
            assert!(text.contains("\"format\":1"));
            *bytes = text.replace("\"format\":1", "\"format\":2").into_bytes();
        });
    }

    /// Runs today's shim on it, told to go.
    fn run_shim(&self) -> Output {
        let mut shim = Command::new(env!("CARGO_BIN_EXE_offshoot"))
            .arg("shim")
            .args([self.step.dir(), self.step.run_dir()])
            .arg(self.step.name().as_str())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // one that refuses has gone by then
        let _ = shim.stdin.take().unwrap().write_all(b"g");
        shim.wait_with_output().unwrap()
    }
}

#[tokio::test]
async fn a_step_of_format_1_is_read_to_its_end() {
    let old = Old::with(&["spec.json", "shim.json", "exit.json", "log", "log.tail.0", "log.tail.1"]);
    let (mut tail, mut read) = (Tail::open(&old.step, LogPosition::default()), Vec::new());
    let last = loop {
        match tail.next().await.unwrap() {
            Some(Tailed::Record(record)) => {
                assert_eq!(record.sequence, read.len() as u64);
                assert_eq!(record.wall_ms, 1_700_000_000_000 + i64::try_from(record.sequence).unwrap());
                assert_eq!(record.monotonic_ms, 5_000 + record.sequence);
                read.push((record.stream, record.payload));
            }
            Some(Tailed::Ended(state)) => break state,
            other => panic!("{other:?}"),
        }
    };
    let number = |number: u64| number.to_le_bytes().to_vec();
    let expected = vec![
        (Stream::Released, Vec::new()),
        (Stream::Stdout, b"one\n".to_vec()),
        (Stream::Stderr, b"problem \xff\n".to_vec()),
        (Stream::In, b"\x03m-1hello".to_vec()),
        (Stream::Slept, number(28_800_000)),
        (Stream::Gap, [number(12), number(2)].concat()),
        (Stream::Note, "a note ü".as_bytes().to_vec()),
        (Stream::Cut, number(400)),
        (Stream::Stdout, b"tail zero\n".to_vec()),
        (Stream::Stderr, b"still zero\n".to_vec()),
        (Stream::Stdout, b"tail one\n".to_vec()),
        (Stream::Stdout, b"{\"type\":\"result\"}\n".to_vec()),
    ];
    assert_eq!(read, expected);
    let StepState::Exited(record) = last else { panic!("{last:?}") };
    assert_eq!((record.cause, record.code, record.signal), (ExitCause::Exited, Some(3), None));
    assert_eq!((record.output_bytes, record.dropped_bytes, record.survivors), (62, 12, 0));
    assert_eq!((record.log_synced, record.usage.max_rss_bytes), (true, 1 << 20));
    assert!(!record.out_of_memory, "a record that is silent about it");
}

#[test]
fn every_cause_of_format_1_is_understood() {
    let causes = [
        ("exited", ExitCause::Exited),
        ("cancelled", ExitCause::Cancelled),
        ("stopped", ExitCause::Stopped),
        ("wall_limit", ExitCause::WallLimit),
        ("output_limit", ExitCause::OutputLimit),
        ("spawn_failed", ExitCause::SpawnFailed),
    ];
    for (name, cause) in causes {
        let old = Old::with(&[]);
        std::fs::copy(format!("{V1}/exits/{name}.json"), old.step.exit()).unwrap();
        let StepState::Exited(record) = inspect(&old.step).unwrap() else { panic!("{name}") };
        assert_eq!(record.cause, cause);
    }
}

#[tokio::test]
async fn a_command_of_format_1_is_run() {
    let old = Old::with(&["spec.json"]);
    let place = old.dir.path().canonicalize().unwrap().display().to_string();
    old.edit("spec.json", |bytes| {
        *bytes = String::from_utf8(bytes.clone()).unwrap().replace("@DIR@", &place).into_bytes();
    });
    std::fs::write(old.dir.path().join("prompt"), "from the prompt").unwrap();
    let output = old.run_shim();
    assert!(output.status.success(), "{output:?}");
    let (records, record) = finish(&old.step).await;
    assert_eq!(record.code, Some(0));
    assert_eq!(text_of(&records, Stream::Stdout), format!("hello\n{place}\nfrom the prompt"));
}

#[tokio::test]
async fn requests_of_protocol_1_are_answered_as_ever() {
    let rig = Rig::new();
    let mut spec = rig.script("trap '' INT TERM; echo up; cat; while :; do sleep 0.05; done");
    spec.stdin = Stdin::Messages;
    let (step, _) = rig.start(&spec).await;
    until_says(&step, "up").await;
    let talk = std::fs::read_to_string(format!("{V1}/socket.txt")).unwrap();
    let mut lines = talk.lines();
    while let (Some(request), Some(answer)) = (lines.next(), lines.next()) {
        let (request, answer) = (request.strip_prefix("> ").unwrap(), answer.strip_prefix("< ").unwrap());
        let mut stream = UnixStream::connect(step.socket()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        // what follows the bar belongs to the request, without a line end
        let (line, text) = request.split_once('|').unwrap_or((request, ""));
        stream.write_all(format!("{line}\n{text}").as_bytes()).unwrap();
        let mut got = String::new();
        BufReader::new(&stream).read_line(&mut got).unwrap();
        assert_eq!(got.trim_end(), answer, "{request}");
    }
    assert_eq!(finish(&step).await.1.cause, ExitCause::Cancelled);
}

#[test]
fn a_command_of_a_newer_format_is_refused_before_anything_runs() {
    let old = Old::with(&["spec.json"]);
    old.newer("spec.json");
    let output = old.run_shim();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(said, "the command cannot be read: damaged, or of a newer format\n");
    assert!(!old.step.log().exists() && !old.step.exit().exists());
}

#[test]
fn identities_and_records_of_a_newer_format_are_refused_by_name() {
    for (file, what) in [("shim.json", "the supervisor's identity"), ("exit.json", "the exit record")] {
        let old = Old::with(&["shim.json", "log", file]);
        old.newer(file);
        match inspect(&old.step) {
            Err(ProcessError::Format(named)) => assert_eq!(named, what),
            other => panic!("{file}: {other:?}"),
        }
    }
}

/// Byte 4 of a frame is its format. A log of which nothing is understood must not look like one that never began: its
/// command would be run a second time.
#[tokio::test]
async fn a_log_of_a_newer_format_is_neither_torn_nor_empty() {
    let newer_from = |old: &Old, offset: usize| old.edit("log", |bytes| bytes[offset + 4] = 2);
    let old = Old::with(&["shim.json", "log"]);
    newer_from(&old, 0);
    assert!(matches!(inspect(&old.step), Err(ProcessError::Format("the log"))));
    // the second frame, behind 40 bytes of `released`
    let old = Old::with(&["shim.json", "log"]);
    newer_from(&old, 40);
    let mut tail = Tail::open(&old.step, LogPosition::default());
    assert!(
        matches!(tail.next().await, Ok(Some(Tailed::Record(record))) if record.stream == Stream::Released)
    );
    for _ in 0..2 {
        assert!(matches!(tail.next().await, Err(ProcessError::Format("the log"))));
    }
}

#[tokio::test]
async fn a_log_of_zeros_or_of_half_a_frame_has_cost_nothing() {
    for bytes in [Vec::new(), vec![0; 4096], std::fs::read(format!("{V1}/step/log")).unwrap()[..39].to_vec()]
    {
        let old = Old::with(&["shim.json"]);
        std::fs::write(old.step.log(), bytes).unwrap();
        assert_eq!(inspect(&old.step).unwrap(), StepState::NotReleased);
    }
    // whatever is behind whole frames: cut short, zeros, other bytes
    let whole = std::fs::read(format!("{V1}/step/log")).unwrap();
    for (bytes, torn) in [
        (whole.clone(), false),
        ([&whole[..], &[0; 4096]].concat(), true),
        ([&whole[..], &whole[..17]].concat(), true),
        ([&whole[..], b"something else"].concat(), true),
    ] {
        let old = Old::with(&["shim.json"]);
        std::fs::write(old.step.log(), bytes).unwrap();
        let (mut tail, mut records, mut told) = (Tail::open(&old.step, LogPosition::default()), 0, false);
        while let Some(tailed) = tail.next().await.unwrap() {
            records += u32::from(matches!(tailed, Tailed::Record(_)));
            told |= tailed == Tailed::Torn;
        }
        assert_eq!((records, told), (8, torn));
    }
}

/// The end of a socket of a shim that was killed: reading it waits for nobody.
#[test]
fn a_socket_that_nobody_serves_is_no_supervisor() {
    let old = Old::with(&["shim.json", "log"]);
    drop(std::os::unix::net::UnixListener::bind(old.step.socket()).unwrap());
    assert!(matches!(inspect(&old.step).unwrap(), StepState::Lost(_)));
    let mut nothing = [0_u8; 1];
    let read = UnixStream::connect(old.step.socket()).and_then(|mut stream| stream.read(&mut nothing));
    assert!(read.is_err());
}
