//! `offshoot submit`

use std::io::{IsTerminal as _, Read as _};
use std::path::Path;
use std::time::Duration;

use super::follow::follow;
use super::{Context, FormFlags, attached, client, watch};
use crate::api_client::ApiError;
use crate::cli::args::SubmitFlags;
use crate::cli::error::{CliError, Ended};
use crate::cli::human;
use crate::domain::job::PROMPT_BYTES_MAX;
use crate::wire::job::Job;
use crate::wire::options::Options;
use crate::wire::request::SubmitRequest;

/// Times that a submission without an answer is sent again; its key keeps it from being queued twice.
const SENDS_MAX: u32 = 3;

pub(super) async fn run(flags: SubmitFlags, context: &mut Context<'_>) -> Result<Ended, CliError> {
    let then = Then { wait: flags.wait, follow: flags.follow, quiet: flags.quiet };
    let key = flags.key.clone().unwrap_or_else(|| context.clock.random_uuid());
    let prompt = prompt_or_form(flags.file.as_deref(), flags.prompt.as_deref(), &flags.form, "submit")?;
    let attachments = attached::read_all(&flags.attachments)?;
    let mut request = SubmitRequest { attachments, ..request(flags, prompt)? };
    name_repository(&mut request, context).await?;
    let job = send(&request, &key, context).await?;
    accepted(&job, then, context).await
}

/// What to do once the job is queued.
#[derive(Clone, Copy, Debug)]
pub(super) struct Then {
    pub(super) wait: bool,
    pub(super) follow: bool,
    pub(super) quiet: bool,
}

/// Says that a job is queued, and waits for its end when that is wanted.
pub(super) async fn accepted(job: &Job, then: Then, context: &mut Context<'_>) -> Result<Ended, CliError> {
    let number = job.summary.number;
    for warning in &job.summary.warnings {
        context.out.say(&format!("warning: {}", human::printable(warning)));
    }
    let watches = then.wait || then.follow;
    if context.out.is_json() && !watches {
        context.out.json(job)?;
    } else if then.quiet {
        context.out.line(&number.to_string())?;
    } else if watches {
        context.out.say(&human::printable(&queued(job)));
    } else {
        context.out.line(&human::printable(&queued(job)))?;
        context.out.say(&format!("  watch:  offshoot logs {number} -f"));
    }
    if !watches {
        return Ok(Ended::Done);
    }
    let id = job.summary.id.clone();
    let over = if then.follow {
        let tagged = context.api.get_job(&id).await?;
        watch::interruptible(number, Box::pin(follow(tagged, None, context))).await?
    } else {
        watch::interruptible(number, watch::until_over(context, &id)).await?
    };
    if context.out.is_json() && !then.follow {
        context.out.json(&over)?;
    } else if context.out.is_json() {
        context.out.json_line(&over)?;
    } else if !then.quiet {
        let text = context.viewpoint().job(&over, false);
        context.out.line(&human::printable(&text))?;
    }
    Ok(watch::ended(over.summary.status.0))
}

fn queued(job: &Job) -> String {
    let it = &job.summary;
    let position = it.position.map(|position| format!("  (position {position})")).unwrap_or_default();
    // one that depends on a failed job has failed already
    let (word, why) = match &it.error {
        Some(error) => ("Failed", format!("  {error}")),
        None => ("Queued", String::new()),
    };
    format!("{word} #{}  {}  {}{position}{why}", it.number, it.client_name, it.branch_name)
}

/// The prompt from wherever the flags say, or none where a profile may make it; `verb` is what was typed.
pub(super) fn prompt_or_form(
    file: Option<&Path>,
    prompt: Option<&str>,
    form: &FormFlags,
    verb: &str,
) -> Result<Option<String>, CliError> {
    if form.profile.is_some() && file.is_none() && prompt.is_none() {
        return Ok(None);
    }
    self::prompt(file, prompt, verb).map(Some)
}

fn prompt(file: Option<&Path>, prompt: Option<&str>, verb: &str) -> Result<String, CliError> {
    if let Some(path) = file {
        let file = std::fs::File::open(path).map_err(|error| CliError::file(path, &error))?;
        return read_prompt(file, &path.display().to_string());
    }
    match prompt {
        None if std::io::stdin().is_terminal() => Err(CliError::usage("there is no prompt")
            .hint("give it", format!("offshoot {verb} \"what to do\""))
            .hint("or a file", format!("offshoot {verb} --file prompt.md"))),
        None | Some("-") => read_prompt(std::io::stdin().lock(), "standard input"),
        Some(prompt) => check_prompt(prompt.to_owned(), "the prompt"),
    }
}

fn read_prompt(from: impl std::io::Read, name: &str) -> Result<String, CliError> {
    // White space around it does not count, but nobody needs megabytes of that.
    let bytes_max = 2 * PROMPT_BYTES_MAX as u64;
    let mut text = String::new();
    from.take(bytes_max)
        .read_to_string(&mut text)
        .map_err(|error| CliError::usage(format!("cannot read the prompt from {name}: {error}")))?;
    check_prompt(text, name)
}

fn check_prompt(text: String, name: &str) -> Result<String, CliError> {
    let again = |message: String| CliError::usage(message).hint("see", "offshoot submit --help");
    match text.trim().len() {
        0 => Err(again(format!("{name} is empty"))),
        bytes if bytes > PROMPT_BYTES_MAX => {
            Err(again(format!("{name} has {bytes} bytes or more, a prompt at most {PROMPT_BYTES_MAX}")))
        }
        _ => Ok(text),
    }
}

fn request(flags: SubmitFlags, prompt: Option<String>) -> Result<SubmitRequest, CliError> {
    let (profile, variables) = flags.form.into_parts()?;
    let options = Options {
        agent: flags.agent,
        model: flags.model,
        max_turns: flags.max_turns,
        max_budget_usd: flags.budget,
        timeout_seconds: flags.timeout.map(|timeout| timeout.as_secs()),
        artifacts: (!flags.artifacts.is_empty()).then_some(flags.artifacts),
        publish: flags.dry_run.then(|| "none".to_owned()).or(flags.publish),
        ..Options::default()
    };
    Ok(SubmitRequest {
        // The repository as it was typed, until `name_repository` knows what it means.
        client_id: flags.repo,
        prompt,
        profile,
        variables,
        branch_name: flags.branch,
        title: flags.title,
        os_callback_url: flags.callback,
        labels: (!flags.labels.is_empty()).then_some(flags.labels),
        base_branch: flags.base,
        priority: flags.priority.map(i64::from),
        run_at: flags.at,
        depends_on: (!flags.after.is_empty()).then_some(flags.after),
        options: (options != Options::default()).then_some(options),
        ..SubmitRequest::default()
    })
}

/// Turns what was typed as the repository into what the API takes.
async fn name_repository(request: &mut SubmitRequest, context: &mut Context<'_>) -> Result<(), CliError> {
    match request.client_id.take() {
        Some(name) if name.contains('/') => {
            let (org, repo) = client::org_and_repo(&name)?;
            (request.github_org, request.github_repo) = (Some(org), Some(repo));
        }
        Some(id) if id.starts_with("cli-") => request.client_id = Some(id),
        Some(name) => request.client_id = Some(client::find(&context.api, &name).await?.id),
        None => {
            let clients = context.api.list_clients().await?;
            let [only] = clients.as_slice() else {
                let message = match clients.len() {
                    0 => "there is no repository to work on".to_owned(),
                    count => format!("there are {count} clients to choose from"),
                };
                return Err(CliError::usage(message).hint("say which", "offshoot submit -r ORG/REPO ..."));
            };
            context.out.say(&format!("Using {}/{}, the only client.", only.github_org, only.github_repo));
            request.client_id = Some(only.id.clone());
        }
    }
    Ok(())
}

async fn send(request: &SubmitRequest, key: &str, context: &mut Context<'_>) -> Result<Job, CliError> {
    let mut sends = 1;
    loop {
        match context.api.submit_job(request, key).await {
            Err(ApiError::Unreachable { maybe_done: true, why, .. }) if sends < SENDS_MAX => {
                context.out.say(&format!("no answer ({why}); sending it again with the same key"));
                tokio::time::sleep(Duration::from_secs(u64::from(sends))).await;
                sends += 1;
            }
            Err(error) => {
                return Err(CliError::from(error).hint_if_none("see the rules", "offshoot submit --help"));
            }
            Ok(job) => return Ok(job),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_is_neither_empty_nor_too_long() {
        let longest = "x".repeat(PROMPT_BYTES_MAX);
        assert!(read_prompt(format!("\n{longest}\n").as_bytes(), "it").is_ok());
        for wrong in ["", " \n", &format!("{longest}x"), &"x".repeat(3 * PROMPT_BYTES_MAX)] {
            assert_eq!(read_prompt(wrong.as_bytes(), "it").expect_err("no prompt").kind.exit_code(), 2);
        }
        assert!(read_prompt(&[0xff, 0xfe][..], "it").is_err());
    }

    #[test]
    fn what_is_not_said_is_not_sent() {
        use crate::cli::args::{Cli, Verb};
        use clap::Parser as _;
        let sent = |line: &[&str]| {
            let words = ["offshoot", "submit"].iter().chain(line);
            let Verb::Submit(flags) = Cli::try_parse_from(words).unwrap().verb else { panic!("not submit") };
            serde_json::to_value(request(*flags, Some("p".to_owned())).unwrap()).unwrap()
        };
        assert_eq!(sent(&["p"]), serde_json::json!({ "prompt": "p" }));
        let kept = sent(&["p", "--artifact", "out/**", "--artifact", "log.txt"]);
        assert_eq!(kept["options"]["artifacts"], serde_json::json!(["out/**", "log.txt"]));
        assert_eq!(sent(&["p", "--publish", "branch"])["options"]["publish"], "branch");
        let later = sent(&["p", "--at", "2026-11-21T22:00:00+01:00", "--after", "4", "--after", "job-abcd"]);
        let formed = sent(&["--profile", "review", "--var", "path=src", "--var", "why=a=b"]);
        assert_eq!(formed["profile"], "review");
        assert_eq!(formed["variables"], serde_json::json!({"path": "src", "why": "a=b"}));
        assert_eq!(later["runAt"], "2026-11-21T22:00:00+01:00");
        assert_eq!(later["dependsOn"], serde_json::json!(["4", "job-abcd"]));
        let all = sent(&["p", "-b", "x", "--timeout", "2h", "--dry-run", "--label", "a", "--label", "b"]);
        assert_eq!((&all["branchName"], &all["labels"]), (&"x".into(), &serde_json::json!(["a", "b"])));
        assert_eq!(
            (&all["options"]["timeoutSeconds"], &all["options"]["publish"]),
            (&7_200.into(), &"none".into())
        );
    }
}
