//! Which of its names the server is asked for, and what is said of each.

use clap::Arg;

use crate::api_client::{ApiClient, ApiError, JobQuery};
use crate::cli::human;
use crate::cli::views;
use crate::wire::client::Client;
use crate::wire::job::JobSummary;

/// Who has typed nothing wants one of the newest.
const JOBS: u32 = 40;
/// Who has typed something may mean an older one; the most that a page has.
const JOBS_MAX: u32 = 200;
const DELIVERIES: u32 = 40;
/// What is said of a name fits beside it on a terminal.
const ABOUT_CHARS: usize = 60;

/// What an argument takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Offer {
    /// Jobs with one of these statuses, separated by commas; `None`: all.
    Jobs(Option<&'static str>),
    Clients,
    Profiles,
    Tokens,
    /// Those that are held.
    Logins,
    /// Who is told, by the names of their sections.
    Targets,
    /// Callbacks in one of these states; `None`: all.
    Deliveries(Option<&'static str>),
    /// Of the job that was named before.
    Attempts,
    /// As [`Self::Attempts`].
    Snapshots,
}

impl Offer {
    /// Whether what was named before is not meant again. An attempt may well have the number of the job that was named.
    pub(super) fn is_named_once(self) -> bool {
        matches!(self, Self::Jobs(_) | Self::Deliveries(_))
    }

    /// By what the help of the command at `path` calls it.
    pub(super) fn of(path: &str, argument: &Arg) -> Option<Self> {
        let name = argument.get_value_names().and_then(<[_]>::first)?.as_str();
        match (name, argument.get_id().as_str()) {
            ("JOB", _) => Some(Self::Jobs(fitting(path))),
            ("CLIENT", _) | ("ORG/REPO", "repo") if path != "client add" => Some(Self::Clients),
            ("NAME", "profile") => Some(Self::Profiles),
            ("NAME", "name") if matches!(path, "profile show" | "profile set" | "profile rm") => {
                Some(Self::Profiles)
            }
            ("NAME", "name") if path == "notify test" => Some(Self::Targets),
            ("TOKEN", _) => Some(Self::Tokens),
            ("LOGIN", _) => Some(Self::Logins),
            ("DELIVERY", _) => Some(Self::Deliveries((path == "webhook redeliver").then_some("dead"))),
            ("N", "attempt") => Some(Self::Attempts),
            ("SNAPSHOT", _) => Some(Self::Snapshots),
            _ => None,
        }
    }
}

/// The statuses of the jobs with which a verb can do something.
fn fitting(path: &str) -> Option<&'static str> {
    match path {
        // `submit --after` too: what has ended is not waited for
        "cancel" | "wait" | "attach" | "submit" => Some("queued,running"),
        "retry" | "rescue" => Some("completed,failed,cancelled"),
        _ => None,
    }
}

/// Names that begin with `typed`, or more, each with what is said of it; the most probable first.
pub(super) async fn ask(
    api: &ApiClient,
    offer: Offer,
    job: Option<&str>,
    typed: &str,
) -> Result<Vec<(String, String)>, ApiError> {
    let named = |name: String, about: &str| (name, human::one_line(about, ABOUT_CHARS));
    Ok(match offer {
        Offer::Jobs(statuses) => jobs(api, statuses, typed).await?,
        Offer::Clients => clients(&api.list_clients().await?, typed),
        Offer::Profiles => {
            let profiles = api.list_profiles().await?.into_iter();
            profiles
                .map(|found| named(found.name, found.prompt.as_deref().unwrap_or("options alone")))
                .collect()
        }
        Offer::Tokens => {
            let tokens = api.list_tokens().await?.into_iter();
            tokens.map(|token| named(token.name, &token.scope)).collect()
        }
        Offer::Logins => {
            let holds = api.health().await?.holds.into_iter();
            holds.map(|hold| named(hold.login, &hold.message)).collect()
        }
        Offer::Targets => {
            let targets = api.notify_targets().await?.targets.into_iter();
            targets.map(|target| named(target.name, &target.kind)).collect()
        }
        Offer::Deliveries(states) => {
            let states = states.map(str::to_owned);
            let page = api.list_all_deliveries(states, None, Some(DELIVERIES), None).await?;
            let said = page.deliveries.into_iter();
            said.map(|sent| named(sent.id, &format!("{}: {} to {}", sent.state, sent.type_, sent.url)))
                .collect()
        }
        Offer::Attempts => match job {
            None => Vec::new(),
            Some(job) => {
                let attempts = api.get_job(job).await?.value.attempts.into_iter().rev();
                let about = |reason: Option<String>| reason.unwrap_or_else(|| "no reason".to_owned());
                let code = |attempt: &crate::wire::attempt::Attempt| {
                    attempt.reason.as_ref().map(|reason| reason.code.to_string())
                };
                attempts.map(|attempt| named(attempt.number.to_string(), &about(code(&attempt)))).collect()
            }
        },
        Offer::Snapshots => match job {
            None => Vec::new(),
            Some(job) => {
                let kept = api.list_snapshots(job).await?.snapshots.into_iter();
                kept.map(|snapshot| named(snapshot.name, &snapshot.why)).collect()
            }
        },
    })
}

/// By their numbers, which people say; by their ids for who has begun to type one.
async fn jobs(
    api: &ApiClient,
    statuses: Option<&str>,
    typed: &str,
) -> Result<Vec<(String, String)>, ApiError> {
    let limit = if typed.is_empty() { JOBS } else { JOBS_MAX };
    let query = JobQuery { status: statuses.map(str::to_owned), limit: Some(limit), ..JobQuery::default() };
    let page = api.list_jobs(&query).await?;
    let by_id = typed.starts_with(|first: char| !first.is_ascii_digit());
    let named = |job: JobSummary| {
        let about = format!("{}: {} ({})", job.status, views::title(&job), job.client_name);
        let name = if by_id { job.id } else { job.number.to_string() };
        (name, human::one_line(&about, 2 * ABOUT_CHARS))
    };
    Ok(page.jobs.into_iter().map(named).collect())
}

/// As `ORG/REPO`, which needs no quotes in a shell; by id what has that in common with another, or where an id is being typed.
fn clients(clients: &[Client], typed: &str) -> Vec<(String, String)> {
    let named = |client: &Client| {
        let full = client.full_name();
        let alone = clients.iter().filter(|other| other.full_name() == full).count() == 1;
        let by_id = !alone || (!typed.is_empty() && client.id.starts_with(typed));
        let about = if client.paused { format!("{}, paused", client.name) } else { client.name.clone() };
        (if by_id { client.id.clone() } else { full }, human::one_line(&about, ABOUT_CHARS))
    };
    clients.iter().map(named).collect()
}

#[cfg(test)]
mod tests {
    use clap::{Command, CommandFactory as _};

    use super::*;
    use crate::cli::args::Cli;

    fn told(path: &str, command: &Command, lines: &mut Vec<String>) {
        for argument in command.get_arguments() {
            if let Some(offer) = Offer::of(path, argument) {
                lines.push(format!("{path} {}: {offer:?}", argument.get_id()));
            }
        }
        for below in command.get_subcommands() {
            let name = below.get_name();
            told(&if path.is_empty() { name.to_owned() } else { format!("{path} {name}") }, below, lines);
        }
    }

    /// All of it, so that what is missing is seen.
    #[test]
    fn each_argument_that_names_something_of_the_server_is_offered_it() {
        let mut lines = Vec::new();
        told("", &Cli::command(), &mut lines);
        insta::assert_snapshot!(lines.join("\n"));
    }
}
