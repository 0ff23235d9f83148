"""The server under test as its owner would set it up, its API, and a receiver of callbacks."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import secrets
import signal
import socket
import subprocess
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import procs
from parts import Forge, Installed, Model, call

DRAIN_SECONDS = 10
READY_SECONDS = 30  # migrations and adoption on a loaded machine
AUTHOR = ("Rig Server", "server@rig.example")
AGENT = ("Rig Agent", "agent@rig.example")


@dataclass(frozen=True)
class Delivery:
    path: str
    headers: dict[str, str]  # names in lower case
    body: bytes
    at: float  # monotonic
    clock: float  # wall
    answered: int


class Receiver:
    """Keeps every callback; a path in `refuse` is answered 500 once."""

    def __init__(self) -> None:
        self.deliveries: list[Delivery] = []
        self.refuse: set[str] = set()
        self.lock = threading.Lock()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            timeout = 20

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                with receiver.lock:
                    status = 500 if self.path in receiver.refuse else 204
                    receiver.refuse.discard(self.path)
                    headers = {name.lower(): value for name, value in self.headers.items()}
                    receiver.deliveries.append(
                        Delivery(self.path, headers, body, time.monotonic(), time.time(), status))
                self.send_response(status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def of(self, path: str) -> list[Delivery]:
        with self.lock:
            return [delivery for delivery in self.deliveries if delivery.path == path]

    def stop(self) -> None:
        self.http.shutdown()
        self.http.server_close()


def signature_faults(delivery: Delivery, secret: str) -> list[str]:
    """Both signatures, the second one by the library that a receiver in Python would use."""
    from standardwebhooks import Webhook  # installed by parts.Installed

    faults = []
    want = hmac.new(secret.encode(), delivery.body, hashlib.sha256).hexdigest()
    if (got := delivery.headers.get("x-agent-signature")) != want:
        faults.append(f"X-Agent-Signature {got!r}")
    key = secret if secret.startswith("whsec_") else base64.b64encode(secret.encode()).decode()
    try:
        Webhook(key).verify(delivery.body, delivery.headers)
    except Exception as error:  # the library's own kinds, and what a missing header makes of it
        faults.append(f"Standard Webhooks: {type(error).__name__} {error}")
    try:
        stamp = int(delivery.headers["webhook-timestamp"])
    except (KeyError, ValueError) as error:
        return [*faults, f"webhook-timestamp: {error!r}"]
    if abs(stamp - delivery.clock) > 3:
        faults.append(f"webhook-timestamp is {delivery.clock - stamp:.1f} s old on arrival")
    return faults


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def toml(value: object) -> str:
    """JSON's texts, numbers, booleans and lists of texts are TOML's too."""
    return json.dumps(value)


class Server:
    def __init__(self, binary: Path, work: Path, installed: Installed, model: Model, forge: Forge) -> None:
        self.binary, self.work = binary, work
        self.installed, self.model, self.forge = installed, model, forge
        self.home = work / "home"
        self.home.mkdir()
        self.clone = work / "repos" / "acme" / "widgets.git"
        self.worktrees = work / "trees" / "acme" / "widgets"
        self.log = work / "server.log"
        self.config = work / "offshoot.toml"
        self.api_secret = secrets.token_hex(24)
        self.callback_secret = secrets.token_hex(24)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen | None = None

    def encoded_secret(self) -> str:
        return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()

    def write_config(self) -> None:
        sections: dict[str, dict[str, object]] = {
            "server": {"port": self.port, "drain_seconds": DRAIN_SECONDS},
            "paths": {"data_dir": str(self.work / "data"), "repos_dir": str(self.work / "repos"),
                      "worktrees_dir": str(self.work / "trees")},
            "github": {"api_url": self.forge.api_url, "clone_url": self.forge.clone_url, "token": self.forge.token},
            "git": {"author_name": AUTHOR[0], "author_email": AUTHOR[1]},
            "callbacks": {"secret": self.callback_secret, "allow": ["127.0.0.1"]},
            "defaults": {"keep_worktree": False},
            "agents.claude": {"kind": "claude", "command": str(self.installed.claude), "env": ["ANTHROPIC_API_KEY"]},
            "agents.claude.set_env": self._agent_environment(),
        }
        text = "".join(f"[{name}]\n" + "".join(f"{key} = {toml(value)}\n" for key, value in keys.items()) + "\n"
                       for name, keys in sections.items())
        self.config.touch(0o600)
        self.config.write_text(text)

    def _agent_environment(self) -> dict[str, str]:
        return {
            "ANTHROPIC_BASE_URL": self.model.url, "CLAUDE_CONFIG_DIR": str(self.home / ".claude"),
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "DISABLE_AUTOUPDATER": "1",
            "DISABLE_TELEMETRY": "1", "DISABLE_ERROR_REPORTING": "1",
            "CLAUDE_CODE_MAX_RETRIES": "1",  # the default of ten takes three minutes
            "GIT_AUTHOR_NAME": AGENT[0], "GIT_AUTHOR_EMAIL": AGENT[1],
            "GIT_COMMITTER_NAME": AGENT[0], "GIT_COMMITTER_EMAIL": AGENT[1],
        }

    def secrets(self) -> dict[str, bytes]:
        basic = base64.b64encode(f"x-access-token:{self.forge.token}".encode())
        return {"the forge token": self.forge.token.encode(), "the forge token in base64": basic,
                "the API secret": self.api_secret.encode(), "the callback secret": self.callback_secret.encode()}

    def start(self) -> None:
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.home), "LANG": "C.UTF-8",
                       "OFFSHOOT_CONFIG": str(self.config), "AGENT_API_SECRET": self.api_secret,
                       "ANTHROPIC_API_KEY": "fake-key",
                       # what an agent says is the same in the sandbox; whoever wants to see it there says so
                       "OFFSHOOT_DEFAULTS_ISOLATION": os.environ.get("OFFSHOOT_DEFAULTS_ISOLATION", "none")}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([self.binary, "serve"], cwd=self.work, env=environment, stdout=log,
                                            stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)
        procs.until("200 from /readyz", self._ready, READY_SECONDS)

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

    def leave(self) -> int:
        """SIGTERM, and the exit status; fails when the drain takes longer than configured."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(DRAIN_SECONDS + 5)
        except subprocess.TimeoutExpired as error:
            raise AssertionError(f"still there {DRAIN_SECONDS + 5} s after SIGTERM") from error

    def stop(self) -> None:
        if self.process and self.process.poll() is None:
            self.kill()

    def get(self, path: str) -> Any:
        return self._call(200, "GET", path)

    def post(self, path: str, body: object, status: int) -> Any:
        return self._call(status, "POST", path, body)

    def _call(self, want: int, method: str, path: str, body: object = None) -> Any:
        headers = {"authorization": f"Bearer {self.api_secret}"}
        status, answer = call(self.url + path, body, headers, method)
        if status != want:
            raise AssertionError(f"{method} {path} answered {status}: {answer}")
        return answer

    def git(self, *argv: str) -> str:
        done = subprocess.run(["git", f"--git-dir={self.clone}", *argv], capture_output=True, text=True, timeout=20)
        if done.returncode:
            raise AssertionError(f"git {' '.join(argv)}: {done.stderr.strip()}")
        return done.stdout

    def log_tail(self, lines: int = 60) -> str:
        try:
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
        except OSError:
            return ""
