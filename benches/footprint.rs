//! How soon the server is there, and what it takes while it does nothing.

use std::fs;
use std::time::Duration;

use crate::Plan;
use crate::figures::{Report, Samples, Wanted};
use crate::fill::copies;
use crate::repositories::small;
use crate::server::{Home, Server, job, program};

const STORED: i64 = 100_000;
const MIB: f64 = 1_048_576.0;

/// What the system says about a process, all its threads together.
pub(crate) struct Process {
    pub(crate) resident_mib: f64,
    /// Memory that it shares with nobody.
    pub(crate) private_mib: f64,
    /// Times that it was put on a processor after it had waited, or had been put off.
    pub(crate) switches: f64,
    pub(crate) cpu_ms: f64,
}

impl Process {
    pub(crate) fn read(pid: u32) -> Self {
        let read = |path: String| fs::read_to_string(path).unwrap_or_default();
        let number = |text: &str, name: &str| -> f64 {
            let lines = text.lines().filter_map(|line| line.strip_prefix(name));
            lines.filter_map(|rest| rest.split_ascii_whitespace().next()?.parse::<f64>().ok()).sum()
        };
        let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().filter_map(Result::ok);
        let switches = threads
            .map(|thread| {
                let status = fs::read_to_string(thread.path().join("status")).unwrap_or_default();
                number(&status, "voluntary_ctxt_switches:") + number(&status, "nonvoluntary_ctxt_switches:")
            })
            .sum();
        let status = read(format!("/proc/{pid}/status"));
        let maps = read(format!("/proc/{pid}/smaps_rollup"));
        let stat = read(format!("/proc/{pid}/stat"));
        // behind the name, which may have spaces: the 12th and the 13th are hundredths of a second
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
        let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
        Self {
            resident_mib: number(&status, "VmRSS:") / 1_024.0,
            private_mib: (number(&maps, "Private_Clean:") + number(&maps, "Private_Dirty:")) / 1_024.0,
            switches,
            cpu_ms: (ticks(11) + ticks(12)) * 10.0,
        }
    }
}

/// Of a server that has nothing to do.
pub(crate) fn of_idle(server: &Server, report: &mut Report) {
    let process = Process::read(server.pid());
    let one = |value| [value].into_iter().collect::<Samples>();
    report.figure(
        "",
        "resident memory of an idle server",
        &one(process.resident_mib),
        "MiB",
        Wanted::AtMost(15.0),
    );
    report.figure("", "of which it shares with nobody", &one(process.private_mib), "MiB", Wanted::Nothing);
}

pub(crate) fn measure(plan: &Plan) -> Report {
    let mut report = Report::default();
    start(plan, &mut report);
    shim(plan, &mut report);
    let size = [fs::metadata(program()).unwrap().len() as f64 / MIB].into_iter().collect();
    report.figure("", "size of the program", &size, "MiB", Wanted::Nothing);
    report
}

fn start(plan: &Plan, report: &mut Report) {
    let (mut empty, mut full) = (Samples::default(), Samples::default());
    let (mut killed, mut resident) = (Samples::default(), Samples::default());
    let few = Home::new(&plan.dir, &plan.git_dir, 2);
    let many = Home::new(&plan.dir, &plan.git_dir, 2);
    let server = many.start();
    server.pause();
    let body = job("small", "true", "none");
    let over = server.ask("POST", "/jobs", &body);
    server.ask("POST", &format!("/jobs/{}/cancel", over["id"].as_str().unwrap()), "{}");
    server.stop();
    copies(&many.database(), 1, STORED - 1);
    few.start().stop();
    for _ in 0..plan.rounds {
        for (home, times) in [(&few, &mut empty), (&many, &mut full)] {
            let server = home.start();
            times.push(server.ready_after.as_secs_f64() * 1_000.0);
            server.stop();
        }
        // dropped: killed
        drop(many.start());
        let server = many.start();
        killed.push(server.ready_after.as_secs_f64() * 1_000.0);
        resident.push(Process::read(server.pid()).resident_mib);
        server.stop();
    }
    report.figure(
        "",
        "from its start until it is ready, with 100,000 jobs stored",
        &full,
        "ms",
        Wanted::AtMost(150.0),
    );
    report.figure("", "the same with no job", &empty, "ms", Wanted::Nothing);
    report.figure(
        "",
        "the same with 100,000 jobs after a kill: it looks at the whole database",
        &killed,
        "ms",
        Wanted::Nothing,
    );
    report.figure("", "resident memory of that server", &resident, "MiB", Wanted::Nothing);
}

/// Private memory of the process that stands beside every running step.
fn shim(plan: &Plan, report: &mut Report) {
    let mut private = Samples::default();
    let home = Home::new(&plan.dir, &plan.git_dir, 2);
    small(&home.remote("small"));
    let server = home.start();
    for _ in 0..plan.rounds {
        let gate = home.path().join("gate");
        let script =
            format!("touch {0}.up; while [ ! -e {0} ]; do sleep 0.02; done; rm {0} {0}.up", gate.display());
        server.ask("POST", "/jobs", &job("small", &script, "none"));
        let up = gate.with_extension("up");
        let mut looks = 0;
        while !up.exists() {
            looks += 1;
            assert!(looks < 6_000, "the agent never ran");
            std::thread::sleep(Duration::from_millis(10));
        }
        private.push(shims(&server).map(|pid| Process::read(pid).private_mib).fold(0.0, f64::max));
        fs::write(&gate, "").unwrap();
        server.wait_until_idle(Duration::from_secs(60));
    }
    report.figure("", "private memory of the shim of a running step", &private, "MiB", Wanted::AtMost(3.0));
}

/// The shims whose server this is: their directories are below its own.
fn shims(server: &Server) -> impl Iterator<Item = u32> {
    let home = fs::read_link(format!("/proc/{}/cwd", server.pid())).unwrap();
    let all =
        fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    all.filter(move |pid: &u32| {
        let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let mut words = line.split('\0');
        words.nth(1) == Some("shim") && words.any(|word| word.starts_with(home.to_str().unwrap()))
    })
}
