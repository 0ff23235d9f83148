"""What each kind of agent goes through, in the order of the table. Those that wait long begin early; the last ones hold a login."""

from __future__ import annotations

import errno
import json
import os
import signal
import time

import procs
import words
from parts import run

JOB_SECONDS = 90  # opencode starts in 4-15 s
TOOL_SECONDS = 200  # opencode waits two minutes for a shell that was killed
GIVING_UP_SECONDS = 300  # gemini asks ten times in three and a half minutes
IDLE_SECONDS = 25  # longer than any start
HELLO = "hello from the fake model\n"
GIANT_BYTES = 9_000_000  # more than a line that is kept whole
RATE_KEY = "rate-limit (key)"
VERSIONS = {"claude": "2.1.329", "codex": "0.169.0", "opencode": "1.18.33", "gemini": "0.61.0"}


class NotApplicable(Exception):
    """The kind says that it cannot: its capabilities, not this table, decide."""


def same(what: str, found: object, wanted: object) -> None:
    if found != wanted:
        raise AssertionError(f"{what} is {found!r}, not {wanted!r}")


def same_end(job: dict, outcome: str, code: str | None = None) -> None:
    reason = job["reason"] or {}
    same("the end", (job["outcome"], reason.get("code")), (outcome, code))


def no_word_for_it(server, login: str, prompt: str, what: str) -> None:
    """opencode tells in that protocol that the API failed, and neither why nor with which status."""
    same_end(server.rests(server.submit(what.replace(" ", "-"), prompt, login), GIVING_UP_SECONDS), "failed", "api_error")
    raise NotApplicable(f"it has no word there for a {what}: the API failed, and that is all")


def freely(kind: str) -> dict:
    """May use the shell. claude refuses to be let loose as root."""
    return {"allowedTools": ["Bash"]} if kind == "claude" else {"permissionMode": "bypassPermissions"}


def script(*turns: object) -> str:
    return f"[[script]]{json.dumps(list(turns))}[[/script]]"


class Held:
    """A job in the middle of a tool that waits until it is let go: `cat` of a named pipe."""

    def __init__(self, server, name: str) -> None:
        self.server, self.pipe = server, server.work / f"hold-{name}"
        os.mkfifo(self.pipe, 0o600)
        acts = script({"bash": f"cat {self.pipe} > held.txt"})
        self.job = server.submit(name, f"Please do this.\n{acts}", **freely(server.kind))
        wanted = [b"cat", os.fsencode(self.pipe), b""]
        self.tool = procs.until("the agent's tool running", lambda: next(
            (p for p in processes_of(server, self.job) if p.arguments.split(b"\0") == wanted), None), JOB_SECONDS)

    def release(self) -> None:
        def opened() -> int | None:
            try:
                return os.open(self.pipe, os.O_WRONLY | os.O_NONBLOCK) + 1  # never 0
            except OSError as error:
                if error.errno != errno.ENXIO:
                    raise
                return None

        end = procs.until("a reader of the named pipe", opened, 10) - 1
        os.write(end, b"let go\n")
        os.close(end)


def processes_of(server, job: str) -> list[procs.Process]:
    """Agents, and what they have started, that work in the job's worktree, be it still there or not."""
    return [p for p in server.family.marked() if job in p.works_in]


def nothing_left(server, job: str) -> None:
    same("processes that are left", [p.line for p in processes_of(server, job)], [])


def health(server) -> None:
    def known() -> dict | None:
        return next((one for one in server.get("/health")["agents"] if one["name"] == "works" and one["version"]), None)

    agent = procs.until("its version in /health", known, 60)
    same("version and installed", (agent["version"], agent["installed"]), (VERSIONS[server.plain], True))




def write(server) -> None:
    job = server.rests(server.submit("write", "-- Please. [[scenario:write-file path=w.txt]]"))
    same_end(job, "branch_pushed")
    same("the file", server.show("write", "w.txt"), HELLO)
    if not job["sessionId"] or not job["usage"]["inputTokens"]:
        raise AssertionError(f"session {job['sessionId']!r}, usage {job['usage']}")
    tells = server.kind == "opencode-acp" or server.abilities()["cost"]  # it tells, and cannot be relied on to
    same("whether it tells money", job["usage"]["costUsd"] is not None, tells)
    server.written = job


def commit(server) -> None:
    job = server.rests(server.submit("commit", "Please. [[scenario:commit path=c.txt]]", **freely(server.kind)))
    same_end(job, "branch_pushed")
    subject = run("git", f"--git-dir={server.remote}", "log", "-1", "--format=%s", "commit").strip()
    same("its own commit", subject, "Add c.txt")


def no_change(server) -> None:
    same_end(server.rests(server.submit("none", "Please. [[scenario:no-change]]")), "no_changes")


def denied(server) -> None:
    """Everything that it asks for is denied."""
    if not server.abilities()["tellsDenials"]:
        job = server.rests(server.submit("denied", "Please. [[scenario:write-file]]", permissionMode="plan"))
        same_end(job, "no_changes")
        raise NotApplicable("it does not say what was denied: nothing changes, and that is all")
    acts, options = '[[scenario:bash command="make install"]]', {}
    if server.kind == "codex":  # whose sandbox lets every command begin
        acts, options = "[[scenario:write-file]]", {"permissionMode": "plan"}
    same_end(server.rests(server.submit("denied", f"Please. {acts}", **options)), "failed", "permission_denied")


def api_error(server) -> None:
    job = server.rests(server.submit("bad", "Please. [[scenario:api-error status=400]]"))
    same_end(job, "failed", "api_error")


def rate_key(server) -> None:
    """A limit that passes by itself: this job waits, its login is not held."""
    if server.kind == "opencode-acp":
        no_word_for_it(server, "key", "Please.", "limit")

    def waits() -> dict | None:
        job = server.get(f"/jobs/{server.begun}")
        if job["completedAt"]:
            raise AssertionError(f"it has ended: {job['reason']}")
        return job if (job["waiting"] or {}).get("for") == "backoff" else None

    job = procs.until("a pause before the next try", waits, GIVING_UP_SECONDS)
    same("status and reason", (job["status"], job["reason"]["code"]), ("queued", "overloaded"))
    same("counted attempts", [one["number"] for one in job["attempts"] if one["counted"]], [])
    server.call("POST", f"/jobs/{server.begun}/cancel", {})


def rate_subscription(server) -> None:
    """The hours are used up: the login is held, until the end of the limit where that is told. Nothing is counted."""
    if server.kind == "opencode-acp":
        no_word_for_it(server, "subscription", "Please.", "used up allowance")
    if server.kind == "gemini-acp":
        job = server.rests(server.submit("sub", "Please.", "subscription", idleTimeoutSeconds=IDLE_SECONDS))
        same_end(job, "failed", "idle_timeout")
        nothing_left(server, job["id"])
        raise NotApplicable("it sleeps there until its allowance is renewed, and says nothing: the job ends for its silence")
    asked = time.time()
    job = server.rests(server.submit("sub", "Please.", "subscription"))
    same("status, reason, and what it waits for", (job["status"], job["reason"]["code"], job["waiting"]["for"]),
         ("queued", "usage_limit", "usage_limit"))
    same("counted attempts", [one["counted"] for one in job["attempts"]], [False])
    nothing_left(server, job["id"])
    until = job["waiting"]["until"]
    hours = (time.mktime(time.strptime(until[:19], "%Y-%m-%dT%H:%M:%S")) - time.timezone - asked) / 3600 if until else 0
    tells_end = server.kind != "codex"  # in words of the local time alone
    same("whether it is held for the hours that were told", 8.5 < hours < 9, tells_end)


def hang(server) -> None:
    job = server.rests(server.submit("hang", "Please. [[scenario:hang]]", idleTimeoutSeconds=IDLE_SECONDS))
    same_end(job, "failed", "idle_timeout")
    nothing_left(server, job["id"])


def huge_output(server) -> None:
    acts = f"[[scenario:huge-output bytes={GIANT_BYTES} chunk=65536]]"
    # gemini takes the repetition for a loop, and ends its turn there with the reason of too many requests
    end = ("failed", "max_turns") if server.kind == "gemini-acp" else ("no_changes", None)
    same_end(server.rests(server.submit("huge", f"Please. {acts}"), 2 * JOB_SECONDS), *end)


def tool_crash(server) -> None:
    acts = script({"bash": "kill -9 $$"}, {"write": "after.txt", "content": "x\n"})
    job = server.rests(server.submit("tool", f"Please. {acts}", **freely(server.kind)), TOOL_SECONDS)
    same_end(job, "branch_pushed")


def agent_crash(server) -> None:
    """Killed in the middle of a tool: the attempt is over, its tool too, and it counts."""
    held = Held(server, "crash")
    record = server.get(f"/jobs/{held.job}")
    agents = [p for p in processes_of(server, held.job) if p.pid != record["pid"] and not p.arguments.startswith(b"cat\0")]
    for process in agents:
        if procs.is_alive(process) and not process.is_program(server.binary):
            os.kill(process.pid, signal.SIGKILL)
    job = server.rests(held.job)
    same("status", job["status"], "failed")
    if job["reason"]["code"] not in ("crashed", "interrupted"):
        raise AssertionError(f"the reason is {job['reason']}")
    same("counted attempts", [one["counted"] for one in job["attempts"]], [True])
    nothing_left(server, held.job)


def cancel(server) -> None:
    """In the middle of a tool: when the answer comes, nothing of it runs any more."""
    held = Held(server, "stop")
    status, answer = server.call("POST", f"/jobs/{held.job}/cancel", {})
    nothing_left(server, held.job)
    same("whether its tool lives", procs.is_alive(held.tool), False)
    same("the answer", (status, answer.get("wasRunning")), (200, True))
    same_end(server.rests(held.job), "cancelled", "cancelled")


def follow_up(server) -> None:
    """On the branch and in the conversation of the job before."""
    before = server.written
    status, answer = server.call("POST", f"/jobs/{before['id']}/follow-up", {"prompt": "More. [[scenario:write-file path=f.txt]]"})
    same("the answer", status, 201)
    job = server.rests(answer["id"])
    same_end(job, "branch_pushed")
    same("its warnings", job["warnings"], [])
    same("the session", job["sessionId"], before["sessionId"])
    same("both files", (server.show("write", "w.txt"), server.show("write", "f.txt")), (HELLO, HELLO))


def resume(server) -> None:
    """A failed job is continued in its conversation, and pays its own tokens alone."""
    first = server.rests(server.submit("more", "Please. [[scenario:api-error status=400]]"))
    same_end(first, "failed", "api_error")
    status, answer = server.call("POST", f"/jobs/{first['id']}/retry",
                                 {"mode": "resume", "prompt": "Go on. [[scenario:write-file path=m.txt]]"})
    same("the answer", status, 201)
    job = server.rests(answer["id"])
    same_end(job, "branch_pushed")
    begins_anew = server.plain == "gemini"  # which keeps no conversation whose first turn failed
    same("whether it begins anew", any("afresh" in warning for warning in job["warnings"]), begins_anew)
    if not begins_anew:
        same("the session", job["sessionId"], first["sessionId"])
    same("the file", server.show("more", "m.txt"), HELLO)


def restart(server) -> None:
    """The server is killed in the middle of a tool and started again: one attempt, one run."""
    held = Held(server, "restart")
    server.kill()
    same("whether the tool lives", procs.is_alive(held.tool), True)
    server.start()
    same("status", server.get(f"/jobs/{held.job}")["status"], "running")
    held.release()
    job = server.rests(held.job)
    same_end(job, "branch_pushed")
    same("attempts", len(job["attempts"]), 1)
    same("the file", server.show("restart", "held.txt"), "let go\n")


def told(server) -> None:
    """An interruption ends the turn, and the message is told in the same conversation where there is one by then."""
    if server.abilities()["hears"] == "never":
        raise NotApplicable("it hears nothing while it runs")
    held = Held(server, "told")
    text = "Do this. [[scenario:write-file path=t.txt]]"
    words.say(server.url, server.secret, held.job, {"type": "message", "id": "m-1", "text": text})
    words.say(server.url, server.secret, held.job, {"type": "interrupt"})
    job = server.rests(held.job)
    same_end(job, "branch_pushed")
    same("attempts", len(job["attempts"]), 1)
    same("the file", server.show("told", "t.txt"), HELLO)


def refused(server) -> None:
    """What it cannot carry out is not accepted."""
    known = server.abilities()["options"]
    asked = {"maxTurns": 3, "maxBudgetUsd": 1, "allowedTools": ["Read"]}
    refused_ones = [name for name in asked if name not in known]
    if not refused_ones:
        raise NotApplicable("it carries out every option")
    for name in refused_ones:
        body = {"githubOrg": "acme", "githubRepo": "widgets", "branchName": "x", "prompt": "x",
                "options": {"agent": "works", name: asked[name]}}
        status, answer = server.call("POST", "/jobs", body)
        same(f"the answer to {name}", (status, answer.get("code")), (422, "not_supported"))


def not_logged_in(server) -> None:
    if server.kind == "opencode-acp":
        no_word_for_it(server, "refused", "Please. [[scenario:auth-error]]", "dead login")
    job = server.rests(server.submit("login", "Please. [[scenario:auth-error]]", "refused"))
    same("status, reason, and what it waits for", (job["status"], job["reason"]["code"], job["waiting"]["for"]),
         ("queued", "not_logged_in", "login"))


CELLS = {
    "version": health, "write": write, "commit itself": commit, "change nothing": no_change, "denied": denied,
    "api-error": api_error, "rate-limit (sub)": rate_subscription, "hang": hang, "huge output": huge_output,
    "tool crashes": tool_crash, "agent crashes": agent_crash, "cancel": cancel, "follow-up": follow_up, "resume": resume,
    "restart in mid-tool": restart, "told": told, "unsupported option": refused, "dead login": not_logged_in,
    RATE_KEY: rate_key,
}
