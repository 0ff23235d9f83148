//! The scripted agent: a stand-in for a coding agent that needs no account, no network and no model.
//!
//! Promises: it runs as `offshoot scripted-agent`, a process of its own like any agent: it reads the prompt from standard
//! input, accepts the real program's flags, speaks its stream-json on standard output and edits files in its
//! working directory. What it does is chosen by marks in the prompt, `[[scenario:NAME key=value key="a value"]]`;
//! several marks are played one after the other. The names are in `ScriptedAgent::play`. Without a mark, or when all
//! marks only wait, it makes a small edit. A mark with `once=FILE` is played only while that file is not there, and makes
//! it.
//!
//! Must not know: the rest of the crate, which must take it for the real thing. Fails as agents do, with a result
//! that says so. Tested: each scenario as a real process, read by the real parser, in `tests/it/agent.rs`.

mod edit;
mod marks;
mod speaker;

use crate::clock::Clock;
use marks::{Mark, find_marks};
use nix::sys::signal::{SigSet, Signal};
use speaker::{Ending, Speaker};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

/// What `--version` says. The adapter's lowest accepted version or higher, and plainly not the real program.
const VERSION_LINE: &str = "2.1.0 (offshoot scripted agent)";

/// How long a gate stays closed at most: longer than any test waits, short enough not to be forgotten for a day.
const GATE_POLLS_MAX: u32 = 600 * 1_000 / GATE_POLL_MS;
const GATE_POLL_MS: u32 = 20;

/// The real program refuses more than 10 MB on standard input.
const PROMPT_BYTES_MAX: u64 = 10 * 1024 * 1024;

/// Plays the scripted agent and gives its exit code. Reads arguments, standard input and the working directory.
#[must_use]
pub fn scripted_agent_main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(2).collect();
    let out = std::io::stdout();
    if arguments.iter().any(|argument| argument == "--version") {
        let _ = writeln!(out.lock(), "{VERSION_LINE}");
        return ExitCode::SUCCESS;
    }
    if arguments.first().is_some_and(|argument| argument == "auth") {
        let _ = writeln!(out.lock(), r#"{{"loggedIn":true,"authMethod":"none_needed"}}"#);
        return ExitCode::SUCCESS;
    }
    let mut bytes = Vec::new();
    let _ = std::io::stdin().lock().take(PROMPT_BYTES_MAX).read_to_end(&mut bytes);
    let prompt = String::from_utf8_lossy(&bytes);
    if prompt.trim().is_empty() {
        return fail("the prompt is empty");
    }
    let Ok(dir) = std::env::current_dir() else {
        return fail("the working directory is gone");
    };
    let clock = Clock::system();
    let session_id = session_id(&arguments).unwrap_or_else(|| clock.random_uuid());
    let budget = value_of(&arguments, &["--max-budget-usd"]).and_then(|usd| usd.parse().ok());
    let mut agent = ScriptedAgent { speaker: Speaker::new(out.lock(), session_id, &dir), dir, clock, budget };
    agent.run(&find_marks(&prompt))
}

struct ScriptedAgent<W> {
    speaker: Speaker<W>,
    dir: PathBuf,
    clock: Clock,
    /// US dollars; looked at after each mark, as the real program does after each turn.
    budget: Option<f64>,
}

/// Whether the next mark is played.
enum Next {
    GoOn { worked: bool },
    End(ExitCode),
}

const WAITED: Next = Next::GoOn { worked: false };
const WORKED: Next = Next::GoOn { worked: true };

impl<W: std::io::Write> ScriptedAgent<W> {
    fn run(&mut self, marks: &[Mark]) -> ExitCode {
        let logged_in =
            !marks.iter().any(|mark| matches!(mark.name.as_str(), "not-logged-in" | "usage-limit"));
        self.speaker.init(if logged_in { "scripted" } else { "none" });
        let mut worked = false;
        for mark in marks.iter().filter(|mark| is_due(mark)) {
            match self.play(mark) {
                Ok(Next::GoOn { worked: now }) => worked |= now,
                Ok(Next::End(exit)) => return exit,
                Err(error) => return self.give_up(&error),
            }
            if self.budget.is_some_and(|budget| self.speaker.cost() >= budget) {
                self.speaker.result(&Ending::out_of_budget());
                return ExitCode::FAILURE;
            }
        }
        if !worked && let Err(error) = self.edit() {
            return self.give_up(&error);
        }
        self.speaker.result(&Ending::done("Done."));
        ExitCode::SUCCESS
    }

    fn play(&mut self, mark: &Mark) -> std::io::Result<Next> {
        match mark.name.as_str() {
            "edit" => self.edit().map(|()| WORKED),
            "write" => self.write(mark).map(|()| WORKED),
            "commit-itself" => self.commit().map(|()| WORKED),
            "no-change" => {
                self.speaker.say("Nothing needs to change.");
                Ok(WORKED)
            }
            "look" => {
                let id = self
                    .speaker
                    .tool_use("Read", &serde_json::json!({"file_path": self.dir.join("README.md")}));
                self.speaker.tool_result(&id, true, "1\t# Read me");
                Ok(WAITED)
            }
            "denied" => {
                self.speaker.denied(mark.value("tool").unwrap_or("Write"), &self.dir.join("denied.txt"));
                Ok(WORKED)
            }
            "asks" => {
                // as one does that nobody answers: it is gone without a result
                self.speaker.asks(mark.value("tool").unwrap_or("Bash"));
                Ok(Next::End(ExitCode::SUCCESS))
            }
            "slow" => Ok(self.slow(mark.number("seconds", 5))),
            "gate" => Ok(self.gate(Path::new(mark.value("file").unwrap_or_default()))),
            "huge-output" => Ok(self.huge_output(mark.number("mib", 20))),
            "api-error" => Ok(self.api_error(mark.number("status", 500))),
            "not-logged-in" => Ok(self.not_logged_in()),
            "usage-limit" => Ok(self.usage_limit(mark)),
            "spend" => {
                self.speaker.say("This is expensive.");
                self.speaker.spend(mark.number("micro_usd", 0));
                Ok(WAITED)
            }
            "broken" => {
                self.speaker.spend(mark.number("micro_usd", 0));
                Ok(Next::End(self.give_up(&std::io::Error::other("broken on purpose"))))
            }
            "crash" => Ok(self.crash(mark.number("code", 1))),
            "hang" => Ok(self.hang()),
            "ignores-term" => Ok(self.ignore_signals()),
            other => Ok(Next::End(fail(&format!("there is no scenario {other:?}")))),
        }
    }

    /// Adds a function, its test and a line in the README.
    fn edit(&mut self) -> std::io::Result<()> {
        self.speaker.say("I will add a greeting with its test.");
        for (path, content) in edit::next_greeting(&self.dir)? {
            self.put(&path, &content)?;
        }
        self.speaker.say("Added a greeting, its test and a line in the README.");
        Ok(())
    }

    fn write(&mut self, mark: &Mark) -> std::io::Result<()> {
        let path = mark.value("path").unwrap_or("hello.txt");
        let content = mark.value("content").unwrap_or("hello from the scripted agent\n");
        self.put(path, content)
    }

    fn put(&mut self, path: &str, content: &str) -> std::io::Result<()> {
        let path = self.dir.join(path);
        let id = self.speaker.tool_use("Write", &serde_json::json!({"file_path": path, "content": content}));
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(&path, content)?;
        self.speaker.tool_result(&id, true, "File written.");
        Ok(())
    }

    /// Edits and commits with the git program, as agents do.
    fn commit(&mut self) -> std::io::Result<()> {
        self.edit()?;
        let id = self.speaker.tool_use("Bash", &serde_json::json!({"command": "git add -A && git commit"}));
        let mut said = String::new();
        for arguments in [&["add", "-A"][..], &["commit", "-q", "-m", "Add a greeting"]] {
            let output = std::process::Command::new("git")
                .args(["-c", "user.name=Scripted Agent", "-c", "user.email=agent@localhost"])
                .args(arguments)
                .current_dir(&self.dir)
                .output()?;
            said.push_str(&String::from_utf8_lossy(&output.stderr));
            if !output.status.success() {
                self.speaker.tool_result(&id, false, &said);
                return Err(std::io::Error::other(said));
            }
        }
        self.speaker.tool_result(&id, true, "(no output)");
        Ok(())
    }

    fn slow(&mut self, seconds: u64) -> Next {
        for second in 1..=seconds {
            sleep(Duration::from_secs(1));
            self.speaker.say(&format!("Still thinking, {second} of {seconds} seconds."));
        }
        WAITED
    }

    /// Waits until somebody makes the file.
    fn gate(&mut self, file: &Path) -> Next {
        let id = self.speaker.tool_use("Bash", &serde_json::json!({"command": "wait-for-gate"}));
        for _ in 0..GATE_POLLS_MAX {
            if file.exists() {
                self.speaker.tool_result(&id, true, "The gate is open.");
                return WAITED;
            }
            sleep(Duration::from_millis(u64::from(GATE_POLL_MS)));
        }
        self.speaker.tool_result(&id, false, "The gate stayed closed.");
        Next::End(self.give_up(&std::io::Error::other("the gate stayed closed")))
    }

    /// One line of 5 MiB, the size that real agents reach, then lines of 64 KiB up to the asked amount.
    fn huge_output(&mut self, mib: u64) -> Next {
        self.speaker.say(&"long ".repeat(1024 * 1024));
        let block = "blah ".repeat(64 * 1024 / 5);
        for _ in 0..mib.saturating_sub(5) * 16 {
            self.speaker.say(&block);
        }
        WAITED
    }

    fn api_error(&mut self, status: u64) -> Next {
        for attempt in 1..=2 {
            self.speaker.retry(attempt, 2, status);
        }
        self.failed_request("server_error", Some(status), &format!("API Error: {status} scripted error"))
    }

    fn not_logged_in(&mut self) -> Next {
        self.failed_request("authentication_failed", None, "Not logged in · Please run /login")
    }

    /// The limit ends at `resets_at` (Unix seconds), or `in` seconds from now; `window` is its name.
    fn usage_limit(&mut self, mark: &Mark) -> Next {
        let now = u64::try_from(self.clock.now_ms() / 1_000).unwrap_or(0);
        let resets_at = mark.number("resets_at", now + mark.number("in", 3_600));
        self.speaker.limit_reached(resets_at, mark.value("window").unwrap_or("five_hour"));
        self.failed_request("rate_limit", Some(429), "You've hit your scripted limit")
    }

    fn failed_request(&mut self, tag: &str, status: Option<u64>, text: &str) -> Next {
        self.speaker.api_error_message(tag, text);
        self.speaker.result(&Ending::api_error(status, text));
        Next::End(ExitCode::FAILURE)
    }

    /// Half an edit, a complaint, and gone without a result.
    fn crash(&mut self, code: u64) -> Next {
        self.speaker.say("I will start with the README.");
        let _ = std::fs::write(self.dir.join("half-done.txt"), "half\n");
        let _ = writeln!(std::io::stderr().lock(), "scripted agent: crashed on purpose");
        Next::End(ExitCode::from(u8::try_from(code).unwrap_or(1)))
    }

    /// Ends only by a signal.
    fn hang(&mut self) -> Next {
        self.speaker.tool_use("Bash", &serde_json::json!({"command": "tail -f /dev/null"}));
        loop {
            sleep(Duration::from_secs(3_600));
        }
    }

    /// Ends only by SIGKILL.
    fn ignore_signals(&mut self) -> Next {
        let mut signals = SigSet::empty();
        for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
            signals.add(signal);
        }
        if signals.thread_block().is_err() {
            return Next::End(fail("the signals could not be blocked"));
        }
        self.speaker.say("I will not listen.");
        self.hang()
    }

    fn give_up(&mut self, error: &std::io::Error) -> ExitCode {
        self.speaker.result(&Ending::broken(&error.to_string()));
        ExitCode::FAILURE
    }
}

/// Whether a mark that is played only once is still to be played.
fn is_due(mark: &Mark) -> bool {
    mark.value("once").is_none_or(|file| std::fs::File::create_new(file).is_ok())
}

fn fail(reason: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr().lock(), "scripted agent: {reason}");
    ExitCode::FAILURE
}

fn session_id(arguments: &[String]) -> Option<String> {
    value_of(arguments, &["--session-id", "--resume"])
}

/// The value of one of these flags, joined by `=` or as the next argument.
fn value_of(arguments: &[String], flags: &[&str]) -> Option<String> {
    let mut left = arguments.iter();
    while let Some(argument) = left.next() {
        for flag in flags {
            match argument.strip_prefix(flag) {
                Some("") => return left.next().cloned(),
                Some(value) if value.starts_with('=') => return Some(value[1..].to_owned()),
                _ => {}
            }
        }
    }
    None
}
