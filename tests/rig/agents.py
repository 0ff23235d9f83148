#!/usr/bin/env python3
"""Runs offshoot against the real claude, codex, opencode and gemini, the last two also through the Agent Client Protocol, and a
scripted model; README.md says how.

It prints a table of kinds and scenarios; the exit status is 0 only when nothing failed.
"""

from __future__ import annotations

import argparse
import glob
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

sys.dont_write_bytecode = True

import procs
from cells import CELLS, JOB_SECONDS, RATE_KEY, NotApplicable
from limits import Limited, passing, used_up
from parts import CLAUDE_PACKAGE, Broken, Model, call, run

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {"claude": CLAUDE_PACKAGE, "codex": "@openai/codex@0.169.0", "opencode": "opencode-ai@1.18.33",
            "gemini": "@google/gemini-cli@0.61.0"}
SPEAKING = {"opencode-acp": ["acp"], "gemini-acp": ["--acp", "--skip-trust"]}  # the same programs, and what has them speak it
KINDS = [*PACKAGES, *SPEAKING]
RUN_SECONDS = 2_400  # one to seven minutes for each kind
MODEL = "anthropic/claude-sonnet-4-5"


def install(deps: Path, kinds: list[str]) -> dict[str, Path]:
    """The program of each kind as npm puts it there; offshoot finds what is behind it."""
    deps.mkdir(parents=True, exist_ok=True)
    speaking = {kind: kind.removesuffix("-acp") for kind in kinds if kind in SPEAKING}
    kinds = [kind for kind in PACKAGES if kind in {*kinds, *speaking.values()}]

    def found() -> dict[str, Path]:
        bins = deps / "node_modules" / ".bin"
        programs = {kind: bins / kind for kind in kinds if kind != "claude" and (bins / kind).exists()}
        # npm's wrapper of claude needs an install script, which some machines forbid
        for home in (deps, deps.parent / "claude"):
            for program in glob.glob(str(home / "node_modules" / "@anthropic-ai" / "claude-code-*" / "claude")):
                if "musl" not in program:
                    programs.setdefault("claude", Path(program).resolve())
        return {kind: program for kind, program in programs.items() if kind in kinds}

    if missing := [PACKAGES[kind] for kind in kinds if kind not in found()]:
        if not (deps / "package.json").exists():  # one that is there names those that are to stay
            (deps / "package.json").write_text('{"private": true}\n')
        run("npm", "install", "--no-audit", "--no-fund", "--prefix", deps, *missing)
        if missing := [kind for kind in kinds if kind not in found()]:
            raise Broken(f"npm installed no {' and no '.join(missing)}")
    programs = found()
    return programs | {kind: programs[plain] for kind, plain in speaking.items()}


class TimeUp(BaseException):
    """Not an Exception, so that no cell takes it for its own failure."""


class Server:
    """The server with one kind of agent under several logins, a bare repository as its remote, and the settings that lead each
    login to the model that it is to meet."""

    def __init__(self, binary: Path, work: Path, kind: str, program: Path, models: dict[str, str]) -> None:
        self.binary, self.work, self.kind, self.program, self.models = binary, work, kind, program, models
        self.plain, self.speaks = kind.removesuffix("-acp"), kind in SPEAKING
        self.home, self.remote = work / "home", work / "remotes" / "acme" / "widgets.git"
        self.family = procs.Family(self.home)
        self.secret, self.log = secrets.token_hex(24), work / "server.log"
        self.home.mkdir(parents=True)
        self._remote()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._config()

    def _remote(self) -> None:
        seed = self.work / "seed"
        run("git", "init", "-q", "--bare", "-b", "main", self.remote)
        run("git", "clone", "-q", self.remote, seed)
        (seed / "README.md").write_text("# Widgets\n")
        run("git", "-C", seed, "add", "README.md")
        run("git", "-C", seed, "-c", "user.name=T", "-c", "user.email=t@example.com", "commit", "-qm", "first")
        run("git", "-C", seed, "push", "-q", "origin", "HEAD:main")

    def _environment(self, login: str, url: str) -> dict[str, str]:
        place = self.home / login
        place.mkdir()
        if self.plain == "claude":
            key = {"CLAUDE_CODE_OAUTH_TOKEN": "fake"} if login == "subscription" else {"ANTHROPIC_API_KEY": "fake"}
            return key | {"ANTHROPIC_BASE_URL": url, "CLAUDE_CONFIG_DIR": str(place), "DISABLE_TELEMETRY": "1",
                          "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "DISABLE_ERROR_REPORTING": "1",
                          "CLAUDE_CODE_MAX_RETRIES": "1"}  # the default of ten takes three minutes
        if self.plain == "codex":
            (place / "config.toml").write_text(
                'model = "gpt-5.5"\nmodel_provider = "fake"\n[model_providers.fake]\nname = "fake"\n'
                f'base_url = "{url}/v1"\nenv_key = "FAKE_KEY"\nwire_api = "responses"\n')
            return {"CODEX_HOME": str(place), "FAKE_KEY": "k"}
        if self.plain == "opencode":
            (place / "opencode.json").write_text(json.dumps(
                {"model": MODEL, "small_model": MODEL, "autoupdate": False, "share": "disabled",
                 "provider": {"anthropic": {"options": {"baseURL": f"{url}/v1", "apiKey": "fake"}}}}))
            asks = {"OPENCODE_PERMISSION": json.dumps({"edit": "ask", "bash": "ask"})} if self.speaks else {}
            return {"OPENCODE_CONFIG": str(place / "opencode.json"), "OPENCODE_DISABLE_MODELS_FETCH": "1"} | asks
        settings = self.home / ".gemini"
        settings.mkdir(exist_ok=True)
        (settings / "settings.json").write_text(json.dumps(
            {"security": {"auth": {"selectedType": "gemini-api-key"}}, "privacy": {"usageStatisticsEnabled": False}}))
        return {"GEMINI_API_KEY": "fake", "GOOGLE_GEMINI_BASE_URL": url}

    def _config(self) -> None:
        text = (f'[server]\nport = {self.port}\nmax_concurrent_jobs = 3\n[paths]\ndata_dir = "{self.work}/data"\n'
                f'repos_dir = "{self.work}/repos"\nworktrees_dir = "{self.work}/trees"\n'
                f'[github]\nclone_url = "{self.work}/remotes/{{org}}/{{repo}}.git"\n'
                '[defaults]\npublish = "branch"\nmax_attempts = 1\n')
        for login, url in self.models.items():
            kind = f'kind = "acp"\nargs = {json.dumps(SPEAKING[self.kind])}' if self.speaks else f'kind = "{self.kind}"'
            text += (f'[agents.{login}]\n{kind}\ncommand = "{self.program}"\n[agents.{login}.set_env]\n'
                     + "".join(f"{name} = {json.dumps(value)}\n" for name, value in self._environment(login, url).items()))
        config = self.work / "offshoot.toml"
        config.touch(0o600)
        config.write_text(text)

    def _path_without_bubblewrap(self) -> str:
        """codex keeps its tools in a bubblewrap of its own where it finds one, and as root it then writes nothing."""
        programs = self.work / "path"
        if not programs.exists():
            programs.mkdir()
            for folder in map(Path, os.environ["PATH"].split(os.pathsep)):
                for program in folder.iterdir() if folder.is_dir() else ():
                    if program.name != "bwrap" and not (programs / program.name).is_symlink():
                        (programs / program.name).symlink_to(program)
        return str(programs)

    def start(self) -> None:
        isolation = os.environ.get("OFFSHOOT_DEFAULTS_ISOLATION", "none")
        path = self._path_without_bubblewrap() if isolation == "none" else os.environ["PATH"]
        environment = {"PATH": path, "HOME": str(self.home), "LANG": "C.UTF-8",
                       "OFFSHOOT_CONFIG": str(self.work / "offshoot.toml"), "AGENT_API_SECRET": self.secret,
                       # what an agent says is the same in the sandbox; whoever wants to see it there says so
                       "OFFSHOOT_DEFAULTS_ISOLATION": isolation}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([self.binary, "serve"], cwd=self.work, env=environment, stdout=log,
                                            stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)
        procs.until("200 from /readyz", self._ready, 30)

    def _ready(self) -> bool:
        if self.process.poll() is not None:
            raise AssertionError(f"the server ended with {self.process.returncode} at start")
        try:
            return call(f"{self.url}/readyz", seconds=5)[0] == 200
        except OSError:
            return False

    def kill(self) -> None:
        """As a crash does it: this process alone, at once."""
        self.process.kill()
        self.process.wait(10)

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(40)
            except subprocess.TimeoutExpired:
                self.kill()
        self.family.end_all()

    def call(self, method: str, path: str, body: object = None) -> tuple[int, dict]:
        return call(self.url + path, body, {"authorization": f"Bearer {self.secret}"}, method)

    def get(self, path: str) -> dict:
        status, answer = self.call("GET", path)
        if status != 200:
            raise AssertionError(f"GET {path} answered {status}: {answer}")
        return answer

    def abilities(self) -> dict:
        """What the kind can do, as `/health` has it."""
        def told() -> dict | None:
            return next((agent["can"] for agent in self.get("/health")["agents"] if agent["name"] == "works"), None)

        return procs.until("its abilities in /health", told, 60)

    def submit(self, branch: str, prompt: str, login: str = "works", **options: object) -> str:
        body = {"githubOrg": "acme", "githubRepo": "widgets", "branchName": branch, "prompt": prompt,
                "options": {"agent": login, **options}}
        status, answer = self.call("POST", "/jobs", body)
        if status != 201:
            raise AssertionError(f"{status} {answer}")
        return answer["id"]

    def rests(self, job: str, seconds: float = JOB_SECONDS) -> dict:
        """The job once it has ended, or waits for something because of what its attempt met."""
        seen: dict = {}

        def over() -> bool:
            seen.update(self.get(f"/jobs/{job}"))
            return seen["completedAt"] is not None or bool(seen["attempts"] and seen["waiting"] and seen["reason"])

        procs.until(f"the end of {job}", over, seconds)
        return seen

    def show(self, branch: str, path: str) -> str:
        return run("git", f"--git-dir={self.remote}", "show", f"{branch}:{path}")


class Table:
    def __init__(self, kinds: list[str]) -> None:
        self.kinds, self.words = kinds, {}

    def play(self, server: Server, name: str, cell) -> None:
        started = time.monotonic()
        try:
            word = cell(server) or "ok"
        except NotApplicable as why:
            word = f"not applicable: {why}"
        except Exception as error:  # noqa: BLE001 - each cell's fault is a word of the table
            word = f"FAILED {type(error).__name__}: {error}"
        self.words[server.kind, name] = word
        print(f"{server.kind:12} {name:18} {time.monotonic() - started:5.1f} s  {word[:800]}", flush=True)

    def count(self, beginning: str) -> int:
        return sum(word.startswith(beginning) for word in self.words.values())

    def show(self) -> None:
        """In Markdown, so that it can be put where it is read; what a short word cannot say stands below."""
        print(f"\n| scenario | {' | '.join(self.kinds)} |\n|---|{'---|' * len(self.kinds)}")
        notes: list[str] = []
        for name in CELLS:
            cells = []
            for kind in self.kinds:
                word = self.words.get((kind, name), "–")
                short, _, why = word.partition(": ")
                if why and short == "not applicable":
                    notes += [] if why in notes else [why]
                    short = f"not applicable ({notes.index(why) + 1})"
                cells.append(re.split(r"\s", word)[0] if word.startswith("FAILED") else short)
            print(f"| {name} | {' | '.join(cells)} |")
        for number, note in enumerate(notes, 1):
            print(f"{number}. {note}")


def play(binary: Path, work: Path, kind: str, program: Path, models: dict[str, str], table: Table,
         only: list[str]) -> None:
    """Every cell of one kind, on a server of its own."""
    server = Server(binary, work / kind, kind, program, models)
    server.start()
    before = table.count("FAILED")
    try:
        if not only or RATE_KEY in only:  # it may take minutes until the agent gives up
            server.begun = server.submit("key", "Please.", "key")
        for name, cell in CELLS.items():
            if not only or name in only:
                if server.process.poll() is not None:  # a cell that failed between end and start takes no other with it
                    server.start()
                table.play(server, name, cell)
    finally:
        server.stop()
        if table.count("FAILED") > before:
            print("\n".join(server.log.read_text(errors="replace").splitlines()[-40:]))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--deps", type=Path, default=ROOT / "target" / "rig-deps" / "agents")
    parser.add_argument("--kinds", default=",".join(KINDS), help="a comma between each")
    parser.add_argument("--cells", default="", help="some scenarios alone, a comma between each")
    parser.add_argument("--keep", action="store_true", help="keep the work directory and print its path")
    options = parser.parse_args()
    place = os.environ.get("OFFSHOOT_RIG", "")
    if not place:
        print("SKIPPED: nothing was run against the real agents, because OFFSHOOT_RIG is not set.", file=sys.stderr)
        return 0
    os.environ.pop("OFFSHOOT_STEP", None)
    target = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
    binary = Path(os.environ.get("OFFSHOOT_BIN") or target / "debug" / "offshoot").resolve()
    kinds = [kind for kind in options.kinds.split(",") if kind in KINDS]
    only = [name for name in options.cells.split(",") if name in CELLS]
    work = Path(tempfile.mkdtemp(prefix="osa-")).resolve()
    table, broken = Table(kinds), 0
    stops = []

    def time_up(*_: object) -> None:
        raise TimeUp(f"not done after {RUN_SECONDS} s, or told to stop")

    for number in (signal.SIGALRM, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, time_up)
    signal.alarm(RUN_SECONDS)
    try:
        programs = install(options.deps.resolve(), kinds)
        model = Model(SimpleNamespace(model_script=Path(place).resolve() / "fake_model_api.py"), work)
        stops.append(model.child.stop)
        model.wait_ready()
        limits = [Limited(passing), Limited(used_up)]
        stops += [one.stop for one in limits]
        models = {"works": model.url, "refused": model.url, "key": limits[0].url, "subscription": limits[1].url}
        for kind in kinds:
            play(binary, work, kind, programs[kind], models, table, only)
    except (Broken, OSError, AssertionError, TimeUp) as error:
        broken = 1
        print(f"BROKEN: {error}", flush=True)
    finally:
        signal.alarm(0)
        for stop in stops:
            stop()
        if options.keep:
            print(f"kept: {work}")
        else:
            shutil.rmtree(work, ignore_errors=True)
    table.show()
    failed = table.count("FAILED") + broken
    print(f"\n{table.count('ok')} passed, {table.count('not applicable')} not applicable, {failed} failed", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
