"""Read one run's folder, only what is new at each look, into a RunView. For the watcher thread alone."""

from __future__ import annotations

import dataclasses
import time
import tomllib
from collections import deque
from pathlib import Path
from typing import Any

from tuiftune.errors import StoreError
from tuiftune.run.alerts import Alert, Alerts, read_seen, seen_file
from tuiftune.run.card import Card, Healed, card_of, healings
from tuiftune.run.folder import Run, State, state_of
from tuiftune.run.metrics_db import EPOCHS, ClockFollower, Curve, CurveFollower, MetricRow, MetricsReader, SampleRow
from tuiftune.run.notes import read_notes
from tuiftune.run.progress import Pipeline
from tuiftune.run.smoothing import smooth
from tuiftune.run.stalling import look_for_stall
from tuiftune.run.summary import RunSummary, summarize
from tuiftune.run.telemetry_db import TelemetryReader
from tuiftune.text import one_line, plain
from tuiftune.tui.device_history import Devices
from tuiftune.tui.gpu_history import GpuHistory
from tuiftune.tui.log_tail import LogTail
from tuiftune.tui.messages import PromptSamples, RunView

SERIES = (
    "train/loss",
    "train/learning_rate",
    "train/grad_norm",
    "train/tokens_per_s",
    EPOCHS,
    "eval/loss",
    "eval/perplexity",
    "eval/bits_per_byte",
)
SMOOTHED = ("train/loss", "train/tokens_per_s", "train/grad_norm")
"""Those that jump from step to step."""
SAMPLES_KEPT = 100
"""Of each prompt, the newest."""


class Samples:
    """The newest texts of each prompt, and the untouched model's beside them."""

    def __init__(self) -> None:
        self._base: dict[str, SampleRow] = {}
        self._tuned: dict[str, deque[SampleRow]] = {}
        self._dropped: dict[str, int] = {}
        self._last_id = 0

    def update(self, reader: MetricsReader) -> None:
        for row in reader.samples(self._last_id):
            self._last_id = row.id
            row = SampleRow(row.id, row.time, row.step, plain(row.prompt), plain(row.text), one_line(row.model, 60))
            kept = self._tuned.setdefault(row.prompt, deque(maxlen=SAMPLES_KEPT))
            if row.step == 0 and row.model in ("", "base"):
                self._base[row.prompt] = row
                continue
            if len(kept) == SAMPLES_KEPT:
                self._dropped[row.prompt] = self._dropped.get(row.prompt, 0) + 1
            kept.appendleft(row)

    def seen(self) -> tuple[PromptSamples, ...]:
        return tuple(
            PromptSamples(prompt, self._base.get(prompt), tuple(tuned), self._dropped.get(prompt, 0))
            for prompt, tuned in self._tuned.items()
        )


class Record:
    """What the worker wrote down: metrics.db, read on at each look."""

    def __init__(self, run: Run, points: int, alerts: Alerts) -> None:
        self._run = run
        self._points = points
        self._reader = MetricsReader(run.metrics_file)
        self._alerts = alerts
        self._file = _file_id(run.metrics_file)
        self._behind = True
        self._last_event = 0
        self._began: float | None = None
        self.pipeline = Pipeline()
        self.facts: dict[str, Any] = {}
        self.smoothed: dict[str, list[float]] = {}
        self.clock = ClockFollower(self._reader, "train/loss")
        self.smoothing = 1.0
        self.window: tuple[int, int] | None = None
        self._seen_of_window: dict[str, Curve] = {}
        self.baseline: float | None = None
        self.best: MetricRow | None = None
        self._forget_steps()

    def _forget_steps(self) -> None:
        """After a rewind steps and ids come a second time: read them all anew."""
        self.curves = {name: CurveFollower(self._reader, name, self._points) for name in SERIES}
        self.samples = Samples()

    def stalled(self, state: State, now: float) -> str | None:
        """In words; None where all is as usual, or the file cannot be read, which is said elsewhere."""
        try:
            stall = look_for_stall(self._reader, state, now)
        except StoreError:
            return None
        return stall.text if stall else None

    def replaced(self) -> bool:
        """Whether another file is there now: a damaged one is set aside and made anew."""
        return _file_id(self._run.metrics_file) != self._file

    def close(self) -> None:
        self._reader.close()

    def began(self, state: State) -> float:
        """When this attempt started."""
        return state.started if self._began is None or state.attempt < 2 else self._began

    def update(self) -> bool:
        """Read on; whether anything was new. Raises StoreError; what was missed then is read next time."""
        if not self._reader.changed() and not self._behind:
            return False
        self._behind = True
        self._read_events()
        self.facts = self._reader.facts()
        self._plan()
        self.pipeline.progress(self._reader.progress())
        for follower in self.curves.values():
            follower.update()
        self.clock.update(self.curves["train/loss"].curve.steps)
        self._look_closer()
        self._smooth()
        self.baseline = self._reader.at("eval/perplexity", 0)
        self.best = self._reader.lowest("eval/perplexity", after_step=0)
        self.samples.update(self._reader)
        self._behind = False
        return True

    def look_for_alerts(self) -> None:
        """Values that are no numbers, and the steps of what the supervisor tells. Raises StoreError."""
        self._alerts.feed_values(self._reader)

    def look_at(self, window: tuple[int, int] | None, smoothing: float) -> bool:
        """Only these steps, as fine as they can be drawn; smoothed so. Whether anything is other now."""
        if (window, smoothing) == (self.window, self.smoothing):
            return False
        self.window, self.smoothing = window, smoothing
        self._look_closer()
        self._smooth()
        return True

    @property
    def shown(self) -> dict[str, Curve]:
        """The curves, or that part of them that is looked at."""
        if self.window is not None:
            return self._seen_of_window
        return {name: follower.curve for name, follower in self.curves.items()}

    def _look_closer(self) -> None:
        if self.window is None:
            return
        self._seen_of_window = {
            name: follower.curve if name == EPOCHS else follower.within(*self.window)
            for name, follower in self.curves.items()
        }

    def _smooth(self) -> None:
        shown = self.shown
        self.smoothed = {}
        for name in SMOOTHED if self.smoothing else ():
            curve = shown.get(name)
            if curve:
                self.smoothed[name] = smooth(curve.steps, curve.means, self.smoothing)

    def _read_events(self) -> None:
        rows = self._reader.events(self._last_event)
        self._alerts.feed(rows)
        for row in rows:
            self._last_event = row.id
            if row.kind == "run_started":
                self._began = row.time
            if row.kind == "resumed":
                self._forget_steps()
            self.pipeline.event(row)

    def _plan(self) -> None:
        told = self.facts.get("pipeline")
        if told:
            self.pipeline.plan(told)
        else:
            self.pipeline.guess(planned_stages(self._run.profile_file))


class RunReader:
    """Follows one run's folder. `look` returns a new view, or None while nothing is new."""

    def __init__(self, run: Run, points: int) -> None:
        self.run = run
        self._points = points
        origin = run.origin()
        self._profile = one_line(str(origin.get("profile") or ""), 60)
        self._label = read_notes(run, origin).name
        self._worker_log = LogTail(run.worker_log)
        self._supervisor_log = LogTail(run.supervisor_log)
        self._alerts = Alerts()
        self._seen: tuple[int | None, frozenset[str]] = (None, frozenset())
        """When the file of the alerts that were seen was written, and what stands there."""
        self._record = Record(run, points, self._alerts)
        self._telemetry = TelemetryReader(run.telemetry_file)
        self._devices = Devices()
        self._gpus: GpuHistory | None = None
        self._healed: list[Healed] = []
        self._last_told = 0
        """The newest of the supervisor's events that was read."""
        self._summary: tuple[State, RunSummary] | None = None
        self._card: tuple[State, int | None, Card] | None = None
        self._shown: tuple[Any, ...] | None = None
        self.looked_at: tuple[tuple[int, int] | None, float] = (None, 1.0)
        """The steps that are shown, None for all, and how many times as long as usual curves are smoothed."""
        self.gpus_wanted = False
        """Whether what the GPUs did over the whole run is looked at."""

    def close(self) -> None:
        self._record.close()
        self._telemetry.close()

    def look(self) -> RunView | None:
        """Read on. Raises RunNotFound when the folder is gone or its state cannot be read."""
        state = state_of(self.run)
        if self._record.replaced():
            self._record.close()
            self._record = Record(self.run, self._points, self._alerts)
        problems: list[str] = []
        changed = self._read_logs()
        try:
            changed = self._record.look_at(*self.looked_at) or changed
        except StoreError as error:
            problems.append(one_line(str(error)))
        for read in (self._record.update, self._read_telemetry):
            try:
                changed = read() or changed
            except StoreError as error:
                problems.append(one_line(str(error)))
        try:
            changed = self._read_gpus() or changed
        except StoreError as error:
            problems.append(one_line(str(error)))
        if changed and not problems:
            try:
                self._record.look_for_alerts()
            except StoreError as error:
                problems.append(one_line(str(error)))
        now = time.time()
        alerts = self._alerted()
        shown = (state, problems, int(now) if state.active else 0, self._model(), self._carded(state), alerts)
        if not changed and shown == self._shown:
            return None
        self._shown = shown
        return self._view(state, now, "; ".join(problems) or None, alerts)

    def _read_logs(self) -> bool:
        """The supervisor's log is of interest only while the worker has none."""
        worker = self._worker_log.update()
        return worker or (not self._worker_log.lines and self._supervisor_log.update())

    def _read_telemetry(self) -> bool:
        if not self._telemetry.changed():
            return False
        found = self._telemetry.latest()
        if found is not None:
            self._devices.take(*found, self._telemetry.history)
        newest = self._telemetry.last_event()
        if newest is not None and newest.id != self._last_told:
            after = self._last_told if newest.id > self._last_told else 0  # a damaged file is begun anew
            events = self._telemetry.events(after)
            self._healed += healings(events)
            self._alerts.feed(events)
            self._last_told = newest.id
        return True

    def _read_gpus(self) -> bool:
        """From the start the first time; nothing while nobody looks."""
        if self.gpus_wanted:
            began = self._gpus is None
            self._gpus = self._gpus or GpuHistory()
            self._gpus.update(self._telemetry)
            return began
        ended, self._gpus = self._gpus is not None, None
        return ended

    def _model(self) -> Path | None:
        return self.run.model if (self.run.model / "config.json").is_file() else None

    def _summarized(self, state: State) -> RunSummary | None:
        """Of an ended run, read once."""
        if state.active:
            return None
        if self._summary is None or self._summary[0] != state:
            self._summary = (state, summarize(self.run))
        return self._summary[1]

    def _carded(self, state: State) -> Card | None:
        """Of an ended run, read once, and again when its supervisor has left one."""
        if state.active or state.name == "finished":
            return None
        version = _version(self.run.card_file)
        if self._card is None or self._card[:2] != (state, version):
            self._card = (state, version, card_of(self.run, state))
        return self._card[2]

    def _alerted(self) -> tuple[Alert, ...]:
        version = _version(seen_file(self.run))
        if version != self._seen[0]:
            self._seen = (version, read_seen(self.run))
        return self._alerts.all(self._seen[1])

    def _view(self, state: State, now: float, problem: str | None, alerts: tuple[Alert, ...]) -> RunView:
        record = self._record
        log = self._worker_log if self._worker_log.lines else self._supervisor_log
        return RunView(
            run=self.run,
            state=dataclasses.replace(state, reason=plain(state.reason) if state.reason else None),
            now=now,
            began=record.began(state),
            profile=self._profile,
            label=self._label,
            problem=problem,
            stalled=record.stalled(state, now),
            facts=record.facts,
            stages=record.pipeline.seen(state, now),
            healed=tuple(self._healed),
            alerts=alerts,
            card=self._carded(state),
            looked_at=(record.window, record.smoothing),
            curves=record.shown,
            smoothed=record.smoothed,
            clock=record.clock.since(state.started),
            baseline=record.baseline,
            best=record.best,
            devices=self._devices.seen(),
            gpu_curves=self._gpus.curves(state.started) if self._gpus else (),
            read_at=self._devices.read_at,
            log=tuple(log.lines),
            log_levels=tuple(log.levels),
            log_first=log.first,
            log_name=log.path.name,
            samples=record.samples.seen(),
            summary=self._summarized(state),
            model=self._model(),
        )


def _file_id(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None


def _version(path: Path) -> int | None:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return None


def planned_stages(profile: Path) -> list[dict[str, Any]]:
    """The stages a run's effective profile names, in order; none where it cannot be read."""
    try:
        data = tomllib.loads(profile.read_text())
    except (OSError, ValueError):
        return []
    stages: list[dict[str, Any]] = []
    for kind in ("dataset", "preprocess", "train", "evaluate"):
        tables = data.get(kind, [])
        for table in tables if isinstance(tables, list) else [tables]:
            if isinstance(table, dict) and table.get("stage"):
                stages.append({"index": len(stages), "kind": kind, "name": str(table["stage"])})
    return stages
