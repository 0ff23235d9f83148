//! Which files jobs have kept.

use rusqlite::params;

use super::super::error::StoreError;
use super::super::{Change, Store};
use super::{attempts, deaths};
use crate::domain::artifact::{Artifact, Artifacts};
use crate::domain::attempt::Lease;
use crate::domain::id::JobNumber;
use crate::failpoint::Edge;

impl Store {
    /// Stores what was kept, in the place of what an earlier attempt of the job had kept; its files are on disk by now.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`].
    pub async fn record_artifacts(&self, lease: Lease, kept: Artifacts) -> Result<(), StoreError> {
        let (now, text) = (self.now(), to_text(kept));
        self.database
            .write(Edge::RecordArtifacts, move |connection| {
                attempts::check(connection, lease)?;
                connection
                    .prepare_cached("UPDATE jobs SET artifacts = ?2, updated_at = ?3 WHERE number = ?1")?
                    .execute(params![lease.job.0, text, now.as_ms()])?;
                deaths::came_forward(connection, lease)
            })
            .await?;
        self.tell(Change::JobMoved(lease.job));
        Ok(())
    }

    /// Of these jobs those that are over, with the attempt whose files they keep. Files of a job that has no row are nobody's
    /// to remove.
    ///
    /// # Errors
    /// What the database said.
    pub async fn ended_with_artifacts(
        &self,
        jobs: Vec<JobNumber>,
    ) -> Result<Vec<(JobNumber, Option<u32>)>, StoreError> {
        let numbers = super::retention::numbers(&jobs);
        self.database
            .read(move |connection| {
                let mut statement = connection.prepare_cached(
                    "SELECT known.number, known.artifacts ->> '$.attempt' FROM json_each(?1) asked
                     CROSS JOIN jobs known ON known.number = asked.value
                     WHERE known.status NOT IN ('queued', 'running')",
                )?;
                let found = statement
                    .query_map([numbers], |row| Ok((JobNumber(row.get(0)?), row.get(1)?)))?
                    .collect::<Result<_, _>>()?;
                Ok(found)
            })
            .await
    }

    /// Forgets what an ended job has kept, whose files are about to go.
    ///
    /// # Errors
    /// What the database said.
    pub async fn forget_artifacts(&self, job: JobNumber) -> Result<(), StoreError> {
        self.database
            .write(Edge::ForgetArtifacts, move |connection| {
                connection
                    .prepare_cached(
                        "UPDATE jobs SET artifacts = NULL
                         WHERE number = ?1 AND artifacts IS NOT NULL AND status NOT IN ('queued', 'running')",
                    )?
                    .execute([job.0])?;
                Ok(())
            })
            .await
    }
}

/// How the row of a job tells about them.
#[derive(serde::Serialize, serde::Deserialize)]
struct ArtifactsColumn {
    attempt: u32,
    files: Vec<ArtifactColumn>,
}

#[derive(serde::Serialize, serde::Deserialize)]
struct ArtifactColumn {
    path: String,
    bytes: u64,
}

pub(super) fn from_text(text: &str) -> Option<Artifacts> {
    let column: ArtifactsColumn = serde_json::from_str(text).ok()?;
    let file = |one: ArtifactColumn| Artifact { path: one.path, bytes: one.bytes };
    Some(Artifacts { attempt: column.attempt, files: column.files.into_iter().map(file).collect() })
}

fn to_text(kept: Artifacts) -> String {
    let file = |one: Artifact| ArtifactColumn { path: one.path, bytes: one.bytes };
    let column = ArtifactsColumn { attempt: kept.attempt, files: kept.files.into_iter().map(file).collect() };
    serde_json::to_string(&column).unwrap_or_default()
}
