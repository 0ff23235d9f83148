//! What people and programs look at while 100,000 jobs wait: goal 7. Pages, positions and memory have to stay as they were.

use std::time::Instant;

use crate::Plan;
use crate::figures::{Report, Samples, Wanted};
use crate::fill::copies;
use crate::footprint::Process;
use crate::http::{Connection, asking, request};
use crate::server::{Home, Server, job};

const FEW: i64 = 100;
const MANY: i64 = 100_000;
/// Of each kind in one round.
const LOOKS: usize = 100;
const SUBMITS: usize = 50;
/// `GET /queue` of an express server with better-sqlite3 and 118,000 queued jobs, ms: quoted, nothing of it is installed.
const EXPRESS_QUEUE_MS: f64 = 1_750.0;
/// The bytes of memory that a server of express has while idle, MiB: quoted likewise.
const EXPRESS_IDLE_MIB: f64 = 59.0;

const KINDS: [&str; 5] = [
    "GET /queue",
    "GET /jobs?limit=50",
    "its second page",
    "GET /jobs/:id of the last in the queue",
    "POST /jobs",
];

/// A server with so many jobs in its queue and as many that are over.
struct Side {
    /// Keeps the directory.
    home: Home,
    server: Server,
    times: [Samples; 5],
    resident: f64,
}

pub(crate) fn measure(plan: &Plan) -> Report {
    let (mut few, mut many) = (Side::new(plan, FEW), Side::new(plan, MANY));
    for _ in 0..plan.rounds {
        asking(few.look());
        asking(many.look());
    }
    let mut report = Report::default();
    for (at, kind) in KINDS.iter().enumerate() {
        let what = format!("{kind} with 100,000 queued and 100,000 over, of the same with 100 and 100");
        report.ratio("7", &what, (&many.times[at], &few.times[at]), "ms", Wanted::Nothing);
    }
    for at in [0, 1] {
        let what = format!("{} with 100,000 queued, of 1,750 ms (express, quoted)", KINDS[at]);
        let quoted = vec![EXPRESS_QUEUE_MS; plan.rounds].into_iter().collect();
        report.ratio("7", &what, (&many.times[at], &quoted), "ms", Wanted::AtMost(0.01));
    }
    let grown = [(many.resident() - few.resident()).max(0.0)].into_iter().collect();
    report.figure(
        "7",
        "memory that 100,000 queued jobs take, after all these requests",
        &grown,
        "MiB",
        Wanted::AtMost(4.0),
    );
    let idle: Samples = [few.resident].into_iter().collect();
    let express = [EXPRESS_IDLE_MIB].into_iter().collect();
    report.ratio(
        "7",
        "memory of an idle server, of 59 MiB (express, quoted)",
        (&idle, &express),
        "MiB",
        Wanted::AtMost(0.25),
    );
    report
}

impl Side {
    fn new(plan: &Plan, count: i64) -> Self {
        let home = Home::new(&plan.dir, &plan.git_dir, 2);
        let server = home.start();
        server.pause();
        let body = job("small", "true", "none");
        let over = server.ask("POST", "/jobs", &body);
        server.ask("POST", &format!("/jobs/{}/cancel", over["id"].as_str().unwrap()), "{}");
        server.ask("POST", "/jobs", &body);
        server.stop();
        copies(&home.database(), 1, count);
        copies(&home.database(), 2, count - 1 - i64::try_from(SUBMITS * plan.rounds).unwrap().min(count - 2));
        let server = home.start();
        let resident = Process::read(server.pid()).resident_mib;
        Self { home, server, times: Default::default(), resident }
    }

    fn resident(&self) -> f64 {
        Process::read(self.server.pid()).resident_mib
    }

    async fn look(&mut self) {
        let mut connection = Connection::open(self.server.address).await.unwrap();
        let address = self.server.address;
        let get = |path: &str| request(address, "GET", path, "");
        let page = connection.call(&get("/jobs?limit=50")).await.unwrap().json();
        let next = page["nextCursor"].as_str().unwrap().to_owned();
        let newest = page["jobs"][0]["id"].as_str().unwrap().to_owned();
        let asked = [
            (get("/queue"), LOOKS),
            (get("/jobs?limit=50"), LOOKS),
            (get(&format!("/jobs?limit=50&after={next}")), LOOKS),
            (get(&format!("/jobs/{newest}")), LOOKS),
            (request(address, "POST", "/jobs", &job("small", "true", "none")), SUBMITS),
        ];
        for ((asked, count), times) in asked.iter().zip(&mut self.times) {
            let mut each = Samples::default();
            for _ in 0..*count {
                let began = Instant::now();
                let answer = connection.call(asked).await.unwrap();
                each.push(began.elapsed().as_secs_f64() * 1_000.0);
                assert!(answer.status < 300, "{}: {}", self.home.path().display(), answer.json());
            }
            times.push(each.median());
        }
    }
}
