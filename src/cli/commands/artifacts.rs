//! `offshoot artifacts`

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;

use super::Context;
use super::rescue::refuse_existing;
use super::show::which_job;
use crate::api_client::Download;
use crate::cli::args::job_name;
use crate::cli::error::{CliError, Ended, ErrorKind};
use crate::cli::human;
use crate::cli::unpack::place;
use crate::domain::glob::Globs;
use crate::wire::job::Artifact;

#[derive(Debug, Args)]
#[command(after_help = "Without --into and --output the files are listed.")]
pub(in crate::cli) struct ArtifactsFlags {
    /// The number, the id, or the beginning of the id of a job.
    #[arg(value_name = "JOB", value_parser = job_name)]
    job: String,
    /// Take only files that fit one of these globs, such as 'coverage/**'; without any all are taken.
    #[arg(value_name = "GLOB")]
    globs: Vec<String>,
    /// Save them below this directory, each under its own path; nothing is overwritten.
    #[arg(long, value_name = "DIR")]
    into: Option<PathBuf>,
    /// Save the only one as this file, which must not exist yet; `-` prints it.
    #[arg(short, long, value_name = "FILE", conflicts_with = "into")]
    output: Option<PathBuf>,
}

pub(super) async fn run(flags: &ArtifactsFlags, context: &mut Context<'_>) -> Result<Ended, CliError> {
    let job = context.api.get_job(&flags.job).await.map_err(which_job)?.value.summary;
    let (number, all) = (job.number, job.artifacts.len());
    let mut globs = Globs::new(&flags.globs);
    let is_wanted = |one: &Artifact| flags.globs.is_empty() || globs.fits(one.path.as_bytes());
    let wanted: Vec<_> = job.artifacts.into_iter().filter(is_wanted).collect();
    if wanted.is_empty() && !(context.out.is_json() && flags.into.is_none() && flags.output.is_none()) {
        let (what, next) = match all {
            0 => ("nothing is kept of it: it names no artifacts, or they are past their time", "show"),
            _ => ("none of the files that are kept of it fits", "artifacts"),
        };
        return Err(CliError::new(ErrorKind::NotFound, format!("job #{number}: {what}"))
            .hint("look", format!("offshoot {next} {number}")));
    }
    match (&flags.into, &flags.output) {
        (Some(into), _) => {
            let places = wanted.iter().map(|one| below(number, into, one)).collect::<Result<Vec<_>, _>>()?;
            save_all(&flags.job, &wanted, &places, context).await?;
            told(&wanted, &format!("in {}", into.display()), context)
        }
        (None, Some(output)) => {
            let [one] = &wanted[..] else {
                let message = format!("--output takes one file, and {} fit", wanted.len());
                return Err(CliError::usage(message)
                    .hint("name it, or save all", format!("offshoot artifacts {number} --into DIR")));
            };
            if output.as_os_str() == "-" {
                return print(&flags.job, one, context).await;
            }
            save(&flags.job, one, output, context).await?;
            told(&wanted, &format!("as {}", output.display()), context)
        }
        (None, None) => list(number, &wanted, context),
    }
}

fn list(number: i64, files: &[Artifact], context: &mut Context<'_>) -> Result<Ended, CliError> {
    if context.out.is_json() {
        context.out.json(&files)?;
        return Ok(Ended::Done);
    }
    let rows = files.iter().map(|one| vec![human::size(one.bytes), human::printable(&one.path)]);
    context.out.table(&["SIZE", "PATH"], rows.collect(), &[])?;
    context.out.say(&format!("  save them:  offshoot artifacts {number} --into DIR"));
    Ok(Ended::Done)
}

fn told(files: &[Artifact], place: &str, context: &mut Context<'_>) -> Result<Ended, CliError> {
    if context.out.is_json() {
        context.out.json(&files)?;
        return Ok(Ended::Done);
    }
    let bytes = files.iter().map(|one| one.bytes).sum();
    let plural = if files.len() == 1 { "file" } else { "files" };
    context.out.line(&format!("Saved {} {plural}, {}, {place}", files.len(), human::size(bytes)))?;
    Ok(Ended::Done)
}

/// Where a file belongs; its name comes from an agent, by way of a server.
fn below(job: i64, into: &Path, one: &Artifact) -> Result<PathBuf, CliError> {
    let place = place(into, Path::new(&one.path)).ok_or_else(|| {
        let message = format!("\"{}\" would lead out of {}", human::printable(&one.path), into.display());
        CliError::new(ErrorKind::Failed, message)
    })?;
    refuse_existing(&place, || format!("offshoot artifacts {job} --into {}-2", into.display()))?;
    Ok(place)
}

async fn open(job: &str, one: &Artifact, context: &Context<'_>) -> Result<Download, CliError> {
    context.api.read_artifact(job, &one.path).await.map_err(which_job)
}

async fn print(job: &str, one: &Artifact, context: &mut Context<'_>) -> Result<Ended, CliError> {
    let mut download = open(job, one, context).await?;
    while let Some(piece) = download.next_piece().await? {
        context.out.bytes(&piece)?;
    }
    Ok(Ended::Done)
}

/// One that cannot be saved keeps none of the others from it.
async fn save_all(
    job: &str,
    files: &[Artifact],
    places: &[PathBuf],
    context: &Context<'_>,
) -> Result<(), CliError> {
    let mut failed = Vec::new();
    for (one, place) in files.iter().zip(places) {
        match save(job, one, place, context).await {
            // nor would any other come
            Err(error) if error.kind == ErrorKind::Unreachable => return Err(error),
            Err(error) => failed.push(error),
            Ok(()) => {}
        }
    }
    let count = failed.len();
    let Some(first) = failed.into_iter().next() else { return Ok(()) };
    if count == files.len() {
        return Err(first);
    }
    Err(first.about(&format!("{count} of {} files could not be saved, the first of them", files.len())))
}

/// Under its name when it is whole.
async fn save(job: &str, one: &Artifact, place: &Path, context: &Context<'_>) -> Result<(), CliError> {
    let cannot = |error: io::Error| {
        CliError::new(ErrorKind::Failed, format!("cannot save {}: {error}", place.display()))
    };
    let again = || format!("offshoot artifacts {job} '{}' --output {}-2", one.path, place.display());
    refuse_existing(place, again)?;
    if place.file_name().is_none() {
        return Err(CliError::usage(format!("{} is no file", place.display())));
    }
    // a name of its own: that of the file may be as long as a name can be
    let half = format!(".offshoot-{}", context.clock.random_text(16));
    let half = RemoveOnDrop(place.with_file_name(half));
    if let Some(parent) = place.parent() {
        std::fs::create_dir_all(parent).map_err(cannot)?;
    }
    let mut download = open(job, one, context).await?;
    let mut file = std::fs::File::create_new(&half.0).map_err(cannot)?;
    let mut bytes = 0;
    while let Some(piece) = download.next_piece().await? {
        file.write_all(&piece).map_err(cannot)?;
        bytes += piece.len() as u64;
    }
    if bytes != one.bytes {
        return Err(cannot(io::Error::other(format!("{bytes} bytes came instead of {}", one.bytes))));
    }
    match give_name(&half.0, place) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => refuse_existing(place, again),
        named => named.map_err(cannot),
    }
}

/// A rename would replace what has come to that name by now; a second name of the file does not. The first one goes when it is
/// dropped.
fn give_name(half: &Path, place: &Path) -> io::Result<()> {
    match std::fs::hard_link(half, place) {
        // a file system without second names
        Err(error)
            if matches!(error.kind(), io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied)
                && place.symlink_metadata().is_err() =>
        {
            std::fs::rename(half, place)
        }
        named => named,
    }
}

struct RemoveOnDrop(PathBuf);

impl Drop for RemoveOnDrop {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_come_to_a_name_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let (half, place) = (dir.path().join("half"), dir.path().join("report.html"));
        std::fs::write(&half, "whole").unwrap();
        std::fs::write(&place, "mine").unwrap();
        assert_eq!(give_name(&half, &place).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read_to_string(&place).unwrap(), "mine");
        std::fs::remove_file(&place).unwrap();
        give_name(&half, &place).unwrap();
        assert_eq!(std::fs::read_to_string(&place).unwrap(), "whole");
    }
}
