//! `offshoot notify`

use clap::Subcommand;

use super::Context;
use crate::cli::error::{CliError, Ended, ErrorKind};
use crate::cli::human;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum NotifyVerb {
    /// List who is told, by which way, of what.
    Ls,
    /// Send one notice, and say what came back.
    Test {
        /// The name of a section [notify.NAME] of the configuration.
        #[arg(value_name = "NAME")]
        name: String,
    },
}

pub(super) async fn run(verb: NotifyVerb, context: &mut Context<'_>) -> Result<Ended, CliError> {
    match verb {
        NotifyVerb::Ls => list(context).await,
        NotifyVerb::Test { name } => test(&name, context).await,
    }
}

async fn list(context: &mut Context<'_>) -> Result<Ended, CliError> {
    let found = context.api.notify_targets().await?;
    if context.out.is_json() {
        context.out.json(&found)?;
        return Ok(Ended::Done);
    }
    if found.targets.is_empty() {
        context.out.say("nobody is told: the configuration has no section [notify.NAME]");
        return Ok(Ended::Done);
    }
    let rows = found.targets.iter().map(|one| vec![one.name.clone(), one.kind.clone(), one.on.join(", ")]);
    context.out.table(&["NAME", "KIND", "ON"], rows.collect(), &[])?;
    context.out.say("try one out:  offshoot notify test NAME");
    Ok(Ended::Done)
}

async fn test(name: &str, context: &mut Context<'_>) -> Result<Ended, CliError> {
    let tested = context.api.test_notify(name).await?;
    if context.out.is_json() {
        context.out.json(&tested)?;
        return Ok(Ended::in_part_if(tested.error.is_some()));
    }
    let came = match (tested.status, tested.accepted) {
        (Some(status), _) => status.to_string(),
        (None, true) => "done".to_owned(),
        (None, false) => "failed".to_owned(),
    };
    context
        .out
        .line(&format!("{} ({}): {came} after {} ms", tested.name, tested.kind, tested.duration_ms))?;
    match tested.error {
        Some(error) => Err(CliError::new(ErrorKind::Failed, human::printable(&error))
            .hint("try again when that is mended", format!("offshoot notify test {name}"))),
        None => Ok(Ended::Done),
    }
}
