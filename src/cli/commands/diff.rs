//! `offshoot diff`

use clap::Args;

use super::Context;
use super::show::which_job;
use crate::api_client::Patch;
use crate::cli::args::job_name;
use crate::cli::error::{CliError, Ended, ErrorKind};
use crate::cli::human;
use crate::cli::output::{Output, Tone};
use crate::cli::views::plural;
use crate::wire::diff::{ChangedFile, Diff};

#[derive(Debug, Args)]
pub(in crate::cli) struct DiffFlags {
    /// The number, the id, or the beginning of the id of a job.
    #[arg(value_name = "JOB", value_parser = job_name)]
    job: String,
    /// Print how much each file changed instead of the change itself.
    #[arg(long, conflicts_with = "name_only")]
    stat: bool,
    /// Print the names of the changed files only.
    #[arg(long)]
    name_only: bool,
}

/// Prints what the job changed; with `--json` its files and numbers.
pub(super) async fn run(flags: &DiffFlags, context: &mut Context<'_>) -> Result<Ended, CliError> {
    let in_numbers = flags.stat || flags.name_only || context.out.is_json();
    if !in_numbers {
        let patch = context.api.get_patch(&flags.job).await.map_err(which_job)?;
        for line in patch.bytes.split_inclusive(|&byte| byte == b'\n') {
            print_line(line, context.out)?;
        }
        return told_whole(&patch, &flags.job, context.out);
    }
    let diff = context.api.get_diff(&flags.job).await.map_err(which_job)?;
    if context.out.is_json() {
        context.out.json(&diff)?;
        return Ok(Ended::Done);
    }
    for file in &diff.files {
        let name = human::printable(&file.path);
        let line = if flags.stat { format!(" {name} | {}", counts(file)) } else { name };
        context.out.line(&line)?;
    }
    if flags.stat {
        context.out.line(&sum(&diff))?;
    }
    if diff.truncated {
        context.out.say("There are more files than are listed.");
    }
    Ok(Ended::Done)
}

/// What the patch lacks: `git apply` refuses one that names binary files, and takes one that ends in the middle for another change.
fn told_whole(patch: &Patch, job: &str, out: &mut Output) -> Result<Ended, CliError> {
    if patch.is_cut {
        return Err(CliError::new(
            ErrorKind::Failed,
            "the patch is longer than the server tells: its end is missing",
        )
        .hint("see all that changed", format!("offshoot diff {job} --stat")));
    }
    let lines = patch.bytes.split(|&byte| byte == b'\n');
    let binary =
        lines.filter(|line| line.starts_with(b"Binary files ") && line.ends_with(b" differ")).count();
    if binary > 0 {
        let files = plural(i64::try_from(binary).unwrap_or(i64::MAX), "binary file");
        out.say(&format!("note: {binary} {files} only named in it; fetch the branch for what is in them"));
    }
    Ok(Ended::Done)
}

/// Byte for byte where a program reads it, so that `git apply` takes it; for people in colour, and with nothing in it that
/// steers their terminal.
fn print_line(line: &[u8], out: &mut Output) -> Result<(), CliError> {
    if !out.is_for_people() {
        return out.bytes(line);
    }
    let text = human::printable(String::from_utf8_lossy(line).trim_end_matches('\n'));
    let tone = match text.as_bytes() {
        [b'+', b'+', b'+', ..] | [b'-', b'-', b'-', ..] => None,
        [b'+', ..] => Some(Tone::Good),
        [b'-', ..] => Some(Tone::Bad),
        [b'@', b'@', ..] => Some(Tone::Busy),
        _ => None,
    };
    let shown = tone.map_or_else(|| text.clone(), |tone| out.toned(&text, tone));
    out.line(&shown)
}

fn counts(file: &ChangedFile) -> String {
    match (file.insertions, file.deletions) {
        (Some(insertions), Some(deletions)) => format!("+{insertions} -{deletions}"),
        _ => "binary".to_owned(),
    }
}

fn sum(diff: &Diff) -> String {
    let count =
        |count: u64, noun| format!("{count} {}", plural(i64::try_from(count).unwrap_or(i64::MAX), noun));
    let (files, insertions) = (count(diff.files_changed, "file"), count(diff.insertions, "insertion"));
    format!(" {files} changed, {insertions}, {}", count(diff.deletions, "deletion"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::Style;
    use crate::cli::output::tests::Captured;

    #[test]
    fn a_patch_is_coloured_and_made_harmless_for_people_and_whole_for_programs() {
        let patch = "--- a/x\n+++ b/x\n@@ -1 +1 @@\n-old\n+new \u{1b}[2J\n same\r\n";
        let printed = |style: Style| {
            let captured = Captured::default();
            let mut out = captured.output(style);
            let lines = patch.as_bytes().split_inclusive(|&byte| byte == b'\n');
            lines.for_each(|line| print_line(line, &mut out).unwrap());
            captured.out()
        };
        assert_eq!(printed(Style::default()), patch);
        let people = printed(Style { terminal: true, colour_out: true, ..Style::default() });
        assert!(people.contains("\u{1b}[32m+new  [2J\u{1b}[0m\n"), "{people:?}");
        assert!(people.contains("\u{1b}[31m-old\u{1b}[0m\n") && people.contains("\n+++ b/x\n"), "{people:?}");
    }
}
