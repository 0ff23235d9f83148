# `just` lists these; without just, type what stands behind the name.
set positional-arguments

_list:
    @just --list --unsorted
ci *stage:
    .ci/run "$@"
test *args:
    cargo test --locked "$@"
lint:
    cargo clippy --all-targets --locked -- -D warnings
fmt:
    cargo fmt --all
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --locked
demo *args:
    cargo run --locked -- demo "$@"
rig:
    cargo build --locked && python3 tests/rig/run.py
long-load:
    cargo test --locked --test it -- --ignored long_load
