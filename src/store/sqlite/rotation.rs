//! Since when callbacks are signed with two keys.

use super::super::Store;
use super::super::error::StoreError;
use super::{meta, set_meta};
use crate::failpoint::Edge;

/// The name of the rotation that was seen last, and when it was seen first, in steady milliseconds.
const ROTATION: &str = "callback_rotation";

impl Store {
    /// When the rotation of this name was seen first, in milliseconds of [`Store::steady_ms`]: now, unless it is the one that
    /// was seen last. A start more, or a time without a previous secret, makes no rotation younger.
    ///
    /// # Errors
    /// What the database said.
    pub async fn note_rotation(&self, name: String) -> Result<i64, StoreError> {
        let now = self.steady_ms();
        self.database
            .write(Edge::NoteRotation, move |connection| {
                let noted = meta(connection, ROTATION)?;
                let since = noted.as_deref().and_then(|noted| noted.split_once(' '));
                if let Some((known, since)) = since
                    && known == name
                    && let Ok(since) = since.parse()
                {
                    return Ok(since);
                }
                set_meta(connection, ROTATION, &format!("{name} {now}"))?;
                Ok(now)
            })
            .await
    }
}
