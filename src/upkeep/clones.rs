//! One clone: its snapshots, what interrupted steps have left in it, and its objects.

use super::report::Report;
use super::{Inner, Order};
use crate::domain::client::Client;
use crate::store::StoreError;

impl Inner {
    pub(super) async fn tidy_clone(
        &self,
        client: &Client,
        order: Order,
        report: &mut Report,
    ) -> Result<(), StoreError> {
        let Ok(repository) = self.repository(client) else { return Ok(()) };
        self.prune_snapshots(client, &repository, order, report).await?;
        Ok(())
    }
}
