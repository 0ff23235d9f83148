//! A short program that is told something: with a deadline, bounded, and nothing of it outlives the answer.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;
use tokio::time::timeout;

use crate::domain::phrases;
use crate::process::OwnGroup;

/// What is kept of its complaints; the first line is told.
const SAID_BYTES_MAX: u64 = 16 * 1024;
const SAID_CHARS_MAX: usize = 200;
/// Who has left its standard error to somebody else is not waited for.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Runs `argv` with `input` on standard input, in this environment alone. Whatever it has started in its process group ends with it.
///
/// # Errors
/// What happened, for people: it cannot be run, did not end within `limit`, or did not end with 0.
pub(super) async fn run(
    argv: &[String],
    environment: &BTreeMap<OsString, OsString>,
    input: &[u8],
    limit: Duration,
) -> Result<(), String> {
    let (program, arguments) = argv.split_first().ok_or("there is no command")?;
    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs(environment);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let (mut child, group) = OwnGroup::spawn(&mut command)
        .map_err(|error| format!("{} cannot be run: {}", name(program), error.kind()))?;
    let (stdin, stderr) = (child.stdin.take(), child.stderr.take());
    let feed = async {
        if let Some(mut stdin) = stdin {
            // who does not want to read it need not
            let _ = stdin.write_all(input).await;
        }
    };
    let mut said = Vec::new();
    let run = async {
        let reading = async {
            if let Some(mut stderr) = stderr {
                let _ = (&mut stderr).take(SAID_BYTES_MAX).read_to_end(&mut said).await;
                // who says more must be able to say it: a pipe that nobody reads would end it, or hold it up
                let _ = tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await;
            }
        };
        let mut reading = std::pin::pin!(reading);
        let ended = async { tokio::join!(feed, child.wait()).1 };
        let mut ended = std::pin::pin!(ended);
        let mut is_read = false;
        let status = loop {
            tokio::select! {
                status = &mut ended => break status,
                () = &mut reading, if !is_read => is_read = true,
            }
        };
        drop(group);
        if !is_read {
            let _ = timeout(LAST_WORDS, reading).await;
        }
        status
    };
    match timeout(limit, run).await {
        Err(_) => Err(format!("{} did not end within {} s", name(program), limit.as_secs())),
        Ok(Err(error)) => Err(format!("{} was lost: {}", name(program), error.kind())),
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => {
            let said = phrases::one_line(String::from_utf8_lossy(&said).trim(), SAID_CHARS_MAX);
            let said = if said.is_empty() { said } else { format!(": {said}") };
            Err(format!("{} ended with {status}{said}", name(program)))
        }
    }
}

/// Its last part: no path of this machine is for everybody who may read deliveries.
fn name(program: &str) -> &str {
    program.rsplit('/').next().unwrap_or(program)
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_os = "linux")]
    use crate::process::group::tests::lives;

    const LONG: Duration = Duration::from_secs(30);

    fn shell(script: &str) -> Vec<String> {
        ["/bin/sh", "-c", script].map(str::to_owned).to_vec()
    }

    async fn ran(script: &str, limit: Duration) -> Result<(), String> {
        run(&shell(script), &BTreeMap::new(), b"{}\n", limit).await
    }

    #[tokio::test]
    async fn what_happened_is_told_in_a_line() {
        let rows = [
            ("read line; [ \"$line\" = '{}' ]", Ok(())),
            ("exit 0", Ok(())),
            ("echo out; exit 3", Err("sh ended with exit status: 3")),
            (
                "echo 'no such topic' >&2; echo more >&2; exit 1",
                Err("sh ended with exit status: 1: no such topic"),
            ),
            ("kill -9 $$", Err("sh ended with signal: 9 (SIGKILL)")),
            // more than any pipe takes, both ways
            (
                "while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done 2>/dev/null | head -c 900000; exit 0",
                Ok(()),
            ),
            ("set -e; head -c 900000 /dev/zero >&2; echo", Ok(())),
        ];
        for (script, expected) in rows {
            let found = ran(script, LONG).await;
            assert_eq!(found, expected.map_err(str::to_owned), "{script}");
        }
        let missing = run(&["/nowhere/tell".to_owned()], &BTreeMap::new(), b"", LONG).await;
        assert_eq!(missing, Err("tell cannot be run: entity not found".to_owned()));
    }

    #[tokio::test]
    async fn nothing_but_the_given_environment_reaches_it() {
        let environment = BTreeMap::from([(OsString::from("A"), OsString::from("1"))]);
        let script = shell("test \"$(/usr/bin/env | /bin/grep -v -e '^PWD=' -e '^_=' -e '^SHLVL=')\" = A=1");
        assert_eq!(run(&script, &environment, b"", LONG).await, Ok(()));
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn nothing_of_it_outlives_its_end_or_its_deadline() {
        let dir = tempfile::tempdir().unwrap();
        let noted = |name: &str| dir.path().join(name);
        let pids = |name: &str| std::fs::read_to_string(noted(name)).unwrap_or_default();
        let note =
            |name: &str| format!("trap '' TERM HUP; sleep 600 & echo $$ $! > {}; ", noted(name).display());
        // the one in the background holds standard error
        assert_eq!(ran(&format!("{}exit 0", note("ends")), LONG).await, Ok(()));
        let hangs =
            ran(&format!("{}while :; do sleep 600; done", note("hangs")), Duration::from_secs(2)).await;
        assert_eq!(hangs, Err("sh did not end within 2 s".to_owned()));
        for name in ["ends", "hangs"] {
            assert_eq!(pids(name).split_whitespace().count(), 2, "{name}");
            for pid in pids(name).split_whitespace() {
                let gone = async {
                    while lives(pid) {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                };
                assert!(timeout(LONG, gone).await.is_ok(), "{name}: {pid} is left");
            }
        }
    }
}
