//! The files that came with jobs.

use rusqlite::{Connection, params};

use super::super::Store;
use super::super::error::StoreError;
use crate::domain::attachment::{AttachedFile, Attachment};
use crate::domain::id::{JobId, JobNumber};

impl Store {
    /// The files of a job, by name, with what is in them: up to
    /// [`ATTACHMENTS_BYTES_MAX`](crate::domain::attachment::ATTACHMENTS_BYTES_MAX) of memory.
    ///
    /// # Errors
    /// What the database said.
    pub async fn attached_files(&self, job: JobNumber) -> Result<Vec<AttachedFile>, StoreError> {
        self.database
            .read(move |connection| {
                let mut statement = connection
                    .prepare_cached("SELECT name, content FROM attachments WHERE job = ?1 ORDER BY name")?;
                let files = statement
                    .query_map([job.0], |row| Ok(AttachedFile { name: row.get(0)?, content: row.get(1)? }))?
                    .collect::<Result<_, _>>()?;
                Ok(files)
            })
            .await
    }
}

/// Writes the files of a new job; one that retries another gets copies of its files, which may be forgotten before it is.
pub(super) fn write(
    connection: &Connection,
    job: JobNumber,
    files: &[AttachedFile],
    retried: Option<&JobId>,
) -> Result<(), StoreError> {
    for file in files {
        connection
            .prepare_cached("INSERT INTO attachments (job, name, content) VALUES (?1, ?2, ?3)")?
            .execute(params![job.0, file.name, file.content])?;
    }
    if let Some(retried) = retried {
        connection
            .prepare_cached(
                "INSERT INTO attachments (job, name, content)
                 SELECT ?1, a.name, a.content FROM jobs j JOIN attachments a ON a.job = j.number WHERE j.id = ?2",
            )?
            .execute(params![job.0, retried.as_str()])?;
    }
    Ok(())
}

/// How the row of a job tells about them.
#[derive(serde::Serialize, serde::Deserialize)]
struct AttachmentColumn {
    name: String,
    bytes: u64,
}

pub(super) fn from_text(text: &str) -> Option<Vec<Attachment>> {
    let column: Vec<AttachmentColumn> = serde_json::from_str(text).ok()?;
    Some(column.into_iter().map(|one| Attachment { name: one.name, bytes: one.bytes }).collect())
}

pub(super) fn to_text(attachments: &[Attachment]) -> String {
    let column = attachments.iter().map(|one| AttachmentColumn { name: one.name.clone(), bytes: one.bytes });
    serde_json::to_string(&column.collect::<Vec<_>>()).unwrap_or_else(|_| "[]".to_owned())
}
