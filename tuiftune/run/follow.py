"""Follow a run from the command line: a progress bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from tuiftune import units
from tuiftune.errors import StoreError
from tuiftune.run import launch
from tuiftune.run.folder import RESUMABLE, Run, State, state_of
from tuiftune.run.log_rotation import older
from tuiftune.run.metrics_db import MetricsReader
from tuiftune.run.news import SupervisorNews, worker_news
from tuiftune.run.progress import Pipeline, StageView
from tuiftune.run.stalling import Stall, look_for_stall
from tuiftune.run.store import EventRow
from tuiftune.run.summary import RunSummary, summarize
from tuiftune.text import one_line, plain

TICK_S = 0.25
LINE_EVERY_S = 5.0
"""Without a terminal: at most one line of progress in this time."""


@dataclass(frozen=True)
class Moment:
    """What a follower sees at one look."""

    state: State
    stage: StageView | None
    """The one that runs."""
    loss: float | None
    perplexity: float | None
    tokens_per_s: float | None
    news: list[str]
    """A line for each thing that has happened since the last look and is worth one."""
    stall: Stall | None = None

    @property
    def text(self) -> str:
        """What it is doing, and before it the state where that is none of those one expects."""
        name = self.state.name
        return "  ".join(filter(None, (None if name in ("starting", "running") else name, self.doing)))

    @property
    def doing(self) -> str:
        """`causal_lm  120/600 steps  loss 1.93  eval perplexity 5.12  8,123 tokens/s  0:40 left`."""
        stage = self.stage
        if stage is None:
            return "starting" if self.state.name in ("starting", "running") else ""
        parts = [stage.name]
        if stage.done is not None:
            total = f"/{stage.total:,}" if stage.total else ""
            parts.append(f"{stage.done:,}{total} {stage.unit}".strip())
        if stage.kind != "train":
            return "  ".join(parts)
        if self.loss is not None:
            parts.append(f"loss {units.figure(self.loss)}")
        if self.perplexity is not None:
            parts.append(f"eval perplexity {units.figure(self.perplexity)}")
        if self.tokens_per_s is not None:
            parts.append(f"{units.count(self.tokens_per_s)} tokens/s")
        if stage.eta_s is not None:
            parts.append(f"{units.clock(stage.eta_s)} left")
        return "  ".join(parts)


class Follower:
    """Looks at a run again and again and says what is new."""

    def __init__(self, run: Run, after_event: int = 0) -> None:
        """`after_event`: the newest event that is no news any more."""
        self._run = run
        self._reader = MetricsReader(run.metrics_file)
        self._supervisor = SupervisorNews(run)
        self._event = after_event
        self._first = True
        self._pipeline = Pipeline()

    def look(self) -> Moment:
        """One look. A damaged record is said by the caller: raises StoreError."""
        state = state_of(self._run)
        events = self._reader.events(self._event)
        for event in events:
            self._event = event.id
            self._pipeline.event(event)
        self._pipeline.progress(self._reader.progress())
        if self._first and events:
            self._first, events = False, _of_this_attempt(events)
        told = [line for event in events if (line := worker_news(event))]
        now = time.time()
        loss = self._reader.last("train/loss")
        perplexity = self._reader.last("eval/perplexity")
        speed = self._reader.last("train/tokens_per_s")
        return Moment(
            state,
            self._pipeline.running(state, now),
            loss.value if loss else None,
            perplexity.value if perplexity else None,
            speed.value if speed else None,
            [*told, *self._supervisor.look(state)],
            look_for_stall(self._reader, state, now),
        )

    def close(self) -> None:
        self._reader.close()
        self._supervisor.close()


def _of_this_attempt(events: list[EventRow]) -> list[EventRow]:
    """Without what happened before the run was last started or resumed: that is no news."""
    starts = [number for number, event in enumerate(events) if event.kind == "run_started"]
    first = starts[-1] if starts else 0
    return events[first:]


def last_event(run: Run) -> int:
    """The id of the newest event of a run; 0 before the first."""
    reader = MetricsReader(run.metrics_file)
    try:
        event = reader.last_event()
    except StoreError:  # whoever follows the run says so
        return 0
    finally:
        reader.close()
    return event.id if event else 0


def follow(run: Run, out: TextIO | None = None, after_event: int = 0) -> State:
    """Show a run until it has ended and return its last state; Ctrl+C is the caller's to catch."""
    out = out or sys.stderr
    follower = Follower(run, after_event)
    stalled = False
    try:
        with _bar(out) if out.isatty() else _lines(out) as show:
            while True:
                if launch.ensure_supervised(run):
                    show([f"the supervisor of {run.id} had died; a new one has taken over"], None)
                try:
                    moment = follower.look()
                except StoreError as error:
                    show([str(error)], None)
                    moment = None
                state = moment.state if moment else state_of(run)
                if moment:
                    news = list(moment.news)
                    if moment.stall and not stalled:
                        news.append(f"{moment.stall.text}; to end it: tuiftune stop {run.id} (or with --now, at once)")
                    stalled = moment.stall is not None
                    show(news, moment)
                if not state.active:
                    return state
                time.sleep(TICK_S)
    finally:
        follower.close()


Show = Callable[[list[str], Moment | None], None]


@contextlib.contextmanager
def _lines(out: TextIO) -> Iterator[Show]:
    """Plain lines: news at once, progress now and then."""
    said, text_said = 0.0, ""

    def show(news: list[str], moment: Moment | None) -> None:
        nonlocal said, text_said
        for line in news:
            print(line, file=out, flush=True)
        if moment is None or moment.stage is None or moment.stage.done is None:
            return
        text = moment.text
        if text != text_said and time.monotonic() - said >= LINE_EVERY_S:
            said, text_said = time.monotonic(), text
            print(text, file=out, flush=True)

    yield show


@contextlib.contextmanager
def _bar(out: TextIO) -> Iterator[Show]:
    """One bar that moves, with the news above it."""
    from rich.console import Console  # 60 ms, only on a terminal
    from rich.progress import BarColumn, Progress, TextColumn

    console = Console(file=out, highlight=False)
    columns = (BarColumn(bar_width=30), TextColumn("{task.description}", markup=False))
    with Progress(*columns, console=console, refresh_per_second=4, transient=True) as bar:
        task = bar.add_task("starting", total=None)

        def show(news: list[str], moment: Moment | None) -> None:
            for line in news:
                console.print(line, markup=False)
            if moment is None:
                return
            stage = moment.stage
            bar.update(
                task,
                description=moment.text + (f"  {moment.stall.text}" if moment.stall else ""),
                total=stage.total or None if stage else None,
                completed=(stage.done or 0) if stage else 0,
            )

        yield show


def ending(run: Run, state: State) -> str:
    """What there is to say of a run that has ended: figures, model, what next."""
    summary = summarize(run)
    attempt = f" (attempt {state.attempt})" if state.attempt > 1 else ""
    seconds = -1.0 if state.ended is None else state.ended - _began(run, state)
    took = f" after {units.duration(seconds)}" if seconds >= 0 else ""  # nobody knows where the clock was set back
    head = f"{run.id} {state.name}{took}{attempt}" + (f": {plain(state.reason)}" if state.reason else "")
    lines = [head, *_figures(summary)]
    if state.name == "finished" and not summary.made_up:
        lines += [
            f"  model          {_short(run.model)}",
            *_written(run),
            "",
            f'Generate from it:  tuiftune generate {run.id} "Once upon a time"',
        ]
    elif state.name in RESUMABLE:
        lines += ["", f"Why:      tuiftune why {run.id}"]
        if run.has_checkpoint or state.name != "failed":
            lines += [f"Go on:    tuiftune resume {run.id}"]
    return "\n".join(lines)


def _written(run: Run) -> Iterator[str]:
    """The first of the texts that the finished model wrote."""
    reader = MetricsReader(run.metrics_file)
    try:
        sample = next((sample for sample in reader.samples() if sample.model == "final"), None)
    except StoreError:
        return
    finally:
        reader.close()
    if sample is not None:
        yield f"  {'it writes':<14} {one_line(sample.prompt + sample.text, 200)}"


def _began(run: Run, state: State) -> float:
    """When the newest attempt started; what lies between two attempts is nobody's running time."""
    if state.attempt < 2:
        return state.started
    reader = MetricsReader(run.metrics_file)
    try:
        event = reader.last_event("run_started")
    except StoreError:
        return state.started
    finally:
        reader.close()
    return event.time if event else state.started


def _figures(summary: RunSummary) -> Iterator[str]:
    """Baseline and final figures, aligned."""
    if summary.made_up:
        yield "  The figures below are MADE UP by the demo trainer; no model was trained."
    if summary.baseline and summary.last:
        for name, title in (("perplexity", "perplexity"), ("bits_per_byte", "bits per byte")):
            before, after = summary.baseline.get(name), summary.last.get(name)
            if before is not None and after is not None:
                yield (
                    f"  {title:<14} {units.figure(before)} before, {units.figure(after)} after"
                    " (held-out text; lower is better)"
                )
    if summary.tokens_per_s is not None:
        yield f"  {'speed':<14} {units.count(summary.tokens_per_s)} tokens/s"
    if summary.total_steps is not None:
        yield f"  {'steps':<14} {summary.step:,} of {summary.total_steps:,}"


def _short(path: Path) -> str:
    """A path as seen from the current folder, where that is shorter."""
    with contextlib.suppress(ValueError):
        return str(path.relative_to(Path.cwd()))
    return str(path)


def standing(run: Run) -> str:
    """One plain frame of a run that goes on."""
    follower = Follower(run)
    try:
        moment = follower.look()
    finally:
        follower.close()
    stalled = f", {moment.stall.text}" if moment.stall else ""
    head = f"{run.id} {moment.state.name}{stalled}" + (f": {moment.doing}" if moment.doing else "")
    reason = [f"  {plain(moment.state.reason)}"] if moment.state.reason else []
    return "\n".join([head, *reason, *_figures(summarize(run))])


def log_lines(run: Run, keep_following: bool) -> Iterator[str]:
    """The lines of a run's log; with `keep_following`, on and on until the run has ended."""
    while keep_following and not run.worker_log.exists() and state_of(run).active:
        launch.ensure_supervised(run)
        time.sleep(TICK_S)
    if not run.worker_log.exists():
        return
    rest = b""
    with contextlib.suppress(FileNotFoundError), older(run.worker_log).open("rb") as file:
        for line in file:
            yield line.rstrip(b"\n").decode("utf-8", "replace")
    with run.worker_log.open("rb") as file:
        while True:
            if file.tell() > os.fstat(file.fileno()).st_size:  # it was too long and has been begun anew
                file.seek(0)
            ended = not keep_following or not state_of(run).active  # looked at before the last read
            while chunk := file.read(1 << 20):
                *whole, rest = (rest + chunk).split(b"\n")
                yield from (line.decode("utf-8", "replace") for line in whole)
            if ended:
                if rest:
                    yield rest.decode("utf-8", "replace")
                return
            launch.ensure_supervised(run)
            time.sleep(TICK_S)
