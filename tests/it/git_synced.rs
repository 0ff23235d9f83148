//! What git's programs write on a whole server is on the disk before it counts: each is told so, and its own counters show it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::stand::{Plan, Stand};

/// One program, by what git writes about itself.
#[derive(Debug, Default)]
struct Program {
    argv: Vec<String>,
    told: Option<String>,
    synced: u64,
}

impl Program {
    /// It only reads: the settings of the user whom the server runs as.
    fn only_reads(&self) -> bool {
        self.argv.get(1).is_some_and(|word| word == "config")
    }

    /// It works in the remote's repository, with the remote's settings.
    fn is_remote(&self) -> bool {
        self.argv.iter().any(|word| word.ends_with("upload-pack") || word.ends_with("receive-pack"))
    }
}

/// In place of git: the same, which writes what it is told and how often it syncs into a directory.
fn install_traced_git(stand: &Stand) {
    let traces = stand.path("traces");
    std::fs::create_dir(&traces).unwrap();
    let script = format!(
        "#!/bin/sh\nexport GIT_TRACE2_EVENT={} GIT_TRACE2_CONFIG_PARAMS=core.fsync\nPATH=/usr/local/bin:/usr/bin:/bin exec git \"$@\"\n",
        traces.display()
    );
    stand.install("git", &script);
}

/// All programs that are over, by git's own name for them: `parent/child`.
fn programs(stand: &Stand) -> BTreeMap<String, Program> {
    let mut programs: BTreeMap<String, Program> = BTreeMap::new();
    for file in std::fs::read_dir(stand.path("traces")).unwrap().flatten() {
        for line in std::fs::read_to_string(file.path()).unwrap().lines() {
            let event: Value = serde_json::from_str(line).unwrap();
            let program = programs.entry(event["sid"].as_str().unwrap().to_owned()).or_default();
            match event["event"].as_str().unwrap() {
                "start" => program.argv = serde_json::from_value(event["argv"].clone()).unwrap(),
                "def_param" => program.told = event["value"].as_str().map(str::to_owned),
                "counter" if event["name"] == "hardware-flush" => {
                    program.synced += event["count"].as_u64().unwrap();
                }
                _ => {}
            }
        }
    }
    programs
}

/// How often the programs with this word synced, those that they started included.
fn syncs(programs: &BTreeMap<String, Program>, word: &str) -> u64 {
    let has_it = |sid: &&String| programs[*sid].argv.iter().any(|one| one == word);
    let roots: Vec<_> = programs.keys().filter(has_it).collect();
    let below = |sid: &String| roots.iter().any(|root| sid.starts_with(root.as_str()));
    programs.iter().filter(|(sid, _)| below(sid)).map(|(_, program)| program.synced).sum()
}

#[tokio::test]
async fn every_git_program_of_a_job_writes_what_counts_through_to_the_disk() {
    let mut stand = Stand::built(Plan::default()).await;
    install_traced_git(&stand);
    stand.set_env("PATH", format!("{}:/usr/local/bin:/usr/bin:/bin", stand.path("agents").display()));
    stand.start().await;
    let id = stand.submit_prompt("done", "[[scenario:write path=a.txt content=yes]]").await;
    stand.completed(&id).await;
    // a snapshot, and the worktree that is laid out from it
    let body =
        json!({"prompt": "echo half > half.txt; exit 3", "branchName": "half", "options": {"agent": "sh"}});
    let id = stand.submit(body).await;
    stand.failed(&id, "crashed").await;

    let programs = programs(&stand);
    let remote: Vec<_> =
        programs.iter().filter(|(_, program)| program.is_remote()).map(|(sid, _)| sid).collect();
    let is_ours = |sid: &String| !remote.iter().any(|root| sid.starts_with(root.as_str()));
    let ours: Vec<_> = programs.iter().filter(|(sid, _)| is_ours(sid)).map(|(_, program)| program).collect();
    assert!(ours.len() > 10, "{programs:#?}");
    for program in ours.into_iter().filter(|program| !program.only_reads()) {
        assert_eq!(program.told.as_deref(), Some("committed"), "{program:?}");
    }
    // the only one that brings objects: those of commits and snapshots are the server's own writing
    assert!(syncs(&programs, "fetch") > 1, "{programs:#?}");
    stand.finish().await;
}
