//! The walls around an agent, tried from inside on a whole server. docs/security.md has a row for each.

use std::fmt::Write as _;
use std::os::unix::net::UnixListener;
use std::path::Path;

use offshoot::isolation::{Found, Sandbox};
use serde_json::{Value, json};

use crate::git_fixture::PATH;
use crate::left_out::{Need, has_program, leave_out};
use crate::stand::{Plan, Stand};

/// In all that nobody may read.
const CANARY: &str = "canary-5b1e0c";
/// How long the process that an agent leaves behind would sleep.
const LEFT: &str = "98761";

/// One thing that an agent tries: the line of its script, and what has to be among what it is answered. `{…}` are places.
struct Try {
    what: &'static str,
    line: &'static str,
    answer: &'static str,
    /// Without walls it does no harm, and has another answer.
    harmless: bool,
}

const fn tried(what: &'static str, line: &'static str, answer: &'static str) -> Try {
    Try { what, line, answer, harmless: false }
}

const fn looked(what: &'static str, line: &'static str, answer: &'static str) -> Try {
    Try { what, line, answer, harmless: true }
}

#[rustfmt::skip] // one row a try
const TRIES: &[Try] = &[
    looked("list the data directory", "ls -A {dir}/data | wc -l", "0"),
    looked("read the database", "head -c 6 {dir}/data/offshoot.db", "No such file"),
    looked("read the server's configuration", "cat {dir}/config.toml", "Permission denied"),
    looked("find the sockets of supervisors", "ls {dir}/data/run", "No such file"),
    looked("read an ssh key", "cat ~/.ssh/id_ed25519", "No such file"),
    looked("read the token of gh", "cat ~/.config/gh/hosts.yml", "No such file"),
    looked("read git's credentials", "cat ~/.git-credentials", "Permission denied"),
    looked("read the token of an editor", "cat ~/.config/github-copilot/apps.json", "No such file"),
    looked("read what a machine of containers keeps", "cat ~/.colima/default/key", "No such file"),
    looked("reach a socket in the home directory", "test -S ~/agent.sock || echo gone", "gone"),
    looked("read the login of another agent", "cat ~/.codex/auth.json", "No such file"),
    looked("read through a link", "ln -s ~/.ssh key-dir; cat key-dir/id_ed25519; rm key-dir", "No such file"),
    looked("see the server's process", "cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -c 'offshoot [s]erve'", "0"),
    looked("read a sibling's worktree", "cat {sibling}/s.txt", "No such file"),
    looked("read another temporary file", "cat {dir}/outside", "No such file"),
    looked("see a sibling's branch", "git rev-parse --verify refs/heads/sib", "fatal"),
    tried("write a sibling's worktree", "echo evil > {sibling}/evil", "nonexistent"),
    tried("delete a sibling's branch", "git branch -D sib", "not found"),
    tried("point a sibling's branch elsewhere", "git update-ref refs/heads/sib HEAD && git rev-parse -q --verify sib >&2 && echo in its own", "in its own"),
    tried("remove the clone's objects", "rm -rf {clone}/lent/* 2>&1 | head -n 1; git cat-file -t HEAD", "commit"),
    tried("remove a sibling's worktree by git", "git worktree remove --force {sibling}", "is not a working tree"),
    tried("collect everybody's garbage", "git gc -q --prune=now && echo own", "own"),
    tried("kill the server", "kill -9 {server}", "No such process"),
    tried("write to the home directory", "echo evil > ~/evil", "Read-only file system"),
    tried("change the shell's start", "echo evil >> ~/.bashrc", "Read-only file system"),
    tried("write to the system", "echo evil > /usr/evil", "Read-only file system"),
    // opened for writing, and nothing written
    tried("change the kernel's settings", ": >> /proc/sys/kernel/core_pattern", "Read-only file system"),
    tried("write among the devices", ": > /dev/fill", "Read-only file system"),
    tried("find much room in memory", "df -B1 --output=size /dev/shm | tail -n 1", "1073741824"),
    tried("change what it was asked", "head -c 1 /etc/passwd >> /proc/self/fd/0", "Operation not permitted"),
    tried("find a descriptor that leads out", "readlink /proc/$$/fd/* /proc/1/fd/* | grep -v -c -e '^pipe:' -e '^/dev/null' -e '^/memfd:' -e '^anon_inode:' -e '/notes/report$'", "0"),
    tried("take a cover away", "unshare -Urm sh -c 'umount ~/.ssh && cat ~/.ssh/id_ed25519'; echo tried", "tried"),
    tried("look behind the walls", "cat /proc/1/root{dir}/outside", "No such file"),
    tried("push", "git push origin HEAD:refs/heads/evil", "does not appear to be a git repository"),
    tried("push by address", "git push {dir}/remotes/acme/widgets.git HEAD:refs/heads/evil", "does not appear to be a git repository"),
    tried("find tokens in the environment", "env | grep -c -e TOKEN= -e SECRET=", "0"),
    tried("leave a process behind", "setsid sleep {left} & echo left", "left"),
    tried("reach the API without a token", "bash -c 'exec 3<>/dev/tcp/127.0.0.1/{port}; printf \"GET /jobs HTTP/1.0\\r\\nHost: 127.0.0.1:{port}\\r\\n\\r\\n\" >&3; head -n 1 <&3'", " 401 "),
];

/// Where the kernel has Landlock for it.
#[rustfmt::skip]
const APART: Try = looked("reach a socket with an abstract name", "python3 -c \"import socket; socket.socket(socket.AF_UNIX).connect('\\x00{abstract}')\" 2>&1 | tail -n 1", "PermissionError");

/// Where system calls are filtered.
#[rustfmt::skip]
const KEYS: Try = looked("use the kernel's keyrings", "python3 -c \"import ctypes, os; c = ctypes.CDLL(None, use_errno=True); c.syscall({keyctl}, 0, -3, 1); print(os.strerror(ctypes.get_errno()))\"", "Function not implemented");

/// Where the server runs as root: what nobody else could read is not there for whoever is root inside.
#[rustfmt::skip]
const CLOSED: Try = looked("read what only root may", "for at in '/srv -maxdepth 3' '/etc -maxdepth 4' '/var/lib -maxdepth 4' /var/log /var/spool; do find $at -xdev -type f -size +0 -not -perm -o+r -o -type s -not -perm -o+w; done | wc -l", "0");

/// The same without a network.
const OFFLINE: &[Try] = &[
    looked("reach a socket in the home directory", "test -S ~/agent.sock || echo gone", "gone"),
    looked("reach the API", "bash -c 'exec 3<>/dev/tcp/127.0.0.1/{port} && echo open'", "refused"),
    looked(
        "see an interface of the machine",
        "ls /sys/class/net /proc/sys/net/ipv4/conf >/dev/null; cat /proc/net/dev | tail -n +3 | wc -l",
        "1",
    ),
];

/// A server whose agents are kept in the sandbox; `None`: there is none here.
pub(crate) async fn sandboxed(what: &str) -> Option<Stand> {
    if let Found::Fails { why } = Sandbox::new(PATH.into()).find().await {
        leave_out(Need::Bubblewrap, &format!("{what} ({why})"));
        return None;
    }
    let mut stand = Stand::built(Plan::default()).await;
    for name in ["notes", "lent"] {
        std::fs::create_dir(stand.path(name)).unwrap();
    }
    let dir = stand.dir().display();
    let lent = format!(
        "[sandbox]\nread = [\"{dir}/gates\", {:?}]\nwrite = [\"{dir}/notes\", \"{dir}/lent\"]\n",
        program_dir()
    );
    stand.add_config(&lent);
    stand.set_env("OFFSHOOT_DEFAULTS_ISOLATION", "sandbox");
    Some(stand)
}

/// Not the kernel's word alone: the program itself has to bear it.
async fn has_line() -> bool {
    matches!(Sandbox::new(PATH.into()).find().await, Found::Works { line: true, .. })
}

fn program_dir() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_offshoot")).parent().unwrap()
}

fn hide_canaries(stand: &Stand) {
    let home = stand.path("home");
    for (file, text) in [
        (home.join(".ssh/id_ed25519"), CANARY),
        (home.join(".config/gh/hosts.yml"), CANARY),
        (home.join(".git-credentials"), CANARY),
        (home.join(".config/github-copilot/apps.json"), CANARY),
        (home.join(".colima/default/key"), CANARY),
        (home.join(".codex/auth.json"), CANARY),
        (stand.path("outside"), CANARY),
    ] {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }
    std::fs::write(home.join(".bashrc"), "").unwrap();
}

/// Runs the lines one after the other, each with a title, and gives what each was answered.
async fn answers(stand: &Stand, tries: &[&Try], places: &[(&str, String)], options: Value) -> Vec<String> {
    let report = stand.path("notes/report");
    let mut script = format!("exec > {} 2>&1\n", report.display());
    for (number, one) in tries.iter().enumerate() {
        let line = places.iter().fold(one.line.to_owned(), |line, (name, at)| line.replace(name, at));
        writeln!(script, "echo '== {number}'; ( {line} )").unwrap();
    }
    let mut all = json!({"agent": "sh", "publish": "none"});
    all.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
    let branch = format!("try-{}", tries.len());
    let id = stand.submit(json!({"prompt": script, "branchName": branch, "options": all})).await;
    stand.completed(&id).await;
    let text = std::fs::read_to_string(&report).unwrap();
    std::fs::remove_file(report).unwrap();
    let mut parts = text.split("== ").skip(1).map(|part| part.split_once('\n').unwrap_or_default().1.trim());
    tries.iter().map(|_| parts.next().unwrap_or_default().to_owned()).collect()
}

fn misses<'a>(tries: &[&'a Try], answers: &'a [String]) -> Vec<(&'a str, &'a str)> {
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let is_answer = |one: &Try, text: &str| {
        if is_number(one.answer) { text == one.answer } else { text.contains(one.answer) }
    };
    let met = |one: &Try, text: &str| is_answer(one, text) && !text.contains(CANARY);
    let pairs = tries.iter().zip(answers);
    pairs.filter(|(one, text)| !met(one, text)).map(|(one, text)| (one.what, text.as_str())).collect()
}

fn places(stand: &Stand, sibling: &str) -> Vec<(&'static str, String)> {
    let port = stand.base_url().rsplit(':').next().unwrap().to_owned();
    vec![
        ("{dir}", stand.dir().display().to_string()),
        ("{clone}", stand.clone_path().display().to_string()),
        ("{sibling}", sibling.to_owned()),
        ("{server}", stand.server.as_ref().unwrap().pid().to_string()),
        ("{left}", LEFT.to_owned()),
        ("{port}", port),
        ("{abstract}", abstract_name()),
        ("{keyctl}", keyctl().to_string()),
    ]
}

/// Whoever has the network of this machine can reach it, and nothing else stands before it.
#[cfg(target_os = "linux")]
pub(crate) fn abstract_listener(name: &str) -> UnixListener {
    use std::os::linux::net::SocketAddrExt as _;
    let address = std::os::unix::net::SocketAddr::from_abstract_name(name).unwrap();
    UnixListener::bind_addr(&address).unwrap()
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn abstract_listener(name: &str) -> UnixListener {
    panic!("{name}: only Linux has such names")
}

/// The number of that call.
#[cfg(target_os = "linux")]
fn keyctl() -> i64 {
    libc::SYS_keyctl
}

#[cfg(not(target_os = "linux"))]
fn keyctl() -> i64 {
    panic!("only Linux has keyrings of that kind")
}

fn abstract_name() -> String {
    format!("offshoot-life-{}", std::process::id())
}

/// A listener of the machine with an abstract name, and what an agent tries to reach it; nothing where it would.
async fn apart() -> Option<(UnixListener, &'static Try)> {
    match (has_line().await, has_program("python3")) {
        (true, true) => {
            return Some((abstract_listener(&abstract_name()), &APART));
        }
        (false, _) => leave_out(Need::Landlock, "an abstract socket, by an agent"),
        (true, false) => leave_out(Need::Python, "an abstract socket, by an agent"),
    }
    None
}

/// Whether system calls can be filtered around these walls, and somebody can try.
async fn keys() -> bool {
    let filters = matches!(Sandbox::new(PATH.into()).find().await, Found::Works { filter: true, .. });
    if filters && !has_program("python3") {
        leave_out(Need::Python, "the kernel's keyrings, by an agent");
    }
    filters && has_program("python3")
}

/// Whether there is anything that only root may read, and a server that could.
fn as_root() -> bool {
    let found = nix::unistd::geteuid().is_root();
    if !found {
        leave_out(Need::Chown, "what only root may read");
    }
    found
}

#[tokio::test]
async fn an_agent_reaches_its_worktree_and_nothing_else() {
    let Some(mut stand) = sandboxed("what an agent can reach").await else { return };
    let apart = apart().await;
    let closed = as_root().then_some(&CLOSED);
    let keys = keys().await.then_some(&KEYS);
    let row = || apart.iter().map(|(_, one)| *one).chain(closed).chain(keys);
    hide_canaries(&stand);
    let _listens = UnixListener::bind(stand.path("home/agent.sock")).unwrap();
    stand.start().await;
    let sibling = stand
        .submit(json!({"prompt": "echo sibling > s.txt", "branchName": "sib",
            "options": {"agent": "sh", "publish": "none", "keepWorktree": true}}))
        .await;
    let job = stand.completed(&sibling).await;
    let at = job["worktreePath"].as_str().unwrap().to_owned();
    let branch = stand.git_clone(&["rev-parse", "refs/heads/sib"]);
    let places = places(&stand, &at);

    let all: Vec<&Try> = TRIES.iter().chain(row()).collect();
    let inside = answers(&stand, &all, &places, json!({})).await;
    assert_eq!(misses(&all, &inside), []);
    let offline: Vec<&Try> = OFFLINE.iter().collect();
    let cut_off = answers(&stand, &offline, &places, json!({"network": "deny"})).await;
    assert_eq!(misses(&offline, &cut_off), []);

    // each of these has another answer where the walls are not
    let harmless: Vec<&Try> = TRIES.iter().chain(OFFLINE).chain(row()).filter(|one| one.harmless).collect();
    let outside = answers(&stand, &harmless, &places, json!({"isolation": "none"})).await;
    assert_eq!(misses(&harmless, &outside).len(), harmless.len(), "{outside:#?}");

    assert_eq!(stand.git_clone(&["rev-parse", "refs/heads/sib"]), branch);
    assert_eq!(std::fs::read_to_string(format!("{at}/s.txt")).unwrap(), "sibling\n");
    for evil in [format!("{at}/evil"), stand.path("home/evil").display().to_string(), "/usr/evil".to_owned()]
    {
        assert!(!Path::new(&evil).exists(), "{evil}");
    }
    assert_eq!(std::fs::read_to_string(stand.path("home/.bashrc")).unwrap(), "");
    assert!(!stand.git(&["branch", "--list"]).contains("evil"));
    let sleeps =
        std::process::Command::new("pgrep").args(["-f", &format!("^sleep {LEFT}$")]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&sleeps.stdout), "", "it lives on");
    stand.finish_leaving(&[&sibling]).await;
}

#[tokio::test]
async fn an_agent_commits_in_a_repository_of_its_own_and_its_commits_are_published() {
    let Some(mut stand) = sandboxed("commits in the sandbox").await else { return };
    stand.start().await;
    let script = "set -e\n\
        git status --porcelain; git log --oneline -1 origin/main\n\
        echo one > one.txt; git add one.txt; git commit -qm 'agent: one'\n\
        git switch -qc extra; echo x > x.txt; git add x.txt; git commit -qm 'agent: extra'; git switch -q -\n\
        echo stashed > s.txt; git add s.txt; git stash -q; git stash pop -q\n\
        git gc -q --prune=now; git commit -qm 'agent: two'; echo left > left.txt\n";
    let options = json!({"agent": "sh", "publish": "branch", "setup": ["git rev-parse HEAD > base.txt"],
        "verify": ["git log -1 --format=%s | grep -q 'agent: two'"]});
    let body = json!({"prompt": script, "branchName": "own", "title": "left over", "options": options});
    let id = stand.submit(body).await;
    let job = stand.completed(&id).await;
    assert_eq!(job["outcome"], "branch_pushed", "{job:#}");
    assert_eq!(job["attempts"][0]["isolation"], "sandbox");
    let subjects = stand.git(&["log", "--format=%s", "-3", "own"]);
    assert_eq!(subjects, "left over\nagent: two\nagent: one");
    assert_eq!(stand.git(&["show", "own:s.txt"]), "stashed");
    let refs = stand.git_clone(&["for-each-ref", "--format=%(refname)"]);
    assert!(!refs.contains("extra") && !refs.contains("stash"), "{refs}");
    let said: Vec<_> =
        stand.messages(&id).await.iter().map(|message| message["content"].to_string()).collect();
    assert!(said.iter().any(|text| text.contains("run in a sandbox (bubblewrap")), "{said:?}");
    let health = stand.get("/health").await;
    assert_eq!(health["isolation"], "sandbox", "{health:#}");
    let detail = health["isolationDetail"].as_str().unwrap();
    let with = if has_line().await { " and Landlock" } else { ", without Landlock" };
    assert!(detail.starts_with("bubblewrap") && detail.contains(with), "{detail}");
    stand.finish().await;
}

/// The scripted agent speaks as Claude Code does, keeps its conversations, and is told that it may do everything.
#[tokio::test]
async fn an_agent_in_the_sandbox_may_do_everything_and_is_followed_over_the_death_of_its_server() {
    let Some(mut stand) = sandboxed("a restart over an agent in the sandbox").await else { return };
    stand.start().await;
    let prompt = format!("Add a line {}", stand.gate_mark("g"));
    let id = stand.submit_prompt("b", &prompt).await;
    stand.wait_for_tool(&id).await;
    let agents = stand.step_processes();
    let may_all = agents.iter().any(|seen| seen.command.contains(" --permission-mode=bypassPermissions "));
    assert!(may_all, "{agents:#?}");
    stand.kill9().await;
    stand.start_again().await;
    stand.open_gate("g");
    let job = stand.completed(&id).await;
    let attempt = &job["attempts"][0];
    assert_eq!((job["attempts"].as_array().unwrap().len(), &attempt["isolation"]), (1, &"sandbox".into()));
    assert_eq!(job["outcome"], "pull_request", "{job:#}");
    stand.finish().await;
}

#[tokio::test]
async fn cancelled_in_the_sandbox_an_agent_has_its_grace_and_leaves_nobody() {
    let Some(mut stand) = sandboxed("a cancel in the sandbox").await else { return };
    stand.start().await;
    let note = stand.path("notes/goodbye");
    let script = format!(
        "trap 'echo goodbye > {}; exit 0' INT; (setsid sleep 98762 &); echo wait-for-gate; while :; do sleep 0.05; done",
        note.display()
    );
    let body = json!({"prompt": script, "branchName": "c", "options": {"agent": "sh"}});
    let id = stand.submit(body).await;
    stand.wait_for_tool(&id).await;
    let (status, answer) = stand.cancel(&id).await;
    assert_eq!((status, &answer["wasRunning"]), (200, &Value::Bool(true)), "{answer}");
    assert_eq!(std::fs::read_to_string(note).unwrap(), "goodbye\n");
    stand.finish().await;
}

/// Whoever asks for the sandbox gets it or nothing; whoever leaves it open is told that there is none.
#[tokio::test]
async fn where_the_sandbox_does_not_work_nothing_that_needs_it_is_started() {
    let mut stand = Stand::built(Plan::default()).await;
    std::fs::create_dir(stand.path("broken")).unwrap();
    crate::stand::install_program(
        &stand.path("broken/bwrap"),
        "#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n",
    );
    let path = format!("{}:{PATH}", stand.path("broken").display());
    stand.set_env("PATH", path);
    stand.set_env("OFFSHOOT_DEFAULTS_ISOLATION", "auto");
    stand.start().await;
    let ran = stand.path("ran");
    let prompt = format!("touch {}; echo x > x.txt", ran.display());
    for options in [
        json!({"isolation": "sandbox"}),
        json!({"network": "deny"}),
        json!({"isolation": "none", "network": "deny"}),
    ] {
        let mut all = json!({"agent": "sh", "publish": "none"});
        all.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
        let id = stand.submit(json!({"prompt": prompt, "branchName": "n", "options": all})).await;
        let job = stand.failed(&id, "sandbox_unavailable").await;
        assert!(job["reason"]["message"].as_str().unwrap().contains("No permissions"), "{job:#}");
        assert!(job["reason"]["hint"].as_str().unwrap().contains("apt install bubblewrap"), "{job:#}");
        assert_eq!(job["attempts"].as_array().unwrap().len(), 1);
        assert!(!ran.exists(), "{options}");
    }
    let body = json!({"prompt": prompt, "branchName": "a", "options": {"agent": "sh", "publish": "branch"}});
    let id = stand.submit(body).await;
    let job = stand.completed(&id).await;
    assert_eq!(job["attempts"][0]["isolation"], "none");
    let said = stand.messages(&id).await;
    assert!(
        said.iter().any(|one| one["content"].to_string().contains("run without a sandbox: bwrap does not"))
    );
    let health = stand.get("/health").await;
    assert_eq!(health["isolation"], "none");
    assert!(health["isolationDetail"].as_str().unwrap().contains("No permissions"), "{health:#}");
    stand.finish().await;
}

/// Whatever the options say, wherever they are written: what asks for none is refused, and what does not gets the sandbox or nothing.
#[tokio::test]
async fn where_all_is_behind_the_walls_no_option_leads_out() {
    let mut stand = Stand::built(Plan::default()).await;
    std::fs::create_dir(stand.path("broken")).unwrap();
    crate::stand::install_program(&stand.path("broken/bwrap"), "#!/bin/sh\nexit 1\n");
    stand.set_env("PATH", format!("{}:{PATH}", stand.path("broken").display()));
    stand.set_env("OFFSHOOT_DEFAULTS_ISOLATION", "none");
    stand.add_config("[policy]\nisolation = \"sandbox\"\n");
    stand.start().await;
    let ran = stand.path("ran");
    let prompt = format!("touch {}; echo x > x.txt", ran.display());
    let job = |isolation: Option<&str>| {
        let mut options = json!({"agent": "sh", "publish": "none"});
        if let Some(isolation) = isolation {
            options["isolation"] = json!(isolation);
        }
        json!({"prompt": prompt, "branchName": "n", "options": options})
    };
    for isolation in [None, Some("auto")] {
        let id = stand.submit(job(isolation)).await;
        stand.failed(&id, "sandbox_unavailable").await;
    }
    assert!(!ran.exists());
    assert_eq!(stand.get("/health").await["isolation"], "none", "it does not work here");
    stand.finish().await;
}

/// Nothing of an attempt that runs without walls could be kept from the network that the owner has taken away since, or behind those
/// that he has put up since.
#[tokio::test]
async fn what_the_owner_denies_later_is_denied_to_what_began_without_walls() {
    for policy in ["network = \"deny\"", "isolation = \"sandbox\""] {
        denied_later(policy).await;
    }
}

async fn denied_later(policy: &str) {
    let mut stand = Stand::built(Plan::default()).await;
    stand.start().await;
    let ran = stand.path("ran");
    let options = json!({"verify": [format!("touch {}", ran.display())], "publish": "branch"});
    let prompt = format!("Add a line {}", stand.gate_mark("g"));
    let body = json!({"prompt": prompt, "branchName": "d", "options": options});
    let id = stand.submit(body).await;
    stand.wait_for_tool(&id).await;
    stand.kill9().await;
    stand.add_config(&format!("[policy]\n{policy}\n"));
    stand.start_again().await;
    stand.open_gate("g");
    let job = stand.failed(&id, "sandbox_unavailable").await;
    let (attempts, said) = (job["attempts"].as_array().unwrap(), job["reason"]["message"].as_str().unwrap());
    assert_eq!((attempts.len(), &attempts[0]["isolation"]), (1, &"none".into()));
    assert!(said.contains(&format!("policy.{} by now", policy.replace(" =", " is"))), "{said}");
    assert!(!ran.exists(), "a step of it ran with the network");
    stand.finish().await;
}
