//! What git costs a job: goals 9, 11, 12 and 13. The other side is the git program as a script would call it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use offshoot::clock::Clock;
use offshoot::git::{BranchStart, CommitId, Git, GitSettings, Remote as Origin, Repository, RepositoryLocks};

use crate::Plan;
use crate::figures::{Report, Samples, Wanted};
use crate::http::asking;
use crate::jobs::Caller;
use crate::repositories::{Remote, git, large, plain_clone, run, small};
use crate::server::{Home, job};

/// Jobs on one repository, and how many of them at once.
const CROWD: usize = 1_000;
const SLOTS: usize = 8;
/// Of these the script adds this many worktrees, eight at a time.
const PLAIN_ADDS: usize = 160;
/// What a crowd may take.
const CROWD_MAX: Duration = Duration::from_secs(1_800);

pub(crate) fn measure(plan: &Plan) -> Report {
    let mut report = Report::default();
    whole_jobs(plan, ("small", small, 1.0), &mut report);
    whole_jobs(plan, ("large", large, 0.85), &mut report);
    report.note(
        "10",
        "a job in a warm worktree",
        "the pool is not built: a worktree is made anew for every job",
    );
    worktrees(plan, &mut report);
    crowd(plan, &mut report);
    report
}

type Kind = (&'static str, fn(&Path) -> Remote, f64);

/// A job that changes a file and pushes the commit, and the same as a script.
fn whole_jobs(plan: &Plan, (name, make, most): Kind, report: &mut Report) {
    let home = Home::new(&plan.dir, &plan.git_dir, 2);
    let remote = make(&home.remote(name));
    let script = Script::new(&remote, home.git_dir());
    let server = home.start();
    let body = job(name, &format!("echo edit >> {}", remote.file), "branch");
    let (mut ours, mut started, mut theirs) = (Samples::default(), Samples::default(), Samples::default());
    let run = || asking(async { Caller::new(&server, &body).await.run().await });
    // the clone, and pages that nobody has read yet
    run().pushed();
    script.job("warm");
    for round in 0..plan.rounds {
        let began = Instant::now();
        script.job(&format!("job-{round}"));
        theirs.push(began.elapsed().as_secs_f64() * 1_000.0);
        let times = run().pushed();
        ours.push(times.over);
        started.push(times.agent);
    }
    let what = format!("a whole job, cold, {name} repository, of the script's steps");
    report.ratio("9", &what, (&ours, &theirs), "ms", Wanted::AtMost(most));
    report.figure("9", "of it until the agent ran", &started, "ms", Wanted::Nothing);
}

/// The steps of the script that all this began as.
struct Script {
    clone: PathBuf,
    dir: PathBuf,
    file: String,
}

impl Script {
    fn new(remote: &Remote, dir: &Path) -> Self {
        let clone = dir.join("script.git");
        plain_clone(&remote.path, &clone);
        Self { clone, dir: dir.to_owned(), file: remote.file.clone() }
    }

    fn job(&self, name: &str) {
        let tree = self.dir.join(name);
        run(&self.clone, &["fetch", "-q", "origin", "--prune"]);
        run(&self.clone, &["worktree", "add", "-q", "-b", name, tree.to_str().unwrap(), "origin/main"]);
        let edit = format!("echo edit >> {}", self.file);
        let edited = std::process::Command::new("/bin/sh").args(["-c", &edit]).current_dir(&tree).status();
        assert!(edited.unwrap().success());
        run(&tree, &["add", "-A"]);
        assert!(!git(&tree, &["diff", "--cached", "--quiet"]).status().unwrap().success());
        run(&tree, &["commit", "-q", "-m", name]);
        run(&tree, &["push", "-q", "-u", "origin", name]);
        run(&self.clone, &["worktree", "remove", "--force", tree.to_str().unwrap()]);
    }
}

/// Files of a worktree, and taking it away.
fn worktrees(plan: &Plan, report: &mut Report) {
    let home = Home::new(&plan.dir, &plan.git_dir, 2);
    let remote = large(&home.remote("large"));
    let script = Script::new(&remote, home.git_dir());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (repository, base) = runtime.block_on(cloned(&home, &remote));
    let (mut ours, mut theirs) = (Samples::default(), Samples::default());
    let (mut free, mut gone) = (Samples::default(), Samples::default());
    let ms = |began: Instant| began.elapsed().as_secs_f64() * 1_000.0;
    for round in 0..plan.rounds {
        let (name, tree) = (format!("plain{round}"), home.git_dir().join(format!("plain{round}")));
        let path = tree.to_str().unwrap();
        let began = Instant::now();
        run(
            &script.clone,
            &[
                "-c",
                "checkout.workers=2",
                "worktree",
                "add",
                "-q",
                "--no-track",
                "-b",
                &name,
                path,
                "origin/main",
            ],
        );
        theirs.push(ms(began));
        let began = Instant::now();
        run(&script.clone, &["worktree", "remove", "--force", path]);
        gone.push(ms(began));
        let (name, tree) = (format!("ours{round}"), home.git_dir().join(format!("trees/ours{round}")));
        let began = Instant::now();
        runtime.block_on(repository.ensure_worktree(&tree, &name, &base, BranchStart::Reuse)).unwrap();
        ours.push(ms(began));
        free.push(freed(&runtime, &repository, &tree));
    }
    report.ratio(
        "11",
        "a fresh worktree of the large repository, of git worktree add with 2 workers",
        (&ours, &theirs),
        "ms",
        Wanted::AtMost(0.8),
    );
    report.figure(
        "13",
        "until the place of a worktree is free, large repository",
        &free,
        "ms",
        Wanted::AtMost(10.0),
    );
    report.ratio("13", "the same, of git worktree remove", (&free, &gone), "ms", Wanted::Nothing);
}

/// Until the path is free, which is before everything is deleted.
fn freed(runtime: &tokio::runtime::Runtime, repository: &Repository, tree: &Path) -> f64 {
    let began = Instant::now();
    let (repository, removed) = (repository.clone(), tree.to_owned());
    let removal = runtime.spawn(async move { repository.remove_worktree(&removed).await });
    while tree.exists() {
        std::thread::sleep(Duration::from_micros(100));
    }
    let free = began.elapsed().as_secs_f64() * 1_000.0;
    runtime.block_on(removal).unwrap().unwrap();
    free
}

async fn cloned(home: &Home, remote: &Remote) -> (Repository, CommitId) {
    let environment = [("PATH", "/usr/local/bin:/usr/bin:/bin"), ("HOME", "/nowhere")];
    let environment = environment.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
    let settings = GitSettings::new(environment, home.git_dir().join("scratch"));
    let git = Git::probe(settings, Clock::system()).await.unwrap();
    let repository =
        Repository::new(git, home.git_dir().join("ours.git"), &RepositoryLocks::default()).unwrap();
    let origin = Origin::new(format!("file://{}", remote.path.display()), None);
    repository.ensure_clone(&origin).await.unwrap();
    let base = repository.resolve_base("main").await.unwrap().unwrap();
    (repository, base)
}

/// Many jobs on one repository at once: none may fail over its neighbours.
fn crowd(plan: &Plan, report: &mut Report) {
    let home = Home::new(&plan.dir, &plan.git_dir, u32::try_from(SLOTS).unwrap());
    let remote = small(&home.remote("small"));
    let server = home.start();
    server.pause();
    let body = job("small", &format!("echo edit >> {}", remote.file), "branch");
    for _ in 0..CROWD {
        server.ask("POST", "/jobs", &body);
    }
    let began = Instant::now();
    server.ask("POST", "/queue/resume", "{}");
    server.wait_until_idle(CROWD_MAX);
    let took = began.elapsed().as_secs_f64();
    let pushed = branches(&remote.path);
    let (lost, rate) = ((CROWD - pushed) as f64, CROWD as f64 / took);
    let one = |value| [value].into_iter().collect::<Samples>();
    report.figure(
        "12",
        &format!("of {CROWD} jobs, {SLOTS} at once on one repository: without their branch at the remote"),
        &one(lost),
        "",
        Wanted::AtMost(0.0),
    );
    report.figure(
        "12",
        "whole jobs a second, 8 at once on one small repository",
        &one(rate),
        "/s",
        Wanted::Nothing,
    );
    let failed = plain_adds(&remote, home.git_dir()) as f64;
    report.figure(
        "12",
        &format!("of {PLAIN_ADDS} git worktree add -b … origin/main, {SLOTS} at once: failed"),
        &one(failed),
        "",
        Wanted::Nothing,
    );
}

/// All but `main`.
fn branches(remote: &Path) -> usize {
    let listed = git(remote, &["for-each-ref", "refs/heads"]).stdout(std::process::Stdio::piped()).output();
    String::from_utf8(listed.unwrap().stdout).unwrap().lines().count() - 1
}

fn plain_adds(remote: &Remote, dir: &Path) -> usize {
    let script = Script::new(remote, dir);
    let mut failed = 0;
    for round in 0..PLAIN_ADDS / SLOTS {
        let adds: Vec<_> = (0..SLOTS)
            .map(|slot| {
                let (name, tree) = (format!("c{round}-{slot}"), dir.join(format!("c{round}-{slot}")));
                let args = ["worktree", "add", "-q", "-b", &name, tree.to_str().unwrap(), "origin/main"];
                git(&script.clone, &args).spawn().unwrap()
            })
            .collect();
        let succeeded = adds.into_iter().map(|mut add| add.wait().unwrap().success());
        failed += succeeded.filter(|is_success| !is_success).count();
    }
    failed
}
