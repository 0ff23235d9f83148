//! Ways in which an agent can prepare configuration, hooks, filters or repositories, in its worktree and, without a
//! sandbox, in the clone: nothing of it is run, nothing is pushed elsewhere, a changed clone is reported.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod large;

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use offshoot::git::{BranchStart, DiffRequest, GitError, PushMode};

use crate::git_fixture::{BRANCH, Rig, command, run};

/// Where a vector is prepared, and hence what the calls must answer.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    /// Only the agent's own files: everything works.
    Worktree,
    /// The clone's administration: everything is refused.
    Clone,
}

struct Vector {
    name: &'static str,
    place: Place,
    prepare: fn(&Trap),
}

/// Paths that a vector needs, and the program that must never run.
struct Trap {
    worktree: PathBuf,
    clone: PathBuf,
    program: PathBuf,
    foreign: PathBuf,
    marker: PathBuf,
}

impl Vector {
    /// Git itself would wait for ever at a pipe.
    fn stops_plain_git(&self) -> bool {
        self.name.contains("pipe") || self.name.contains("replaced")
    }
}

impl Trap {
    fn clone_config(&self, key: &str, value: &str) {
        run(&self.clone, &["config", key, value]);
    }

    fn program(&self) -> &str {
        self.program.to_str().unwrap()
    }

    fn attributes(&self, text: &str) {
        fs::write(self.worktree.join(".gitattributes"), text).unwrap();
    }

    /// A repository of the agent's own, with a filter and a file system monitor, inside or instead of the worktree.
    fn nested(&self, at: &Path) {
        fs::create_dir_all(at).unwrap();
        run(at, &["init", "-q"]);
        fs::write(at.join("inner.txt"), "inner\n").unwrap();
        run(at, &["add", "inner.txt"]);
        run(at, &["commit", "-qm", "inner"]);
        for key in ["core.fsmonitor", "filter.evil.clean", "filter.evil.process", "core.sshCommand"] {
            run(at, &["config", key, self.program()]);
        }
        fs::write(at.join(".gitattributes"), "* filter=evil\n").unwrap();
        fs::write(at.join("inner.txt"), "changed\n").unwrap();
    }

    fn hooks(&self, dir: &Path) {
        fs::create_dir_all(dir).unwrap();
        for hook in [
            "pre-commit",
            "post-commit",
            "pre-push",
            "post-checkout",
            "reference-transaction",
            "post-index-change",
            "pre-auto-gc",
            "post-rewrite",
            "prepare-commit-msg",
            "fsmonitor-watchman",
        ] {
            fs::copy(&self.program, dir.join(hook)).unwrap();
        }
    }
}

const VECTORS: &[Vector] = &[
    Vector { name: "hook files", place: Place::Clone, prepare: |t| t.hooks(&t.clone.join("hooks")) },
    Vector {
        name: "core.hooksPath",
        place: Place::Clone,
        prepare: |t| {
            t.hooks(&t.worktree.join("hooks"));
            t.clone_config("core.hooksPath", t.worktree.join("hooks").to_str().unwrap());
        },
    },
    Vector {
        name: "core.fsmonitor",
        place: Place::Clone,
        prepare: |t| t.clone_config("core.fsmonitor", t.program()),
    },
    Vector {
        name: "filter clean",
        place: Place::Clone,
        prepare: |t| {
            t.attributes("* filter=evil\n");
            t.clone_config("filter.evil.clean", t.program());
            t.clone_config("filter.evil.smudge", t.program());
        },
    },
    Vector {
        name: "filter process",
        place: Place::Clone,
        prepare: |t| {
            t.attributes("* filter=evil\n");
            t.clone_config("filter.evil.process", t.program());
            t.clone_config("filter.evil.required", "true");
        },
    },
    Vector {
        name: "filter in info/attributes",
        place: Place::Clone,
        prepare: |t| {
            fs::create_dir_all(t.clone.join("info")).unwrap();
            fs::write(t.clone.join("info/attributes"), "* filter=evil\n").unwrap();
        },
    },
    Vector {
        name: "include.path",
        place: Place::Clone,
        prepare: |t| {
            let file = t.worktree.join("included");
            fs::write(&file, format!("[core]\nfsmonitor = {}\nhooksPath = {}\n", t.program(), t.program()))
                .unwrap();
            t.clone_config("include.path", file.to_str().unwrap());
        },
    },
    Vector {
        name: "config.worktree",
        place: Place::Clone,
        prepare: |t| {
            t.clone_config("extensions.worktreeConfig", "true");
            run(&t.worktree, &["config", "--worktree", "core.fsmonitor", t.program()]);
        },
    },
    Vector {
        name: "config.worktree without the extension",
        place: Place::Worktree,
        prepare: |t| {
            let text = format!("[core]\nfsmonitor = {}\n", t.program());
            fs::write(t.clone.join("worktrees/job1/config.worktree"), text).unwrap();
        },
    },
    Vector {
        name: "diff textconv",
        place: Place::Clone,
        prepare: |t| {
            t.attributes("* diff=evil\n");
            t.clone_config("diff.evil.textconv", t.program());
            t.clone_config("diff.evil.command", t.program());
        },
    },
    Vector {
        name: "diff.external",
        place: Place::Clone,
        prepare: |t| t.clone_config("diff.external", t.program()),
    },
    Vector {
        name: "gpg",
        place: Place::Clone,
        prepare: |t| {
            t.clone_config("commit.gpgSign", "true");
            t.clone_config("push.gpgSign", "true");
            t.clone_config("gpg.program", t.program());
        },
    },
    Vector {
        name: "core.sshCommand",
        place: Place::Clone,
        prepare: |t| t.clone_config("core.sshCommand", t.program()),
    },
    Vector {
        name: "remote programs and addresses",
        place: Place::Clone,
        prepare: |t| {
            for key in ["remote.origin.receivepack", "remote.origin.uploadpack", "remote.origin.vcs"] {
                t.clone_config(key, t.program());
            }
            t.clone_config("remote.origin.pushurl", t.foreign.to_str().unwrap());
            t.clone_config("remote.origin.url", t.foreign.to_str().unwrap());
        },
    },
    Vector {
        name: "ext protocol",
        place: Place::Clone,
        prepare: |t| {
            t.clone_config("protocol.ext.allow", "always");
            t.clone_config("url.ext::sh -c exit% .insteadOf", "/");
        },
    },
    Vector {
        name: "core.alternateRefsCommand",
        place: Place::Clone,
        prepare: |t| {
            t.clone_config("core.alternateRefsCommand", t.program());
            let objects = format!("{}\n", t.foreign.join("objects").display());
            fs::write(t.clone.join("objects/info/alternates"), objects).unwrap();
        },
    },
    Vector {
        name: "url.insteadOf",
        place: Place::Clone,
        prepare: |t| {
            t.clone_config(
                &format!("url.{}.insteadOf", t.foreign.display()),
                &t.foreign.with_file_name("remote.git").to_string_lossy(),
            );
        },
    },
    Vector {
        name: "credential.helper",
        place: Place::Clone,
        prepare: |t| t.clone_config("credential.helper", &format!("!{}", t.program())),
    },
    Vector {
        name: "core.editor and gc",
        place: Place::Clone,
        prepare: |t| {
            t.clone_config("core.editor", t.program());
            t.clone_config("core.pager", t.program());
            t.clone_config("gc.auto", "1");
            t.clone_config("gc.recentObjectsHook", t.program());
        },
    },
    Vector {
        name: "commondir in the clone",
        place: Place::Clone,
        prepare: |t| {
            t.nested(&t.worktree.with_file_name("evil"));
            fs::write(t.clone.join("commondir"), t.worktree.with_file_name("evil/.git").to_str().unwrap())
                .unwrap();
        },
    },
    Vector {
        name: "grafts",
        place: Place::Clone,
        prepare: |t| {
            fs::create_dir_all(t.clone.join("info")).unwrap();
            fs::write(t.clone.join("info/grafts"), "").unwrap();
        },
    },
    Vector {
        name: "a link in the place of the configuration",
        place: Place::Clone,
        prepare: |t| {
            let copy = t.worktree.join("config");
            fs::rename(t.clone.join("config"), &copy).unwrap();
            symlink(&copy, t.clone.join("config")).unwrap();
        },
    },
    Vector {
        name: "a pipe in the place of the configuration",
        place: Place::Clone,
        prepare: |t| {
            fs::remove_file(t.clone.join("config")).unwrap();
            mkfifo(&t.clone.join("config"), Mode::S_IRWXU).unwrap();
        },
    },
    Vector {
        name: "worktree commondir elsewhere",
        place: Place::Worktree,
        prepare: |t| {
            t.nested(&t.worktree.with_file_name("evil"));
            fs::write(
                t.clone.join("worktrees/job1/commondir"),
                t.worktree.with_file_name("evil/.git").to_str().unwrap(),
            )
            .unwrap();
        },
    },
    Vector {
        name: ".git swapped for a repository",
        place: Place::Worktree,
        prepare: |t| {
            fs::remove_file(t.worktree.join(".git")).unwrap();
            t.nested(&t.worktree);
            t.hooks(&t.worktree.join(".git/hooks"));
            fs::remove_file(t.worktree.join("inner.txt")).unwrap();
            fs::remove_file(t.worktree.join(".gitattributes")).unwrap();
        },
    },
    Vector {
        name: ".git pointing elsewhere",
        place: Place::Worktree,
        prepare: |t| {
            t.nested(&t.worktree.with_file_name("evil"));
            fs::write(
                t.worktree.join(".git"),
                format!("gitdir: {}/.git\n", t.worktree.with_file_name("evil").display()),
            )
            .unwrap();
        },
    },
    Vector {
        name: ".git linked elsewhere",
        place: Place::Worktree,
        prepare: |t| {
            t.nested(&t.worktree.with_file_name("evil"));
            fs::remove_file(t.worktree.join(".git")).unwrap();
            symlink(t.worktree.with_file_name("evil/.git"), t.worktree.join(".git")).unwrap();
        },
    },
    Vector {
        name: ".git deleted",
        place: Place::Worktree,
        prepare: |t| fs::remove_file(t.worktree.join(".git")).unwrap(),
    },
    Vector {
        name: "a nested repository",
        place: Place::Worktree,
        prepare: |t| t.nested(&t.worktree.join("vendor/lib")),
    },
    Vector {
        name: "a nested repository around tracked files",
        place: Place::Worktree,
        prepare: |t| t.nested(&t.worktree.join("dir")),
    },
    Vector {
        name: "a nested bare repository",
        place: Place::Worktree,
        prepare: |t| {
            run(&t.worktree, &["init", "-q", "--bare", "inner.git"]);
            run(&t.worktree.join("inner.git"), &["config", "core.fsmonitor", t.program()]);
            t.hooks(&t.worktree.join("inner.git/hooks"));
        },
    },
    Vector {
        name: "attributes that name an undefined filter elsewhere",
        place: Place::Worktree,
        prepare: |t| t.attributes("*.evil filter=evil diff=evil merge=evil\n"),
    },
    Vector {
        name: "pipes in the place of rule files",
        place: Place::Worktree,
        prepare: |t| {
            mkfifo(&t.worktree.join(".gitattributes"), Mode::S_IRWXU).unwrap();
            mkfifo(&t.worktree.join("dir/.gitignore"), Mode::S_IRWXU).unwrap();
        },
    },
    Vector {
        name: "the registration gone",
        place: Place::Worktree,
        prepare: |t| fs::remove_dir_all(t.clone.join("worktrees/job1")).unwrap(),
    },
    Vector {
        name: "the registration's files replaced",
        place: Place::Worktree,
        prepare: |t| {
            let admin = t.clone.join("worktrees/job1");
            for name in ["HEAD", "gitdir", "index"] {
                fs::remove_file(admin.join(name)).unwrap();
                mkfifo(&admin.join(name), Mode::S_IRWXU).unwrap();
            }
            fs::write(admin.join("index.lock"), "").unwrap();
        },
    },
    Vector {
        name: "the branch gone, a lock and a pipe in its place",
        place: Place::Worktree,
        prepare: |t| {
            fs::write(t.clone.join("refs/heads/feat.lock"), "").unwrap();
            let _ = fs::remove_file(t.clone.join("refs/heads/feat"));
            mkfifo(&t.clone.join("refs/heads/feat"), Mode::S_IRWXU).unwrap();
        },
    },
    Vector {
        name: "replaced objects",
        place: Place::Worktree,
        prepare: |t| {
            let evil = run(&t.worktree, &["commit-tree", "HEAD^{tree}", "-m", "evil"]).stdout;
            run(&t.worktree, &["replace", "HEAD", String::from_utf8(evil).unwrap().trim()]);
        },
    },
];

/// A rig with a prepared vector.
async fn set_up(vector: &Vector) -> (Rig, Trap) {
    let rig = Rig::new().await;
    let worktree = rig.worktree().await;
    let marker = rig.dir.path().join("marker");
    let program = rig.dir.path().join("evil.sh");
    fs::write(&program, format!("#!/bin/sh\necho \"$0 $@\" >> {}\ncat\n", marker.display())).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let foreign = rig.dir.path().join("foreign.git");
    git2::Repository::init_bare(&foreign).unwrap();
    fs::write(worktree.join("a.txt"), "the work\n").unwrap();
    let trap = Trap { worktree, clone: rig.repository.path().to_owned(), program, foreign, marker };
    (vector.prepare)(&trap);
    // The agent's own commands may have run it.
    let _ = fs::remove_file(&trap.marker);
    (rig, trap)
}

#[tokio::test]
async fn nothing_that_an_agent_prepares_is_run() {
    for vector in VECTORS.iter().chain(large::VECTORS) {
        let (rig, trap) = set_up(vector).await;
        let all = tokio::time::timeout(Duration::from_secs(30), exercise(&rig, vector));
        all.await.unwrap_or_else(|_| panic!("{}: hangs", vector.name));
        let ran = fs::read_to_string(&trap.marker).unwrap_or_default();
        assert_eq!(ran, "", "{}: something was run", vector.name);
        let foreign = git2::Repository::open_bare(&trap.foreign).unwrap();
        assert_eq!(foreign.references().unwrap().count(), 0, "{}: pushed elsewhere", vector.name);
        assert!(!trap.foreign.join("lfs").exists(), "{}: large files went elsewhere", vector.name);
    }
}

/// The corpus is worth something only as long as it catches somebody who trusts the worktree.
#[tokio::test]
async fn the_same_vectors_catch_git_as_everybody_runs_it() {
    let mut caught = Vec::new();
    for vector in VECTORS.iter().filter(|vector| !vector.stops_plain_git()) {
        let (rig, trap) = set_up(vector).await;
        let remote = rig.remote.url();
        for args in [
            &["status"][..],
            &["diff"],
            &["add", "-A"],
            &["commit", "-qm", "x"],
            &["push", "-q", remote, "HEAD:refs/heads/x"],
        ] {
            let _ = command(&trap.worktree, args).stdin(std::process::Stdio::null()).output().unwrap();
        }
        let foreign = git2::Repository::open_bare(&trap.foreign).unwrap();
        if trap.marker.exists() || foreign.references().unwrap().count() > 0 {
            caught.push(vector.name);
        }
    }
    assert!(caught.len() >= 12, "{caught:?}");
}

async fn exercise(rig: &Rig, vector: &Vector) {
    let name = vector.name;
    let request =
        DiffRequest { paths: Vec::new(), context_lines: 3, patch_bytes_max: 1 << 20, files_max: 100 };
    if vector.place == Place::Clone {
        let refusals = [
            rig.try_collect().await.err(),
            rig.snapshot().await.err(),
            rig.push(&rig.base, None).await.err(),
            rig.repository.fetch(&rig.remote, Duration::ZERO).await.err(),
            rig.repository.diff(&rig.base, &rig.base, request.clone()).await.err(),
            rig.repository
                .ensure_worktree(&rig.worktree_path(), BRANCH, &rig.base, BranchStart::Reuse)
                .await
                .err(),
            rig.repository.verify_untampered().await.err(),
        ];
        for (at, refusal) in refusals.iter().enumerate() {
            assert!(matches!(refusal, Some(GitError::Tampered { .. })), "{name}, call {at}: {refusal:?}");
        }
        rig.repository.repair().await.unwrap();
    }
    let snapshot = rig.snapshot().await.unwrap_or_else(|error| panic!("{name}: snapshot: {error}"));
    assert_eq!(rig.content(&snapshot.commit, "a.txt"), b"the work\n", "{name}: snapshot");
    if name.starts_with("filter") && rig.worktree_path().join(".gitattributes").exists() {
        let failed = rig.try_collect().await;
        assert!(matches!(failed, Err(GitError::UnsupportedFilter { .. })), "{name}: {failed:?}");
        fs::remove_file(rig.worktree_path().join(".gitattributes")).unwrap();
    }
    let collected = rig.try_collect().await.unwrap_or_else(|error| panic!("{name}: collect: {error}"));
    assert_eq!(rig.content(&collected.head, "a.txt"), b"the work\n", "{name}");
    let listing = rig.listing(&collected.head);
    assert!(listing.iter().any(|line| line == "100644 dir/b.txt"), "{name}: {listing:?}");
    assert!(!listing.iter().any(|line| line.starts_with("160000")), "{name}: {listing:?}");
    assert_eq!(rig.try_collect().await.unwrap().head, collected.head, "{name}: repeated");
    rig.repository.fetch(&rig.remote, Duration::ZERO).await.unwrap();
    rig.repository.diff(&rig.base, &collected.head, request).await.unwrap();
    let pushed = rig.repository.push(&rig.remote, &collected.head, BRANCH, None, PushMode::FastForward).await;
    pushed.unwrap_or_else(|error| panic!("{name}: push: {error}"));
    assert_eq!(rig.git.remote_tip(&rig.remote, BRANCH).await.unwrap(), Some(collected.head), "{name}");
    rig.worktree().await;
    assert_eq!(
        run(&rig.worktree_path(), &["rev-parse", "--is-inside-work-tree"]).stdout,
        b"true\n",
        "{name}"
    );
    rig.repository.remove_worktree(&rig.worktree_path()).await.unwrap();
    assert!(!rig.worktree_path().exists(), "{name}");
}
