"""What the kernel says about processes: /proc, read without trusting that anything in it stays.

Linux only. A process is *ours* when its environment names the home directory of this run, and *marked* when it also
carries the step marker that the server gives to an agent and everything the agent starts.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

MARKER = b"OFFSHOOT_STEP="
SAMPLE_SECONDS = 0.05  # short beside the quickest agent run (0.6 s)


@dataclass(frozen=True)
class Process:
    pid: int
    started: int  # clock ticks since boot: with the pid it names one process for good
    arguments: bytes
    environment: bytes

    @property
    def marked(self) -> bool:
        return any(entry.startswith(MARKER) for entry in self.environment.split(b"\0"))

    @property
    def works_in(self) -> str:
        try:
            return os.readlink(f"/proc/{self.pid}/cwd")
        except OSError:
            return ""

    @property
    def line(self) -> str:
        return f"{self.pid} {self.arguments.replace(bytes(1), b' ').decode('utf-8', 'replace')[:160]}"

    def is_program(self, path: Path) -> bool:
        try:
            return Path(os.readlink(f"/proc/{self.pid}/exe")) == path
        except OSError:
            return False


def start_ticks(pid: int) -> int | None:
    """None for a process that is gone or only waits to be reaped."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def look_at(pid: int) -> Process | None:
    started = start_ticks(pid)
    if started is None:
        return None
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes()
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return None
    return Process(pid, started, arguments, environment)


def everything() -> list[Process]:
    seen = (look_at(int(name)) for name in os.listdir("/proc") if name.isdigit())
    return [process for process in seen if process]


def is_alive(process: Process) -> bool:
    return start_ticks(process.pid) == process.started


def until(what: str, condition: Callable[[], object], seconds: float, pause: float = 0.05) -> object:
    """The condition's first true value; a failed check after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        time.sleep(pause)


class Family:
    """The processes of this run, told by its home directory in their environment."""

    def __init__(self, home: Path) -> None:
        self.tag = b"HOME=" + os.fsencode(home)

    def ours(self) -> list[Process]:
        return [p for p in everything() if self.tag in p.environment.split(b"\0")]

    def marked(self) -> list[Process]:
        return [p for p in self.ours() if p.marked]

    def end_all(self) -> None:
        """Kills what is left until nothing is; a storm of children would win against one pass."""
        for _ in range(100):
            left = self.ours()
            if not left:
                return
            for process in left:
                if is_alive(process):
                    try:
                        os.kill(process.pid, signal.SIGKILL)
                    except ProcessLookupError:
                        pass
            time.sleep(0.05)


class Watch:
    """Looks at every command line and at the environment of every marked process, all through the run."""

    def __init__(self, family: Family, quiet: bytes) -> None:
        self.family = family
        self.quiet = quiet  # stands in every prompt
        self.secrets: dict[str, bytes] = {}
        self.found: set[str] = set()
        self.looks = 0
        self.marked_looks = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(10)

    def _run(self) -> None:
        while not self._ended.wait(SAMPLE_SECONDS):
            self._look()

    def _look(self) -> None:
        self.looks += 1
        for process in everything():
            if self.quiet in process.arguments:
                self.found.add(f"prompt text among the arguments of {process.arguments[:60]!r}")
            if self.family.tag not in process.environment.split(b"\0"):
                continue
            for name, secret in list(self.secrets.items()):
                if secret in process.arguments:
                    self.found.add(f"{name} among the arguments of {process.arguments[:60]!r}")
                if process.marked and secret in process.environment:
                    self.found.add(f"{name} in the environment of {process.arguments[:60]!r}")
            self.marked_looks += process.marked
