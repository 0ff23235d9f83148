//! What the commit and the pull request say.

use crate::domain::client::RepositoryName;
use crate::domain::job::{Job, Usage};
use crate::domain::policy::Touched;

/// The commit's message: the title, else `feat: <branch>`.
pub(super) fn commit_message(job: &Job) -> String {
    let subject =
        job.request.title.clone().unwrap_or_else(|| format!("feat: {}", job.request.branch.as_str()));
    format!("{subject}\n")
}

/// The pull request's title: the job's, else the branch.
pub(super) fn pull_request_title(job: &Job) -> String {
    job.request.title.clone().unwrap_or_else(|| job.request.branch.as_str().to_owned())
}

/// The pull request's text: the caller's own, then what is known about the work, then a marker by which the pull
/// request is recognised.
pub(super) fn pull_request_body(
    job: &Job,
    repository: &RepositoryName,
    base: &str,
    is_verified: bool,
    flagged: &[Touched],
) -> String {
    let mut body = String::new();
    if let Some(own) = &job.request.body {
        body.push_str(own.trim_end());
        body.push_str("\n\n");
    }
    body.push_str(&format!("Made by offshoot, job #{} on {repository}.\n\n| | |\n|---|---|\n", job.number));
    let mut row = |name: &str, value: &str| {
        body.push_str(&format!("| {name} | {} |\n", value.replace('|', "\\|")));
    };
    if let Some(feature) = &job.request.os_feature_id {
        row("Feature", feature);
    }
    match &job.effects.base_sha {
        Some(sha) => row("Base", &format!("`{base}` at `{}`", &sha[..sha.len().min(12)])),
        None => row("Base", &format!("`{base}`")),
    }
    if let (Some(files), Some(insertions), Some(deletions)) =
        (job.effects.files_changed, job.effects.insertions, job.effects.deletions)
    {
        row("Change", &format!("{files} files, +{insertions} −{deletions}"));
    }
    row("Verification", &verification(job, is_verified));
    for touched in flagged {
        row("To be looked at", &format!("{}: {touched}", touched.kind));
    }
    if let Some(cost) = cost(&job.usage) {
        row("Cost", &cost);
    }
    body.push_str(&format!("\n<!-- offshoot:{} -->\n", job.id));
    body
}

/// `is_verified`: the owner has set commands.
fn verification(job: &Job, is_verified: bool) -> String {
    let Some(last) = job.verify.last() else {
        // of a commit that was taken over and brought onto another one
        return if is_verified { "not repeated for this commit" } else { "none configured" }.to_owned();
    };
    let seconds = |ms: u64| ms.div_ceil(1_000);
    let results = job.verify.iter().map(|one| {
        let how = one.exit_code.map_or_else(|| "no exit code".to_owned(), |code| format!("exit {code}"));
        // a backtick of the command would end the quotation
        format!("`{}` {how}, {} s", one.command.replace('`', "'"), seconds(one.duration_ms))
    });
    let results = results.collect::<Vec<_>>().join("; ");
    match last.round {
        1 => results,
        2 => format!("{results} (after a repair)"),
        round => format!("{results} (after {} repairs)", round - 1),
    }
}

fn cost(usage: &Usage) -> Option<String> {
    let micros = usage.cost_micro_usd?;
    let cents = micros.div_ceil(10_000);
    Some(format!("${}.{:02}, {} turns", cents / 100, cents % 100, usage.turns))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_rounded_up_to_cents() {
        let usage = |micros| Usage { cost_micro_usd: micros, turns: 3, ..Usage::default() };
        assert_eq!(cost(&usage(Some(102_212))).as_deref(), Some("$0.11, 3 turns"));
        assert_eq!(cost(&usage(Some(12_000_000))).as_deref(), Some("$12.00, 3 turns"));
        assert_eq!(cost(&usage(None)), None);
    }
}
