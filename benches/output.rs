//! An agent's output on its way to the disk and to its readers: goal 8. The other side reads a pipe and forgets what it read.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use offshoot::process::{
    CommandSpec, Launcher, LogPosition, ScopeUse, ShimProgram, Stdin, StepDir, Tail, Tailed,
};
use tokio::io::AsyncReadExt as _;

use crate::Plan;
use crate::figures::{Report, Samples, Wanted};
use crate::footprint::Process;
use crate::http::{Connection, asking, request};
use crate::jobs::Caller;
use crate::repositories::small;
use crate::server::{Home, job, program};

/// Of one run: 100 MB.
const LINES: usize = 1_000_000;
const BLOCK: usize = 64 * 1024;
const LOOKS: usize = 200;
const MB: f64 = 1_000_000.0;

pub(crate) fn measure(plan: &Plan) -> Report {
    let dir = tempfile::Builder::new().prefix("ob-").tempdir_in(&plan.dir).unwrap();
    let file = dir.path().join("output");
    let bytes = write_lines(&file);
    let mut report = Report::default();
    step(plan, dir.path(), &file, bytes, &mut report);
    server(plan, &file, bytes, &mut report);
    report
}

/// Lines of 100 bytes; gives the length.
fn write_lines(file: &Path) -> f64 {
    let mut text = String::new();
    for number in 0..LINES {
        writeln!(text, "{number:>10} {:0>88}", number.wrapping_mul(2_654_435_761)).unwrap();
    }
    fs::write(file, &text).unwrap();
    text.len() as f64
}

/// The shim and a reader that follows, without a server.
fn step(plan: &Plan, dir: &Path, file: &Path, bytes: f64, report: &mut Report) {
    let (mut null, mut kept, mut followed) = (Samples::default(), Samples::default(), Samples::default());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    for round in 0..plan.rounds {
        null.push(bytes / MB / runtime.block_on(read_and_forget(file)));
        let step = dir.join(format!("step-{round}"));
        let (end, all) = runtime.block_on(keep(&step, &dir.join("run"), file, round));
        kept.push(bytes / MB / end);
        followed.push(bytes / MB / all);
        fs::remove_dir_all(step).unwrap();
    }
    report.ratio(
        "8",
        "output kept by the shim, of a reader that forgets",
        (&kept, &null),
        "MB/s",
        Wanted::AtLeast(0.75),
    );
    report.ratio(
        "8",
        "the same until a reader beside it has all of it",
        (&followed, &null),
        "MB/s",
        Wanted::Nothing,
    );
}

/// Seconds.
async fn read_and_forget(file: &Path) -> f64 {
    let began = Instant::now();
    let mut child = tokio::process::Command::new("cat")
        .arg(file)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut pipe, mut block) = (child.stdout.take().unwrap(), vec![0; BLOCK]);
    while pipe.read(&mut block).await.unwrap() > 0 {}
    assert!(child.wait().await.unwrap().success());
    began.elapsed().as_secs_f64()
}

/// Seconds until the command has ended, and until all that it wrote was read.
async fn keep(dir: &Path, run_dir: &Path, file: &Path, round: usize) -> (f64, f64) {
    let name = format!("bench-{}-1-agent-1", usize::try_from(std::process::id()).unwrap() * 1_000 + round);
    let step = StepDir::new(dir.to_owned(), run_dir.to_owned(), name.parse().unwrap()).unwrap();
    let launcher = Launcher::new(ShimProgram::At(program().to_owned()), ScopeUse::Never);
    let spec = CommandSpec {
        argv: vec!["cat".to_owned(), file.to_str().unwrap().to_owned()],
        working_dir: file.parent().unwrap().to_owned(),
        env: BTreeMap::from([("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into())]),
        redact: Vec::new(),
        stdin: Stdin::Null,
        wall_limit: Duration::from_secs(300),
        output_bytes_max: 256 << 20,
        output_bytes_end: None,
        open_files_max: None,
        memory_group: None,
        wrapper: Vec::new(),
        stop_grace: Duration::from_millis(300),
    };
    let launched = launcher.launch(&step, &spec).await.unwrap();
    let began = Instant::now();
    launched.release().await.unwrap();
    let mut tail = Tail::open(&step, LogPosition::default());
    let mut read = 0_u64;
    loop {
        match tail.next().await.unwrap().expect("it has an end") {
            Tailed::Record(record) => read += record.payload.len() as u64,
            Tailed::Ended(offshoot::process::StepState::Exited(record)) => {
                assert!(read >= record.output_bytes, "{read} of {}", record.output_bytes);
                let ran = (record.ended_at_ms - record.started_at_ms) as f64 / 1_000.0;
                return (ran, began.elapsed().as_secs_f64());
            }
            other => panic!("{other:?}"),
        }
    }
}

/// A job of the whole server whose agent writes as much.
fn server(plan: &Plan, file: &Path, bytes: f64, report: &mut Report) {
    let home = Home::new(&plan.dir, &plan.git_dir, 2);
    small(&home.remote("small"));
    let server = home.start();
    let quiet = job("small", "true", "none");
    let loud = job("small", &format!("cat {}", file.display()), "none");
    let run = |body: &str| asking(async { Caller::new(&server, body).await.run().await.over });
    run(&quiet);
    let (mut null, mut whole) = (Samples::default(), Samples::default());
    let mut resident = Samples::default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let before = size(&home.path().join("data"), "offshoot.db");
    for _ in 0..plan.rounds {
        null.push(bytes / MB / runtime.block_on(read_and_forget(file)));
        let (quiet, loud) = (run(&quiet), run(&loud));
        // what its output adds
        whole.push(bytes / MB / ((loud - quiet).max(1.0) / 1_000.0));
        resident.push(Process::read(server.pid()).resident_mib);
    }
    let written = bytes * plan.rounds as f64;
    let grown = size(&home.path().join("data"), "offshoot.db") - before;
    let share = [grown / written * 100.0].into_iter().collect();
    report.ratio(
        "8",
        "the same by the whole server, every line a message",
        (&whole, &null),
        "MB/s",
        Wanted::Nothing,
    );
    report.figure("8", "growth of the database, of what was written", &share, "%", Wanted::AtMost(1.0));
    report.figure("8", "resident memory of the server after each 100 MB", &resident, "MiB", Wanted::Nothing);
    let newest = server.ask("GET", "/jobs?limit=1", "");
    asking(reads(server.address, newest["jobs"][0]["id"].as_str().unwrap(), report));
}

/// Pages of the messages at both ends and in the middle.
async fn reads(address: std::net::SocketAddr, job: &str, report: &mut Report) {
    let mut connection = Connection::open(address).await.unwrap();
    let get = |path: &str| request(address, "GET", path, "");
    let newest = connection.call(&get(&format!("/jobs/{job}?includeMessages=true"))).await.unwrap().json();
    let newest = newest["messages"].as_array().and_then(|messages| messages.last().cloned());
    let last = newest.unwrap_or_default()["seq"].as_i64().unwrap_or(0);
    for (what, after) in [("the last 100 messages", last - 100), ("100 messages in the middle", last / 2)] {
        let asked = get(&format!("/jobs/{job}/messages?limit=100&after={}", after.max(0)));
        let mut times = Samples::default();
        for _ in 0..LOOKS {
            let began = Instant::now();
            let answer = connection.call(&asked).await.unwrap();
            times.push(began.elapsed().as_secs_f64() * 1_000.0);
            assert_eq!(answer.status, 200, "{}", answer.json());
        }
        let p99 = [times.quantile(0.99)].into_iter().collect();
        report.figure(
            "8",
            &format!("{what}, of {last}, 99 % of {LOOKS} requests within"),
            &p99,
            "ms",
            Wanted::AtMost(0.2),
        );
    }
}

/// Of all files below that begin so.
fn size(dir: &Path, name: &str) -> f64 {
    let files = fs::read_dir(dir).unwrap().filter_map(Result::ok);
    let ours = files.filter(|file| file.file_name().to_string_lossy().starts_with(name));
    ours.map(|file| file.metadata().unwrap().len() as f64).sum()
}
