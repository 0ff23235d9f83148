//! The scripted agent as a real process, started by the real adapter's command and read by its parser.

#![expect(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

use offshoot::agent::{
    Agent, AgentEvent, AgentOutcome, AgentReader, AgentVerdict, AuthState, Fault, Invocation, Session,
    StepExit, Stream, registry::find_agent,
};
use offshoot::demo::sample;
use offshoot::domain::agent_kind::AgentKind;
use offshoot::domain::hold::LimitWindow;
use std::collections::BTreeSet;
use std::io::Read as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

const SESSION: &str = "0bd3fb1e-6a5c-4b8f-9f4e-0d6c9c8f2a11";

fn claude() -> &'static dyn Agent {
    find_agent(AgentKind::Claude)
}

fn program() -> Vec<String> {
    vec![env!("CARGO_BIN_EXE_offshoot").to_owned(), "scripted-agent".to_owned()]
}

/// A directory with the sample project in it.
fn project() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (path, content) in sample::FILES {
        std::fs::write(dir.path().join(path), content).unwrap();
    }
    dir
}

fn start(dir: &Path, prompt: &str) -> Child {
    let command = claude()
        .command(&Invocation {
            program: program(),
            prompt: prompt.to_owned(),
            working_dir: dir.to_owned(),
            attachments: Vec::new(),
            model: Some("scripted".to_owned()),
            effort: None,
            permission_mode: None,
            allowed_tools: None,
            disallowed_tools: vec!["WebFetch".to_owned()],
            max_turns: Some(9),
            // beyond what all that it says in any of these tests would cost
            max_budget_usd_micros: Some(500_000_000),
            append_system_prompt: Some("-- be brief".to_owned()),
            session: Session::New { id: SESSION.to_owned() },
            sandboxed: false,
            as_root: false,
        })
        .unwrap();
    let prompt_dir = tempfile::tempdir().unwrap();
    let prompt_path = prompt_dir.path().join("prompt");
    std::fs::write(&prompt_path, &command.stdin).unwrap();
    Command::new(&command.argv[0])
        .args(&command.argv[1..])
        .envs(command.env)
        .current_dir(dir)
        .stdin(std::fs::File::open(prompt_path).unwrap())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn read_to_end(mut child: Child) -> (Vec<AgentEvent>, AgentVerdict) {
    let mut reader = AgentReader::new(claude().parser(Path::new("/w")));
    let mut events = Vec::new();
    let mut stdout = child.stdout.take().unwrap();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = stdout.read(&mut buffer).unwrap();
        if count == 0 {
            break;
        }
        events.extend(reader.feed(Stream::Stdout, &buffer[..count]));
    }
    let mut stderr = Vec::new();
    child.stderr.take().unwrap().read_to_end(&mut stderr).unwrap();
    events.extend(reader.feed(Stream::Stderr, &stderr));
    let status = child.wait().unwrap();
    let (rest, verdict) = reader.finish(StepExit { code: status.code(), signal: status.signal() });
    events.extend(rest);
    (events, verdict)
}

fn run(dir: &Path, prompt: &str) -> (Vec<AgentEvent>, AgentVerdict) {
    read_to_end(start(dir, prompt))
}

fn fault(verdict: &AgentVerdict) -> Option<Fault> {
    match &verdict.outcome {
        AgentOutcome::Succeeded { .. } => None,
        AgentOutcome::Failed { fault, .. } => Some(*fault),
    }
}

fn text(dir: &TempDir, path: &str) -> String {
    std::fs::read_to_string(dir.path().join(path)).unwrap()
}

fn is_sample(dir: &TempDir) -> bool {
    let count = std::fs::read_dir(dir.path()).unwrap().count();
    count == sample::FILES.len() && sample::FILES.iter().all(|(path, content)| text(dir, path) == *content)
}

fn git(dir: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "user.name=T", "-c", "user.email=t@example.com", "-c", "init.defaultBranch=main"])
        .args(arguments)
        .current_dir(dir)
        .output()
        .unwrap();
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn without_a_mark_it_adds_a_function_a_test_and_a_line() {
    let dir = project();
    let (events, verdict) = run(dir.path(), "Please add a greeting.");
    assert_eq!(fault(&verdict), None, "{:?}", verdict.outcome);
    assert_eq!(verdict.session_id.as_deref(), Some(SESSION));
    assert!(verdict.usage.cost_usd_micros.is_some_and(|cost| cost > 0) && verdict.usage.turns > 0);
    assert!(text(&dir, "greeting.py").ends_with("return f\"Goodbye, {name}!\"\n"));
    assert!(text(&dir, "test_greeting.py").contains("def test_goodbye(self):"));
    assert!(
        text(&dir, "README.md")
            .contains("arrives.\n- `goodbye(name)` greets somebody who leaves.\n\n## Tests")
    );
    let writes = |event: &&AgentEvent| matches!(event, AgentEvent::ToolUse { summary, .. } if summary == "greeting.py");
    assert_eq!(events.iter().filter(writes).count(), 1);
    assert!(!events.iter().any(|event| matches!(event, AgentEvent::Output { .. })));

    let before = text(&dir, "greeting.py");
    for _ in 0..5 {
        assert_eq!(fault(&run(dir.path(), "Again.").1), None);
    }
    assert!(text(&dir, "greeting.py").starts_with(&before));
    let source = text(&dir, "greeting.py");
    let names: BTreeSet<&str> = source.lines().filter_map(|line| line.strip_prefix("def ")).collect();
    assert_eq!(names.len(), 7, "each run adds another one: {names:?}");
}

#[test]
fn it_can_commit_by_itself() {
    let dir = project();
    git(dir.path(), &["init", "-q"]);
    git(dir.path(), &["add", "-A"]);
    git(dir.path(), &["commit", "-q", "-m", "first"]);
    let (_, verdict) = run(dir.path(), "[[scenario:commit-itself]]");
    assert_eq!(fault(&verdict), None, "{:?}", verdict.outcome);
    assert_eq!(git(dir.path(), &["log", "--format=%s"]), "Add a greeting\nfirst\n");
    assert_eq!(git(dir.path(), &["status", "--porcelain"]), "");
}

#[test]
fn it_fails_in_every_way_in_which_agents_fail() {
    let rows = [
        ("[[scenario:no-change]]", None, true),
        ("[[scenario:denied]]", None, true),
        ("[[scenario:api-error]]", Some(Fault::ApiError { status: Some(500) }), true),
        ("[[scenario:api-error status=529]]", Some(Fault::Overloaded { again_at: None }), true),
        ("[[scenario:not-logged-in]]", Some(Fault::NotLoggedIn), true),
        (
            "[[scenario:usage-limit resets_at=1795200923]]",
            Some(Fault::UsageLimit { resets_at: Some(1_795_200_923), window: Some(LimitWindow::FiveHour) }),
            true,
        ),
        (
            "[[scenario:usage-limit resets_at=1795200923 window=seven_day_opus]]",
            Some(Fault::UsageLimit { resets_at: Some(1_795_200_923), window: Some(LimitWindow::Weekly) }),
            true,
        ),
        ("[[scenario:crash code=3]]", Some(Fault::Crashed), false),
        ("[[scenario:unheard-of]]", Some(Fault::Crashed), true),
    ];
    for (prompt, expected, untouched) in rows {
        let dir = project();
        let (_, verdict) = run(dir.path(), prompt);
        assert_eq!(fault(&verdict), expected, "{prompt}: {:?}", verdict.outcome);
        assert_eq!(is_sample(&dir), untouched, "{prompt}");
        assert_eq!(verdict.tools.denied.len(), usize::from(prompt.contains("denied")), "{prompt}");
    }
}

#[test]
fn a_crash_leaves_its_code_and_its_last_words() {
    let dir = project();
    let (_, verdict) = run(dir.path(), "[[scenario:crash code=3]]");
    let AgentOutcome::Failed { message, .. } = verdict.outcome else { panic!("it crashed") };
    assert_eq!(message, "the agent exited with code 3: scripted agent: crashed on purpose");
}

#[test]
fn it_writes_what_it_is_told_below_the_working_directory() {
    let dir = project();
    let prompt = "[[scenario:write path=a/b.txt content=\"x y\\n\"]] and [[scenario:write path=c.txt content=c]] \
                  [[scenario:slow seconds=0]]";
    assert_eq!(fault(&run(dir.path(), prompt).1), None);
    assert_eq!((text(&dir, "a/b.txt").as_str(), text(&dir, "c.txt").as_str()), ("x y\n", "c"));
    assert_eq!(text(&dir, "greeting.py"), sample::FILES[1].1, "a prompt with work in it adds no greeting");
    let (_, verdict) = run(dir.path(), "[[scenario:write path=c.txt/d content=x]]");
    assert_eq!(fault(&verdict), Some(Fault::Crashed), "a file is no directory");
}

#[test]
fn slow_work_shows_progress_and_ends_in_an_edit() {
    let dir = project();
    let (events, verdict) = run(dir.path(), "[[scenario:slow seconds=1]]");
    assert_eq!(fault(&verdict), None);
    assert!(events.contains(&AgentEvent::Message { text: "Still thinking, 1 of 1 seconds.".to_owned() }));
    assert!(!is_sample(&dir));
}

#[test]
fn a_gate_holds_it_until_the_file_is_there() {
    let dir = project();
    let gate = dir.path().join("gate");
    let mut child = start(dir.path(), &format!("[[scenario:gate file=\"{}\"]]", gate.display()));
    let mut seen = String::new();
    let stdout = child.stdout.as_mut().unwrap();
    let mut byte = [0];
    while !seen.contains("wait-for-gate") {
        assert_eq!(stdout.read(&mut byte).unwrap(), 1, "it ended before the gate opened: {seen}");
        seen.push(char::from(byte[0]));
    }
    assert!(child.try_wait().unwrap().is_none() && is_sample(&dir));
    std::fs::write(&gate, "").unwrap();
    assert_eq!(fault(&read_to_end(child).1), None);
    assert!(text(&dir, "greeting.py").contains("goodbye"));
}

#[test]
fn huge_output_is_read_whole_and_shown_bounded() {
    let dir = project();
    let (events, verdict) = run(dir.path(), "[[scenario:huge-output mib=7]]");
    assert_eq!(fault(&verdict), None);
    let lengths = events.iter().filter_map(|event| match event {
        AgentEvent::Message { text } => Some((text.len(), event.text().len())),
        _ => None,
    });
    let lengths: Vec<_> = lengths.collect();
    assert_eq!(lengths.iter().map(|(whole, _)| *whole).max(), Some(5 * 1024 * 1024));
    assert!(lengths.iter().all(|(_, shown)| *shown < 9_000));
    assert!(lengths.len() > 32);
}

#[test]
fn a_hanging_one_ends_by_term_and_a_deaf_one_only_by_kill() {
    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;
    for (prompt, signals) in [
        ("[[scenario:hang]]", &[Signal::SIGTERM][..]),
        ("[[scenario:ignores-term]]", &[Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGKILL]),
    ] {
        let dir = project();
        let mut child = start(dir.path(), prompt);
        let mut seen = String::new();
        let mut byte = [0];
        while !seen.contains("tail -f /dev/null") {
            assert_eq!(child.stdout.as_mut().unwrap().read(&mut byte).unwrap(), 1, "{seen}");
            seen.push(char::from(byte[0]));
        }
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
        for signal in signals {
            kill(pid, *signal).unwrap();
        }
        let status = child.wait().unwrap();
        assert_eq!(status.signal(), Some(*signals.last().unwrap() as i32), "{prompt}");
    }
}

#[test]
fn it_answers_the_probe() {
    let probe = claude().probe(&program()).unwrap();
    let ask = |argv: &[String]| {
        let output = Command::new(&argv[0]).args(&argv[1..]).stdin(Stdio::null()).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let version = (probe.parse_version)(&ask(&probe.version_argv).1).unwrap();
    assert!(version >= probe.version_min, "{version}");
    let auth = probe.auth.unwrap();
    let (exit, printed) = ask(&auth.argv);
    assert!(matches!((auth.parse)(exit, &printed), AuthState::LoggedIn { .. }), "{printed}");
}
