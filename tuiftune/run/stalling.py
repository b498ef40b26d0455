"""Whether a run that goes on stands still: told to whoever looks at it, and put on record; never acted upon."""

from __future__ import annotations

import itertools
import statistics
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tuiftune.errors import StoreError
from tuiftune.run.folder import State
from tuiftune.run.metrics_db import MetricsReader

LEAST_S = 120.0
MEDIANS = 20
"""So many times the usual step is unusual."""
STEPS = 64
"""The usual step is the median of the last so many that were recorded."""


@dataclass(frozen=True)
class Stall:
    """A run of which nothing was heard for longer than usual."""

    seconds: float
    what: str
    """'step' while it trains, else 'progress'."""

    @property
    def text(self) -> str:
        return f"no {self.what} for {self.seconds:,.0f} s"


class StallWatch:
    """For the supervisor: what begins and ends to stand still, as the alerts of tuiftune.run.throttling are."""

    EVERY_S = 15.0

    def __init__(self, metrics_file: Path) -> None:
        self._file = metrics_file
        self._due = 0.0
        self._stall: Stall | None = None
        self._since = 0.0

    def look(self, state: State, now: float) -> list[dict[str, Any]]:
        """The alerts there are at `now` (seconds since the epoch). Looks now and then; a record that cannot be read
        changes nothing."""
        if time.monotonic() < self._due:
            return []
        self._due = time.monotonic() + self.EVERY_S
        if state.name != "running":  # stopped or paused as it stood there: it never went on
            self._stall = None
            return []
        metrics = MetricsReader(self._file)
        try:
            stall = look_for_stall(metrics, state, now)
        except (StoreError, OSError, ValueError):  # said by all who read it for more than this
            return []
        finally:
            metrics.close()
        before, self._stall = self._stall, stall
        if stall is not None and before is None:
            self._since = now - stall.seconds
            return [self._alert(stall, "start", stall.text)]
        if before is not None and stall is None:
            return [self._alert(replace(before, seconds=now - self._since), "end", "it goes on")]
        return []

    def _alert(self, stall: Stall, phase: str, text: str) -> dict[str, Any]:
        seconds = round(stall.seconds, 1)
        return {"alert": "stall", "phase": phase, "since": self._since, "seconds": seconds, "text": text}


def look_for_stall(metrics: MetricsReader, state: State, now: float) -> Stall | None:
    """What there is to say of a run in `state` at `now` (seconds since the epoch); None where all is as usual.

    A sign of life is a stage that starts, a step, and the progress of any stage, of an evaluation between two steps
    too. Raises StoreError.
    """
    if state.name != "running":
        return None
    started = metrics.last_event("stage_started")
    signs = [state.since, *(row.time for row in metrics.progress().values()), *([started.time] if started else [])]
    # What was written down before somebody set the clock back lies in the future and is no sign of anything.
    seconds = now - max((sign for sign in signs if sign <= now), default=now)
    if seconds <= LEAST_S or seconds <= MEDIANS * usual_step_s(metrics):
        return None
    return Stall(seconds, "step" if started and started.data.get("kind") == "train" else "progress")


def usual_step_s(metrics: MetricsReader) -> float:
    """The median time of a step, in seconds; 0 where fewer than two were recorded."""
    rows = metrics.newest("train/loss", STEPS)
    each = [(later.time - earlier.time) / (later.step - earlier.step) for earlier, later in itertools.pairwise(rows)]
    return statistics.median(each) if each else 0.0
