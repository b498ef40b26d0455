"""Whether a run that goes on stands still: told to whoever looks at it, never acted upon."""

from __future__ import annotations

import itertools
import statistics
from dataclasses import dataclass

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
