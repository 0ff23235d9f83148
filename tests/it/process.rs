//! One step from launch to exit record.

use std::collections::BTreeMap;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use offshoot::process::{
    Control, ExitCause, Launcher, LogPosition, MessageFate, ProcessError, ScopeLimits, ScopeUse, ShimProgram,
    Stdin, StepState, Stream, Tail, end_lost_tree, inspect,
};

use crate::process_rig::{DEADLINE, Rig, bytes_of, eventually, finish, text_of, until_says};

#[tokio::test]
async fn a_command_runs_in_its_directory_with_exactly_its_environment() {
    let rig = Rig::new();
    let mut spec = rig.script("env | sort; pwd; echo problem >&2; exit 3");
    spec.env.insert("GIVEN".into(), "yes".into());
    let (step, records, record) = rig.run(&spec).await;
    let worktree = rig.worktree().canonicalize().unwrap();
    let worktree = worktree.display();
    let name = step.name();
    let path = "/usr/local/bin:/usr/bin:/bin";
    let expected = format!("GIVEN=yes\nOFFSHOOT_STEP={name}\nPATH={path}\nPWD={worktree}\n{worktree}\n");
    assert_eq!(text_of(&records, Stream::Stdout), expected);
    assert_eq!(text_of(&records, Stream::Stderr), "problem\n");
    assert_eq!((record.cause, record.code, record.signal), (ExitCause::Exited, Some(3), None));
    assert_eq!((record.survivors, record.dropped_bytes, record.log_synced), (0, 0, true));
    assert_eq!(record.output_bytes as usize, expected.len() + "problem\n".len());
    assert!(record.usage.max_rss_bytes > 100_000 && record.ended_at_ms >= record.started_at_ms);
    assert_eq!(records[0].stream, Stream::Released);
    eventually("the socket is gone", || !step.socket().exists()).await;
}

/// It may hold keys. More of it than a pipe holds.
#[tokio::test]
async fn the_environment_of_a_command_is_in_no_file() {
    let rig = Rig::new();
    let mut spec = rig.script("printf %s \"$KEY\" | wc -c; echo; printf %s \"$OTHER\" | wc -c");
    let key = "sesame".repeat(20_000);
    spec.env.insert("KEY".into(), key.clone());
    spec.env.insert("OTHER".into(), format!("\"\\\n\u{e9}{key}"));
    let (step, records, _) = rig.run(&spec).await;
    let counts: Vec<_> = text_of(&records, Stream::Stdout).split_whitespace().map(str::to_owned).collect();
    assert_eq!(counts, ["120000", "120005"]);
    let files = std::fs::read_dir(step.dir()).unwrap().map(|entry| entry.unwrap().path());
    let (mut seen, has) = (0, |bytes: &[u8]| memchr::memmem::find(bytes, b"sesame").is_some());
    for file in files {
        seen += 1;
        assert!(!has(&std::fs::read(&file).unwrap()), "{}", file.display());
    }
    assert!(seen >= 4, "{seen} files");
}

/// Written in two pieces that the supervisor reads one by one, in the middle of bytes that are no text, on both streams; what
/// only begins like a value is there in the end.
#[tokio::test]
async fn a_value_that_nobody_may_read_is_not_in_the_log() {
    let rig = Rig::new();
    let script = "printf 'a\\0\\377sesame-'; until [ -e more ]; do sleep 0.02; done; \
        printf 'open\\0\\377z'; printf 'sesame-%s sesame-' open >&2";
    let mut spec = rig.script(script);
    spec.redact = vec!["sesame-open".into(), "other".into()];
    let (step, _) = rig.start(&spec).await;
    let first =
        || std::fs::read(step.log()).is_ok_and(|log| memchr::memmem::find(&log, b"a\0\xff").is_some());
    eventually("what is before it is told at once", first).await;
    std::fs::write(rig.worktree().join("more"), "").unwrap();
    let (records, record) = finish(&step).await;
    assert_eq!(bytes_of(&records, Stream::Stdout), b"a\0\xff[redacted]\0\xffz");
    assert_eq!(text_of(&records, Stream::Stderr), "[redacted] sesame-");
    assert_eq!(record.output_bytes, 17 + 19, "as the command wrote it");
    for entry in std::fs::read_dir(step.dir()).unwrap() {
        let file = entry.unwrap().path();
        let bytes = std::fs::read(&file).unwrap();
        assert!(memchr::memmem::find(&bytes, b"sesame-open").is_none(), "{}", file.display());
        assert!(memchr::memmem::find(&bytes, b"\"other\"").is_none(), "{}", file.display());
    }
}

#[tokio::test]
async fn a_command_killed_by_a_signal_has_no_exit_code() {
    let rig = Rig::new();
    let (_, _, record) = rig.run(&rig.script("kill -SEGV $$")).await;
    assert_eq!((record.cause, record.code, record.signal), (ExitCause::Exited, None, Some(11)));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_command_starts_with_no_signal_blocked_or_ignored_and_no_foreign_descriptor() {
    let rig = Rig::new();
    let (_, records, _) =
        rig.run(&rig.script("grep -E '^Sig(Blk|Ign)' /proc/self/status; exec ls /proc/self/fd")).await;
    let text = text_of(&records, Stream::Stdout);
    let words: Vec<&str> = text.split_whitespace().collect();
    let ["SigBlk:", blocked, "SigIgn:", ignored, descriptors @ ..] = words.as_slice() else {
        panic!("{text}")
    };
    let number = |hex: &str| u64::from_str_radix(hex, 16).unwrap();
    // 32 and 33 belong to the C library, which lets nobody change them.
    assert_eq!((number(blocked), number(ignored) & !(0b11 << 31)), (0, 0), "{text}");
    // `ls` itself holds the fourth descriptor.
    assert_eq!(descriptors, ["0", "1", "2", "3"]);
}

#[tokio::test]
async fn a_program_that_is_missing_is_a_record_with_its_reason() {
    let rig = Rig::new();
    let mut spec = rig.script("");
    spec.argv = vec!["no-such-agent".into()];
    let (step, _, record) = rig.run(&spec).await;
    assert_eq!((record.cause, record.code), (ExitCause::SpawnFailed, None));
    assert!(record.no_program && record.text.unwrap().contains("cannot run the program"));
    eventually("the socket is gone", || !step.socket().exists()).await;
    spec = rig.script("true");
    spec.working_dir = "/no/such/directory".into();
    let (_, _, record) = rig.run(&spec).await;
    assert!(!record.no_program && record.text.unwrap().contains("working directory"));
}

#[tokio::test]
async fn without_release_nothing_runs_and_the_step_can_be_launched_again() {
    let rig = Rig::new();
    let step = rig.step();
    assert_eq!(inspect(&step).unwrap(), StepState::NotStarted);
    let spec = rig.script("touch ran");
    let launched = rig.launcher.launch(&step, &spec).await.unwrap();
    assert_eq!(inspect(&step).unwrap(), StepState::Running(launched.identity().clone()));
    let second = rig.launcher.launch(&step, &spec).await.unwrap_err();
    assert!(matches!(second, ProcessError::Refused(_)), "{second}");
    drop(launched);
    eventually("the shim leaves", || inspect(&step).unwrap() == StepState::NotReleased).await;
    assert!(!rig.worktree().join("ran").exists() && !step.log().exists());
    let launched = rig.launcher.launch(&step, &spec).await.unwrap();
    launched.release().await.unwrap();
    assert_eq!(finish(&step).await.1.code, Some(0));
    assert!(rig.worktree().join("ran").exists());
    let again = rig.launcher.launch(&step, &spec).await.unwrap_err();
    assert!(matches!(again, ProcessError::Refused(_)), "{again}");
}

#[tokio::test]
async fn a_log_without_a_record_does_not_stand_in_the_way() {
    let rig = Rig::new();
    let step = rig.step();
    drop(rig.launcher.launch(&step, &rig.script("true")).await.unwrap());
    eventually("the shim leaves", || inspect(&step).unwrap() == StepState::NotReleased).await;
    std::fs::write(step.log(), "").unwrap();
    rig.launcher.launch(&step, &rig.script("true")).await.unwrap().release().await.unwrap();
    assert_eq!(finish(&step).await.1.code, Some(0));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_shim_that_has_ended_leaves_no_zombie_in_the_program_that_started_it() {
    let rig = Rig::new();
    let (step, shim) = rig.start(&rig.script("true")).await;
    finish(&step).await;
    let entry = std::path::PathBuf::from(format!("/proc/{}", shim.pid));
    let until = tokio::time::Instant::now() + DEADLINE;
    while entry.exists() {
        assert!(tokio::time::Instant::now() < until, "still there");
        // The runtime waits for orphans whenever another child ends.
        tokio::process::Command::new("true").status().await.unwrap();
    }
}

#[tokio::test]
async fn a_program_that_is_no_shim_is_a_start_error() {
    let rig = Rig::new();
    let launcher = Launcher::new(ShimProgram::At("/bin/false".into()), ScopeUse::Never);
    let error = launcher.launch(&rig.step(), &rig.script("true")).await.unwrap_err();
    assert!(matches!(error, ProcessError::Start(_)), "{error}");
}

#[tokio::test]
async fn a_shim_that_is_killed_at_its_start_is_gone_and_not_broken() {
    let rig = Rig::new();
    let program = rig.worktree().join("shim");
    crate::stand::install_program(&program, "#!/bin/sh\nkill -9 $$\n");
    let launcher = Launcher::new(ShimProgram::At(program), ScopeUse::Never);
    let step = rig.step();
    let error = launcher.launch(&step, &rig.script("true")).await.unwrap_err();
    assert!(matches!(error, ProcessError::Gone), "{error}");
    rig.launcher.launch(&step, &rig.script("exit 3")).await.unwrap().release().await.unwrap();
    assert_eq!(finish(&step).await.1.code, Some(3));
}

#[tokio::test]
async fn where_no_user_manager_answers_a_step_is_started_plainly() {
    let rig = Rig::new();
    // Without these two variables nobody finds a manager, on any machine.
    let scope = ScopeUse::WhereAnswered { environment: BTreeMap::new(), limits: ScopeLimits::default() };
    let launcher = Launcher::new(ShimProgram::At(env!("CARGO_BIN_EXE_offshoot").into()), scope);
    assert!(!launcher.uses_scopes().await);
    let step = rig.step();
    launcher.launch(&step, &rig.script("exit 6")).await.unwrap().release().await.unwrap();
    assert_eq!(finish(&step).await.1.code, Some(6));
    launcher.stop_scope(&step).await;
}

#[tokio::test]
async fn where_a_user_manager_answers_a_step_gets_a_scope_of_its_own() {
    let rig = Rig::new();
    let bin = rig.worktree();
    let record = "#!/bin/sh\necho \"${0##*/} $*\" >> \"${0%/*}/calls\"\n";
    let run = format!("{record}while [ \"$1\" != -- ]; do shift; done\nshift\nexec \"$@\"\n");
    let asked = format!("{record}[ \"$2\" = show ] && echo oom-kill\ntrue\n");
    for (program, text) in [("systemd-run", run.as_str()), ("systemctl", asked.as_str())] {
        // Copied by another process: a descriptor of ours could be in a fork of another test, and the file busy.
        std::fs::write(bin.join("text"), text).unwrap();
        let copy = ["-m", "755", "text", program];
        assert!(
            std::process::Command::new("install").args(copy).current_dir(&bin).status().unwrap().success()
        );
    }
    let path = format!("{}:/usr/bin:/bin", bin.display());
    let environment =
        BTreeMap::from([("PATH".into(), path), ("XDG_RUNTIME_DIR".into(), "/run/user/0".into())]);
    let limits = ScopeLimits { processes_max: Some(100), memory_bytes_max: None };
    let program = ShimProgram::At(env!("CARGO_BIN_EXE_offshoot").into());
    let launcher = Launcher::new(program, ScopeUse::WhereAnswered { environment, limits });
    assert!(launcher.uses_scopes().await);
    let step = rig.step();
    launcher.launch(&step, &rig.script("env")).await.unwrap().release().await.unwrap();
    let (records, record) = finish(&step).await;
    assert_eq!(record.code, Some(0));
    assert!(!text_of(&records, Stream::Stdout).contains("XDG_RUNTIME_DIR"));
    assert!(launcher.ran_out_of_memory(&step).await);
    launcher.stop_scope(&step).await;
    let calls = std::fs::read_to_string(bin.join("calls")).unwrap();
    let calls: Vec<&str> = calls.lines().collect();
    let unit = format!("--unit=offshoot-{} --property=TasksMax=100 -- ", step.name());
    assert!(
        calls[1].starts_with("systemd-run --user --scope --collect ") && calls[1].contains(&unit),
        "{calls:?}"
    );
    let scope = format!("offshoot-{}.scope", step.name());
    assert_eq!(calls[2], format!("systemctl --user show --property=Result --value -- {scope}"));
    assert_eq!(calls[3], format!("systemctl --user stop -- offshoot-{}.scope", step.name()));
}

#[test]
fn a_step_goes_on_when_everything_that_started_it_is_gone() {
    let rig = Rig::new();
    let first = tokio::runtime::Runtime::new().unwrap();
    let (step, _) = first.block_on(async {
        let started =
            rig.start(&rig.script("echo up; while [ ! -e go ]; do sleep 0.05; done; echo done")).await;
        until_says(&started.0, "up").await;
        started
    });
    drop(first);
    std::fs::write(rig.worktree().join("go"), "").unwrap();
    let second = tokio::runtime::Runtime::new().unwrap();
    let (records, record) = second.block_on(finish(&step));
    assert_eq!((text_of(&records, Stream::Stdout).as_str(), record.code), ("up\ndone\n", Some(0)));
}

#[tokio::test]
async fn a_large_prompt_comes_from_a_file() {
    let rig = Rig::new();
    let mut spec = rig.script("cat");
    let prompt: Vec<u8> = (0..200_000_u32).map(|index| (index % 251) as u8).collect();
    let path = rig.worktree().join("prompt");
    std::fs::write(&path, &prompt).unwrap();
    spec.stdin = Stdin::File(path);
    let (_, records, _) = rig.run(&spec).await;
    assert!(bytes_of(&records, Stream::Stdout) == prompt);
}

/// It may open its own descriptors again, by whatever name the system gives them.
#[tokio::test]
#[cfg(target_os = "linux")]
async fn a_prompt_cannot_be_changed_by_the_command_that_reads_it() {
    let rig = Rig::new();
    let mut spec = rig.script("head -c 1 /etc/passwd >> /proc/self/fd/0; (: > /proc/self/fd/0); cat");
    let path = rig.worktree().join("prompt");
    std::fs::write(&path, "asked").unwrap();
    spec.stdin = Stdin::File(path.clone());
    let (_, records, _) = rig.run(&spec).await;
    assert_eq!(text_of(&records, Stream::Stdout), "asked");
    let refused = text_of(&records, Stream::Stderr);
    assert_eq!(refused.matches("Operation not permitted").count(), 2, "{refused}");
    assert_eq!(std::fs::read_to_string(path).unwrap(), "asked");
}

#[tokio::test]
async fn messages_are_logged_written_once_and_end_with_the_input() {
    let rig = Rig::new();
    let mut spec = rig.script("cat");
    spec.stdin = Stdin::Messages;
    let (step, _) = rig.start(&spec).await;
    let control = Control::new(&step);
    assert_eq!(control.message("m1", b"first\n").await.unwrap(), MessageFate::Written);
    assert_eq!(control.message("m1", b"first\n").await.unwrap(), MessageFate::Written);
    assert_eq!(control.message("m2", b"second\n").await.unwrap(), MessageFate::Written);
    until_says(&step, "second").await;
    control.close_stdin().await.unwrap();
    let (records, record) = finish(&step).await;
    assert_eq!(text_of(&records, Stream::Stdout), "first\nsecond\n");
    assert_eq!(bytes_of(&records, Stream::In), b"\x02m1first\n\x02m2second\n");
    assert_eq!(record.code, Some(0));
    assert!(matches!(control.cancel().await, Err(ProcessError::Gone)));
}

#[tokio::test]
async fn a_message_to_a_command_that_takes_none_is_refused() {
    let rig = Rig::new();
    let (step, _) = rig.start(&rig.script("echo up; sleep 100")).await;
    until_says(&step, "up").await;
    let refused = Control::new(&step).message("m1", b"hello").await.unwrap_err();
    assert!(matches!(refused, ProcessError::Refused(_)), "{refused}");
}

#[tokio::test]
async fn a_message_half_written_when_the_command_closes_its_input_is_uncertain() {
    let rig = Rig::new();
    let mut spec =
        rig.script("echo up; while [ ! -e go ]; do sleep 0.05; done; exec <&-; echo closed; sleep 100");
    spec.stdin = Stdin::Messages;
    let (step, _) = rig.start(&spec).await;
    until_says(&step, "up").await;
    let control = Control::new(&step);
    assert_eq!(control.message("m1", &[b'x'; 200_000]).await.unwrap(), MessageFate::Queued);
    std::fs::write(rig.worktree().join("go"), "").unwrap();
    until_says(&step, "closed").await;
    assert_eq!(control.message("m1", b"").await.unwrap(), MessageFate::Uncertain);
}

#[tokio::test]
async fn an_interrupt_reaches_the_command_and_ends_nothing_else() {
    let rig = Rig::new();
    let (step, _) = rig
        .start(
            &rig.script("trap 'echo interrupted' INT; echo up; while [ ! -e go ]; do sleep 0.05; done; true"),
        )
        .await;
    until_says(&step, "up").await;
    Control::new(&step).interrupt().await.unwrap();
    until_says(&step, "interrupted").await;
    std::fs::write(rig.worktree().join("go"), "").unwrap();
    let (_, record) = finish(&step).await;
    assert_eq!((record.cause, record.code), (ExitCause::Exited, Some(0)));
}

#[tokio::test]
async fn the_wall_limit_ends_even_a_stopped_command() {
    let rig = Rig::new();
    let mut spec = rig.script("kill -STOP $$");
    spec.wall_limit = Duration::from_millis(500);
    let (_, _, record) = rig.run(&spec).await;
    assert_eq!((record.cause, record.signal), (ExitCause::WallLimit, Some(9)));
}

#[tokio::test]
async fn the_output_limit_ends_a_flood() {
    let rig = Rig::new();
    let mut spec = rig.script("exec cat /dev/zero");
    spec.output_bytes_end = Some(1 << 20);
    let (_, _, record) = rig.run(&spec).await;
    assert_eq!(record.cause, ExitCause::OutputLimit);
    assert!(record.output_bytes > 1 << 20);
}

#[tokio::test]
async fn who_ends_a_step_leaves_a_word_in_its_record() {
    let rig = Rig::new();
    let (step, _) = rig.start(&rig.script("trap '' INT TERM; echo up; while :; do sleep 0.05; done")).await;
    until_says(&step, "up").await;
    Control::new(&step).end("worktree_bytes").await.unwrap();
    Control::new(&step).cancel().await.unwrap();
    let (_, record) = finish(&step).await;
    assert_eq!((record.cause, record.text.as_deref()), (ExitCause::Ended, Some("worktree_bytes")));
}

#[tokio::test]
async fn a_process_of_a_step_may_open_only_so_many_files() {
    let rig = Rig::new();
    let mut spec = rig.script("ulimit -Sn; ulimit -Hn; ulimit -n 200 && ulimit -n 300");
    spec.open_files_max = Some(256);
    let (_, records, record) = rig.run(&spec).await;
    assert_eq!(text_of(&records, Stream::Stdout), "256\n256\n");
    assert_ne!(record.code, Some(0), "the limit was raised again");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_command_is_the_first_to_go_when_memory_runs_out() {
    let rig = Rig::new();
    let (_, records, _) =
        rig.run(&rig.script("cat /proc/self/oom_score_adj /proc/$PPID/oom_score_adj")).await;
    let text = text_of(&records, Stream::Stdout);
    let scores: Vec<i32> = text.lines().map(|line| line.parse().unwrap()).collect();
    assert!(scores[0] >= 500 && scores[0] > scores[1], "{scores:?}");
}

#[tokio::test]
async fn a_shim_that_is_asked_to_leave_ends_its_tree_first() {
    let rig = Rig::new();
    let (step, shim) =
        rig.start(&rig.script("trap 'echo bye; exit 7' TERM; echo up; while :; do sleep 0.05; done")).await;
    until_says(&step, "up").await;
    kill(Pid::from_raw(shim.pid), Signal::SIGTERM).unwrap();
    let (records, record) = finish(&step).await;
    assert_eq!((record.cause, record.survivors), (ExitCause::Stopped, 0));
    assert!(record.code == Some(7) || record.signal == Some(2), "{record:?}");
    drop(records);
}

#[test]
fn everything_that_waits_may_move_between_threads() {
    fn may_move<T: Send>(_: &T) {}
    let rig = Rig::new();
    let (step, spec) = (rig.step(), rig.script("true"));
    let control = Control::new(&step);
    let mut tail = Tail::open(&step, LogPosition::default());
    may_move(&rig.launcher.launch(&step, &spec));
    may_move(&tail.next());
    may_move(&control.cancel());
    may_move(&end_lost_tree(&step, std::path::Path::new("/"), &[], Duration::ZERO));
}
