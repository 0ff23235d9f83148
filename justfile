# Short names; what stands behind one can be typed as well.
test *args:
    cargo test --locked {{args}}
lint:
    cargo clippy --all-targets --locked -- -D warnings
fmt:
    cargo fmt --all
# what everything costs beside what the machine can do (docs/performance.md); half an hour, or some groups of it: just bench queue git
bench *groups:
    cargo bench --locked -- {{groups}}
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --locked
demo *args:
    cargo run --locked -- demo {{args}}
rig:
    cargo build --locked && python3 tests/rig/run.py
# every kind of agent, as the real program, through every scenario; ten minutes, and 1.4 GB once
rig-matrix *args:
    cargo build --locked && python3 tests/rig/agents.py {{args}}
# the API by its own document, 20,000 cases: five to twenty minutes; CI has 1,000
long-schema cases="20000":
    cargo build --locked && python3 tests/schema/run.py --cases {{cases}}
# every fuzz target so long, each; a nightly compiler and cargo-fuzz (fuzz/README.md). CI replays what they have kept
long-fuzz seconds="300" *targets:
    python3 fuzz/run.py --seconds {{seconds}} {{targets}}
long-load:
    cargo test --locked --test it -- --ignored long_load
# 10,000 submits at once with a kill among them, against a usual queue and against a large one: three to five minutes
long-burst:
    cargo test --locked --test it -- --ignored --nocapture --test-threads=1 long_burst
# pages of the dashboard with 10,000 jobs in the queue: two minutes
long-pages:
    cargo build --locked && npm run measure --prefix tests/browser
# the pictures of the README, of a demonstration: half a minute
screenshots:
    cargo build --locked && node tests/browser/screenshots.mjs
long-callbacks:
    cargo test --locked --test it -- --ignored --nocapture long_callbacks
long-links:
    cargo test --locked --test it -- --ignored --nocapture long_links
long-process:
    cargo test --locked --test it -- --ignored --nocapture long_process
long-soak minutes="10":
    OFFSHOOT_SOAK_MINUTES={{minutes}} cargo test --locked --test it -- --ignored --nocapture long_soak
long-powercut cuts="20000":
    OFFSHOOT_POWERCUTS={{cuts}} cargo test --profile long --locked --test it -- --ignored --nocapture long_powercut
# 10,000 random histories under simulated time, half an hour of two cores; or those of some seeds
long-sim from="0" to="10000":
    OFFSHOOT_SIM_FROM={{from}} OFFSHOOT_SIM_TO={{to}} cargo test --profile long --locked --test it -- --ignored --nocapture long_sim
# Takes half an hour; CHAOS_SEED=… plays a run again, CHAOS_WORLD=… one of its worlds.
long-chaos:
    cargo test --locked --features failpoints --test chaos -- --ignored --nocapture long_chaos
ci *stage:
    .ci/run {{stage}}
