//! Files of a worktree that are kept after the run.

use std::collections::BTreeSet;

use super::glob::Globs;

/// A file that was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifact {
    /// Relative to the worktree, `/`-separated, without control characters.
    pub path: String,
    pub bytes: u64,
}

/// What was kept of a job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Artifacts {
    /// The attempt that kept them: their place among the files of the job.
    pub attempt: u32,
    /// As they were found; the place in this list is the name of the file where it is kept.
    pub files: Vec<Artifact>,
}

impl Artifacts {
    /// The globs under which nothing was kept.
    #[must_use]
    pub fn missing<'g>(&self, globs: &'g [String]) -> Vec<&'g str> {
        let mut patterns = Globs::new(globs);
        let kept: BTreeSet<_> =
            self.files.iter().flat_map(|file| patterns.fitting(file.path.as_bytes())).collect();
        let missing = globs.iter().enumerate().filter(|(index, _)| !kept.contains(index));
        missing.map(|(_, glob)| glob.as_str()).collect()
    }

    /// The place of a file by its path, and its size.
    #[must_use]
    pub fn find(&self, path: &str) -> Option<(usize, u64)> {
        let place = self.files.iter().position(|file| file.path == path)?;
        Some((place, self.files[place].bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_glob_is_missing_under_which_nothing_is_kept() {
        let files = vec![Artifact { path: "out/a.html".to_owned(), bytes: 1 }];
        let kept = Artifacts { attempt: 1, files };
        let globs = ["out/*.html", "out", "out/*.txt", "a.html"].map(str::to_owned);
        assert_eq!(kept.missing(&globs), ["out/*.txt", "a.html"]);
        assert_eq!(kept.missing(&[]), Vec::<&str>::new());
        assert_eq!((kept.find("out/a.html"), kept.find("out")), (Some((0, 1)), None));
    }
}
