//! The shapes of the small files in a step directory: what to run, who supervises it, how it ended.
//!
//! Each carries `format`; a reader takes every format up to its own and ignores fields it does not know.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{MARKER_VARIABLE, ProcessError, StepDir, durable};

/// The newest format this program writes.
const FORMAT: u64 = 1;

/// Largest spec file in bytes: arguments, and once the environment too, are limited by the kernel to about 2 MiB.
const SPEC_BYTES_MAX: u64 = 4 << 20;

/// Largest identity or exit record in bytes.
const RECORD_BYTES_MAX: u64 = 64 << 10;

/// Through these a command could start services outside of everything that is supervised.
const WITHHELD: [&str; 2] = ["XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS"];

/// One command to supervise.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandSpec {
    /// Program and arguments. A program without `/` is looked for in the `PATH` of `env`.
    pub argv: Vec<String>,
    /// A program with its arguments that starts the command inside of something, in a pid space of its own and below an
    /// init of its own, and gives back its exit code (128 + the signal for one that was killed). Empty: it is started as it is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub wrapper: Vec<String>,
    /// Absolute. Also given as `PWD`, where some programs look instead.
    pub working_dir: PathBuf,
    /// The complete environment: the command gets exactly this, `PWD` and the marker. It may hold keys, so it is sent to the
    /// shim and not written down; in files of older programs it is.
    #[serde(default, skip_serializing)]
    pub env: BTreeMap<String, String>,
    /// Values that stand as `[redacted]` in the log, wherever the command writes them. Sent to the shim as the environment is.
    #[serde(skip)]
    pub redact: Vec<String>,
    /// Where its standard input comes from.
    pub stdin: Stdin,
    /// Ends the step with [`ExitCause::WallLimit`]; time in which the machine sleeps does not count.
    #[serde(rename = "wall_limit_ms", with = "milliseconds")]
    pub wall_limit: Duration,
    /// Size of the log's head; what comes after goes to two alternating tail files of 8 MiB each.
    pub output_bytes_max: u64,
    /// Ends the step with [`ExitCause::OutputLimit`] after this many bytes of output. `None`: never.
    #[serde(default)]
    pub output_bytes_end: Option<u64>,
    /// Files that each process of the command may have open. `None`: as many as the shim itself.
    #[serde(default)]
    pub open_files_max: Option<u64>,
    /// A directory with `memory.events`: where the kernel counts its kills for want of memory. `None`: the control group
    /// that the shim finds itself in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_group: Option<PathBuf>,
    /// Between interrupt, terminate and kill.
    #[serde(rename = "stop_grace_ms", with = "milliseconds")]
    pub stop_grace: Duration,
}

/// Where the standard input of a command comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stdin {
    /// `/dev/null`.
    Null,
    /// This file, read-only: nobody feeds it, so nobody can deadlock.
    File(PathBuf),
    /// A pipe, written by [`super::Control::message`], open until [`super::Control::close_stdin`].
    Messages,
}

impl fmt::Debug for CommandSpec {
    /// Shows the names of the environment, not the values: they may be keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CommandSpec")
            .field("argv", &self.argv)
            .field("working_dir", &self.working_dir)
            .field("env", &self.env.keys().collect::<Vec<_>>())
            .field("stdin", &self.stdin)
            .field("wall_limit", &self.wall_limit)
            .finish_non_exhaustive()
    }
}

impl CommandSpec {
    /// Says early what could only fail late.
    ///
    /// # Errors
    /// [`ProcessError::Spec`] with the rule that is broken.
    pub fn check(&self) -> Result<(), ProcessError> {
        let refuse = |text| Err(ProcessError::Spec(text));
        if self.argv.first().is_none_or(String::is_empty) {
            return refuse("the program is empty");
        }
        if self.argv.iter().chain(&self.wrapper).chain(self.env.values()).any(|text| text.contains('\0')) {
            return refuse("an argument or environment value contains NUL");
        }
        if self.env.keys().any(|name| name.is_empty() || name.contains(['=', '\0'])) {
            return refuse("an environment name is empty or contains = or NUL");
        }
        if self.env.keys().any(|name| name == MARKER_VARIABLE || WITHHELD.contains(&name.as_str())) {
            return refuse("the environment names a variable that is reserved or withheld from commands");
        }
        if !self.working_dir.is_absolute() {
            return refuse("the working directory is not absolute");
        }
        if let Stdin::File(path) = &self.stdin
            && !path.is_absolute()
        {
            return refuse("the input file is not absolute");
        }
        Ok(())
    }

    pub(super) fn store(&self, step: &StepDir) -> Result<(), ProcessError> {
        durable::write(&step.spec(), &with_format(self)).map_err(ProcessError::io("cannot write the command"))
    }

    pub(super) fn load(step: &StepDir) -> Result<Self, ProcessError> {
        read(&step.spec(), SPEC_BYTES_MAX, "the command")?.ok_or(ProcessError::Format("the command"))
    }
}

/// Which process supervises a step; enough to recognise it, and never another one, after any time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShimIdentity {
    /// Differs after every start of the machine.
    pub boot_id: String,
    /// Its process id.
    pub pid: i32,
    /// When the process began, in the kernel's own unit; with the pid unique within one boot.
    pub started: u64,
    /// The value of the marker variable its command carries.
    pub marker: String,
}

impl ShimIdentity {
    pub(super) fn store(&self, step: &StepDir) -> Result<(), ProcessError> {
        durable::write(&step.shim(), &with_format(self))
            .map_err(ProcessError::io("cannot write the identity"))
    }

    /// `None`: no shim ever got as far as to write it.
    pub(super) fn find(step: &StepDir) -> Result<Option<Self>, ProcessError> {
        read(&step.shim(), RECORD_BYTES_MAX, "the supervisor's identity")
    }
}

/// Why a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitCause {
    /// The command ended by itself, by code or signal.
    Exited,
    /// Ended by [`super::Control::cancel`].
    Cancelled,
    /// The shim was asked to leave by SIGTERM.
    Stopped,
    /// It ran longer than [`CommandSpec::wall_limit`].
    WallLimit,
    /// It wrote more than [`CommandSpec::output_bytes_end`].
    OutputLimit,
    /// Ended by [`super::Control::end`]; `text` is the word that was given.
    Ended,
    /// It was never started; `text` says why.
    SpawnFailed,
}

/// What the command's tree used, as the kernel counted it for all children that were waited for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitUsage {
    /// Processor time in user mode, milliseconds.
    pub user_ms: u64,
    /// Processor time in the kernel, milliseconds.
    pub system_ms: u64,
    /// Resident memory of the largest single process, bytes.
    pub max_rss_bytes: u64,
}

/// How a step ended. Written once, after the tree is gone and the log is on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitRecord {
    /// Why.
    pub cause: ExitCause,
    /// Exit code of the command itself; none after a signal or without a start.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// That signal came from the kernel, for want of memory.
    #[serde(default)]
    pub out_of_memory: bool,
    /// Why it could not be started, or the word with which it was ended.
    pub text: Option<String>,
    /// With [`ExitCause::SpawnFailed`]: the program is missing, or nobody may run it. A record without this is silent about it.
    #[serde(default)]
    pub no_program: bool,
    /// Unix milliseconds.
    pub started_at_ms: i64,
    /// Unix milliseconds.
    pub ended_at_ms: i64,
    /// Bytes the command wrote to both streams.
    pub output_bytes: u64,
    /// Of these, bytes that found no room on the disk.
    pub dropped_bytes: u64,
    /// Processes of the tree that even SIGKILL did not end in time; normally 0.
    pub survivors: u32,
    /// False: the log could not be synced and may lack its end after a power loss.
    pub log_synced: bool,
    /// What it used.
    pub usage: ExitUsage,
}

impl ExitRecord {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        with_format(self)
    }

    /// `None`: there is no record (yet).
    pub(super) fn find(step: &StepDir) -> Result<Option<Self>, ProcessError> {
        read(&step.exit(), RECORD_BYTES_MAX, "the exit record")
    }
}

fn with_format(value: &impl Serialize) -> Vec<u8> {
    let mut value = serde_json::to_value(value).expect("these types have string keys and no failing field");
    if let Value::Object(fields) = &mut value {
        fields.insert("format".to_owned(), FORMAT.into());
    }
    let mut bytes = value.to_string().into_bytes();
    bytes.push(b'\n');
    bytes
}

fn read<T: for<'de> Deserialize<'de>>(
    path: &std::path::Path,
    bytes_max: u64,
    what: &'static str,
) -> Result<Option<T>, ProcessError> {
    let Some(bytes) =
        durable::read_up_to(path, bytes_max).map_err(ProcessError::io("cannot read a step file"))?
    else {
        return Ok(None);
    };
    parse(&bytes).map(Some).ok_or(ProcessError::Format(what))
}

fn parse<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> Option<T> {
    let value: Value = serde_json::from_slice(bytes).ok()?;
    if !(1..=FORMAT).contains(&value.get("format")?.as_u64()?) {
        return None;
    }
    serde_json::from_value(value).ok()
}

mod milliseconds {
    use super::{Deserialize, Duration};
    use serde::{Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(u64::try_from(value.as_millis()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> CommandSpec {
        CommandSpec {
            argv: vec!["claude".into(), "--print".into()],
            wrapper: Vec::new(),
            working_dir: "/w".into(),
            env: BTreeMap::from([("KEY".into(), "sesame".into())]),
            redact: Vec::new(),
            stdin: Stdin::File("/s/prompt".into()),
            wall_limit: Duration::from_secs(3600),
            output_bytes_max: 1 << 20,
            output_bytes_end: None,
            open_files_max: Some(1024),
            memory_group: None,
            stop_grace: Duration::from_secs(5),
        }
    }

    #[test]
    fn format_1_of_every_file_stays_readable() {
        let text = r#"{"argv":["claude","--print"],"env":{"KEY":"sesame"},"format":1,"open_files_max":1024,"output_bytes_end":null,"output_bytes_max":1048576,"stdin":{"file":"/s/prompt"},"stop_grace_ms":5000,"wall_limit_ms":3600000,"working_dir":"/w"}"#;
        assert_eq!(parse::<CommandSpec>(text.as_bytes()), Some(spec()));
        // the environment is not written any more
        let text = text.replace(r#""env":{"KEY":"sesame"},"#, "");
        let value = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap();
        assert_eq!(value(&with_format(&spec())), value(text.as_bytes()));
        let without = CommandSpec { env: BTreeMap::new(), ..spec() };
        assert_eq!(parse::<CommandSpec>(text.as_bytes()), Some(without));
        let shim = br#"{"boot_id":"b","format":1,"marker":"x-1-1-a","pid":7,"started":9,"later":true}"#;
        assert_eq!(parse::<ShimIdentity>(shim).unwrap().pid, 7);
        let exit = br#"{"cause":"wall_limit","code":null,"dropped_bytes":0,"ended_at_ms":2,"format":1,"log_synced":true,"output_bytes":3,"signal":9,"started_at_ms":1,"survivors":0,"text":null,"usage":{"max_rss_bytes":1,"system_ms":2,"user_ms":3}}   "#;
        assert_eq!(parse::<ExitRecord>(exit).unwrap().cause, ExitCause::WallLimit);
    }

    #[test]
    fn a_newer_format_is_refused() {
        assert!(
            parse::<ShimIdentity>(br#"{"boot_id":"b","format":2,"marker":"m","pid":7,"started":9}"#)
                .is_none()
        );
        assert!(parse::<ShimIdentity>(br#"{"boot_id":"b","marker":"m","pid":7,"started":9}"#).is_none());
    }

    #[test]
    fn environment_values_do_not_show_in_debug_output() {
        let shown = format!("{:?}", spec());
        assert!(shown.contains("KEY") && !shown.contains("sesame"), "{shown}");
    }

    #[test]
    fn what_cannot_run_is_refused_early() {
        assert!(spec().check().is_ok());
        let broken: [fn(&mut CommandSpec); 6] = [
            |s| s.argv.clear(),
            |s| s.argv.push("a\0b".into()),
            |s| s.working_dir = "w".into(),
            |s| s.stdin = Stdin::File("prompt".into()),
            |s| drop(s.env.insert("XDG_RUNTIME_DIR".into(), "/run/user/1".into())),
            |s| drop(s.env.insert("A=B".into(), String::new())),
        ];
        for (index, break_it) in broken.iter().enumerate() {
            let mut spec = spec();
            break_it(&mut spec);
            assert!(spec.check().is_err(), "case {index}");
        }
    }
}
