//! Whether a worktree was left in the middle of something: its files are no result then.

use std::path::Path;

use git2::Index;

use super::error::GitError;
use super::repository::{Repository, blocking};
use super::worktree::Place;
use super::{disk, shadow};

/// What git leaves in a registration while it replays commits or looks for one (git(1), "rebase", "am", "cherry-pick", "bisect"):
/// HEAD is somewhere on the way.
const ON_THE_WAY: &[(&str, &str)] = &[
    ("rebase-merge", "a rebase"),
    ("rebase-apply", "a rebase"),
    ("sequencer", "a cherry-pick or revert"),
    ("BISECT_START", "a bisection"),
];

/// A larger index is not read: git's own of a million files has some 100 MB.
const INDEX_BYTES_MAX: u64 = 256 << 20;

/// So many paths are named: they are read by people and agents.
const NAMED_MAX: usize = 10;

impl Repository {
    /// What is unfinished in the worktree, in words that follow "there is"; `None`: nothing, as far as its registration can be
    /// read. A merge that needs only to be committed is finished: its files are the result. `inside`: whoever has worked in it
    /// last did so in its shadow, and what he has under way is there.
    ///
    /// # Errors
    /// [`GitError::InvalidArgument`]; with `inside` also [`GitError::Tampered`], [`GitError::Library`], [`GitError::Io`].
    pub async fn unfinished(&self, worktree: &Path, inside: bool) -> Result<Option<String>, GitError> {
        let place = Place::new(&self.path, worktree)?;
        if !inside {
            return blocking(move || Ok(find(&place.admin, None))).await;
        }
        self.verified(move |_| Ok(find(&place.admin, shadow::registration(&place)?.as_deref()))).await
    }
}

/// In the registration of a worktree, and in that of its shadow, whose index is the one that counts.
fn find(admin: &Path, inside: Option<&Path>) -> Option<String> {
    if !disk::is_real_dir(admin) {
        return None;
    }
    let is_there =
        |name| [Some(admin), inside].iter().flatten().any(|dir| dir.join(name).symlink_metadata().is_ok());
    if let Some((_, what)) = ON_THE_WAY.iter().find(|(name, _)| is_there(name)) {
        return Some(format!("{what} that is not finished"));
    }
    let paths = unmerged(&inside.unwrap_or(admin).join("index"));
    let more = paths.len().saturating_sub(NAMED_MAX);
    let named = paths.iter().take(NAMED_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
    match (paths.len(), more) {
        (0, _) => None,
        (_, 0) => Some(format!("a merge that is not finished: {named}")),
        _ => Some(format!("a merge that is not finished: {named} and {more} more")),
    }
}

/// The paths with more than one version, escaped.
fn unmerged(index: &Path) -> Vec<String> {
    let is_readable =
        index.symlink_metadata().is_ok_and(|found| found.is_file() && found.len() <= INDEX_BYTES_MAX);
    let Some(index) = is_readable.then(|| Index::open(index).ok()).flatten() else { return Vec::new() };
    let Ok(conflicts) = index.conflicts() else { return Vec::new() };
    let paths = conflicts.flatten().filter_map(|one| one.our.or(one.their).or(one.ancestor));
    paths.map(|entry| entry.path.escape_ascii().to_string()).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::index::bare_entry;
    use super::*;

    fn place(dir: &Path) -> Place {
        let place = Place::new(dir, &dir.join("job")).unwrap();
        fs::create_dir_all(&place.admin).unwrap();
        place
    }

    #[test]
    fn what_is_on_its_way_is_no_result() {
        for (name, what) in ON_THE_WAY {
            let dir = tempfile::tempdir().unwrap();
            let place = place(dir.path());
            assert_eq!(find(&place.admin, None), None);
            fs::create_dir(place.admin.join(name)).unwrap();
            assert_eq!(find(&place.admin, None), Some(format!("{what} that is not finished")));
        }
    }

    #[test]
    fn paths_with_several_versions_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let place = place(dir.path());
        let mut index = Index::open(&place.admin.join("index")).unwrap();
        let id = git2::Oid::from_str("e69de29bb2d1d6434b8b29ae775ad8c2e48c5391").unwrap();
        index.add(&bare_entry(b"whole".to_vec(), id, 0o100_644)).unwrap();
        index.write().unwrap();
        assert_eq!(find(&place.admin, None), None);
        for number in 0..12 {
            for stage in 1..=3 {
                let mut entry = bare_entry(format!("{number:02}\n").into_bytes(), id, 0o100_644);
                entry.flags = stage << 12;
                index.add(&entry).unwrap();
            }
        }
        index.write().unwrap();
        let found = find(&place.admin, None).unwrap();
        assert!(found.starts_with("a merge that is not finished: 00\\n, 01\\n"), "{found}");
        assert!(found.ends_with("09\\n and 2 more"), "{found}");
        // what is no index says nothing
        fs::write(place.admin.join("index"), "no index").unwrap();
        assert_eq!(find(&place.admin, None), None);
    }
}
