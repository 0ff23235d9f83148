//! The metrics as text: what was counted, and what the rows say now.

use super::App;
use super::caller::Caller;
use super::error::AppError;
use crate::domain::delivery::DeliveryState;
use crate::domain::job::Status;
use crate::domain::time::Timestamp;
use crate::domain::token::Scope;
use crate::metrics;
use crate::process::{OwnUsage, own_usage};
use crate::store::Readings;

impl App {
    /// Everything of `docs/metrics.md`, in the text format of Prometheus.
    ///
    /// # Errors
    /// [`AppError::Forbidden`]; what the store said.
    pub async fn metrics(&self, caller: &Caller) -> Result<String, AppError> {
        caller.needs(Scope::Read)?;
        caller.needs_all_clients()?;
        let readings = self.0.store.readings().await?;
        let usage = own_usage();
        Ok(metrics::scrape(|| {
            self.set_own(usage.as_ref());
            set_rows(&readings, self.now());
        }))
    }

    fn set_own(&self, usage: Option<&OwnUsage>) {
        metrics::BUILD.set(1, [env!("CARGO_PKG_VERSION")]);
        metrics::SLOTS.set(self.0.settings.max_concurrent_jobs.into(), []);
        metrics::DISK_FLOOR.set(self.0.settings.disk_free_bytes_min, []);
        metrics::START_SECONDS.set(u64::try_from(self.0.started_at.as_ms() / 1_000).unwrap_or(0), []);
        if let Some(usage) = usage {
            metrics::RESIDENT_BYTES.set(usage.resident_bytes, []);
            metrics::OPEN_FDS.set(usage.descriptors, []);
            metrics::MAX_FDS.set(usage.descriptors_max, []);
            metrics::THREADS.set(usage.threads, []);
            metrics::CPU_SECONDS.set_f64(usage.cpu_seconds, []);
        }
    }
}

fn set_rows(readings: &Readings, now: Timestamp) {
    for status in Status::ALL {
        let found = readings.jobs.iter().find(|(of, _)| of == status);
        metrics::JOBS.set(found.map_or(0, |(_, count)| *count), [status.as_str()]);
    }
    for state in DeliveryState::ALL.iter().filter(|state| **state != DeliveryState::Delivered) {
        let found = readings.deliveries.iter().find(|(of, _)| of == state);
        metrics::DELIVERIES.set(found.map_or(0, |(_, count)| *count), [state.as_str()]);
    }
    for hold in readings.holds.iter().filter(|hold| !hold.is_over(now)) {
        metrics::HOLDS.set(1, [&hold.login, hold.reason.code.as_str()]);
    }
    let oldest = readings.oldest_queued_at.map_or(0, |at| now.since(at).as_secs());
    metrics::OLDEST_QUEUED.set(oldest, []);
    metrics::PAUSED.set(readings.paused.into(), []);
    metrics::DATABASE_BYTES.set(readings.database_bytes, []);
    metrics::WAL_BYTES.set(readings.wal_bytes, []);
    metrics::WRITES_WAITING.set(u64::try_from(readings.writes_waiting).unwrap_or(u64::MAX), []);
    if let Some(free) = readings.free_bytes {
        metrics::DISK_FREE.set(free, []);
    }
}
