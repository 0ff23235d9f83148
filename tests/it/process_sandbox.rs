//! Steps behind the wrapper of the sandbox: what holds for their trees holds in it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use offshoot::isolation::{Bind, Found, Inside, Sandbox, wrapper};
use offshoot::process::{CommandSpec, Control, ExitCause, StepState, Stream, inspect, survivors};

use crate::left_out::{Need, has_program, leave_out};
use crate::life_sandbox::abstract_listener;
use crate::process_rig::{Rig, eventually, finish, text_of, until_says};

const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// The program, and whether it may have the line of Landlock around it: not where the kernel has none, nor where the program gains
/// its rights by its file.
async fn bwrap(what: &str) -> Option<(PathBuf, bool)> {
    match Sandbox::new(PATH.into()).find().await {
        Found::Works { program, line, .. } => Some((program, line)),
        Found::Fails { why } => {
            leave_out(Need::Bubblewrap, &format!("{what} ({why})"));
            None
        }
    }
}

/// Where Landlock is, every test here is within its line.
fn walls(program: &PathBuf, worktree: PathBuf, line: bool) -> Vec<String> {
    let inside = Inside {
        program,
        working_dir: &worktree,
        home: None,
        hidden: &[],
        lent: &[],
        own: &[Bind::writable(&worktree)],
        held: &[],
        fresh: &[],
        shut: &[],
        network: true,
        line,
        filter: line,
    };
    wrapper(&inside).unwrap()
}

fn inside(rig: &Rig, (program, line): &(PathBuf, bool), script: &str) -> CommandSpec {
    CommandSpec { wrapper: walls(program, rig.worktree(), *line), ..rig.script(script) }
}

fn note(rig: &Rig, name: &str) -> bool {
    rig.worktree().join(name).exists()
}

#[tokio::test]
async fn an_end_comes_by_the_same_steps_inside() {
    let Some(program) = bwrap("the end of a step in the sandbox").await else { return };
    let rig = Rig::new();
    // each is up for its signal, and the first two leave by themselves
    let by = [
        ("trap 'echo > int; exit 5' INT", "int", Some(5)),
        ("trap '' INT; trap 'echo > term; exit 6' TERM", "term", Some(6)),
        ("trap '' INT TERM HUP; trap 'echo > never; exit 7' USR1", "never", None),
    ];
    for (traps, name, code) in by {
        let mut spec = inside(&rig, &program, &format!("{traps}; echo up; while :; do sleep 0.02; done"));
        spec.stop_grace = Duration::from_secs(2);
        let (step, _) = rig.start(&spec).await;
        until_says(&step, "up").await;
        Control::new(&step).cancel().await.unwrap();
        let (_, record) = finish(&step).await;
        assert_eq!((record.cause, record.survivors), (ExitCause::Cancelled, 0), "{name}");
        assert_eq!((record.code, note(&rig, name)), (code, code.is_some()), "{name}");
        assert_eq!(survivors(&step), [], "{name}");
    }
}

#[tokio::test]
async fn an_interrupt_reaches_the_command_and_not_its_walls() {
    let Some(program) = bwrap("an interrupt in the sandbox").await else { return };
    let rig = Rig::new();
    let script = "trap 'echo heard' INT; echo up; while [ ! -e go ]; do sleep 0.02; done; exit 4";
    let (step, _) = rig.start(&inside(&rig, &program, script)).await;
    until_says(&step, "up").await;
    Control::new(&step).interrupt().await.unwrap();
    until_says(&step, "heard").await;
    std::fs::write(rig.worktree().join("go"), "").unwrap();
    let (_, record) = finish(&step).await;
    assert_eq!((record.cause, record.code), (ExitCause::Exited, Some(4)));
}

#[tokio::test]
async fn nothing_outlives_the_command_or_the_supervisor() {
    let Some(program) = bwrap("what outlives a step in the sandbox").await else { return };
    let rig = Rig::new();
    let daemon = "(setsid env -i /bin/sh -c 'trap \"\" INT TERM HUP; echo > daemon; while :; do sleep 0.05; done' &); \
        while [ ! -e daemon ]; do sleep 0.02; done; echo up";
    let (step, records, record) = rig.run(&inside(&rig, &program, &format!("{daemon}; exit 3"))).await;
    assert_eq!((record.cause, record.code, record.survivors), (ExitCause::Exited, Some(3), 0));
    assert!(text_of(&records, Stream::Stdout).contains("up"));
    assert_eq!((survivors(&step), in_worktree(&rig)), (vec![], vec![]));

    std::fs::remove_file(rig.worktree().join("daemon")).unwrap();
    let (step, shim) = rig.start(&inside(&rig, &program, &format!("{daemon}; sleep 1000"))).await;
    until_says(&step, "up").await;
    kill(Pid::from_raw(shim.pid), Signal::SIGKILL).unwrap();
    eventually("the shim is dead", || !matches!(inspect(&step).unwrap(), StepState::Running(_))).await;
    // nobody has to look for them: the walls fall with whoever put them up
    eventually("all are gone", || survivors(&step).is_empty() && in_worktree(&rig).is_empty()).await;
}

/// Who works in the worktree, by the kernel's word.
fn in_worktree(rig: &Rig) -> Vec<String> {
    let worktree = rig.worktree().canonicalize().unwrap();
    let works = |entry: std::fs::DirEntry| {
        let cwd = std::fs::read_link(entry.path().join("cwd")).ok()?;
        cwd.starts_with(&worktree).then(|| entry.file_name().to_string_lossy().into_owned())
    };
    std::fs::read_dir("/proc").unwrap().filter_map(|entry| works(entry.ok()?)).collect()
}

#[tokio::test]
async fn a_missing_program_is_told_from_walls_that_cannot_be_put_up() {
    let Some(program) = bwrap("a missing program in the sandbox").await else { return };
    let rig = Rig::new();
    let mut spec = inside(&rig, &program, "");
    spec.argv = vec!["no-such-program".into()];
    let (_, _, record) = rig.run(&spec).await;
    assert_eq!((record.cause, record.no_program), (ExitCause::SpawnFailed, true), "{record:?}");
    let mut spec = inside(&rig, &program, "echo ran");
    let at = spec.wrapper.len() - 3;
    spec.wrapper.splice(at..at, ["--bind", "/no/such/place", "/x"].map(str::to_owned));
    let (_, records, record) = rig.run(&spec).await;
    assert_eq!((record.cause, record.code), (ExitCause::Exited, Some(1)), "{record:?}");
    assert!(text_of(&records, Stream::Stderr).contains("bwrap:"));
    assert_eq!(text_of(&records, Stream::Stdout), "", "nothing runs without its walls");
}

/// With the machine's network come its sockets with abstract names: those of X servers, of D-Bus, of session managers.
#[tokio::test]
async fn a_socket_with_an_abstract_name_is_reached_by_those_who_share_the_walls() {
    let Some((program, line)) = bwrap("abstract sockets in the sandbox").await else { return };
    if !line {
        return leave_out(Need::Landlock, "abstract sockets in the sandbox");
    }
    if !has_program("python3") {
        return leave_out(Need::Python, "abstract sockets in the sandbox");
    }
    let rig = Rig::new();
    let name = format!("offshoot-test-{}", std::process::id());
    let outside = abstract_listener(&name);
    outside.set_nonblocking(true).unwrap();
    let script = format!(
        "python3 - <<'END'\n\
         import socket\n\
         def reach(name):\n\
         \x20   try:\n\
         \x20       socket.socket(socket.AF_UNIX).connect('\\0' + name)\n\
         \x20       return 'reached'\n\
         \x20   except OSError as error:\n\
         \x20       return type(error).__name__\n\
         own = socket.socket(socket.AF_UNIX)\n\
         own.bind('\\0own-{name}')\n\
         own.listen(1)\n\
         print(reach('{name}'), reach('own-{name}'))\n\
         END"
    );
    for (line, expected) in [(true, "PermissionError reached"), (false, "reached reached")] {
        let wrapper = walls(&program, rig.worktree(), line);
        let (_, records, record) = rig.run(&CommandSpec { wrapper, ..rig.script(&script) }).await;
        assert_eq!(text_of(&records, Stream::Stdout).trim(), expected, "{record:?}");
        assert_eq!(outside.accept().is_ok(), !line, "what the listener saw");
    }
}

/// CI runs as root; most people do not.
#[test]
fn the_walls_stand_for_an_ordinary_user_too() {
    let is_root = nix::unistd::geteuid().is_root();
    let bwrap = PathBuf::from("/usr/bin/bwrap");
    if !is_root || !bwrap.exists() || !has_program("setpriv") {
        return;
    }
    let dir = tempfile::Builder::new().prefix("os-").tempdir_in("/tmp").unwrap();
    let path = |name: &str| dir.path().join(name);
    for name in ["home/.ssh", "home/.config/gh", "data", "worktree"] {
        std::fs::create_dir_all(path(name)).unwrap();
    }
    for name in ["home/.ssh/key", "home/.config/gh/hosts.yml", "data/db", "home/plain"] {
        std::fs::write(path(name), "canary").unwrap();
    }
    let owned = std::process::Command::new("chown").args(["-R", "65534:65534"]).arg(dir.path()).status();
    assert!(owned.unwrap().success());
    let hidden = [path("home/.ssh"), path("home/.config/gh"), path("data")];
    let (home, worktree) = (path("home"), path("worktree"));
    let inside = Inside {
        program: &bwrap,
        working_dir: &worktree,
        home: Some(&home),
        hidden: &hidden,
        lent: &[],
        own: &[Bind::writable(&worktree)],
        held: &[],
        fresh: &[],
        shut: &[],
        network: false,
        line: false,
        filter: false,
    };
    let root = dir.path().display();
    let script = format!(
        "cat {root}/home/.ssh/key {root}/home/.config/gh/hosts.yml {root}/data/db; cat {root}/home/plain && echo; \
         id -u; echo mine > {root}/worktree/mine && cat {root}/worktree/mine; echo evil > {root}/home/evil; \
         ls /proc | grep -c '^[0-9]'"
    );
    let mut command = std::process::Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).args(wrapper(&inside).unwrap());
    let output = command.args(["sh", "-c", &script]).env_clear().env("PATH", PATH).output().unwrap();
    let (told, refused) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let lines: Vec<_> = told.lines().collect();
    assert_eq!(lines[..3], ["canary", "65534", "mine"], "{told} {refused}");
    assert!(lines[3].parse::<u32>().unwrap() < 10, "{told}");
    assert_eq!(refused.matches("No such file").count(), 3, "{refused}");
    assert!(refused.contains("Read-only file system") && !path("home/evil").exists(), "{refused}");
}
