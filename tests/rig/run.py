#!/usr/bin/env python3
"""Runs offshoot against the real agent, a scripted model and a stand-in for GitHub; README.md says how.

The last line is `N passed, N failed`; the exit status is 0 only when nothing failed.
"""

from __future__ import annotations

import argparse
import os
import secrets
import shutil
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Callable

sys.dont_write_bytecode = True

import procs
from afterwards import AFTERWARDS
from parts import Broken, Forge, Installed, Model
from scenarios import RESTARTS, SIMPLE, Stage, health, callback_again, simple, submit_simple
from stand import Receiver, Server

ROOT = Path(__file__).resolve().parents[2]
RUN_SECONDS = 285  # all scenarios; 20-60 s is usual
WORK_PREFIX = "osr-"  # short: sockets below it have a limit of 103 bytes


class TimeUp(BaseException):
    """Not an Exception, so that no scenario takes it for its own failure."""


class Table:
    def __init__(self) -> None:
        self.rows: list[tuple[str, str, str]] = []
        self.failed = 0

    def play(self, name: str, expected: str, scenario: Callable[[], None]) -> None:
        started, faults = time.monotonic(), ""
        try:
            scenario()
        except AssertionError as error:
            faults = str(error) or "an assertion without words"
        except Exception:
            faults = traceback.format_exc()
        if faults:
            self.failed += 1
            print(f"FAILED {name}", flush=True)
            print("".join(f"         {line}\n" for line in faults.splitlines()), end="", flush=True)
        else:
            print(f"ok     {name}", flush=True)
        self.rows.append((name, expected, f"{'FAILED' if faults else 'ok'} {time.monotonic() - started:.1f} s"))

    def show(self) -> None:
        head = ("scenario", "expected", "result")
        widths = [max(len(row[column]) for row in (head, *self.rows)) for column in range(3)]
        print()
        for row in (head, tuple("-" * width for width in widths), *self.rows):
            print("  ".join(text.ljust(width) for text, width in zip(row, widths)).rstrip())


def play_all(stage: Stage, table: Table) -> None:
    def with_server(scenario: Callable[[Stage], None]) -> Callable[[], None]:
        def played() -> None:
            # A scenario that failed between stop and start must not take the later ones with it.
            if stage.server.process is None or stage.server.process.poll() is not None:
                stage.server.start()
            scenario(stage)

        return played

    stage.server.write_config()
    stage.watch.secrets = stage.server.secrets()
    stage.watch.start()
    table.play("health", "the agent's version, authenticated", with_server(health))
    table.play("submit", f"{len(SIMPLE)} jobs queued", with_server(submit_simple))
    for name, (expected, *_) in SIMPLE.items():
        table.play(name, expected, with_server(simple(name)))
    table.play("callback-again", "500, then accepted; same body, fresh signature", with_server(callback_again))
    for name, (expected, scenario) in (RESTARTS | AFTERWARDS).items():
        needs_server = name not in ("secrecy", "referee")  # which come after its last end
        table.play(name, expected, with_server(scenario) if needs_server else lambda s=scenario: s(stage))


def perform(binary: Path, installed: Installed, work: Path, table: Table) -> None:
    stops: list[tuple[str, Callable[[], None]]] = []
    server = None
    try:
        started = time.monotonic()
        model = Model(installed, work)
        stops.append(("model", model.child.stop))
        forge = Forge(installed, work)
        stops.append(("forge", forge.child.stop))
        model.wait_ready()
        forge.wait_ready()
        receiver = Receiver()
        stops.append(("receiver", receiver.stop))
        server = Server(binary, work, installed, model, forge)
        family = procs.Family(server.home)
        stops += [("what is left", family.end_all), ("server", server.stop)]
        quiet = "quiet" + secrets.token_hex(12)
        watch = procs.Watch(family, quiet.encode())
        stops.append(("watch", watch.stop))
        print(f"the parts work: agent, model and forge ready after {time.monotonic() - started:.1f} s", flush=True)
        play_all(Stage(server, model, forge, receiver, family, watch, work, quiet), table)
    except TimeUp as reason:
        table.failed += 1
        print(f"FAILED the run: {reason}", flush=True)
    finally:
        signal.alarm(0)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # stopping is under way, and bounded
        for name, stop in reversed(stops):
            try:
                stop()
            except Exception as error:
                table.failed += 1
                print(f"FAILED to stop {name}: {error}", flush=True)
        if table.failed and server:
            print(f"\nthe end of the server's log:\n{server.log_tail()}", flush=True)


def interrupt(number: int, _: object) -> None:
    if number == signal.SIGALRM:
        raise TimeUp(f"not done after {RUN_SECONDS} s")
    raise TimeUp(f"stopped by {signal.Signals(number).name}")


def remove(work: Path) -> None:
    """Only what this run made."""
    if work.parent == Path(tempfile.gettempdir()).resolve() and work.name.startswith(WORK_PREFIX):
        shutil.rmtree(work, ignore_errors=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--deps", type=Path, default=ROOT / "target" / "rig-deps", help="where npm's and pip's parts are kept")
    parser.add_argument("--keep", action="store_true", help="keep the work directory and print its path")
    return parser.parse_args()


def main() -> int:
    options = arguments()
    place = os.environ.get("OFFSHOOT_RIG", "")
    if not place:
        print("SKIPPED: nothing was run against the real agent, because OFFSHOOT_RIG is not set.", file=sys.stderr)
        print("         It names the directory with fake_model_api.py and forge/forge.py.", file=sys.stderr)
        return 0
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGALRM):
        signal.signal(number, interrupt)
    os.environ.pop("OFFSHOOT_STEP", None)
    table = Table()
    work = Path(tempfile.mkdtemp(prefix=WORK_PREFIX)).resolve()
    try:
        if not sys.platform.startswith("linux"):
            raise Broken("it reads /proc, so it needs Linux")
        target = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
        binary = Path(os.environ.get("OFFSHOOT_BIN") or target / "debug" / "offshoot").resolve()
        if not (binary.is_file() and os.access(binary, os.X_OK)):
            raise Broken(f"no program at {binary}: build it, or set OFFSHOOT_BIN")
        installed = Installed(Path(place).resolve(), options.deps.resolve())
        signal.alarm(RUN_SECONDS)
        perform(binary, installed, work, table)
        table.show()
    except (Broken, TimeUp) as error:
        table.failed += 1
        print(f"BROKEN: {error}", flush=True)
    finally:
        if options.keep:
            print(f"kept: {work}")
        else:
            remove(work)
    passed = sum(row[2].startswith("ok") for row in table.rows)
    print(f"{passed} passed, {table.failed} failed", flush=True)
    return 1 if table.failed else 0


if __name__ == "__main__":
    sys.exit(main())
