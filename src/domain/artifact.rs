//! Files of a worktree that are kept after the run.

use super::glob::path_matches;

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
        let is_kept = |glob: &str| self.files.iter().any(|file| path_matches(glob, file.path.as_bytes()));
        globs.iter().map(String::as_str).filter(|glob| !is_kept(glob)).collect()
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
