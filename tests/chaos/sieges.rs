//! Clients to which jobs are sent while they are deleted.

use serde_json::{Value, json};

use crate::caller::{Caller, Draft};
use crate::clients::client_body;
use crate::evidence::Removed;
use crate::jobs::Kind;

/// Jobs that are sent by each of the two that send.
const SUBMITS: usize = 2;
/// Enough for a deletion to be under way in.
const MEANWHILE_MS: u64 = 300;

impl Caller {
    /// Registered, and deleted with its clone or without while jobs are sent to it, by its id and by the name of its repository.
    pub(crate) async fn client_under_siege(&self, with_clone: bool) {
        let repo = self.new_repository();
        let key = format!("client-{repo}");
        let Some(client) = self.post("/clients", client_body(&repo), &key, 201).await else { return };
        let id = client["id"].as_str().unwrap_or_default().to_owned();
        let forced = self.roll(|dice| dice.below(3)) > 0;
        // whoever registers again makes another client, to which a clone belongs that is there
        let is_named = self.roll(|dice| dice.below(2)) == 0;
        let by_name = async { if is_named { self.send_meanwhile(&repo, None).await } else { Vec::new() } };
        let (forced, refused, refused_by_name) = tokio::join!(
            self.delete_meanwhile(&id, with_clone, forced),
            self.send_meanwhile(&repo, Some(&id)),
            by_name
        );
        let refused = refused.into_iter().chain(refused_by_name).collect();
        self.write_down_removal(Removed { id, repo, with_clone, forced, refused, ..Removed::default() });
    }

    /// What was refused, and how.
    async fn send_meanwhile(&self, repo: &str, client: Option<&str>) -> Vec<(u16, Value)> {
        let mut refused = Vec::new();
        for _ in 0..SUBMITS {
            let after = self.roll(|dice| dice.below(MEANWHILE_MS));
            self.pause(after).await;
            let Draft { mut body, hook, key } = self.draft(Kind::Late, repo, true);
            if let Some(id) = client {
                let fields = body.as_object_mut().unwrap();
                fields.retain(|name, _| !name.starts_with("github"));
                fields.insert("clientId".to_owned(), id.into());
            }
            let answered = self.ask("POST", "/jobs", Some(&body), Some(&key)).await;
            if answered.status == 201 {
                self.write_down(&answered.body, Kind::Late, repo, hook, false);
            } else {
                let by = if client.is_some() { "id" } else { "name" };
                refused.push((answered.status, json!({"by": by, "problem": answered.body})));
            }
        }
        refused
    }

    /// Until it is deleted; true if that was by force in the end.
    async fn delete_meanwhile(&self, id: &str, with_clone: bool, mut forced: bool) -> bool {
        let after = self.roll(|dice| dice.below(MEANWHILE_MS));
        self.pause(after).await;
        loop {
            let path = format!("/clients/{id}?removeRepo={with_clone}&force={forced}");
            let answered = self.ask("DELETE", &path, None, None).await;
            match (answered.status, answered.body["code"].as_str()) {
                // 404: it was deleted, and the answer was lost
                (200 | 404, _) => return forced,
                // its jobs come to their end
                (409, Some("client_busy")) if !forced => self.pause(100).await,
                // of an agent that was killed too often
                (409, Some("unpublished_work")) if !forced => forced = true,
                _ => {
                    self.complain(format!("DELETE {path}: {} {}", answered.status, answered.body));
                    return forced;
                }
            }
        }
    }
}
