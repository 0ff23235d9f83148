"""What happens to jobs, each from the request to the last callback. Order matters: later ones restart the server."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable

import procs
import words
from parts import CLAUDE_VERSION, Forge, Model
from stand import AGENT, AUTHOR, Receiver, Server, signature_faults

JOB_SECONDS = 45  # an agent run takes 1-2 s; ten share two workers
CALLBACK_SECONDS = 10
CHILD_SLEEP = "3217"  # odd enough to be found among all processes
EDITING = {"allowedTools": ["Bash"]}
SHARED_WITH_CALLBACK = ("osFeatureId", "status", "prUrl", "prNumber", "filesChanged", "error", "completedAt", "number",
                        "branchName", "headSha", "outcome", "reason", "metadata", "labels", "usage", "verify")


@dataclass
class Stage:
    server: Server
    model: Model
    forge: Forge
    receiver: Receiver
    family: procs.Family
    watch: procs.Watch
    work: Path
    quiet: str  # stands in every prompt and nowhere else
    jobs: list["Job"] = field(default_factory=list)


@dataclass
class Job:
    name: str
    word: str  # in this prompt alone: tells its questions to the model from others'
    id: str
    request: dict[str, Any]


@dataclass(frozen=True)
class End:
    status: str
    outcome: str
    code: str | None = None
    files: int = 0
    author: tuple[str, str] | None = AUTHOR
    questions: int | None = None


def pulled(files: int = 1, **more: Any) -> End:
    return End("completed", "pull_request", None, files, **more)


def failed(code: str, **more: Any) -> End:
    return End("failed", "failed", code, **more)


def nothing(**more: Any) -> End:
    return End("completed", "no_changes", **more)


def script(*turns: Any) -> str:
    return f"[[script]]{json.dumps(list(turns))}[[/script]]"


def submit(stage: Stage, name: str, acts: str, options: dict[str, Any] | None = None) -> Job:
    word = f"{name}-{os.urandom(8).hex()}"
    request = {
        "githubOrg": "acme", "githubRepo": "widgets", "branchName": f"rig/{name}", "title": f"Rig: {name}",
        "prompt": f"Words {stage.quiet} and {word}. Please do this.\n{acts}", "osFeatureId": f"feature-{name}",
        "osCallbackUrl": f"{stage.receiver.url}/{name}", "metadata": {"scenario": name}, "labels": ["rig"],
    } | ({"options": options} if options else {})
    answer = stage.server.post("/jobs", request, 201)
    assert answer["status"] == "queued", f"a new job is {answer['status']}"
    job = Job(name, word, answer["id"], request)
    stage.jobs.append(job)
    return job


def ended(stage: Stage, job: Job) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        record = stage.server.get(f"/jobs/{job.id}")
        return record if record["status"] not in ("queued", "running") else None

    return procs.until(f"the end of {job.name}", look, JOB_SECONDS, 0.1)


def expect_end(stage: Stage, job: Job, want: End, tries: int = 1) -> dict[str, Any]:
    """Everything that is promised of a finished job; names all that does not hold."""
    record = ended(stage, job)
    faults: list[str] = []

    def same(what: str, got: object, wanted: object) -> None:
        if got != wanted:
            faults.append(f"{what} is {got!r}, not {wanted!r}")

    same("status", record["status"], want.status)
    same("outcome", record["outcome"], want.outcome)
    same("reason.code", (record["reason"] or {}).get("code"), want.code)
    if want.status == "failed":
        same("error is a sentence", bool(record["error"]), True)
    if want.status == "completed":
        same("error", record["error"], None)
    same("attempts", len(record["attempts"]), 1)
    if want.outcome == "pull_request":
        faults += pull_request_faults(stage, job, record, want)
    else:
        same("prUrl", record["prUrl"], None)
        same("prNumber", record["prNumber"], None)
        if want.status == "completed":
            same("filesChanged", record["filesChanged"] or 0, 0)
        same("remote branch", stage.forge.branch(f"rig/{job.name}"), None)
        same("pull requests", len(stage.forge.pulls(f"rig/{job.name}")), 0)
    if want.questions is not None:
        same("questions to the model", stage.model.questions(job.word), want.questions)
    faults += callback_faults(stage, job, record, tries)
    if faults:
        faults.append(f"told: reason {record['reason']!r}, error {record['error']!r}, warnings {record.get('warnings')!r}")
        raise AssertionError("\n".join(faults))
    return record


def pull_request_faults(stage: Stage, job: Job, record: dict[str, Any], want: End) -> list[str]:
    branch, head = f"rig/{job.name}", record["headSha"]
    pulls = stage.forge.pulls(branch)
    if len(pulls) != 1 or not head:
        return [f"{len(pulls)} pull requests for {branch}, headSha {head!r}"]
    pull = stage.forge.pull(pulls[0]["number"])
    pairs = [
        ("remote branch", stage.forge.branch(branch), head),
        ("head of the pull request", pull["head"]["sha"], head),
        ("base of the pull request", pull["base"]["ref"], "main"),
        ("title of the pull request", pull["title"], job.request["title"]),
        ("prUrl", record["prUrl"], pull["html_url"]),
        ("prNumber", record["prNumber"], pull["number"]),
        ("filesChanged", record["filesChanged"], want.files),
        ("files of the pull request", pull["changed_files"], want.files),
    ]
    if want.author:
        author = stage.server.git("show", "-s", "--format=%an <%ae>", head).strip()
        pairs.append(("author", author, f"{want.author[0]} <{want.author[1]}>"))
    faults = [f"{what} is {got!r}, not {wanted!r}" for what, got, wanted in pairs if got != wanted]
    for what in (job.request["osFeatureId"], job.id):
        if what not in (pull["body"] or ""):
            faults.append(f"the pull request's text does not name {what}")
    return faults


def callback_faults(stage: Stage, job: Job, record: dict[str, Any], tries: int) -> list[str]:
    path = f"/{job.name}"
    # A refused try is followed by one 5 s ±20 % later.
    procs.until(f"{tries} callbacks of {job.name}", lambda: len(stage.receiver.of(path)) >= tries,
                CALLBACK_SECONDS * tries)
    deliveries = stage.receiver.of(path)
    faults = [] if len(deliveries) == tries else [f"{len(deliveries)} callbacks, not {tries}"]
    for delivery in deliveries:
        faults += signature_faults(delivery, stage.server.callback_secret)
    told = json.loads(deliveries[-1].body)
    wanted = {name: record[name] for name in SHARED_WITH_CALLBACK if name in record} | {
        "jobId": job.id, "type": f"job.{record['status']}", "eventId": deliveries[-1].headers.get("webhook-id")}
    for name in (*SHARED_WITH_CALLBACK, "jobId", "type", "eventId"):
        if name not in told or told[name] != wanted.get(name):
            faults.append(f"callback's {name} is {told.get(name, 'absent')!r}, not {wanted.get(name)!r}")
    for name in ("osFeatureId", "metadata", "labels"):
        if told.get(name) != job.request[name]:
            faults.append(f"callback does not echo {name}: {told.get(name)!r}")
    if not str(told.get("eventId")).startswith("evt-") or not told.get("timestamp"):
        faults.append(f"callback's eventId {told.get('eventId')!r}, timestamp {told.get('timestamp')!r}")
    return faults


class Held:
    """A tool of the agent that waits until the test lets it go: `cat` of a named pipe."""

    def __init__(self, stage: Stage, name: str) -> None:
        self.stage, self.pipe = stage, stage.work / f"hold-{name}"
        os.mkfifo(self.pipe, 0o600)
        self.command = f"cat {self.pipe} > held.txt"

    def tool(self) -> procs.Process:
        """Waits until the tool runs."""
        def look() -> procs.Process | None:
            wanted = [b"cat", os.fsencode(self.pipe), b""]
            return next((p for p in self.stage.family.marked() if p.arguments.split(b"\0") == wanted), None)

        return procs.until("the agent's tool running", look, JOB_SECONDS)

    def release(self) -> None:
        def opened() -> int | None:
            try:
                return os.open(self.pipe, os.O_WRONLY | os.O_NONBLOCK) + 1  # never 0
            except OSError as error:
                if error.errno != errno.ENXIO:
                    raise
                return None

        end = procs.until("a reader of the named pipe", opened, 10) - 1
        try:
            os.write(end, b"let go\n")
        finally:
            os.close(end)


def health(stage: Stage) -> None:
    want = {"version": True, "authenticated": True}

    def look() -> bool:
        claude = stage.server.get("/health")["claude"]
        return want == {"version": CLAUDE_VERSION in (claude["version"] or ""), "authenticated": claude["authenticated"]}

    procs.until(f"/health naming claude {CLAUDE_VERSION}, authenticated", look, 20)


SIMPLE: dict[str, tuple[str, str, dict[str, Any] | None, End]] = {
    "write": ("pull request, 1 file", "[[scenario:write-file path=notes/hello.txt]]", None, pulled(questions=2)),
    "commit": ("pull request, the agent's own commit", "[[scenario:commit path=own.txt]]", None,
               pulled(author=AGENT, questions=3)),
    "no-change": ("completed, nothing pushed", "[[scenario:no-change]]", None, nothing(questions=1)),
    "denied": ("failed permission_denied", '[[scenario:bash command="make install"]]', None,
               failed("permission_denied", questions=2)),
    "denied-plan": ("failed permission_denied (plan)", "[[scenario:write-file]]", {"permissionMode": "plan"},
                    failed("permission_denied", questions=2)),
    # One retry of the agent's own, then it gives up.
    "api-error": ("failed api_error", "[[scenario:api-error status=500]]", None, failed("api_error", questions=2)),
    "tool-fails": ("completed, nothing pushed", "[[scenario:crash-tool]]", EDITING, nothing(questions=2)),
    "tool-killed": ("pull request, 1 file", script({"bash": "kill -9 $$"}, {"write": "after.txt", "content": "x\n"}),
                    EDITING, pulled(questions=3)),
}


def submit_simple(stage: Stage) -> None:
    """All at once, so that they queue for two workers."""
    stage.receiver.refuse.add("/commit")
    for name, (_, acts, options, _) in SIMPLE.items():
        submit(stage, name, acts, options)


def simple(name: str) -> Callable[[Stage], None]:
    def scenario(stage: Stage) -> None:
        job = next((job for job in stage.jobs if job.name == name), None)
        assert job, "its submission failed"
        expect_end(stage, job, SIMPLE[name][3], tries=2 if name == "commit" else 1)

    return scenario


def callback_again(stage: Stage) -> None:
    first, second = stage.receiver.of("/commit")
    assert (first.answered, second.answered) == (500, 204), f"answered {first.answered}, {second.answered}"
    assert first.body == second.body, "the second try has another body"
    assert first.headers["webhook-id"] == second.headers["webhook-id"], "the second try has another webhook-id"
    stamps = [int(delivery.headers["webhook-timestamp"]) for delivery in (first, second)]
    assert stamps[0] < stamps[1], f"the second try's timestamp is not fresh: {stamps}"
    gap = second.at - first.at
    assert 3.9 <= gap <= 9, f"the second try came after {gap:.1f} s, not 5 s ±20 % (and what a loaded machine adds)"


def leaves_child(stage: Stage) -> None:
    acts = script({"bash": f"nohup sleep {CHILD_SLEEP} >/dev/null 2>&1 & echo child $!"}, [{"gate": "child"}, {"say": "ok"}])
    job = submit(stage, "leaves-child", acts, EDITING)
    wanted = [b"sleep", CHILD_SLEEP.encode(), b""]
    child = procs.until("the background child", lambda: next(
        (p for p in stage.family.marked() if p.arguments.split(b"\0") == wanted), None), JOB_SECONDS)
    stage.model.release("child")
    expect_end(stage, job, nothing(questions=2))
    assert not procs.is_alive(child), f"the agent's child outlived its job: {child.line}"


def cancel(stage: Stage) -> None:
    held = Held(stage, "cancel")
    job = submit(stage, "cancel", script({"write": "draft.txt", "content": "half done\n"}, {"bash": held.command}), EDITING)
    held.tool()
    answer = stage.server.post(f"/jobs/{job.id}/cancel", {}, 200)
    left = stage.family.marked()
    wanted = {"id": job.id, "status": "cancelled", "wasRunning": True}
    assert wanted.items() <= answer.items(), f"cancel answered {answer}"
    assert not left, "alive after the answer: " + "; ".join(process.line for process in left)
    expect_end(stage, job, End("cancelled", "cancelled", "cancelled"))
    refs = stage.server.git("for-each-ref", "--format=%(refname)", f"refs/offshoot/{job.id}/").split()
    assert refs, "no snapshot of the cancelled work"
    kept = stage.server.git("show", f"{refs[-1]}:draft.txt")
    assert kept == "half done\n", f"the snapshot's draft.txt is {kept!r}"


def told(stage: Stage) -> None:
    """An interruption ends the turn with its tool, and the message is told in the same conversation."""
    held, job, tool, _ = held_job(stage, "told")
    server = stage.server
    acts = f"Words {stage.quiet}.\n" + script({"write": "told.txt", "content": "told\n"}, {"say": "ok"})
    words.say(server.url, server.api_secret, job.id, {"type": "message", "id": "m-1", "text": acts})
    words.say(server.url, server.api_secret, job.id, {"type": "interrupt"})
    record = ended(stage, job)
    assert not procs.is_alive(tool), "the tool outlived the interruption"
    assert (record["outcome"], len(record["attempts"])) == ("pull_request", 1), f"{record['outcome']}, {record['attempts']}"
    assert not record["warnings"], f"{record['warnings']}"  # such as a conversation that is not continued
    assert server.git("show", f"{record['headSha']}:told.txt") == "told\n"


def held_job(stage: Stage, name: str) -> tuple[Held, Job, procs.Process, int]:
    held = Held(stage, name)
    job = submit(stage, name, script({"bash": held.command}), EDITING)
    tool = held.tool()
    record = stage.server.get(f"/jobs/{job.id}")
    assert record["status"] == "running" and record["pid"], f"{record['status']}, pid {record['pid']}"
    assert procs.start_ticks(record["pid"]), f"pid {record['pid']} is no process"
    return held, job, tool, record["pid"]


def expect_adopted(stage: Stage, job: Job, tool: procs.Process, pid: int) -> None:
    record = stage.server.get(f"/jobs/{job.id}")
    assert record["status"] == "running", f"status is {record['status']} after the restart"
    assert record["pid"] == pid, f"pid is {record['pid']}, was {pid}"
    assert procs.is_alive(tool), "the tool did not live through the restart"


def kill_nine(stage: Stage) -> None:
    held, job, tool, pid = held_job(stage, "kill-9")
    stage.server.kill()
    assert procs.is_alive(tool), "the tool died with the server"
    stage.server.start()
    expect_adopted(stage, job, tool, pid)
    held.release()
    expect_end(stage, job, pulled(questions=2))


def kill_nine_ended(stage: Stage) -> None:
    held, job, _, _ = held_job(stage, "kill-9-ended")
    stage.server.kill()
    held.release()
    claude = stage.server.installed.claude
    procs.until("the agent's end without a server",
                lambda: not any(p.is_program(claude) for p in stage.family.marked()), JOB_SECONDS)
    stage.server.start()
    expect_end(stage, job, pulled(questions=2))


def sigterm(stage: Stage) -> None:
    held, job, tool, pid = held_job(stage, "sigterm")
    # From the next server on callbacks are signed with the other kind of secret.
    stage.server.callback_secret = stage.server.encoded_secret()
    stage.server.write_config()
    stage.watch.secrets |= {"the encoded callback secret": stage.server.callback_secret.encode()}
    status = stage.server.leave()
    assert status == 0, f"exit {status} after SIGTERM"
    assert procs.is_alive(tool), "the tool died with the server"
    stage.server.start()
    expect_adopted(stage, job, tool, pid)
    held.release()
    expect_end(stage, job, pulled(questions=2))


RESTARTS = {
    "leaves-child": ("completed, the child is ended", leaves_child),
    "cancel": ("cancelled, no process, snapshot kept", cancel),
    "told": ("interrupted, told in the same conversation, published", told),
    "kill-9": ("adopted: one attempt, one run", kill_nine),
    "kill-9-ended": ("ended meanwhile: finished from its record", kill_nine_ended),
    "sigterm": ("exit 0, adopted; whsec_ secret from here on", sigterm),
}
