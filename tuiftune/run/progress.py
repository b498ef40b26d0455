"""How far a run is: its stages, followed through what the worker writes. For every viewer the same."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tuiftune.run.folder import WAITING, State
from tuiftune.run.metrics_db import Progress
from tuiftune.run.store import EventRow
from tuiftune.text import one_line

NO_FAILURE = (*WAITING, "starting", "stopping", "stopped", "released")
"""In these states a stage that failed is done again, or was only interrupted."""


@dataclass(frozen=True)
class StageView:
    """One stage of the pipeline and how far it is."""

    index: int
    kind: str
    name: str
    status: str = "waiting"
    """'waiting', 'running', 'done', 'failed' or 'stopped'."""
    cached: bool = False
    seconds: float | None = None
    """How long it took, once it is done."""
    error: str | None = None
    done: int | None = None
    total: int | None = None
    unit: str = ""
    """What `done` and `total` count: 'steps', 'documents'."""
    eta_s: float | None = None
    """Seconds to go; None where nothing tells."""

    @property
    def fraction(self) -> float | None:
        """0 to 1; None where the total is not known."""
        return min(1.0, self.done / self.total) if self.done is not None and self.total else None


class Pipeline:
    """The stages of a run, followed through its events and progress."""

    WINDOW_S = 60.0
    """The speed behind an ETA is that of the last minute."""

    def __init__(self) -> None:
        self.views: dict[int, StageView] = {}
        self._guessed = False
        self._started: dict[int, float] = {}
        self._first_done: dict[int, int] = {}
        self._speeds: dict[int, deque[tuple[float, int]]] = {}

    def plan(self, stages: Sequence[dict[str, Any]]) -> None:
        """The stages in order, as the worker tells them."""
        if self._guessed:
            self._guessed = False
            self.views = {index: view for index, view in self.views.items() if view.status != "waiting"}
        for stage in stages:
            index = int(stage["index"])
            if index not in self.views:
                self.views[index] = StageView(index, str(stage["kind"]), one_line(str(stage["name"]), 60))

    def guess(self, stages: Sequence[dict[str, Any]]) -> None:
        """What the profile names, shown until the worker tells."""
        if not self.views:
            self.plan(stages)
            self._guessed = True

    def _restart(self) -> None:
        self.views = {index: StageView(index, view.kind, view.name) for index, view in self.views.items()}
        self._started.clear()
        self._first_done.clear()
        self._speeds.clear()

    def event(self, row: EventRow) -> None:
        """Follow one event of the worker."""
        if row.kind == "run_started":
            self._restart()
        elif row.kind == "resumed":
            step = int(row.data.get("step") or 0)
            self._first_done = {index: step for index, view in self.views.items() if view.kind == "train"}
        elif row.kind in ("stage_started", "stage_finished"):
            self._stage_event(row)

    def _stage_event(self, row: EventRow) -> None:
        data = row.data
        self.plan([data])
        index = int(data["index"])
        view = self.views[index]
        if row.kind == "stage_started":
            self._started[index] = row.time
            self.views[index] = dataclasses.replace(view, status="running", error=None)
            return
        error = data.get("error")
        self.views[index] = dataclasses.replace(
            view,
            status="failed" if error is not None else "done",
            cached=bool(data.get("cached")),
            seconds=data.get("seconds"),
            error=None if error is None else one_line(str(error)),
            eta_s=None,
        )

    def progress(self, rows: dict[int, Progress]) -> None:
        """Take over how far each stage is."""
        for index, row in rows.items():
            view = self.views.get(index)
            if view is None or view.status == "waiting":
                continue
            speeds = self._speeds.setdefault(index, deque(maxlen=600))
            if row.time < (speeds[-1][0] if speeds else self._started.get(index, row.time)):
                # Somebody set the clock back: its speed is that from now on.
                speeds.clear()
                self._started[index], self._first_done[index] = row.time, row.done
            if not speeds or speeds[-1][1] != row.done:
                speeds.append((row.time, row.done))
            while len(speeds) > 2 and row.time - speeds[0][0] > self.WINDOW_S:
                speeds.popleft()
            self.views[index] = dataclasses.replace(view, done=row.done, total=row.total, unit=one_line(row.unit, 20))

    def running(self, state: State, now: float) -> StageView | None:
        """The stage of the moment."""
        return next((view for view in self.seen(state, now) if view.status == "running"), None)

    def seen(self, state: State, now: float) -> tuple[StageView, ...]:
        """The stages as of now, in order; of a run that has ended or has no worker none is running."""
        ended = {"failed": "failed", "finished": "done"}.get(state.name, "stopped")
        goes_on = state.active and state.name not in ("queued", "healing")
        views = []
        for index in sorted(self.views):
            view = self.views[index]
            if view.status == "running" and goes_on:
                eta_s = self._eta(view, now) if state.name == "running" else None
                view = dataclasses.replace(view, eta_s=eta_s)
            elif view.status == "running" or (view.status == "failed" and state.name in NO_FAILURE):
                view = dataclasses.replace(view, status=ended)
            views.append(view)
        return tuple(views)

    def _eta(self, view: StageView, now: float) -> float | None:
        """Seconds to go, at the speed of the last minute, else at that since the stage started."""
        if view.done is None or not view.total:
            return None
        speeds = self._speeds.get(view.index)
        if not speeds:
            return None
        (first_time, first_done), (last_time, last_done) = speeds[0], speeds[-1]
        if last_time - first_time < 5.0 and view.index in self._started:
            first_time, first_done = self._started[view.index], self._first_done.get(view.index, 0)
        if last_done <= first_done or last_time <= first_time:
            return None
        seconds_each = (last_time - first_time) / (last_done - first_done)
        return max(0.0, (view.total - last_done) * seconds_each - max(0.0, now - last_time))
