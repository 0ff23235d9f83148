"""What must hold when all jobs have ended: nothing is left, nothing leaked, nothing offended the forge."""

from __future__ import annotations

import json
from typing import Callable

import procs
from scenarios import Stage

SETTLE_SECONDS = 10  # worktrees and shims may go a moment after their job's end is told


def paid_once(stage: Stage) -> None:
    asked = sum(stage.model.questions(job.word) for job in stage.jobs)
    total = stage.model.total()
    assert 0 < asked == total, f"{total} questions to the model, {asked} of them by jobs"


def is_empty_trash(path):
    return path.name == ".trash" and not any(path.iterdir())


def nothing_left(stage: Stage) -> None:
    def leftovers() -> list[str]:
        found = [f"process {process.line}" for process in stage.family.marked()]
        trees, clone = stage.server.worktrees, stage.server.clone
        left = [path for path in (trees.iterdir() if trees.is_dir() else ()) if not is_empty_trash(path)]
        found += [f"worktree {path.name}" for path in left]
        found += [f"lock {path.relative_to(clone)}" for path in clone.rglob("*.lock")]
        listed = stage.server.git("worktree", "list", "--porcelain").count("worktree ")
        found += [] if listed == 1 else [f"{listed - 1} worktrees that git still lists"]
        queue = stage.server.get("/queue")
        return found + [f"{name}: {queue[name]}" for name in ("running", "queued") if queue[name]]

    assert stage.server.clone.is_dir(), f"no clone at {stage.server.clone.relative_to(stage.work)}"
    try:
        procs.until("nothing left", lambda: not leftovers(), SETTLE_SECONDS, 0.2)
    except AssertionError as error:
        raise AssertionError("\n".join(leftovers()) or str(error)) from error


def leaves(stage: Stage) -> None:
    status = stage.server.leave()
    left = stage.family.ours()
    assert status == 0, f"exit {status} after SIGTERM"
    assert not left, "alive after the server's end: " + "; ".join(process.line for process in left)


def secrecy(stage: Stage) -> None:
    stage.watch.stop()
    faults = sorted(stage.watch.found)
    # A watch that saw no agent proves nothing.
    if stage.watch.marked_looks < 50:
        faults.append(f"only {stage.watch.marked_looks} looks at processes of agents")
    log = stage.server.log.read_bytes()
    for name, secret in {**stage.watch.secrets, "prompt text": stage.quiet.encode()}.items():
        if secret in log:
            faults.append(f"{name} in the server's log")
    assert not faults, "\n".join(faults)


def referee(stage: Stage) -> None:
    for kind in ("drift", "concurrency"):
        tell(stage.forge.events(kind))
    violations = stage.forge.events("violation")
    tell([event for event in violations if event.get("rule") == "advice"])
    judged = [event for event in violations if event.get("rule") != "advice"]
    for kind in ("pacing", "sync_mismatch", "sync_error"):
        judged += stage.forge.events(kind)
    assert not judged, "\n".join(json.dumps(event)[:400] for event in judged)
    assert stage.forge.events("push"), "the forge saw no push at all"


def tell(events: list[dict]) -> None:
    """Each kind of remark once, with its number."""
    counts: dict[str, int] = {}
    for event in events:
        text = json.dumps({key: value for key, value in event.items() if key not in ("time", "at", "t", "n", "id", "token")})
        counts[text] = counts.get(text, 0) + 1
    for text, count in counts.items():
        print(f"  told, not judged, {count} x {text[:300]}", flush=True)


AFTERWARDS: dict[str, tuple[str, Callable[[Stage], None]]] = {
    "paid-once": ("no further question to the model", paid_once),
    "nothing-left": ("no process, worktree, lock; empty queue", nothing_left),
    "leaves": ("exit 0, no process at all", leaves),
    "secrecy": ("no prompt, no secret in arguments or log", secrecy),
    "referee": ("GitHub's description kept, writes paced", referee),
}
