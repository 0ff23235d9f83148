//! A whole run: its worlds side by side, its progress, its figures.

use std::collections::BTreeMap;
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::Duration;

use tokio::time::Instant;

use crate::audit::audit;
use crate::plan::{Dice, Plan, Point, Strike};
use crate::world::{Burned, World};

/// Worlds at once. Most of their time they wait, for a second between two pull requests or for an agent.
const AT_ONCE: usize = 4;

/// The plan that the environment asks for: a seed of one's own, or a new one.
#[expect(clippy::disallowed_methods, reason = "how a run is played again")]
pub(crate) fn from_environment() -> Plan {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let number =
        |name: &str| variable(name).map(|value| value.parse().unwrap_or_else(|_| panic!("{name}={value}")));
    let fresh = || {
        let mut bytes = [0_u8; 4];
        offshoot::clock::Clock::system().fill_random(&mut bytes);
        u32::from_le_bytes(bytes).into()
    };
    Plan {
        seed: number("CHAOS_SEED").unwrap_or_else(fresh),
        each: 1,
        random: 0,
        at_once: number("CHAOS_AT_ONCE").map_or(AT_ONCE, |count| usize::try_from(count).unwrap()),
        only: number("CHAOS_WORLD").map(|index| usize::try_from(index).unwrap()),
        named: variable("CHAOS_NAMED").unwrap_or_default(),
        keep: variable("CHAOS_KEEP").is_some(),
    }
}

/// What all worlds together came to.
#[derive(Default)]
struct Sum {
    kills: usize,
    jobs: usize,
    callbacks: usize,
    looks: usize,
    most: usize,
    settled: Vec<Duration>,
    struck: BTreeMap<String, usize>,
    ends: BTreeMap<String, usize>,
    faults: Vec<String>,
}

/// Plays a plan and fails with all that was found.
#[expect(clippy::print_stderr, reason = "somebody waits for half an hour")]
pub(crate) fn run(plan: Plan) {
    let began = Instant::now();
    let worlds = plan.worlds();
    let total = worlds.len();
    eprintln!("chaos: seed {}, {total} worlds, {} at once", plan.seed, plan.at_once);
    let wanted = |index: &usize| plan.only.is_none_or(|only| only == *index);
    let waiting: Vec<_> = worlds.into_iter().enumerate().filter(|(index, _)| wanted(index)).rev().collect();
    let (waiting, mut sum) = (Mutex::new(waiting), Sum::default());
    let (told, burned) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..plan.at_once {
            let (told, waiting, plan) = (told.clone(), &waiting, &plan);
            scope.spawn(move || {
                while let Some((index, strikes)) = take(waiting) {
                    told.send((index, burn(plan, index, strikes))).unwrap();
                }
            });
        }
        drop(told);
        for (done, (index, burned)) in burned.iter().enumerate() {
            let faults = sum.add(plan.seed, index, &burned);
            eprintln!(
                "chaos: {}/{total} after {} s: world {index}, {} kills, {} jobs, settled in {:.1} s, {faults} faults; {} kills so far",
                done + 1,
                began.elapsed().as_secs(),
                burned.kills,
                burned.evidence.accepted.len(),
                burned.evidence.settled.as_secs_f64(),
                sum.kills,
            );
        }
    });
    if plan.only.is_none() {
        sum.require_all(&plan);
    }
    eprintln!("{}", sum.table(&plan, began.elapsed()));
    assert!(
        sum.faults.is_empty(),
        "seed {}: {} faults\n{}",
        plan.seed,
        sum.faults.len(),
        sum.faults.join("\n")
    );
}

fn take<T>(from: &Mutex<Vec<T>>) -> Option<T> {
    from.lock().unwrap().pop()
}

/// A world with threads of its own: its fakes answer whatever the others do.
fn burn(plan: &Plan, index: usize, strikes: Vec<Strike>) -> Burned {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        Box::pin(World::new(Dice::of_world(plan.seed, index), plan.keep).await.burn(strikes)).await
    })
}

impl Sum {
    /// Adds a world; gives the number of its faults.
    fn add(&mut self, seed: u64, index: usize, burned: &Burned) -> usize {
        let evidence = &burned.evidence;
        self.kills += burned.kills;
        self.jobs += evidence.accepted.len();
        self.callbacks += evidence.callbacks.len();
        self.looks += evidence.watched.looks;
        self.most = self.most.max(evidence.watched.most);
        self.settled.push(evidence.settled);
        for (point, count) in &burned.struck {
            *self.struck.entry(point.clone()).or_default() += count;
        }
        for job in &evidence.accepted {
            let told = evidence.job_told(&job.id);
            let end = told["reason"]["code"].as_str().or(told["outcome"].as_str()).unwrap_or("none");
            *self.ends.entry(end.to_owned()).or_default() += 1;
        }
        let faults = audit(evidence);
        let again = format!("CHAOS_SEED={seed} CHAOS_WORLD={index}");
        self.faults.extend(faults.iter().map(|fault| format!("[{again}] {fault}")));
        if !faults.is_empty() {
            let file = std::env::temp_dir().join(format!("chaos-{seed}-{index}.log"));
            std::fs::write(&file, &burned.log).unwrap();
            self.faults.push(format!(
                "[{again}] its log: {}, its directory: {}",
                file.display(),
                burned.dir.display()
            ));
        }
        faults.len()
    }

    fn require_all(&mut self, plan: &Plan) {
        for point in Point::all().into_iter().filter(|point| point.name().starts_with(&plan.named)) {
            let struck = self.struck.get(&point.name()).copied().unwrap_or(0);
            if struck < plan.each {
                self.faults.push(format!("{} struck {struck} times instead of {}", point.name(), plan.each));
            }
        }
    }

    fn table(&self, plan: &Plan, took: Duration) -> String {
        let mut settled = self.settled.clone();
        settled.sort_unstable();
        let worst = settled.last().copied().unwrap_or_default().as_secs_f64();
        let median = settled.get(settled.len() / 2).copied().unwrap_or_default().as_secs_f64();
        let ends: Vec<_> = self.ends.iter().map(|(end, count)| format!("{count} {end}")).collect();
        format!(
            "\n| figure | value |\n|---|---|\n| seed | {} |\n| time | {} s |\n| kills | {} |\n| failpoints | {}, each at least {} times |\n\
             | jobs accepted | {} |\n| their ends | {} |\n| callbacks received | {} |\n\
             | looks at the process table | {}, at most {} jobs at once |\n\
             | settled after the last start | median {median:.2} s, worst {worst:.2} s |\n| faults | {} |\n",
            plan.seed,
            took.as_secs(),
            self.kills,
            self.struck.len(),
            self.struck.values().min().copied().unwrap_or(0),
            self.jobs,
            ends.join(", "),
            self.callbacks,
            self.looks,
            self.most,
            self.faults.len(),
        )
    }
}
