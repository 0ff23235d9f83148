#!/usr/bin/env python3
"""Attacks every call of a running offshoot by its own OpenAPI document; README.md says how.

The last line is `N cases, passed` or `N cases, FAILED`; the exit status is 0 only when nothing failed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import venv
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
READY_SECONDS = 30  # migrations on a loaded machine
JOB_SECONDS = 60
STOP_SECONDS = 40  # longer than drain_seconds
INSTALL_SECONDS = 240
EXAMPLES_MIN = 3  # of a call in one phase
CALLS = 45  # that have enough to be varied; for the others there are a few cases only
INSIDE = "--inside"


def install(deps: Path) -> None:
    """Once for each list of what is pinned."""
    wanted, have = (HERE / "requirements.txt").read_text(), deps / "installed.txt"
    if have.exists() and have.read_text() == wanted:
        return
    venv.create(deps, with_pip=True, clear=True)
    pip = [deps / "bin" / "python", "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*pip, "-r", HERE / "requirements.txt"], check=True, timeout=INSTALL_SECONDS)
    have.write_text(wanted)


def walls(work: Path) -> list[str]:
    """No network but the loopback, nothing to write but the work directory: an admin may also ask for a backup to any path, and
    for callbacks to any address."""
    argv = ["bwrap", "--unshare-user", "--unshare-net", "--unshare-pid", "--die-with-parent", "--ro-bind", "/", "/",
            "--dev", "/dev", "--proc", "/proc", "--bind", str(work), str(work), "--chdir", str(work)]
    try:
        return argv if subprocess.run([*argv, "true"], capture_output=True, timeout=20).returncode == 0 else []
    except FileNotFoundError:
        return []


def git(*argv: object) -> None:
    subprocess.run(["git", *map(str, argv)], check=True, capture_output=True, timeout=60)


def make_remote(work: Path) -> None:
    bare, seed = work / "remotes" / "acme" / "widgets.git", work / "seed"
    git("init", "-q", "--bare", "-b", "main", bare)
    git("clone", "-q", bare, seed)
    (seed / "README.md").write_text("# Widgets\n")
    git("-C", seed, "add", "README.md")
    git("-C", seed, "-c", "user.name=T", "-c", "user.email=t@example.com", "commit", "-qm", "first")
    git("-C", seed, "push", "-q", "origin", "HEAD:main")


class Server:
    """With an agent that writes one line, and a bare repository in place of a forge."""

    def __init__(self, binary: Path, work: Path) -> None:
        self.secret, self.log = secrets.token_hex(24), work / "server.log"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.url = f"http://127.0.0.1:{probe.getsockname()[1]}"
        (work / "home").mkdir()
        make_remote(work)
        (work / "offshoot.toml").write_text(
            f'[server]\nport = {self.url.rsplit(":")[-1]}\ndrain_seconds = 10\n'
            f'[paths]\ndata_dir = "{work}/data"\n'
            f'[github]\nclone_url = "{work}/remotes/{{org}}/{{repo}}.git"\n'
            '[defaults]\nagent = "fake"\npublish = "branch"\nisolation = "none"\nmax_attempts = 1\n'
            '[agents.fake]\nkind = "command"\ncommand = "sh"\nargs = ["-c", "echo a line >> lines"]\n')
        environment = {"PATH": os.environ["PATH"], "HOME": str(work / "home"), "LANG": "C.UTF-8",
                       "OFFSHOOT_CONFIG": str(work / "offshoot.toml"), "AGENT_API_SECRET": self.secret}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen([binary, "serve"], cwd=work, env=environment, stdout=log, stderr=log,
                                            stdin=subprocess.DEVNULL)
        until = time.monotonic() + READY_SECONDS
        while not self._is_ready():
            if time.monotonic() > until or self.process.poll() is not None:
                raise SystemExit(f"the server is not ready:\n{self.log.read_text(errors='replace')}")
            time.sleep(0.1)

    def _is_ready(self) -> bool:
        try:
            urllib.request.urlopen(f"{self.url}/readyz", timeout=5).close()
            return True
        except OSError:
            return False

    def call(self, path: str, body: object = None) -> Any:
        headers = {"authorization": f"Bearer {self.secret}", "content-type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        try:
            with urllib.request.urlopen(urllib.request.Request(self.url + path, data, headers), timeout=90) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise SystemExit(f"{path}: {error.read().decode()}") from error

    def status(self, path: str) -> int:
        request = urllib.request.Request(self.url + path, headers={"authorization": f"Bearer {self.secret}"})
        try:
            with urllib.request.urlopen(request, timeout=90) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    def faults(self) -> list[str]:
        """What the attack has left of it."""
        if self.process.poll() is not None:
            return [f"the server ended with {self.process.returncode}"]
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return ["the server does not stop"]
        log = self.log.read_text(errors="replace").splitlines()
        bad = [line for line in log if "panicked" in line or "a request failed inside" in line]
        return bad[:20] + ([f"the server stopped with {status}"] if status else [])


def furnish(server: Server) -> list[str]:
    """Something behind ids and names; answers the ids."""
    job = server.call("/jobs", {"githubOrg": "acme", "githubRepo": "widgets", "branchName": "a-branch", "prompt": "Write a line"})
    server.call("/profiles", {"name": "a-profile", "options": {"draft": True}})
    token = server.call("/tokens", {"name": "a-token", "scope": "read"})
    until = time.monotonic() + JOB_SECONDS
    while (status := server.call("/jobs/1")["status"]) != "completed":
        if status not in ("queued", "running") or time.monotonic() > until:
            raise SystemExit(f"the first job is {status}:\n{server.log.read_text(errors='replace')}")
        time.sleep(0.1)
    client = server.call("/clients")["clients"][0]
    return ["1", job["id"], token["id"], client["id"]]


def odd(server: Server) -> list[str]:
    """What is drawn too seldom, asked about a job that has something to show: no text of a caller is a fault of the server."""
    asked = [f"/jobs/1/diff?path={text}" for text in ("%00", "a%00b", "..%00", "%FF", ":(top)", "%0A")]
    answered = [(path, server.status(path)) for path in ("/jobs/1/diff", *asked)]
    return [f"{path}: {status}" for path, status in answered if status >= 500 or ("%00" in path and status != 422)]


def attack(arguments: argparse.Namespace) -> int:
    work = arguments.inside
    server = Server(arguments.bin, work)
    (work / "ids.dict").write_text("".join(f"{json.dumps(each)}\n" for each in furnish(server)))
    early = odd(server)
    for name in ("schemathesis.toml", "hooks.py"):
        shutil.copy(HERE / name, work)
    report, further = work / "report.json", list(arguments.further)
    if not arguments.walled:
        print("LEFT OUT for want of bubblewrap: POST /backups, which may write anywhere", flush=True)
        further += ["--exclude-operation-id", "create_backup"]
    argv = [arguments.deps / "bin" / "schemathesis", "--config-file", work / "schemathesis.toml", "run",
            f"{server.url}/openapi.json", "-H", f"Authorization: Bearer {server.secret}", "--seed", arguments.seed,
            "--max-examples", max(EXAMPLES_MIN, arguments.cases // CALLS), "--no-color", "--report", "json", "--report-json-path", report,
            *further]
    status = subprocess.run(list(map(str, argv)), cwd=work).returncode
    faults = early + ([f"schemathesis ended with {status}"] if status else []) + server.faults()
    cases = json.loads(report.read_text())["test_cases"]["generated"] if report.exists() else 0
    if cases < arguments.cases:
        faults.append(f"only {cases} of {arguments.cases} cases were made")
    for fault in faults:
        print(f"FAILED {fault}")
    print(f"{cases} cases with seed {arguments.seed}, {'FAILED' if faults else 'passed'}")
    return 1 if faults else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bin", type=Path, default=os.environ.get("OFFSHOOT_BIN", ROOT / "target" / "debug" / "offshoot"))
    parser.add_argument("--deps", type=Path, default=ROOT / "target" / "schema-deps")
    parser.add_argument("--cases", type=int, default=1_000, help="at least so many, or the run fails")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**31))
    parser.add_argument("--install", action="store_true", help="only install what is needed")
    parser.add_argument("--keep", type=Path, help="where to copy the server's log and data to")
    parser.add_argument(INSIDE, type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--walled", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("further", nargs="*")
    arguments = parser.parse_args()
    arguments.bin, arguments.deps = arguments.bin.resolve(), arguments.deps.absolute()
    if arguments.inside:
        return attack(arguments)
    install(arguments.deps)
    if arguments.install:
        return 0
    with tempfile.TemporaryDirectory(prefix="oss-", dir="/tmp") as directory:  # short: sockets below it
        work = Path(directory).resolve()
        wall = walls(work)
        again = [sys.executable, __file__, "--bin", arguments.bin, "--deps", arguments.deps, "--cases", arguments.cases,
                 "--seed", arguments.seed, INSIDE, work, *(["--walled"] if wall else []), "--", *arguments.further]
        status = subprocess.run([*wall, *map(str, again)]).returncode
        if arguments.keep:
            shutil.copytree(work, arguments.keep, dirs_exist_ok=True, symlinks=True)
        return status


if __name__ == "__main__":
    sys.exit(main())
