//! One clone: what interrupted steps have left in it, its snapshots, and its objects.

use super::report::{Aside, Kind, Report};
use super::{Inner, Order};
use crate::domain::client::Client;
use crate::domain::job::Status;
use crate::git::{Gain, Maintained, Repository, bytes_on_disk};
use crate::metrics::CLONE_MAINTENANCE;
use crate::store::{JobFilter, StoreError};

impl Inner {
    pub(super) async fn tidy_clone(
        &self,
        client: &Client,
        order: Order,
        report: &mut Report,
    ) -> Result<(), StoreError> {
        let Ok(repository) = self.repository(client) else { return Ok(()) };
        if repository.exists() {
            self.tidy_existing(client, &repository, order, report).await?;
        }
        self.look_beside(client, &repository, order, report).await;
        Ok(())
    }

    async fn tidy_existing(
        &self,
        client: &Client,
        repository: &Repository,
        order: Order,
        report: &mut Report,
    ) -> Result<(), StoreError> {
        // a lock would stand in the way of what follows
        self.sweep_leftovers(client, repository, order, report).await;
        let pruned = self.prune_snapshots(client, repository, order, report).await?;
        let gain = if order.room {
            Gain::Room
        } else if pruned {
            Gain::Refs
        } else {
            Gain::Seen
        };
        self.pack(client, repository, gain, order, report).await;
        Ok(())
    }

    /// Damaged clones that were set aside; what a killed server has not brought over from them is brought over.
    async fn look_beside(&self, client: &Client, repository: &Repository, order: Order, report: &mut Report) {
        let found = repository.set_aside_clones().await.unwrap_or_default();
        for mut aside in found {
            if aside.lost.is_none() && !order.dry_run && repository.exists() {
                match repository.carry_over(&aside).await {
                    Ok(carried) => aside = carried,
                    Err(error) => {
                        tracing::warn!(%error, "nothing could be brought over from a damaged clone yet");
                    }
                }
            }
            let name = aside.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let path = aside.path;
            let bytes = tokio::task::spawn_blocking(move || bytes_on_disk(&path)).await.unwrap_or_default();
            report.set_aside.push(Aside {
                what: format!("{}: {name}", client.repository),
                lost: aside.lost,
                bytes,
            });
        }
    }

    async fn sweep_leftovers(
        &self,
        client: &Client,
        repository: &Repository,
        order: Order,
        report: &mut Report,
    ) {
        let (org, repo) = client.repository.key();
        let worktrees = self.settings.worktrees_dir.join(org).join(repo);
        match repository.sweep_leftovers(&worktrees, order.dry_run, self.has_no_attempt(client)).await {
            Ok(swept) => swept.iter().for_each(|one| {
                report.add(Kind::Leftover, &format!("{}: {}", client.repository, one.name), one.why, None);
            }),
            Err(error) => {
                tracing::warn!(%error, repository = %client.repository, "what is left over in the clone stays for now");
            }
        }
    }

    async fn pack(
        &self,
        client: &Client,
        repository: &Repository,
        gain: Gain,
        order: Order,
        report: &mut Report,
    ) {
        let name = client.repository.to_string();
        let result = match repository.maintain(gain, order.dry_run, self.has_no_attempt(client)).await {
            Ok(Maintained::Packed { bytes_less }) => {
                let why = match gain {
                    Gain::Seen => "many packs or loose objects",
                    Gain::Refs => "snapshots were removed",
                    Gain::Room => "the disk fills up",
                };
                tracing::info!(repository = name, bytes_less, dry_run = order.dry_run, "clone packed");
                if order.dry_run || bytes_less > 0 {
                    report.add(Kind::Objects, &name, why, (!order.dry_run).then_some(bytes_less));
                }
                "packed"
            }
            Ok(Maintained::NotNeeded) => "not_needed",
            Ok(Maintained::Busy) => "busy",
            Err(error) => {
                tracing::warn!(%error, repository = name, "the clone could not be packed: it stays as it is");
                "failed"
            }
        };
        if !order.dry_run {
            CLONE_MAINTENANCE.increment([result]);
        }
    }

    /// An attempt may have an agent that nobody here follows at the moment. One that begins later enters the clone and so ends
    /// what is under way.
    async fn has_no_attempt(&self, client: &Client) -> bool {
        let running = JobFilter {
            statuses: vec![Status::Running],
            client: Some(client.id.clone()),
            limit: 1,
            ..JobFilter::default()
        };
        self.store.list_jobs(running).await.is_ok_and(|page| page.jobs.is_empty())
    }
}
