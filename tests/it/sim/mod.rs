//! Random histories of the whole server under simulated time: the real loops over the real store, with agents, receivers
//! and clocks that chance moves.
//!
//! A history is made from a seed alone and replays: `OFFSHOOT_SIM_SEED=17 cargo test --test it -- sim_`. The loops are tasks
//! of one runtime whose time stands still until nobody has anything to do; whatever a task asks of the store is done before
//! the next one goes on (`settled`). So a kill between any two of its steps is a kill that a history can contain.

mod actor;
mod audit;
mod beliefs;
mod dice;
mod history;
mod receiver;
mod server;
mod settled;
mod time;
mod world;

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use history::History;

/// Histories in an ordinary run of the tests.
const SEEDS: u64 = 40;
/// Histories in the long run.
const SEEDS_LONG: u64 = 10_000;

/// Memory, where there is such a place: a history commits some hundred times, and no power is cut.
fn scratch() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() }
}

/// Plays the history of a seed; the story of what was wrong.
fn play(seed: u64) -> Result<(), String> {
    let dir = tempfile::Builder::new().prefix("offshoot-sim-").tempdir_in(scratch()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        // one thread, which takes the store's reads in their order
        .max_blocking_threads(1)
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut history = History::begin(seed, dir.path().to_owned());
        let world = history.world.clone();
        for _ in 0..history.dice.between(20, 50) {
            history.step().await;
            if !world.state().faults.is_empty() {
                break;
            }
        }
        if world.state().faults.is_empty() {
            history.calm_down().await;
            let store = history.store();
            history.ask_for_all();
            world.state().audit(&store);
        }
        history.end();
        let state = world.state();
        if state.faults.is_empty() {
            return Ok(());
        }
        Err(format!("{}\n\nseed {seed}: {}", state.story(), state.faults.join("\n")))
    })
}

/// A number from the environment, for whoever runs the tests.
#[expect(clippy::disallowed_methods, reason = "a switch for whoever runs the tests")]
fn switch(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

/// Plays the histories of the seeds `from..count`, two at a time.
fn play_all(from: u64, count: u64) {
    if let Some(seed) = switch("OFFSHOOT_SIM_SEED") {
        play(seed).unwrap_or_else(|story| panic!("{story}"));
        return;
    }
    let (next, failed) = (AtomicU64::new(from), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    // a few stories say more than one
                    if seed >= count || failed.lock().unwrap().len() >= 3 {
                        return;
                    }
                    if let Err(story) = play(seed) {
                        failed.lock().unwrap().push(format!(
                            "{story}\nreplay: OFFSHOOT_SIM_SEED={seed} cargo test --test it -- sim_"
                        ));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}

#[test]
fn sim_whatever_happens_nothing_is_lost_doubled_or_early() {
    play_all(0, SEEDS);
}

#[test]
#[ignore = "takes half an hour: just long-sim"]
fn long_sim() {
    let from = switch("OFFSHOOT_SIM_FROM").unwrap_or(0);
    play_all(from, switch("OFFSHOOT_SIM_TO").unwrap_or(SEEDS_LONG));
}
