//! `offshoot backup`

use std::path::{Path, absolute};

use super::Context;
use crate::cli::args::BackupFlags;
use crate::cli::error::{CliError, Ended, ErrorKind};
use crate::cli::human;

pub(super) async fn run(flags: &BackupFlags, context: &mut Context<'_>) -> Result<Ended, CliError> {
    let file = match &flags.file {
        Some(file) => {
            refuse_word(file)?;
            let path = absolute(file).map_err(|error| {
                CliError::new(
                    ErrorKind::Usage,
                    format!("{} cannot be found: {}", file.display(), error.kind()),
                )
            })?;
            Some(path.to_string_lossy().into_owned())
        }
        None => None,
    };
    let backup = context.api.back_up(file).await?;
    if context.out.is_json() {
        context.out.json(&backup)?;
        return Ok(Ended::Done);
    }
    context.out.line(&backup.file)?;
    let (size, ms) = (human::size(backup.bytes), backup.duration_ms);
    context.out.say(&format!("{size}, whole and checked, in {ms} ms"));
    let name = if flags.file.is_some() { &backup.file } else { &backup.name };
    context.out.say(&format!("put it back, when no server runs:  offshoot restore {name}"));
    Ok(Ended::Done)
}

/// A word alone was more likely meant for another command than for a file of this name.
fn refuse_word(file: &Path) -> Result<(), CliError> {
    let has_directory = file.parent().is_some_and(|parent| !parent.as_os_str().is_empty());
    if has_directory || file.extension().is_some_and(|ending| ending == "db") {
        return Ok(());
    }
    let word = file.display();
    let what = format!("\"{word}\" is no file for a backup: it has neither a directory nor the ending .db");
    Err(CliError::new(ErrorKind::Usage, what)
        .hint("for a file of that name", format!("offshoot backup ./{word}"))
        .hint("to put one back, when no server runs", "offshoot restore BACKUP"))
}
