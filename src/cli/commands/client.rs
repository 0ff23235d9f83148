//! `offshoot client`

use super::Context;
use crate::api_client::ApiClient;
use crate::cli::args::{ClientAddFlags, ClientVerb};
use crate::cli::error::{CliError, Ended, ErrorKind};
use crate::cli::human;
use crate::wire::client::{Client, ClientDetail};
use crate::wire::request::ClientRequest;

pub(super) async fn run(verb: ClientVerb, context: &mut Context<'_>) -> Result<Ended, CliError> {
    match verb {
        ClientVerb::Add(flags) => add(flags, context).await,
        ClientVerb::Ls => list(context).await,
        ClientVerb::Show { client } => show(&client, context).await,
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
            let names = several.iter().map(|client| format!("{}/{}", client.github_org, client.github_repo));
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
    let full = |client: &Client| format!("{}/{}", client.github_org, client.github_repo);
    let is_called = |client: &&Client| {
        client.name == name
            || client.os_client_id.as_deref() == Some(name)
            || full(client).eq_ignore_ascii_case(name)
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
    let full = format!("{}/{}", client.github_org, client.github_repo);
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
            format!("{}/{}", client.github_org, client.github_repo),
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

fn sheet(detail: &ClientDetail, view: &crate::cli::views::Viewpoint) -> String {
    let client = &detail.client;
    let disk = detail.disk_bytes.map_or_else(|| "-".to_owned(), human::size);
    let fetched =
        detail.last_fetched_at.map_or_else(|| "never".to_owned(), |at| format!("{} ago", view.age(at)));
    let mut text =
        format!("{}  {}/{}  {}", client.name, client.github_org, client.github_repo, state(client));
    let rows = [
        ("id", client.id.clone()),
        ("base", client.default_branch.clone().unwrap_or_else(|| "the remote's default branch".to_owned())),
        ("jobs", format!("{} live, {} in all", detail.active_jobs, detail.total_jobs)),
        ("clone", format!("{disk}, fetched {fetched}")),
        ("next", format!("offshoot submit -r {}/{} \"what to do\"", client.github_org, client.github_repo)),
        ("", format!("offshoot ls client={}", client.id)),
    ];
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
