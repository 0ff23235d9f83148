#!/usr/bin/env python3
"""Runs fuzz targets and says what came of it; README.md beside it.

    python3 fuzz/run.py                       each target for a minute
    python3 fuzz/run.py --seconds 300 branch  one of them
    python3 fuzz/run.py --keep                takes what reaches something new into the corpus, the least that does

Needs a nightly compiler (rustup toolchain install nightly) and cargo-fuzz (cargo install cargo-fuzz --locked).
"""

import argparse
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
# A kept input has no more: it is replayed in every run of the tests.
KEPT_BYTES_MAX = 4096
# Of a target, of those that cover the same edges: short and long ones alike.
KEPT_FILES_MAX = 100
RSS_MB_MAX = 1024
SECONDS_AN_INPUT_MAX = 5


def cargo_fuzz(*words, **more):
    # compiled Rust without unsafe code: an address sanitizer finds nothing there and halves the speed
    return subprocess.run(["cargo", "+nightly", "fuzz", *words], cwd=HERE.parent, **more)


def program(target):
    host = subprocess.run(["rustc", "-vV"], capture_output=True, text=True, check=True).stdout
    triple = re.search(r"^host: (.+)$", host, re.M).group(1)
    return HERE / "target" / triple / "release" / target


def options(target):
    words = HERE / "dictionaries" / f"{target}.dict"
    return [f"-dict={words}"] if words.exists() else []


def seeds(target):
    recorded = HERE.parent / "tests" / "fixtures" / "transcripts"
    return [HERE / "corpus" / target] + ([recorded] if any(recorded.glob(f"{target}-*")) else [])


def run(target, seconds, found):
    artifacts = HERE / "artifacts" / target
    artifacts.mkdir(parents=True, exist_ok=True)
    ended = subprocess.run(
        [program(target), found, *seeds(target), *options(target), f"-max_total_time={seconds}",
         f"-rss_limit_mb={RSS_MB_MAX}", f"-timeout={SECONDS_AN_INPUT_MAX}", "-max_len=16384", "-print_final_stats=1",
         f"-artifact_prefix={artifacts}/"],
        capture_output=True, text=True, errors="replace")
    said = ended.stderr
    number = lambda pattern: ([0] + [int(n) for n in re.findall(pattern, said)])[-1]
    row = [
        f"`{target}`",
        f"{number(r'number_of_executed_units: +([0-9]+)'):,}",
        f"{number(r' cov: ([0-9]+)'):,}",
        f"{number(r' ft: ([0-9]+)'):,}",
        f"{number(r'peak_rss_mb: +([0-9]+)')}",
        "none" if ended.returncode == 0 else "FOUND",
    ]
    print("| " + " | ".join(row) + " |", flush=True)
    if ended.returncode != 0:
        print(said[-3000:], file=sys.stderr)
    return ended.returncode


def keep(target, found):
    corpus = HERE / "corpus" / target
    with tempfile.TemporaryDirectory() as least:
        merge = [program(target), "-set_cover_merge=1", f"-max_len={KEPT_BYTES_MAX}", least, *seeds(target), found]
        subprocess.run(merge, capture_output=True, check=True)
        # regressions, and rows that a person wrote, stay whatever they reach
        for file in corpus.iterdir():
            if not file.name.startswith(("was-", "row-")):
                file.unlink()
        found = sorted(pathlib.Path(least).iterdir(), key=lambda file: (file.stat().st_size, file.name))
        step = max(1, -(-len(found) // KEPT_FILES_MAX))
        for file in found[::step]:
            shutil.copy(file, corpus / file.name[:16])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--keep", action="store_true")
    given = parser.parse_args()
    # what is fuzzed are the versions that are shipped; cargo adds libFuzzer to them
    shutil.copy(HERE.parent / "Cargo.lock", HERE / "Cargo.lock")
    cargo_fuzz("build", "-s", "none", check=True)
    targets = given.targets or sorted(file.stem for file in (HERE / "fuzz_targets").iterdir())
    print("| target | executions | edges | features | memory, MB | found |\n|---|---|---|---|---|---|")
    failed = 0
    for target in targets:
        with tempfile.TemporaryDirectory() as found:
            failed |= run(target, given.seconds, found)
            if given.keep:
                keep(target, found)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
