//! Remotes that are the same each time they are made.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A remote, and a file in the middle of it.
pub(crate) struct Remote {
    pub(crate) path: PathBuf,
    pub(crate) file: String,
}

/// 200 files, 1 MB.
pub(crate) fn small(path: &Path) -> Remote {
    make(path, 200, 5_000)
}

/// As many files as a large JavaScript repository has, and as much text: 27,674 files, 71 MB, in 4,000 directories.
pub(crate) fn large(path: &Path) -> Remote {
    make(path, 27_674, 2_570)
}

fn make(path: &Path, files: usize, bytes: usize) -> Remote {
    std::fs::create_dir_all(path).unwrap();
    run(path, &["init", "-q", "--bare", "-b", "main"]);
    let mut import = git(path, &["fast-import", "--quiet"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut stream = import.stdin.take().unwrap();
    write!(
        stream,
        "commit refs/heads/main\ncommitter A <a@example.invalid> 1700000000 +0000\ndata 4\nseed\n"
    )
    .unwrap();
    for number in 0..files {
        let text = text(number, bytes);
        write!(stream, "M 100644 inline {}\ndata {}\n{text}\n", name(number), text.len()).unwrap();
    }
    stream.write_all(b"done\n").unwrap();
    drop(stream);
    assert!(import.wait().unwrap().success());
    Remote { path: path.to_owned(), file: name(files / 2) }
}

fn name(number: usize) -> String {
    format!("package{:03}/module{:04}/file{number:05}.js", number % 97, number / 7)
}

/// Lines of words that compress about as source text does, no two files alike.
fn text(number: usize, bytes: usize) -> String {
    let mut text = String::new();
    let mut state = number as u64 + 1;
    while text.len() < bytes {
        // Knuth's constants of a linear congruential generator (MMIX)
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        writeln!(text, "    let value_{:x} = compute(\"{:x}\", {});", state >> 52, state >> 40, state >> 60)
            .unwrap();
    }
    text
}

/// Git as a script has it.
pub(crate) fn git(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new("git");
    command.current_dir(dir).args(args).stdout(Stdio::null()).stderr(Stdio::null());
    for name in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{name}_NAME"), "a").env(format!("GIT_{name}_EMAIL"), "a@example.invalid");
    }
    command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null");
    command
}

pub(crate) fn run(dir: &Path, args: &[&str]) {
    let status = git(dir, args).status().unwrap();
    assert!(status.success(), "git {args:?} in {}: {status}", dir.display());
}

/// A bare clone as the script of old has it, with what makes its branches known.
pub(crate) fn plain_clone(remote: &Path, clone: &Path) {
    run(remote, &["clone", "-q", "--bare", ".", clone.to_str().unwrap()]);
    run(clone, &["remote", "set-url", "origin", &format!("file://{}", remote.display())]);
    run(clone, &["config", "remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*"]);
    run(clone, &["config", "gc.auto", "0"]);
    run(clone, &["fetch", "-q", "origin"]);
}
