//! Every command, flag and help text.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use clap_complete::Shell;

use super::commands::{
    ArtifactsFlags, AttachFlags, ClientVerb, DiffFlags, DoctorFlags, FollowUpFlags, FormFlags, InitFlags,
    NotifyVerb, OpenFlags, ProfileVerb, RetryFlags, ServiceVerb, TokenVerb, UsageFlags, WebhookVerb,
};
use super::human;
use crate::domain::id::JobRef;

/// A job queue for coding agents on your own machine: give it a prompt, get a pull request.
#[derive(Debug, Parser)]
#[command(name = "offshoot", version, max_term_width = 100, arg_required_else_help = true)]
#[command(disable_help_subcommand = true)]
#[command(after_help = "Start with `offshoot demo`: it needs no account, no network and no configuration.")]
pub(super) struct Cli {
    #[command(flatten)]
    pub(super) global: Global,
    #[command(subcommand)]
    pub(super) verb: Verb,
}

/// What every command takes.
#[derive(Clone, Debug, Args)]
pub(super) struct Global {
    /// Print JSON in the shapes of the HTTP API.
    #[arg(long, global = true, help_heading = "Everywhere")]
    pub(super) json: bool,
    /// Use the server at this address instead of OFFSHOOT_URL or the configured one.
    #[arg(long, global = true, help_heading = "Everywhere", value_name = "URL")]
    pub(super) url: Option<String>,
    /// Read this configuration file instead of the usual one.
    #[arg(long, global = true, help_heading = "Everywhere", value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Say when to use colour; NO_COLOR is obeyed as well.
    #[arg(long, global = true, help_heading = "Everywhere", value_enum, default_value_t = Colour::Auto, value_name = "WHEN")]
    pub(super) color: Colour,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Colour {
    // Plain comments: documented values would turn every help into the long form.
    // When the output is a terminal.
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Try everything with a scripted agent in a temporary directory.
    Demo(DemoFlags),
    /// Write a first configuration, with a secret: three questions at most, and none without a terminal.
    Init(InitFlags),
    /// Say what is missing on this machine, and the command that mends it.
    Doctor(DoctorFlags),
    /// Run the server in the foreground.
    Serve(ServeFlags),
    /// Run the server as a service of yours, which starts by itself.
    #[command(subcommand)]
    Service(ServiceVerb),
    /// Open the dashboard in a browser, signed in.
    Open(OpenFlags),
    /// Queue a job.
    Submit(Box<SubmitFlags>),
    /// List jobs, newest first.
    Ls(LsFlags),
    /// Show one job: how far it is, why it failed, what to do next.
    Show(ShowFlags),
    /// Print what the agent of a job says.
    Logs(LogsFlags),
    /// Print what a job changed, as a patch.
    Diff(DiffFlags),
    /// Wait until jobs have ended.
    Wait(WaitFlags),
    /// Stop jobs and wait until nothing of them runs any more.
    Cancel(CancelFlags),
    /// Try a failed or cancelled job again.
    Retry(RetryFlags),
    /// Go on with something new where a job has ended: on its branch, in its conversation and pull request.
    FollowUp(Box<FollowUpFlags>),
    /// List the files that a job has kept, such as reports, or save them.
    Artifacts(ArtifactsFlags),
    /// Take a job over: open its agent in its worktree and conversation, and hand it back when that ends.
    Attach(AttachFlags),
    /// Get back what an agent had done when its job failed or was cancelled: list it, or unpack it into a new directory.
    Rescue(RescueFlags),
    /// Look at the queue, close and open it.
    #[command(subcommand)]
    Queue(QueueVerb),
    /// Look at callbacks, send them again, try a receiver out.
    #[command(subcommand)]
    Webhook(WebhookVerb),
    /// See who is told what becomes of jobs, try one out.
    #[command(subcommand)]
    Notify(NotifyVerb),
    /// Sum up what jobs have used: runs, tokens, money.
    Usage(UsageFlags),
    /// Register repositories and look at them.
    #[command(subcommand)]
    Client(ClientVerb),
    /// Keep run options and prompt templates under a name.
    #[command(subcommand)]
    Profile(ProfileVerb),
    /// Make, list and revoke tokens: for programs, and for people who may not everything.
    #[command(subcommand)]
    Token(TokenVerb),
    /// Copy the database while the server goes on.
    Backup(BackupFlags),
    /// Put a backup in the place of the database, while no server runs.
    Restore(RestoreFlags),
    /// Take away what is past its time, as it happens by itself once an hour.
    Gc {
        /// Only say what would go, and why.
        #[arg(long)]
        dry_run: bool,
    },
    /// Look at the configuration.
    #[command(subcommand)]
    Config(ConfigVerb),
    /// Print the description of the HTTP API, OpenAPI 3.1.
    Openapi,
    /// Print the script by which a shell completes commands, flags and the numbers of jobs.
    Completions {
        /// For this shell.
        #[arg(value_name = "SHELL", value_enum)]
        shell: Shell,
    },
    /// Print the manual page of the program or of one of its commands.
    Man {
        /// The command, for example `queue pause`; without it the page of the whole program.
        #[arg(value_name = "COMMAND")]
        command: Vec<String>,
    },
    /// Print the version of this program.
    Version,
}

/// `offshoot demo`.
#[derive(Clone, Debug, Args)]
pub struct DemoFlags {
    /// Go on serving when the demonstration is over, until Ctrl-C.
    #[arg(long)]
    pub keep: bool,
    /// Listen on this port; without it the system chooses a free one.
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,
}

/// `offshoot serve`.
#[derive(Clone, Debug, Default, Args)]
pub struct ServeFlags {
    /// Listen on this port.
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,
    /// Listen on this address; anything but loopback needs a long secret.
    #[arg(long, value_name = "ADDRESS")]
    pub bind: Option<String>,
    /// Run at most this many jobs at the same time.
    #[arg(long, visible_alias = "max-jobs", value_name = "N")]
    pub max_concurrent_jobs: Option<u32>,
    /// Keep database, logs and clones below this directory.
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Log from this level on: error, warn, info, debug or trace.
    #[arg(long, value_name = "LEVEL")]
    pub log_level: Option<String>,
    /// Log for people (human) or with one JSON object a line (json).
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,
    /// End running agents too when the server is stopped; without it they go on and the next server takes them over.
    #[arg(long)]
    pub stop_agents: bool,
}

#[derive(Debug, Args)]
pub(super) struct SubmitFlags {
    /// What the agent shall do; `-` reads it from standard input, and so does leaving it out in a pipe.
    #[arg(value_name = "PROMPT", conflicts_with = "file")]
    pub(super) prompt: Option<String>,
    /// Read the prompt from this file.
    #[arg(short, long, value_name = "FILE")]
    pub(super) file: Option<PathBuf>,
    /// Give the agent this file to read, a picture for example; may be given several times, 10 MiB together.
    #[arg(long = "attach", value_name = "FILE")]
    pub(super) attachments: Vec<PathBuf>,
    #[command(flatten)]
    pub(super) form: FormFlags,
    /// Work on this repository: ORG/REPO, or the name or id of a client; may be left out when there is only one client.
    #[arg(short, long, value_name = "ORG/REPO")]
    pub(super) repo: Option<String>,
    /// Work on this branch; without it a name is made from the title or the prompt.
    #[arg(short, long, value_name = "BRANCH")]
    pub(super) branch: Option<String>,
    /// Give the pull request this title.
    #[arg(short, long)]
    pub(super) title: Option<String>,
    /// Start from this branch instead of the default one.
    #[arg(long, value_name = "BRANCH")]
    pub(super) base: Option<String>,
    /// Let it come before (up to 10) or after (down to -10) other jobs.
    #[arg(long, value_name = "N", allow_negative_numbers = true,
          value_parser = clap::value_parser!(i8).range(-10..=10))]
    pub(super) priority: Option<i8>,
    /// Do not start it before this time, for example 2026-11-21T22:00:00+01:00.
    #[arg(long, value_name = "TIME", value_parser = human::parse_time)]
    pub(super) at: Option<String>,
    /// Start it only when this job has completed; may be given several times.
    #[arg(long, value_name = "JOB")]
    pub(super) after: Vec<String>,
    /// Tell this URL by a signed POST when the job has ended.
    #[arg(long, value_name = "URL")]
    pub(super) callback: Option<String>,
    /// Attach a label; may be given several times.
    #[arg(long = "label", value_name = "LABEL")]
    pub(super) labels: Vec<String>,
    /// Use this entry of [agents] in the configuration.
    #[arg(long, value_name = "NAME")]
    pub(super) agent: Option<String>,
    /// Use this model.
    #[arg(long)]
    pub(super) model: Option<String>,
    /// Stop the agent after this many turns.
    #[arg(long, value_name = "N")]
    pub(super) max_turns: Option<u32>,
    /// Stop the job when it has cost this many US dollars, all its attempts together.
    #[arg(long, value_name = "USD")]
    pub(super) budget: Option<f64>,
    /// Stop the agent after this time, for example 30m or 2h.
    #[arg(long, value_name = "DURATION", value_parser = human::parse_duration)]
    pub(super) timeout: Option<std::time::Duration>,
    /// Open a pull request, or only push the branch, which needs no token of a forge.
    #[arg(long, value_name = "HOW", value_parser = ["pull_request", "branch"], conflicts_with = "dry_run")]
    pub(super) publish: Option<String>,
    /// Publish nothing: the change is kept locally and `retry --publish` publishes it later.
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Keep the files of the worktree that fit this glob, also ignored ones; may be given several times.
    #[arg(long = "artifact", value_name = "GLOB")]
    pub(super) artifacts: Vec<String>,
    /// Send this Idempotency-Key: the same key within a day queues the job only once.
    #[arg(long, value_name = "KEY")]
    pub(super) key: Option<String>,
    /// Wait until the job has ended; exits with 10 when it failed and 11 when it was cancelled.
    #[arg(short, long)]
    pub(super) wait: bool,
    /// Print what the agent says until the job has ended; exits like --wait.
    #[arg(long)]
    pub(super) follow: bool,
    /// Print nothing but the number of the job.
    #[arg(short, long)]
    pub(super) quiet: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Terms: status=failed,queued  repo=ORG/REPO  client=ID  branch=NAME  label=NAME  by=TOKEN  \
                  since=2d  until=TIME; any other word is searched for."
)]
pub(super) struct LsFlags {
    /// Show only jobs that fit all of these terms.
    #[arg(value_name = "TERM")]
    pub(super) terms: Vec<String>,
    /// Show at most this many jobs, 1 to 200.
    #[arg(short = 'n', long, default_value_t = 20, value_name = "N",
          value_parser = clap::value_parser!(u32).range(1..=200))]
    pub(super) limit: u32,
    /// Leave out this many of the newest ones.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub(super) offset: u32,
}

#[derive(Debug, Args)]
pub(super) struct ShowFlags {
    /// The number, the id, or the beginning of the id of a job.
    #[arg(value_name = "JOB", value_parser = job_name)]
    pub(super) job: String,
    /// Print the whole prompt and all attempts too.
    #[arg(long)]
    pub(super) full: bool,
}

#[derive(Debug, Args)]
pub(super) struct LogsFlags {
    /// The number, the id, or the beginning of the id of a job.
    #[arg(value_name = "JOB", value_parser = job_name)]
    pub(super) job: String,
    /// Go on until the job has ended.
    #[arg(short, long)]
    pub(super) follow: bool,
    /// Begin with the last N messages.
    #[arg(short = 'n', long, value_name = "N", conflicts_with = "raw")]
    pub(super) tail: Option<u64>,
    /// Print the agent's own output, byte for byte.
    #[arg(long, conflicts_with = "follow")]
    pub(super) raw: bool,
    /// Print the output of this attempt only.
    #[arg(long, value_name = "N", requires = "raw")]
    pub(super) attempt: Option<u32>,
    /// Exit with 10 when the job failed and 11 when it was cancelled.
    #[arg(long)]
    pub(super) exit_status: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Exits with 10 when one of them failed, else 11 when one was cancelled, and 7 after the timeout."
)]
pub(super) struct WaitFlags {
    /// Numbers, ids, or beginnings of ids of jobs.
    #[arg(value_name = "JOB", required = true, value_parser = job_name)]
    pub(super) jobs: Vec<String>,
    /// Wait no longer than this, for example 30m or 2h; the jobs go on.
    #[arg(long, value_name = "DURATION", value_parser = human::parse_duration)]
    pub(super) timeout: Option<std::time::Duration>,
}

#[derive(Debug, Args)]
pub(super) struct CancelFlags {
    /// Numbers, ids, or beginnings of ids of jobs.
    #[arg(value_name = "JOB", required = true, value_parser = job_name)]
    pub(super) jobs: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct RescueFlags {
    /// The number, the id, or the beginning of the id of a job.
    #[arg(value_name = "JOB", value_parser = job_name)]
    pub(super) job: String,
    /// Take this snapshot; without it the newest one.
    #[arg(value_name = "SNAPSHOT", requires = "into")]
    pub(super) snapshot: Option<String>,
    /// Unpack the files into this directory, which must not exist yet.
    #[arg(long, value_name = "DIR")]
    pub(super) into: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(super) enum QueueVerb {
    /// Show what runs and what waits.
    Status,
    /// Start no further jobs; running ones go on.
    Pause {
        /// Say why, for whoever looks at the queue.
        #[arg(long)]
        reason: Option<String>,
    },
    /// Start jobs again.
    Resume,
    /// Try held logins now instead of waiting for the end of their hold.
    TryNow {
        /// Only this entry of [agents] in the configuration.
        #[arg(value_name = "LOGIN")]
        login: Option<String>,
    },
}

#[derive(Debug, Args)]
pub(super) struct BackupFlags {
    /// Write it to this new file on the server's machine; without it the server keeps it beside its others.
    #[arg(value_name = "FILE")]
    pub(super) file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct RestoreFlags {
    /// The name of one of the server's backups, or a file.
    #[arg(value_name = "BACKUP")]
    pub(super) backup: PathBuf,
    /// The data directory of the server, if it was started with this flag.
    #[arg(long, value_name = "DIR")]
    pub(super) data_dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(super) enum ConfigVerb {
    /// Print the values in effect, secrets masked.
    Show {
        /// Say for each value where it comes from.
        #[arg(long)]
        origin: bool,
    },
}

/// Takes `142`, `#142`, an id, or the beginning of one; what can be none of them need not be asked for.
pub(super) fn job_name(text: &str) -> Result<String, String> {
    let name = text.strip_prefix('#').unwrap_or(text);
    let known = JobRef::parse(name).map(|_| name.to_owned());
    known.ok_or_else(|| {
        "a job is named by its number, its id, or four or more characters of its id".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_sound_and_every_help_text_is_a_sentence() {
        Cli::command().debug_assert();
        let mut commands = vec![Cli::command()];
        while let Some(command) = commands.pop() {
            let name = command.get_name().to_owned();
            let about = command.get_about().map(ToString::to_string).unwrap_or_default();
            assert!(about.len() > 10, "{name} has no help: {about:?}");
            for argument in command.get_arguments() {
                let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
                assert!(help.len() > 10 && help.contains(' '), "{name} {}: {help:?}", argument.get_id());
            }
            commands.extend(command.get_subcommands().cloned());
        }
    }

    /// The whole reference, so that a change of it is seen.
    #[test]
    fn every_help_text() {
        let mut reference = String::new();
        let mut commands = vec![Cli::command().bin_name("offshoot")];
        while let Some(mut command) = commands.pop() {
            command.build();
            let help = command.clone().term_width(100).render_help();
            reference.push_str(&format!("{help}\n----\n"));
            let below: Vec<_> = command.get_subcommands().cloned().collect();
            commands.extend(below.into_iter().rev());
        }
        insta::assert_snapshot!(reference);
    }

    #[test]
    fn contradictions_are_usage_errors() {
        for line in [
            "submit a --file b",
            "retry 1 --fresh --publish",
            "retry 1 --fresh --resume",
            "retry 1 --publish --prompt x",
            "logs 1 --raw -f",
            "artifacts 1 --into a -o b",
            "artifacts",
            "submit a --priority 11",
            "submit a --timeout soon",
            "submit --var a=b",
            "submit --profile p --var a",
            "submit --profile p --var 1=b",
            "profile set p --prompt a --no-prompt",
            "profile add p --options []",
            "ls --limit 0",
            "cancel",
            "show ..",
            "cancel 142 a/b",
            "frobnicate",
        ] {
            let words = std::iter::once("offshoot").chain(line.split(' '));
            let error = Cli::try_parse_from(words).expect_err(line);
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn global_flags_stand_before_or_behind_the_verb() {
        for line in ["offshoot --json ls", "offshoot ls --json"] {
            assert!(Cli::try_parse_from(line.split(' ')).expect(line).global.json);
        }
        let cli = Cli::try_parse_from(["offshoot", "submit", "-", "--priority", "-10"])
            .expect("a negative priority");
        let Verb::Submit(submit) = cli.verb else { panic!("not submit") };
        assert_eq!((submit.prompt.as_deref(), submit.priority), (Some("-"), Some(-10)));
    }
}
