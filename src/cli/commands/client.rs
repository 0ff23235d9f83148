//! `offshoot client`

use clap::{Args, Subcommand};

use super::Context;
use crate::api_client::ApiClient;
use crate::cli::error::{CliError, Ended, ErrorKind};
use crate::cli::human;
use crate::wire::client::{Client, ClientDetail};
use crate::wire::request::{ClientPatchRequest, ClientRequest};

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum ClientVerb {
    /// Register a repository and clone it.
    Add(ClientAddFlags),
    /// List the registered repositories.
    Ls,
    /// Show one registered repository.
    Show {
        /// The id of a client, or its name, or ORG/REPO.
        #[arg(value_name = "CLIENT")]
        client: String,
    },
    /// Change a registered repository; what is not named stays.
    Set(ClientSetFlags),
    /// Fetch what is new on the remote, of one repository or of all.
    Sync {
        /// The id of a client, or its name, or ORG/REPO; without it all.
        #[arg(value_name = "CLIENT")]
        client: Option<String>,
    },
    /// Take a repository out of the list; its jobs stay readable.
    Rm {
        /// The id of a client, or its name, or ORG/REPO.
        #[arg(value_name = "CLIENT")]
        client: String,
        /// Remove its clone from the disk too; work that is only there is kept in a bundle.
        #[arg(long)]
        remove_repo: bool,
        /// Also while jobs of it are queued or running: they are cancelled.
        #[arg(long)]
        force: bool,
    },
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ClientAddFlags {
    /// The repository on the forge.
    #[arg(value_name = "ORG/REPO")]
    repo: String,
    /// Call it this; without it the name of the repository is used.
    #[arg(long)]
    name: Option<String>,
    /// Clone from this URL instead of the one that the configuration gives.
    #[arg(long, value_name = "URL")]
    clone_url: Option<String>,
    /// Start work from this branch instead of the remote's default one.
    #[arg(long, value_name = "BRANCH")]
    default_branch: Option<String>,
    /// Remember this id of your own system.
    #[arg(long, value_name = "ID")]
    os_client_id: Option<String>,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ClientSetFlags {
    /// The id of a client, or its name, or ORG/REPO.
    #[arg(value_name = "CLIENT")]
    client: String,
    /// Start no jobs of it until it is unpaused; what runs goes on.
    #[arg(long, conflicts_with = "unpause")]
    pause: bool,
    /// Start jobs of it again.
    #[arg(long)]
    unpause: bool,
    /// Call it this.
    #[arg(long)]
    name: Option<String>,
    /// Fetch from this URL from now on.
    #[arg(long, value_name = "URL")]
    clone_url: Option<String>,
    /// Start work from this branch.
    #[arg(long, value_name = "BRANCH")]
    default_branch: Option<String>,
    /// Remember this id of your own system.
    #[arg(long, value_name = "ID")]
    os_client_id: Option<String>,
}

pub(super) async fn run(verb: ClientVerb, context: &mut Context<'_>) -> Result<Ended, CliError> {
    match verb {
        ClientVerb::Add(flags) => add(flags, context).await,
        ClientVerb::Ls => list(context).await,
        ClientVerb::Show { client } => show(&client, context).await,
        ClientVerb::Set(flags) => set(flags, context).await,
        ClientVerb::Sync { client } => sync(client.as_deref(), context).await,
        ClientVerb::Rm { client, remove_repo, force } => remove(&client, remove_repo, force, context).await,
    }
}

/// The client that somebody calls `name`: its id, its own name or the caller's id for it, `org/repo`, or `repo`.
pub(super) async fn find(api: &ApiClient, name: &str) -> Result<Client, CliError> {
    let clients = api.list_clients().await?;
    match matching(&clients, name).as_slice() {
        [one] => Ok((*one).clone()),
        [] => Err(CliError::new(ErrorKind::NotFound, format!("no client is called {name:?}"))
            .hint("see which there are", "offshoot client ls")
            .hint("or register one", "offshoot client add ORG/REPO")),
        several => {
            let names = several.iter().map(|client| client.full_name());
            let names = names.collect::<Vec<_>>().join(", ");
            Err(CliError::usage(format!("{name:?} may mean {names}"))
                .hint("say which by its id", "offshoot client ls"))
        }
    }
}

/// Exact ids win over names, so that a name chosen to look like an id confuses nobody. Forges ignore case.
fn matching<'a>(clients: &'a [Client], name: &str) -> Vec<&'a Client> {
    let by_id: Vec<_> = clients.iter().filter(|client| client.id == name).collect();
    if !by_id.is_empty() {
        return by_id;
    }
    let is_called = |client: &&Client| {
        client.name == name
            || client.os_client_id.as_deref() == Some(name)
            || client.full_name().eq_ignore_ascii_case(name)
            || client.github_repo.eq_ignore_ascii_case(name)
    };
    clients.iter().filter(is_called).collect()
}

/// Splits `ORG/REPO`.
pub(super) fn org_and_repo(text: &str) -> Result<(String, String), CliError> {
    match text.split_once('/') {
        Some((org, repo)) if !org.is_empty() && !repo.is_empty() && !repo.contains('/') => {
            Ok((org.to_owned(), repo.to_owned()))
        }
        _ => Err(CliError::usage(format!("{text:?} is not of the form ORG/REPO"))),
    }
}

async fn add(flags: ClientAddFlags, context: &mut Context<'_>) -> Result<Ended, CliError> {
    let (org, repo) = org_and_repo(&flags.repo)?;
    context.out.say(&format!("Cloning {org}/{repo} ... (Ctrl-C does not stop it)"));
    let full = format!("{org}/{repo}");
    let request = ClientRequest {
        name: Some(flags.name.unwrap_or_else(|| repo.clone())),
        github_org: Some(org),
        github_repo: Some(repo),
        clone_url: flags.clone_url,
        default_branch: flags.default_branch,
        os_client_id: flags.os_client_id,
        options: None,
    };
    let created = context.api.create_client(&request, &context.clock.random_uuid()).await;
    let created = created.map_err(|error| CliError::from(error).about(&full))?;
    if context.out.is_json() {
        context.out.json(&created)?;
        return Ok(Ended::Done);
    }
    let client = &created.client;
    let full = client.full_name();
    let branch = client.default_branch.as_deref().unwrap_or("its default branch");
    context
        .out
        .line(&format!("Registered {full} as {} ({}), work starts from {branch}", client.name, client.id))?;
    for warning in &created.warnings {
        context.out.say(&format!("warning: {warning}"));
    }
    context.out.say(&format!("  queue a job:  offshoot submit -r {full} \"what to do\""));
    Ok(Ended::Done)
}

async fn list(context: &mut Context<'_>) -> Result<Ended, CliError> {
    let clients = context.api.list_clients().await?;
    if context.out.is_json() {
        context.out.json(&crate::wire::client::ClientList { clients })?;
        return Ok(Ended::Done);
    }
    if clients.is_empty() {
        context.out.say("No clients yet.\n  register one:  offshoot client add ORG/REPO");
        return Ok(Ended::Done);
    }
    let rows = clients.iter().map(|client| {
        vec![
            client.id.clone(),
            client.name.clone(),
            client.full_name(),
            client.default_branch.clone().unwrap_or_else(|| "-".to_owned()),
            state(client).to_owned(),
        ]
    });
    context.out.table(&["ID", "NAME", "REPO", "DEFAULT BRANCH", "STATE"], rows.collect(), &[])?;
    Ok(Ended::Done)
}

async fn show(name: &str, context: &mut Context<'_>) -> Result<Ended, CliError> {
    let client = find(&context.api, name).await?;
    let detail = context.api.get_client(&client.id).await?;
    if context.out.is_json() {
        context.out.json(&detail)?;
        return Ok(Ended::Done);
    }
    let text = sheet(&detail, &context.viewpoint());
    context.out.line(&human::printable(&text))?;
    Ok(Ended::Done)
}

async fn set(flags: ClientSetFlags, context: &mut Context<'_>) -> Result<Ended, CliError> {
    let client = find(&context.api, &flags.client).await?;
    let change = ClientPatchRequest {
        name: flags.name,
        os_client_id: flags.os_client_id.map(Into::into),
        default_branch: flags.default_branch.map(Into::into),
        clone_url: flags.clone_url.map(Into::into),
        paused: (flags.pause || flags.unpause).then_some(flags.pause),
        options: None,
    };
    if change == ClientPatchRequest::default() {
        return Err(
            CliError::usage("nothing is to be changed").hint("see what can be", "offshoot client set --help")
        );
    }
    let changed = context.api.update_client(&client.id, &change).await?;
    if context.out.is_json() {
        context.out.json(&changed)?;
        return Ok(Ended::Done);
    }
    let client = &changed.client;
    context.out.line(&format!("Changed {} ({}): {}", client.name, client.id, state(client)))?;
    for warning in &changed.warnings {
        context.out.say(&format!("warning: {warning}"));
    }
    Ok(Ended::Done)
}

async fn sync(name: Option<&str>, context: &mut Context<'_>) -> Result<Ended, CliError> {
    let id = match name {
        Some(name) => Some(find(&context.api, name).await?.id),
        None => None,
    };
    context.out.say("Fetching ...");
    let done = context.api.sync(id).await?;
    let failed = done.synced.iter().find(|one| !one.success);
    if context.out.is_json() {
        context.out.json(&done)?;
        return Ok(Ended::in_part_if(failed.is_some()));
    }
    for one in &done.synced {
        let end = one.error.as_deref().unwrap_or("up to date");
        context.out.line(&human::printable(&format!("{}  {end}", one.repo)))?;
    }
    match failed {
        Some(one) => Err(CliError::new(ErrorKind::Failed, "not all could be fetched").hint(
            "see whether git itself gets there",
            format!("git ls-remote git@github.com:{}.git", one.repo),
        )),
        None => Ok(Ended::Done),
    }
}

async fn remove(
    name: &str,
    remove_repo: bool,
    force: bool,
    context: &mut Context<'_>,
) -> Result<Ended, CliError> {
    let client = find(&context.api, name).await?;
    let removed = context.api.delete_client(&client.id, remove_repo, force).await.map_err(|error| {
        let code = error.problem().map(|problem| problem.code.clone()).unwrap_or_default();
        let error = CliError::from(error);
        let label = match code.as_str() {
            "client_busy" => "or cancel its jobs with it",
            "unpublished_work" => "or write that work to a bundle first",
            _ => "or insist",
        };
        let flag = if remove_repo { " --remove-repo" } else { "" };
        let say_so = format!("offshoot client rm {}{flag} --force", client.id);
        if error.kind == ErrorKind::Conflict && !force { error.hint(label, say_so) } else { error }
    })?;
    if context.out.is_json() {
        context.out.json(&removed)?;
        return Ok(Ended::Done);
    }
    let clone = if removed.repo_removed { "its clone is gone too" } else { "its clone stays on the disk" };
    context.out.line(&format!("Removed {} ({}); {clone}.", client.name, client.id))?;
    Ok(Ended::Done)
}

fn sheet(detail: &ClientDetail, view: &crate::cli::views::Viewpoint) -> String {
    let client = &detail.client;
    let disk = detail.disk_bytes.map_or_else(|| "-".to_owned(), human::size);
    let fetched =
        detail.last_fetched_at.map_or_else(|| "never".to_owned(), |at| format!("{} ago", view.age(at)));
    let mut text = format!("{}  {}  {}", client.name, client.full_name(), state(client));
    let rows = [
        ("id", client.id.clone()),
        ("base", client.default_branch.clone().unwrap_or_else(|| "the remote's default branch".to_owned())),
        ("jobs", format!("{} live, {} in all", detail.active_jobs, detail.total_jobs)),
        ("clone", format!("{disk}, fetched {fetched}")),
        ("next", format!("offshoot submit -r {} \"what to do\"", client.full_name())),
        ("", format!("offshoot ls client={}", client.id)),
    ];
    let rows = rows
        .into_iter()
        .chain(client.paused.then(|| ("", format!("offshoot client set {} --unpause", client.id))));
    for (label, value) in rows {
        text.push_str(&format!("\n  {label:<9} {value}"));
    }
    text
}

fn state(client: &Client) -> &str {
    match (&client.paused_reason, client.paused, client.repo_exists) {
        (Some(reason), true, _) => reason,
        (None, true, _) => "paused",
        (_, false, true) => "ready",
        (_, false, false) => "not cloned",
    }
}
