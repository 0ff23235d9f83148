#!/usr/bin/env python3
"""Runs offshoot against the real codex, opencode and gemini, and a scripted model; README.md says how.

The last line is `N passed, N failed`; the exit status is 0 only when nothing failed.
"""

from __future__ import annotations

import argparse
import json
import os
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
import words
from parts import Broken, Model, call, run

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {"codex": "@openai/codex@0.169.0", "opencode": "opencode-ai@1.18.33", "gemini": "@google/gemini-cli@0.61.0"}
JOB_SECONDS = 90  # opencode starts in 4-15 s
RUN_SECONDS = 540


def install(deps: Path, kinds: list[str]) -> dict[str, Path]:
    """The program of each kind as npm puts it there; offshoot finds what is behind it."""
    deps.mkdir(parents=True, exist_ok=True)
    bins = deps / "node_modules" / ".bin"
    missing = [PACKAGES[kind] for kind in kinds if not (bins / kind).exists()]
    if missing:
        (deps / "package.json").write_text('{"private": true}\n')
        run("npm", "install", "--no-audit", "--no-fund", "--prefix", deps, *[PACKAGES[kind] for kind in kinds])
    return {kind: bins / kind for kind in kinds}


class Server:
    """The server, a bare repository as its remote, and the settings that lead each agent to the scripted model."""

    def __init__(self, binary: Path, work: Path, programs: dict[str, Path], model: Model) -> None:
        self.binary, self.work, self.programs, self.model = binary, work, programs, model
        self.home, self.remote = work / "home", work / "remotes" / "acme" / "widgets.git"
        self.secret, self.log = secrets.token_hex(24), work / "server.log"
        (self.home / ".codex").mkdir(parents=True)
        (self.home / ".gemini").mkdir()
        self._remote()
        self._agents()
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

    def _agents(self) -> None:
        (self.home / ".codex" / "config.toml").write_text(
            'model = "gpt-5.5"\nmodel_provider = "fake"\n[model_providers.fake]\nname = "fake"\n'
            f'base_url = "{self.model.url}/v1"\nenv_key = "FAKE_KEY"\nwire_api = "responses"\n')
        (self.home / ".gemini" / "settings.json").write_text(json.dumps(
            {"security": {"auth": {"selectedType": "gemini-api-key"}}, "privacy": {"usageStatisticsEnabled": False}}))
        model = "anthropic/claude-sonnet-4-5"
        (self.work / "opencode.json").write_text(json.dumps(
            {"model": model, "small_model": model, "autoupdate": False, "share": "disabled",
             "provider": {"anthropic": {"options": {"baseURL": f"{self.model.url}/v1", "apiKey": "fake"}}}}))

    def _config(self) -> None:
        extra = {
            "codex": {"FAKE_KEY": "k"},
            "opencode": {"OPENCODE_CONFIG": str(self.work / "opencode.json"), "OPENCODE_DISABLE_MODELS_FETCH": "1"},
            "gemini": {"GEMINI_API_KEY": "fake", "GOOGLE_GEMINI_BASE_URL": self.model.url},
        }
        text = (f'[server]\nport = {self.port}\n[paths]\ndata_dir = "{self.work}/data"\nrepos_dir = "{self.work}/repos"\n'
                f'worktrees_dir = "{self.work}/trees"\n[github]\nclone_url = "{self.work}/remotes/{{org}}/{{repo}}.git"\n'
                '[defaults]\npublish = "branch"\nmax_attempts = 1\n')
        for kind, program in self.programs.items():
            text += f'[agents.{kind}]\ncommand = "{program}"\n[agents.{kind}.set_env]\n'
            text += "".join(f"{name} = {json.dumps(value)}\n" for name, value in extra[kind].items())
        config = self.work / "offshoot.toml"
        config.touch(0o600)
        config.write_text(text)

    def start(self) -> None:
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.home), "LANG": "C.UTF-8",
                       "OFFSHOOT_CONFIG": str(self.work / "offshoot.toml"), "AGENT_API_SECRET": self.secret}
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

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(40)

    def call(self, method: str, path: str, body: object = None) -> tuple[int, dict]:
        return call(self.url + path, body, {"authorization": f"Bearer {self.secret}"}, method)

    def submit(self, kind: str, branch: str, prompt: str, **options: object) -> str:
        body = {"githubOrg": "acme", "githubRepo": "widgets", "branchName": branch, "prompt": prompt,
                "options": {"agent": kind, **options}}
        status, answer = self.call("POST", "/jobs", body)
        if status != 201:
            raise AssertionError(f"{status} {answer}")
        return answer["id"]

    def ended(self, job: str) -> dict:
        seen: dict = {}

        def over() -> bool:
            seen.update(self.call("GET", f"/jobs/{job}")[1])
            return seen["completedAt"] is not None or bool(seen["waiting"] and seen["waiting"]["for"] == "login")

        procs.until(f"the end of {job}", over, JOB_SECONDS)
        return seen

    def show(self, branch: str, path: str) -> str:
        return run("git", f"--git-dir={self.remote}", "show", f"{branch}:{path}")


def same(what: str, found: object, wanted: object) -> None:
    if found != wanted:
        raise AssertionError(f"{what} is {found!r}, not {wanted!r}")


def write(server: Server, kind: str) -> None:
    job = server.ended(server.submit(kind, f"{kind}-write", "-- Please. [[scenario:write-file path=w.txt]]"))
    same("outcome", job["outcome"] or job["reason"], "branch_pushed")
    same("the file", server.show(f"{kind}-write", "w.txt"), "hello from the fake model\n")
    if not job["sessionId"] or not job["usage"]["inputTokens"]:
        raise AssertionError(f"session {job['sessionId']!r}, usage {job['usage']}")
    same("whether it tells money", job["usage"]["costUsd"] is not None, kind == "opencode")


def commit(server: Server, kind: str) -> None:
    prompt = "Please. [[scenario:commit path=c.txt]]"
    job = server.ended(server.submit(kind, f"{kind}-commit", prompt, permissionMode="bypassPermissions"))
    same("outcome", job["outcome"] or job["reason"], "branch_pushed")
    subject = run("git", f"--git-dir={server.remote}", "log", "-1", "--format=%s", f"{kind}-commit").strip()
    same("its own commit", subject, "Add c.txt")


def no_change(server: Server, kind: str) -> None:
    job = server.ended(server.submit(kind, f"{kind}-none", "Please. [[scenario:no-change]]"))
    same("outcome", job["outcome"] or job["reason"], "no_changes")


def bad_request(server: Server, kind: str) -> None:
    job = server.ended(server.submit(kind, f"{kind}-bad", "Please. [[scenario:api-error status=400]]"))
    same("reason", (job["reason"] or {}).get("code"), "api_error")


def resume(server: Server, kind: str) -> None:
    """A failed job is continued in its conversation, and pays its own tokens alone."""
    first = server.ended(server.submit(kind, f"{kind}-more", "Please. [[scenario:api-error status=400]]"))
    same("reason", (first["reason"] or {}).get("code"), "api_error")
    status, answer = server.call("POST", f"/jobs/{first['id']}/retry",
                                 {"mode": "resume", "prompt": "Go on. [[scenario:write-file path=m.txt]]"})
    same("the answer", status, 201)
    job = server.ended(answer["id"])
    same("outcome", job["outcome"] or job["reason"], "branch_pushed")
    if kind == "gemini":  # which keeps no conversation whose first turn failed
        same("that it begins anew", any("afresh" in warning for warning in job["warnings"]), True)
        return
    same("the session", job["sessionId"], first["sessionId"])
    same("the file", server.show(f"{kind}-more", "m.txt"), "hello from the fake model\n")
    if any("afresh" in warning for warning in job["warnings"]):
        raise AssertionError(f"begun anew: {job['warnings']}")


def cancel(server: Server, kind: str) -> None:
    job = server.submit(kind, f"{kind}-stop", "Please. [[scenario:hang]]")
    word = f"{kind}-stop"
    procs.until("an agent that waits", lambda: (server.call("GET", f"/jobs/{job}")[1]["phase"] == "agent"), JOB_SECONDS)
    time.sleep(2)  # into the middle of its start
    status, answer = server.call("POST", f"/jobs/{job}/cancel", {})
    same("the answer", (status, answer.get("wasRunning")), (200, True))
    found = subprocess.run(["pgrep", "-f", word], capture_output=True, text=True).stdout.split()
    same("processes that are left", found, [])


def told(server: Server, kind: str) -> None:
    """An interruption ends the turn, and the message is told in the same conversation where there is one by then."""
    job = server.submit(kind, f"{kind}-told", "Please. [[scenario:hang]]")
    procs.until("an agent that waits", lambda: (server.call("GET", f"/jobs/{job}")[1]["phase"] == "agent"), JOB_SECONDS)
    time.sleep(8)  # until the model is asked
    text = "Do this. [[scenario:write-file path=t.txt]]"
    words.say(server.url, server.secret, job, {"type": "message", "id": "m-1", "text": text})
    words.say(server.url, server.secret, job, {"type": "interrupt"})
    ended = server.ended(job)
    same("outcome", ended["outcome"] or ended["reason"], "branch_pushed")
    same("attempts", len(ended["attempts"]), 1)
    same("the file", server.show(f"{kind}-told", "t.txt"), "hello from the fake model\n")
    afresh = any("afresh" in warning for warning in ended["warnings"])
    if afresh and kind != "opencode":  # which tells its conversation only with the model's first word
        raise AssertionError(f"not in the same conversation: {ended['warnings']}")


def refused(server: Server, kind: str) -> None:
    body = {"githubOrg": "acme", "githubRepo": "widgets", "branchName": f"{kind}-x", "prompt": "x",
            "options": {"agent": kind, "maxTurns": 3}}
    status, answer = server.call("POST", "/jobs", body)
    same("the answer", (status, answer.get("code")), (422, "not_supported"))


def not_logged_in(server: Server, kind: str) -> None:
    """Last: it holds the login."""
    job = server.ended(server.submit(kind, f"{kind}-login", "Please. [[scenario:auth-error]]"))
    same("status and what it waits for", (job["status"], (job["waiting"] or {}).get("for")), ("queued", "login"))


def health(server: Server, kind: str) -> None:
    def known() -> bool:
        agents = {agent["name"]: agent for agent in server.call("GET", "/health")[1]["agents"]}
        return agents.get(kind, {}).get("version") is not None

    procs.until(f"{kind} in /health", known, 60)
    agent = next(one for one in server.call("GET", "/health")[1]["agents"] if one["name"] == kind)
    same("version", agent["version"], PACKAGES[kind].rsplit("@", 1)[1])
    same("installed", agent["installed"], True)


SCENARIOS = [health, write, commit, no_change, bad_request, resume, cancel, told, refused, not_logged_in]


def play(server: Server, kinds: list[str]) -> tuple[int, int]:
    passed = failed = 0
    for kind in kinds:
        for scenario in SCENARIOS:
            started, fault = time.monotonic(), ""
            try:
                scenario(server, kind)
            except Exception as error:  # noqa: BLE001 - each scenario's fault is a row of the table
                fault = f"{type(error).__name__}: {error}"
            failed, passed = failed + bool(fault), passed + (not fault)
            word = f"FAILED {fault[:600]}" if fault else "ok"
            print(f"{kind:9} {scenario.__name__:14} {time.monotonic() - started:5.1f} s  {word}", flush=True)
    return passed, failed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--deps", type=Path, default=ROOT / "target" / "rig-deps" / "agents")
    parser.add_argument("--kinds", default="codex,opencode,gemini", help="a comma between each")
    parser.add_argument("--keep", action="store_true", help="keep the work directory and print its path")
    options = parser.parse_args()
    place = os.environ.get("OFFSHOOT_RIG", "")
    if not place:
        print("SKIPPED: nothing was run against the real agents, because OFFSHOOT_RIG is not set.", file=sys.stderr)
        return 0
    os.environ.pop("OFFSHOOT_STEP", None)
    target = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
    binary = Path(os.environ.get("OFFSHOOT_BIN") or target / "debug" / "offshoot").resolve()
    kinds = [kind for kind in options.kinds.split(",") if kind in PACKAGES]
    work = Path(tempfile.mkdtemp(prefix="osa-")).resolve()
    server = model = None
    passed, failed = 0, 1

    def time_up(*_: object) -> None:
        raise Broken(f"not done after {RUN_SECONDS} s, or told to stop")

    for number in (signal.SIGALRM, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, time_up)
    signal.alarm(RUN_SECONDS)
    try:
        programs = install(options.deps.resolve(), kinds)
        model = Model(SimpleNamespace(model_script=Path(place).resolve() / "fake_model_api.py"), work)
        model.wait_ready()
        server = Server(binary, work, programs, model)
        server.start()
        passed, failed = play(server, kinds)
    except (Broken, OSError, AssertionError) as error:
        print(f"BROKEN: {error}", flush=True)
    finally:
        signal.alarm(0)
        if server:
            server.stop()
            procs.Family(server.home).end_all()
        if model:
            model.child.stop()
        if failed and server:
            print("\n".join(server.log.read_text(errors="replace").splitlines()[-40:]))
        if options.keep:
            print(f"kept: {work}")
        else:
            shutil.rmtree(work, ignore_errors=True)
    print(f"{passed} passed, {failed} failed", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
