//! A database that is served for reading only: what is wrong with it, and what helps.

use std::path::Path;
use std::sync::Arc;

use super::{BackupFile, Store, StoreError, backup};
use crate::domain::time::Timestamp;

/// Known from the start on; it does not change while the server runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// As SQLite or our own check said it.
    pub what: String,
    pub newest_backup: Option<BackupFile>,
    /// In one paragraph: what happened, what goes on, and what to type.
    pub guide: Arc<str>,
}

impl Damage {
    pub(super) fn found(data_dir: &Path, error: &StoreError, now: Timestamp) -> Self {
        let what = match error {
            StoreError::Corrupt(what) => what.clone(),
            other => other.to_string(),
        };
        let newest_backup = backup::list(data_dir).into_iter().next();
        let guide = guide(&what, newest_backup.as_ref(), now).into();
        Self { what, newest_backup, guide }
    }
}

impl Store {
    /// Why this store only reads.
    #[must_use]
    pub fn damage(&self) -> Option<&Damage> {
        self.damage.as_deref()
    }
}

fn guide(what: &str, newest: Option<&BackupFile>, now: Timestamp) -> String {
    let happened = format!(
        "the database is damaged ({what}); it is served for reading only, nothing in it was changed, and running agents \
         go on"
    );
    match newest {
        Some(backup) => {
            let (name, age) = (&backup.name, age(now, backup.taken_at));
            format!(
                "{happened}. The newest backup is {name}, {age} old when this server started. To go back to it, stop this \
                 server and type: offshoot restore {name} && offshoot serve. The damaged files are set aside, not deleted."
            )
        }
        None => format!(
            "{happened}. There is no backup. To save what can be read, stop this server and type in its data directory: \
             sqlite3 offshoot.db .recover | sqlite3 recovered.db && offshoot restore recovered.db && offshoot serve. Or \
             begin anew in another data directory (paths.data_dir)."
        ),
    }
}

/// In the largest unit that fits, rounded down.
fn age(now: Timestamp, then: Timestamp) -> String {
    let seconds = now.since(then).as_secs();
    let (number, unit) = match seconds {
        0..60 => (seconds, "second"),
        60..3_600 => (seconds / 60, "minute"),
        3_600..86_400 => (seconds / 3_600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    format!("{number} {unit}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::BackupKind;

    #[test]
    fn the_guide_names_the_backup_its_age_and_the_command() {
        let at = Timestamp::from_ms(1_000_000);
        let name = "daily-20261121T094700.007Z.db".to_owned();
        let backup = BackupFile { name: name.clone(), kind: BackupKind::Daily, taken_at: at, bytes: 1 };
        let later = Timestamp::from_ms(1_000_000 + 5 * 3_600_000);
        let text = guide("page 3 is never used", Some(&backup), later);
        for part in
            ["page 3 is never used", &format!("{name}, 5 hours old"), &format!("offshoot restore {name}")]
        {
            assert!(text.contains(part), "{text}");
        }
        assert!(guide("x", None, at).contains("There is no backup"));
        assert_eq!(age(at + std::time::Duration::from_secs(86_400), at), "1 day");
    }
}
