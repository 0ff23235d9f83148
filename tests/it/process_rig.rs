//! Real shims with shell scripts as commands.

#![allow(clippy::unwrap_used, reason = "a test may end here")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use offshoot::process::{
    CommandSpec, Control, ExitRecord, Launcher, LogPosition, Record, ScopeUse, ShimIdentity, ShimProgram,
    Stdin, StepDir, StepState, Stream, Tail, Tailed,
};
use tempfile::TempDir;

/// How long a loaded machine may need for anything.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) struct Rig {
    dir: TempDir,
    pub(crate) launcher: Launcher,
    steps: Mutex<Vec<StepDir>>,
}

impl Rig {
    pub(crate) fn new() -> Self {
        let program = ShimProgram::At(env!("CARGO_BIN_EXE_offshoot").into());
        let launcher = Launcher::new(program, ScopeUse::Never);
        let rig = Self { dir: tempfile::tempdir().unwrap(), launcher, steps: Mutex::default() };
        std::fs::create_dir(rig.worktree()).unwrap();
        rig
    }

    pub(crate) fn worktree(&self) -> PathBuf {
        self.dir.path().join("worktree")
    }

    /// A step with a name no other test of this process has, so that markers do not meet.
    pub(crate) fn step(&self) -> StepDir {
        static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
        let number =
            u64::from(std::process::id()) * 1000 + NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = format!("test-{number}-1-agent-1").parse().unwrap();
        let step = StepDir::new(self.dir.path().join(number.to_string()), self.dir.path().join("run"), name)
            .unwrap();
        self.steps.lock().unwrap().push(step.clone());
        step
    }

    pub(crate) fn script(&self, body: &str) -> CommandSpec {
        CommandSpec {
            argv: vec!["sh".into(), "-c".into(), body.into()],
            working_dir: self.worktree(),
            env: BTreeMap::from([("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into())]),
            redact: Vec::new(),
            stdin: Stdin::Null,
            wall_limit: Duration::from_secs(300),
            output_bytes_max: 64 << 20,
            output_bytes_end: None,
            open_files_max: None,
            memory_group: None,
            wrapper: Vec::new(),
            stop_grace: Duration::from_millis(300),
        }
    }

    pub(crate) async fn start(&self, spec: &CommandSpec) -> (StepDir, ShimIdentity) {
        let step = self.step();
        let launched = self.launcher.launch(&step, spec).await.unwrap();
        let identity = launched.identity().clone();
        launched.release().await.unwrap();
        (step, identity)
    }

    /// Starts, reads everything, and returns it with the exit record.
    pub(crate) async fn run(&self, spec: &CommandSpec) -> (StepDir, Vec<Record>, ExitRecord) {
        let (step, _) = self.start(spec).await;
        let (records, record) = finish(&step).await;
        (step, records, record)
    }
}

impl Drop for Rig {
    /// A failed test leaves nothing running.
    fn drop(&mut self) {
        for step in self.steps.lock().unwrap().iter() {
            let _ = Control::new(step).stop("stop");
            for survivor in offshoot::process::survivors(step) {
                let _ = nix::sys::signal::kill(
                    nix::unistd::Pid::from_raw(survivor.pid),
                    nix::sys::signal::Signal::SIGKILL,
                );
            }
        }
    }
}

pub(crate) async fn next(tail: &mut Tail) -> Tailed {
    tokio::time::timeout(DEADLINE, tail.next())
        .await
        .expect("the tail goes on")
        .unwrap()
        .expect("the tail has not ended")
}

pub(crate) async fn follow(step: &StepDir, from: LogPosition) -> (Vec<Record>, StepState) {
    let (mut tail, mut records) = (Tail::open(step, from), Vec::new());
    loop {
        match next(&mut tail).await {
            Tailed::Record(record) => records.push(record),
            Tailed::Ended(state) => {
                assert_eq!(tail.next().await.unwrap(), None);
                return (records, state);
            }
            Tailed::Skipped { .. } => {}
            Tailed::Torn => panic!("the log is torn"),
        }
    }
}

pub(crate) async fn finish(step: &StepDir) -> (Vec<Record>, ExitRecord) {
    match follow(step, LogPosition::default()).await {
        (records, StepState::Exited(record)) => (records, record),
        (_, other) => panic!("{other:?}"),
    }
}

pub(crate) fn bytes_of(records: &[Record], stream: Stream) -> Vec<u8> {
    records
        .iter()
        .filter(|record| record.stream == stream)
        .flat_map(|record| record.payload.clone())
        .collect()
}

pub(crate) fn text_of(records: &[Record], stream: Stream) -> String {
    String::from_utf8(bytes_of(records, stream)).unwrap()
}

/// Waits until the command has written `text` to its standard output.
pub(crate) async fn until_says(step: &StepDir, text: &str) {
    let (mut tail, mut said) = (Tail::open(step, LogPosition::default()), String::new());
    while !said.contains(text) {
        match next(&mut tail).await {
            Tailed::Record(record) if record.stream == Stream::Stdout => {
                said.push_str(&String::from_utf8_lossy(&record.payload));
            }
            Tailed::Record(_) => {}
            other => panic!("ended with {said:?}: {other:?}"),
        }
    }
}

pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = tokio::time::Instant::now() + DEADLINE;
    while !holds() {
        assert!(tokio::time::Instant::now() < until, "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
