"""All runs of a workspace, read again and again: of 5,000 only those that changed, and never for long at once."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tuiftune.errors import RunNotFound
from tuiftune.paths import runs_folder
from tuiftune.run.alerts import seen_file
from tuiftune.run.folder import ACTIVE, Run, recorded_state
from tuiftune.run.notes import notes_file
from tuiftune.run.summary import RunSummary, summaries

LOOK_S = 0.1
"""So long one look reads; what is left is read by the next one. A run that has ended takes some 0.6 ms."""
FIRST = 60
"""So many of the newest runs are read before all others: more than a screen shows."""
STATE, NOTES, SEEN = (path.name for path in (Run(Path()).state_file, notes_file(Run(Path())), seen_file(Run(Path()))))
STAMP = len("yyyymmdd-hhmmss-abc")
"""An id ends so: it tells when a run was started before it was read."""
SETTLED_NS = 2_000_000_000
ENDED_S = 10.0
"""Whether a run that had ended goes on again, or was renamed, is looked up so often: 20 ms for 5,000."""


@dataclass
class _Known:
    """What is known of a run."""

    run: Run
    files: tuple[str, str, str]
    """Its state, its notes and what was seen of its alerts, as text: paths made for 5,000 runs take 50 ms."""
    order: tuple[float, str]
    """When it was started, in seconds since the epoch, and its id; 0 while it was not read."""
    active: bool = True
    """Also while that is not known."""
    version: tuple[int, ...] | None = None
    summary: RunSummary | None = None
    """None while it was not read."""


class Listing:
    """Summaries of all runs, the newest first. Not thread-safe."""

    def __init__(self, workspace: Path) -> None:
        self._folder = runs_folder(workspace)
        self._known: dict[str, _Known] = {}
        self._changed_ns = -1
        self._ended_due = 0.0
        self._work: Iterator[None] | None = None

    @property
    def complete(self) -> bool:
        """Whether the last look came to its end: all runs have been read."""
        return self._work is None

    def look(self, budget_s: float = LOOK_S, everything: bool = False) -> list[RunSummary]:
        """Read on for about `budget_s` seconds; those runs that were read so far. Active ones are read at each look
        that begins anew. `everything`: those that had ended too, whenever they were looked at last."""
        if everything:
            self._ended_due = 0.0
        deadline = time.monotonic() + budget_s
        if self._work is None:
            self._work = self._steps()
        for _ in self._work:
            if time.monotonic() >= deadline:
                break
        else:
            self._work = None
        return [known.summary for known in self._newest_first() if known.summary is not None]

    def _newest_first(self) -> list[_Known]:
        return sorted(self._known.values(), key=lambda known: known.order, reverse=True)

    def _steps(self) -> Iterator[None]:
        """The whole of a look, cut where it may be left for a while."""
        self._list()
        now = time.monotonic()
        every = now >= self._ended_due
        if every:
            self._ended_due = now + ENDED_S
        order = self._newest_first()
        fresh = [known for known in order if known.summary is None]
        fresh.sort(key=lambda known: known.run.id[-STAMP:], reverse=True)
        for known in fresh[:FIRST]:  # what a person sees first
            self._read(known)
            yield
        for known in fresh[FIRST:]:  # then what goes on, however old it is
            known.active = _goes_on(known.run)
            yield
        order.sort(key=lambda known: not known.active)
        for known in order:
            if (known.active or known.summary is None or every) and self._read(known):
                yield

    def _list(self) -> None:
        """Which runs there are. The folder itself tells whether one came or went."""
        try:
            changed_ns = self._folder.stat().st_mtime_ns
        except OSError:
            self._known.clear()
            self._changed_ns = -1
            return
        if changed_ns == self._changed_ns:
            return
        there = _names(self._folder)
        for gone in self._known.keys() - there:
            del self._known[gone]
        for name in there - self._known.keys():
            run = Run(self._folder / name)
            files = (
                f"{self._folder}/{name}/{STATE}",
                f"{self._folder}/{name}/{NOTES}",
                f"{self._folder}/{name}/{SEEN}",
            )
            self._known[name] = _Known(run, files, (0.0, name))
        # Two who come within one tick of the file system's clock are one change.
        self._changed_ns = changed_ns if time.time_ns() - changed_ns > SETTLED_NS else -1

    def _read(self, known: _Known) -> bool:
        """Bring a run up to date where it is active or was changed; whether that took any time."""
        version = _version(known.files, bool(known.summary and known.summary.alerts))
        if version is not None and known.summary is not None and known.version == version and not known.active:
            return False
        summary = None if version is None else next(iter(summaries([known.run])), None)
        if summary is None:  # deleted, or no run: one that is being made gets its state a moment later
            self._known.pop(known.run.id, None)
            self._changed_ns = -1
        else:
            known.version, known.summary = version, summary
            known.order, known.active = (summary.started, summary.id), summary.state in ACTIVE
        return True


def _names(folder: Path) -> set[str]:
    """What may be runs: not the trash, and no links."""
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if entry.name[0] != "." and entry.is_dir(follow_symlinks=False)}
    except OSError:
        return set()


def _version(files: tuple[str, str, str], with_alerts: bool) -> tuple[int, ...] | None:
    """When a run's state and notes were written, in nanoseconds; `with_alerts`: and when any were seen. None where it
    is no run (any more)."""
    try:
        found = [os.stat(files[0]).st_mtime_ns]  # noqa: PTH116 - a third of the time of Path.stat
    except OSError:
        return None
    for file in files[1:]:
        try:
            found.append(os.stat(file).st_mtime_ns if with_alerts or file != files[-1] else 0)  # noqa: PTH116
        except OSError:
            found.append(0)
    return tuple(found)


def _goes_on(run: Run) -> bool:
    try:
        return recorded_state(run).active
    except RunNotFound:
        return False
