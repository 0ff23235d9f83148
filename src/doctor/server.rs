//! The running server, or why there is none.

use std::net::SocketAddr;

use tokio::net::TcpListener;

use super::fault::Fault;
use super::patient::{Patient, ServerLook};
use crate::api_client::ApiError;
use crate::wire::doctor::Finding;
use crate::wire::health::Health;

const SERVER: &str = "server";
const QUEUE: &str = "queue";

pub(super) async fn server(patient: &Patient<'_>) -> Vec<Finding> {
    let address = patient.config().ok().map(|config| config.server.address());
    match &patient.server {
        ServerLook::Answers { url, health, .. } => answering(url, health),
        ServerLook::NotAsked { why } => vec![Finding::skipped(SERVER, why.clone())],
        ServerLook::Failed { error, own } => vec![match error {
            ApiError::Unauthorised(_) => Finding::of(Fault::ServerRefuses, error.to_string()),
            // what is free here says nothing of a server elsewhere
            ApiError::Unreachable { url, .. } | ApiError::Unintelligible { url, .. } if !own => {
                let asked = format!("{}/livez", url.trim_end_matches('/'));
                Finding::of(Fault::NamedServerAway, error.to_string()).with("URL", &asked)
            }
            ApiError::Unreachable { .. } => absent(error, address).await,
            ApiError::Unintelligible { .. } => {
                let next = address.map_or(3457, |address| address.port().saturating_add(1));
                Finding::of(Fault::PortTaken, error.to_string()).with("PORT", &next.to_string())
            }
            _ => Finding::of(Fault::ServerSilent, error.to_string()),
        }],
    }
}

/// Nobody answers: whether a server could listen there is found out by listening, for an instant.
async fn absent(error: &ApiError, address: Option<SocketAddr>) -> Finding {
    let Some(address) = address else {
        return Finding::of(Fault::ServerAway, error.to_string());
    };
    match TcpListener::bind(address).await {
        Ok(_) => Finding::of(Fault::ServerAway, format!("no server runs; {address} is free for one")),
        Err(why) if why.kind() == std::io::ErrorKind::AddrInUse => {
            let next = address.port().saturating_add(1);
            let detail = format!("{address} is taken by another program");
            Finding::of(Fault::PortTaken, detail).with("PORT", &next.to_string())
        }
        Err(why) => Finding::of(Fault::AddressUnusable, format!("{address}: {}", why.kind())),
    }
}

fn answering(url: &str, health: &Health) -> Vec<Finding> {
    let own = env!("CARGO_PKG_VERSION");
    let mut findings = Vec::new();
    if health.version != own {
        let detail = format!("the server at {url} is {}, this program {own}", health.version);
        findings.push(Finding::of(Fault::OtherVersion, detail));
    }
    if health.database != "ok" {
        let guide = health.database_guide.as_deref().unwrap_or("the disk may be full");
        let detail = guide.lines().map(str::trim).collect::<Vec<_>>().join(" ");
        let newest = health.newest_backup.as_ref().map_or("BACKUP", |backup| &backup.name);
        findings.push(Finding::of(Fault::DatabaseReadOnly, detail).with("BACKUP", newest));
    }
    if findings.is_empty() {
        let detail = format!("{url}, {}, {}", health.version, health.status);
        findings.push(Finding::ok(SERVER, detail));
    }
    findings
}

pub(super) fn queue(patient: &Patient<'_>) -> Vec<Finding> {
    let ServerLook::Answers { health, clients, .. } = &patient.server else {
        return vec![Finding::skipped(QUEUE, "no server answers")];
    };
    let mut findings = Vec::new();
    if health.paused {
        findings.push(Finding::of(Fault::QueuePaused, "paused: no job starts"));
    }
    for hold in &health.holds {
        let until = hold.until.map(|until| format!(", until {until}")).unwrap_or_default();
        let detail = format!("{}: {}{until}", hold.code, hold.message);
        findings.push(Finding::of(Fault::LoginHeld, detail).about(&hold.login).with("LOGIN", &hold.login));
    }
    for client in clients.iter().filter(|client| client.paused) {
        let why = client.paused_reason.as_deref().unwrap_or("paused by somebody");
        let finding = Finding::of(Fault::ClientPaused, why).about(&client.name);
        findings.push(finding.with("CLIENT", &client.id));
    }
    if health.callbacks.dead > 0 {
        let detail = format!("{} were given up", health.callbacks.dead);
        findings.push(Finding::of(Fault::CallbacksDead, detail));
    }
    if findings.is_empty() {
        let (running, queued) = (health.queue.running, health.queue.queued);
        findings.push(Finding::ok(QUEUE, format!("open: {running} running, {queued} waiting")));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_is_tried_by_listening_there() {
        let url = "http://server".to_owned();
        let error = ApiError::Unreachable { url, why: "refused".to_owned(), maybe_done: false };
        // an address of the documentation's own, which no machine has (RFC 5737)
        let found = absent(&error, "192.0.2.1:1".parse().ok()).await;
        assert_eq!(found.code, Some("address_unusable"));
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let found = absent(&error, taken.local_addr().ok()).await;
        assert_eq!(found.code, Some("port_taken"));
        // the system chooses one that is free
        let found = absent(&error, "127.0.0.1:0".parse().ok()).await;
        assert_eq!((found.code, found.mend.as_deref()), (Some("server_away"), Some("offshoot serve")));
    }
}
