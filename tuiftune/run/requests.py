"""Ask a run to do something, and read its answer: one small file a request, written whole and renamed."""

from __future__ import annotations

import os
import time
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tuiftune.errors import TuiftuneError
from tuiftune.run.files import read_json, write_json

WISHES = ("checkpoint", "evaluate", "sample")
"""What the trainer does once, at its next step boundary: write a checkpoint, measure, let the model write."""
KINDS = ("stop", "kill", "release", "pause", "resume", *WISHES)
"""stop: checkpoint, then end. kill: end the whole tree now. release: as stop, and the run counts as paused. pause: wait
at the next step boundary, memory kept. resume: go on after a pause."""
ENDING = ("stop", "kill", "release")
"""After these nothing of the run is left running."""


@dataclass(frozen=True)
class Request:
    """One thing asked of a run."""

    id: str
    kind: str
    asked_at: float
    """Seconds since the epoch."""
    answer: str | None = None
    """'done', 'done: how' or 'refused: why', once the supervisor has answered."""

    def to_json(self) -> dict[str, Any]:
        return {"id": self.id, "kind": self.kind, "asked_at": self.asked_at, "answer": self.answer}


def ask(folder: Path, kind: str) -> Request:
    """Put a request into a run's `requests/` folder; its order is the order of the names.

    Raises TuiftuneError where nothing can be written.
    """
    now = time.time_ns()
    request = Request(f"{now:020d}-{os.getpid()}-{kind}", kind, now / 1e9)
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        write_json(folder / f"{request.id}.json", request.to_json())
    except OSError as error:
        raise TuiftuneError(f"{folder}: the run cannot be asked to {kind}: {error.strerror}") from error
    return request


def read(folder: Path, skip: Collection[str] = ()) -> list[Request]:
    """The requests of a run but those in `skip`, oldest first; one that cannot be read is left out."""
    try:
        names = sorted(entry.name for entry in os.scandir(folder))
    except FileNotFoundError:
        return []
    ids = [name.removesuffix(".json") for name in names if name.endswith(".json")]
    found = [_read(folder / f"{number}.json") for number in ids if number not in skip]
    return [request for request in found if request is not None]


def _read(path: Path) -> Request | None:
    """One request; None for a file that is gone or is no request (a person's, or damaged)."""
    try:
        if path.stat().st_uid not in (0, os.getuid()):  # in a folder of ours alone there can be none
            return None
        data = read_json(path)
        return Request(path.stem, str(data["kind"]), float(data["asked_at"]), data.get("answer"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def pending(folder: Path, skip: Collection[str] = ()) -> list[Request]:
    return [request for request in read(folder, skip) if request.answer is None]


def answer(folder: Path, request: Request, text: str) -> None:
    """For the supervisor: write the answer into the request's file."""
    write_json(folder / f"{request.id}.json", replace(request, answer=text).to_json())


def wait_answer(folder: Path, request: Request, timeout_s: float) -> str | None:
    """The answer to a request, or None when there is none after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while True:
        seen = _read(folder / f"{request.id}.json")
        if seen is not None and seen.answer is not None:
            return seen.answer
        if time.monotonic() > deadline:
            return None
        time.sleep(0.05)
