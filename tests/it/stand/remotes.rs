//! The bare repositories that stand for the forge's.

use std::path::PathBuf;

use super::{REPO, Stand, install_program};
use crate::git_fixture::{add_commit, command, run};

impl Stand {
    /// A remote with a few files on `main`, known to the forge under the same name.
    pub(crate) fn make_remote(&self, name: &str) {
        let path = self.remote_of(name);
        std::fs::create_dir_all(&path).unwrap();
        git2::Repository::init_bare(&path).unwrap().set_head("refs/heads/main").unwrap();
        add_commit(&path, "main", &[("README.md", "# Widgets\n"), ("src/a.txt", "one\ntwo\n")]);
        if name != REPO {
            self.github.add_repository(name);
        }
        self.github.link_git(name, path);
    }

    pub(crate) fn remote(&self) -> PathBuf {
        self.remote_of(REPO)
    }

    pub(crate) fn remote_of(&self, name: &str) -> PathBuf {
        self.path("remotes").join(format!("{name}.git"))
    }

    pub(crate) fn clone_path(&self) -> PathBuf {
        self.path("repos").join(format!("{REPO}.git"))
    }

    /// What git says about the remote.
    pub(crate) fn git(&self, args: &[&str]) -> String {
        String::from_utf8(run(&self.remote(), args).stdout).unwrap().trim_end().to_owned()
    }

    /// What git says about the local clone.
    pub(crate) fn git_clone(&self, args: &[&str]) -> String {
        String::from_utf8(run(&self.clone_path(), args).stdout).unwrap().trim_end().to_owned()
    }

    /// The commit of a remote branch.
    pub(crate) fn tip(&self, branch: &str) -> Option<String> {
        let name = format!("refs/heads/{branch}");
        let output = command(&self.remote(), &["rev-parse", "--verify", "--quiet", &name]).output().unwrap();
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap().trim().to_owned())
    }

    /// Somebody else's commit on a remote branch; gives its id.
    pub(crate) fn foreign_commit(&self, branch: &str, file: &str, text: &str) -> String {
        let path = self.remote();
        if self.tip(branch).is_none() {
            run(&path, &["branch", branch, "main"]);
        }
        add_commit(&path, branch, &[(file, text)]).as_str().to_owned()
    }

    /// A branch that somebody else has made, where `main` is.
    pub(crate) fn foreign_branch(&self, repo: &str, branch: &str) {
        run(&self.remote_of(repo), &["branch", branch, "main"]);
    }

    /// A hook of the remote.
    pub(crate) fn remote_hook(&self, name: &str, script: &str) {
        self.hook_of(REPO, name, script);
    }

    pub(crate) fn hook_of(&self, repo: &str, name: &str, script: &str) {
        let hooks = self.remote_of(repo).join("hooks");
        std::fs::create_dir_all(&hooks).unwrap();
        install_program(&hooks.join(name), script);
    }

    pub(crate) fn remove_remote_hook(&self, name: &str) {
        std::fs::remove_file(self.remote().join("hooks").join(name)).unwrap();
    }
}
