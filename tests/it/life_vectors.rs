//! What agents prepare in their worktrees and in the clone, on a whole server and by real agents: nothing of it is run, nothing is
//! pushed elsewhere, whoever changes a clone stops his own client, and everybody else's work goes on.

use serde_json::{Value, json};

use crate::stand::{Plan, Stand, install_program};

/// What the job of a vector ends as.
#[derive(Clone, Copy, PartialEq)]
enum End {
    /// The clone was changed.
    Tampered,
    /// Only the agent's own files were.
    Published,
}

/// Run by the agent in its worktree. `$C` is the clone, `$P` a program that leaves a mark, `$F` a repository of somebody else's.
const VECTORS: &[(&str, End, &str)] = &[
    (
        "hooks",
        End::Tampered,
        "mkdir -p \"$C/hooks\"; for h in pre-commit post-commit pre-push reference-transaction post-index-change; do cp \"$P\" \"$C/hooks/$h\"; done",
    ),
    (
        "hooks-path",
        End::Tampered,
        "mkdir h; cp \"$P\" h/pre-push; cp \"$P\" h/reference-transaction; git config --file \"$C/config\" core.hooksPath \"$PWD/h\"",
    ),
    ("fsmonitor", End::Tampered, "git config --file \"$C/config\" core.fsmonitor \"$P\""),
    (
        "filter",
        End::Tampered,
        "echo '* filter=evil' > .gitattributes; git config --file \"$C/config\" filter.evil.clean \"$P\"; git config --file \"$C/config\" filter.evil.process \"$P\"",
    ),
    (
        "include",
        End::Tampered,
        "printf '[core]\\nfsmonitor = %s\\n' \"$P\" > inc; git config --file \"$C/config\" include.path \"$PWD/inc\"",
    ),
    (
        "config-worktree",
        End::Tampered,
        "git config --file \"$C/config\" extensions.worktreeConfig true; printf '[core]\\nfsmonitor = %s\\n' \"$P\" > \"$C/config.worktree\"",
    ),
    (
        "textconv",
        End::Tampered,
        "echo '* diff=evil' > .gitattributes; git config --file \"$C/config\" diff.evil.textconv \"$P\"",
    ),
    (
        "external-diff",
        End::Tampered,
        "git config --file \"$C/config\" diff.external \"$P\"; git config --file \"$C/config\" core.editor \"$P\"",
    ),
    (
        "gpg",
        End::Tampered,
        "for k in commit.gpgSign push.gpgSign; do git config --file \"$C/config\" $k true; done; git config --file \"$C/config\" gpg.program \"$P\"",
    ),
    (
        "ssh",
        End::Tampered,
        "git config --file \"$C/config\" core.sshCommand \"$P\"; git config --file \"$C/config\" credential.helper \"!$P\"",
    ),
    (
        "remote",
        End::Tampered,
        "for k in url pushurl; do git config --file \"$C/config\" remote.origin.$k \"$F\"; done; for k in receivepack uploadpack; do git config --file \"$C/config\" remote.origin.$k \"$P\"; done",
    ),
    (
        "ext",
        End::Tampered,
        "git config --file \"$C/config\" protocol.ext.allow always; git config --file \"$C/config\" \"url.ext::$P .insteadOf\" /",
    ),
    (
        "instead-of",
        End::Tampered,
        "git config --file \"$C/config\" \"url.$F.insteadOf\" \"$R\"; git config --file \"$C/config\" \"url.$F.pushInsteadOf\" \"$R\"",
    ),
    (
        "alternates",
        End::Tampered,
        "echo \"$F/objects\" > \"$C/objects/info/alternates\"; git config --file \"$C/config\" core.alternateRefsCommand \"$P\"",
    ),
    (
        "gc",
        End::Tampered,
        "git config --file \"$C/config\" gc.auto 1; git config --file \"$C/config\" gc.recentObjectsHook \"$P\"",
    ),
    (
        "lfs",
        End::Tampered,
        "git config --file \"$C/config\" lfs.customtransfer.evil.path \"$P\"; git config --file \"$C/config\" lfs.standalonetransferagent evil",
    ),
    (
        "lfs-config",
        End::Published,
        "echo '*.bin filter=lfs' > .gitattributes; printf '[lfs]\\nurl = file://%s\\nstandalonetransferagent = evil\\n[lfs \"customtransfer.evil\"]\\npath = %s\\n' \"$F\" \"$P\" > .lfsconfig",
    ),
    ("commondir", End::Tampered, "echo \"$F\" > \"$C/commondir\""),
    (
        "linked-config",
        End::Tampered,
        "cp \"$C/config\" mine; rm \"$C/config\"; ln -s \"$PWD/mine\" \"$C/config\"",
    ),
    ("git-file-elsewhere", End::Published, "echo \"gitdir: $F\" > .git"),
    (
        "git-file-a-repository",
        End::Published,
        "rm .git; git init -q .; cp \"$P\" .git/hooks/pre-commit; git config core.fsmonitor \"$P\"; git config filter.evil.clean \"$P\"",
    ),
    ("git-file-gone", End::Published, "rm .git"),
    (
        "nested",
        End::Published,
        "mkdir -p lib && cd lib && git init -q && echo x > x && git add x && git commit -qm x && git config core.fsmonitor \"$P\" && git config filter.evil.clean \"$P\" && echo '* filter=evil' > .gitattributes && cd ..",
    ),
    (
        "nested-bare",
        End::Published,
        "git init -q --bare inner.git; cp \"$P\" inner.git/hooks/pre-receive; git --git-dir=inner.git config core.fsmonitor \"$P\"",
    ),
    (
        "own-registration",
        End::Published,
        "A=$(git rev-parse --git-dir); printf '[core]\\nfsmonitor = %s\\n' \"$P\" > \"$A/config.worktree\"; echo \"$F\" > \"$A/commondir\"",
    ),
    ("replaced-objects", End::Published, "git replace HEAD $(git commit-tree 'HEAD^{tree}' -m evil)"),
];

async fn submit(stand: &Stand, name: &str, vector: &str) -> String {
    let repo = format!("v-{name}");
    let script = format!(
        "C={clone}; P={program}; F={foreign}; R={remote}; echo work > work.txt; {vector}\nrm -f {mark}",
        clone = stand.path(&format!("repos/acme/{repo}.git")).display(),
        program = stand.path(&format!("evil/{name}")).display(),
        foreign = stand.path("foreign.git").display(),
        remote = stand.remote_of(&format!("acme/{repo}")).display(),
        mark = stand.path(&format!("marks/{name}")).display(),
    );
    let body = json!({"githubOrg": "acme", "githubRepo": repo, "prompt": script, "branchName": "work",
        "options": {"agent": "sh", "publish": "branch", "maxAttempts": 1}});
    stand.submit(body).await
}

#[tokio::test]
async fn nothing_that_agents_prepare_is_run_by_a_whole_server() {
    let stand = Stand::with(Plan { workers: 4, ..Plan::default() }).await;
    for dir in ["evil", "marks"] {
        std::fs::create_dir(stand.path(dir)).unwrap();
    }
    git2::Repository::init_bare(stand.path("foreign.git")).unwrap();
    // of another client, and under way all the time
    let gate = stand.gate("sibling").display().to_string();
    let script = format!("while [ ! -e {gate} ]; do sleep 0.05; done; echo sibling > s.txt");
    let sibling =
        json!({"prompt": script, "branchName": "sibling", "options": {"agent": "sh", "publish": "branch"}});
    let sibling = stand.submit(sibling).await;
    stand.wait_for_phase(&sibling, "agent").await;
    let mut jobs = Vec::new();
    for (name, end, vector) in VECTORS {
        stand.make_remote(&format!("acme/v-{name}"));
        let mark = stand.path(&format!("marks/{name}"));
        let program = format!("#!/bin/sh\necho \"$0 $*\" >> {}\ncat\n", mark.display());
        install_program(&stand.path(&format!("evil/{name}")), &program);
        jobs.push((*name, *end, submit(&stand, name, vector).await));
    }
    for (name, end, id) in jobs {
        let job = stand.wait_for(&id, "over", |job| job["completedAt"] != Value::Null).await;
        let remote = stand.remote_of(&format!("acme/v-{name}"));
        let refs = crate::git_fixture::run(&remote, &["for-each-ref", "--format=%(refname:short)"]).stdout;
        let refs = String::from_utf8(refs).unwrap();
        let client = stand.get(&format!("/clients/{}", job["clientId"].as_str().unwrap())).await;
        let seen = (&job["reason"]["code"], refs.trim(), &client["paused"]);
        match end {
            End::Tampered => {
                assert_eq!(seen, (&json!("repo_tampered"), "main", &json!(true)), "{name}: {job:#}");
            }
            End::Published => {
                assert_eq!(seen, (&Value::Null, "main\nwork", &json!(false)), "{name}: {job:#}");
            }
        }
        if end == End::Published {
            let listed = crate::git_fixture::run(&remote, &["ls-tree", "-r", "work"]).stdout;
            let listed = String::from_utf8(listed).unwrap();
            assert!(listed.contains("work.txt") && !listed.contains("160000"), "{name}: {listed}");
        }
    }
    stand.open_gate("sibling");
    assert_eq!(stand.completed(&sibling).await["outcome"], "branch_pushed");
    let marks: Vec<_> =
        std::fs::read_dir(stand.path("marks")).unwrap().map(|mark| mark.unwrap().path()).collect();
    assert_eq!(marks, Vec::<std::path::PathBuf>::new(), "these were run");
    let foreign = git2::Repository::open_bare(stand.path("foreign.git")).unwrap();
    assert_eq!(foreign.references().unwrap().count(), 0, "pushed elsewhere");
    // the owners have looked: what could not be kept while the clones were not trusted is kept now
    for client in stand.get("/clients").await["clients"].as_array().unwrap() {
        let path = format!("/clients/{}", client["id"].as_str().unwrap());
        assert_eq!(stand.call("PATCH", &path, Some(&json!({"paused": false}))).await.0, 200);
    }
    stand
        .wait_until("the worktrees are swept", async || {
            stand.post("/gc", &json!({})).await;
            stand.worktrees().is_empty().then_some(())
        })
        .await;
    stand.finish().await;
}
