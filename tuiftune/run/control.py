"""What supervisor and worker tell each other while a run goes on: two small files, each with one writer.

`control.json` is the supervisor's: why the run is to be held, and how often each wish was uttered. `worker.json`
is the worker's: that it is held, what it has answered, how much it puts through the model at once. Both outlive their
writers: a run that is held stays held when its supervisor is killed, and the next one finds out why.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tuiftune.run.files import read_json, write_json

LOOK_S = 0.2
"""How soon the worker sees what is asked; a look that finds nothing costs a `stat`."""


@dataclass(frozen=True)
class Control:
    """What the worker is asked for."""

    holds: Mapping[str, str] = field(default_factory=dict)
    """By cause ('asked', 'heat'): the sentence why the run is to be held. Empty: it goes on."""
    wishes: Mapping[str, int] = field(default_factory=dict)
    """By kind (requests.WISHES): how often it was asked for since the worker began."""

    def to_json(self) -> dict[str, Any]:
        return {"holds": dict(self.holds), "wishes": dict(self.wishes)}


@dataclass(frozen=True)
class Granted:
    """A wish that was answered."""

    number: int
    answer: str
    """'done: the checkpoint of step 120', 'refused: why'."""


@dataclass(frozen=True)
class Said:
    """What the worker has said of itself."""

    hold: str | None = None
    """Why it waits at a step boundary; None while it goes on."""
    step: int = 0
    """Where it is held."""
    granted: Mapping[str, Granted] = field(default_factory=dict)
    """By kind: the newest wish that is answered."""
    memory: Mapping[str, Any] = field(default_factory=dict)
    """What a trainer can do with less memory: see Context.tell_memory."""

    def to_json(self) -> dict[str, Any]:
        return {
            "hold": self.hold,
            "step": self.step,
            "granted": {kind: [one.number, one.answer] for kind, one in self.granted.items()},
            "memory": dict(self.memory),
        }


def read_control(path: Path) -> Control:
    """What is asked; nothing where the file is not there or cannot be read."""
    data = _read(path)
    holds, wishes = data.get("holds"), data.get("wishes")
    return Control(
        {str(cause): str(why) for cause, why in holds.items()} if isinstance(holds, dict) else {},
        {str(kind): count for kind, count in wishes.items() if isinstance(count, int)}
        if isinstance(wishes, dict)
        else {},
    )


def read_said(path: Path) -> Said:
    """What the worker said last; nothing where the file is not there or cannot be read."""
    data = _read(path)
    try:
        return Said(
            hold=None if data.get("hold") is None else str(data["hold"]),
            step=int(data.get("step") or 0),
            granted={
                str(kind): Granted(int(number), str(answer))
                for kind, (number, answer) in dict(data.get("granted") or {}).items()
            },
            memory=dict(data.get("memory") or {}),
        )
    except (TypeError, ValueError):
        return Said()


def _read(path: Path) -> dict[str, Any]:
    try:
        data = read_json(path)
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


class Desk:
    """The worker's side: a thread that looks at control.json and writes what could not be written yet."""

    def __init__(self, control: Path, said: Path, changed: Callable[[Control], None]) -> None:
        """`changed` is called in the thread with what is asked now, first with what was asked before the start."""
        self._control_file, self._said_file, self._changed = control, said, changed
        self._seen: tuple[int, int] | None = None
        self._said = Said()
        self._unwritten = False
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._look()
        threading.Thread(target=self._run, name="control", daemon=True).start()

    def say(self, **news: Any) -> None:
        """Change what worker.json says; on a full disk it is written as soon as there is room."""
        with self._lock:
            self._said = replace(self._said, **news)
            self._unwritten = True
            self._write()

    def close(self) -> None:
        self._over.set()

    def _run(self) -> None:
        while not self._over.wait(LOOK_S):
            self._look()
            with self._lock:
                self._write()

    def _look(self) -> None:
        try:
            found = self._control_file.stat()
        except OSError:
            return
        version = (found.st_mtime_ns, found.st_ino)
        if version != self._seen:
            self._seen = version
            self._changed(read_control(self._control_file))

    def _write(self) -> None:
        if not self._unwritten:
            return
        try:
            write_json(self._said_file, self._said.to_json())
        except OSError:  # said by whoever meets the full disk with something that matters; tried again in LOOK_S
            return
        self._unwritten = False
