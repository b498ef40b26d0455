"""Follow a run from the command line: a progress bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from tuiftune import units
from tuiftune.errors import StoreError
from tuiftune.run import launch
from tuiftune.run.folder import Run, State, state_of
from tuiftune.run.metrics_db import MetricsReader, Progress
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
    stage: str
    progress: Progress | None
    loss: float | None
    perplexity: float | None
    tokens_per_s: float | None
    events: list[EventRow]

    def text(self, eta_s: float | None) -> str:
        """`causal_lm  120/600 steps  loss 1.93  eval perplexity 5.12  8,123 tokens/s  0:40 left`."""
        parts = [self.stage]
        if self.progress:
            total = f"/{self.progress.total:,}" if self.progress.total else ""
            parts.append(f"{self.progress.done:,}{total} {self.progress.unit}".strip())
        if self.loss is not None:
            parts.append(f"loss {units.figure(self.loss)}")
        if self.perplexity is not None:
            parts.append(f"eval perplexity {units.figure(self.perplexity)}")
        if self.tokens_per_s is not None:
            parts.append(f"{units.count(self.tokens_per_s)} tokens/s")
        if eta_s is not None:
            parts.append(f"{units.clock(eta_s)} left")
        return "  ".join(parts)


class Follower:
    """Looks at a run again and again and says what is new."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._reader = MetricsReader(run.metrics_file)
        self._event = 0
        self._stage: tuple[int, str] = (-1, "starting")
        self._pace: tuple[int, float, int] | None = None
        """(stage, when, done) at the first look at this stage: the ETA is measured from there."""

    def look(self) -> Moment:
        """One look. A damaged record is said by the caller: raises StoreError."""
        state = state_of(self._run)
        events = self._reader.events(self._event)
        for event in events:
            self._event = event.id
            if event.kind == "stage_started":
                self._stage = (event.data["index"], event.data["name"])
        index, name = self._stage
        loss = self._reader.last("train/loss")
        perplexity = self._reader.last("eval/perplexity")
        speed = self._reader.last("train/tokens_per_s")
        return Moment(
            state,
            name,
            self._reader.progress().get(index),
            loss.value if loss else None,
            perplexity.value if perplexity else None,
            speed.value if speed else None,
            events,
        )

    def eta_s(self, progress: Progress | None) -> float | None:
        """Seconds left in the stage at the pace seen so far."""
        if progress is None or not progress.total:
            return None
        if self._pace is None or self._pace[0] != progress.stage:
            self._pace = (progress.stage, progress.time, progress.done)
        _, since, first = self._pace
        done = progress.done - first
        elapsed = progress.time - since
        return (progress.total - progress.done) * elapsed / done if done > 0 and elapsed > 0 else None

    def close(self) -> None:
        self._reader.close()


def follow(run: Run, out: TextIO | None = None) -> State:
    """Show a run until it has ended and return its last state; Ctrl+C is the caller's to catch."""
    out = out or sys.stderr
    follower = Follower(run)
    try:
        with _bar(out) if out.isatty() else _lines(out) as show:
            while True:
                if launch.ensure_supervised(run):
                    show([f"the supervisor of {run.id} had died; a new one has taken over"], None, None)
                try:
                    moment = follower.look()
                except StoreError as error:
                    show([str(error)], None, None)
                    moment = None
                state = moment.state if moment else state_of(run)
                if moment:
                    show(list(_told(moment.events)), moment, follower.eta_s(moment.progress))
                if not state.active:
                    return state
                time.sleep(TICK_S)
    finally:
        follower.close()


Show = Callable[[list[str], Moment | None, float | None], None]


@contextlib.contextmanager
def _lines(out: TextIO) -> Iterator[Show]:
    """Plain lines: news at once, progress now and then."""
    said, text_said = 0.0, ""

    def show(news: list[str], moment: Moment | None, eta_s: float | None) -> None:
        nonlocal said, text_said
        for line in news:
            print(line, file=out, flush=True)
        if moment is None or not moment.progress:
            return
        text = moment.text(eta_s)
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

        def show(news: list[str], moment: Moment | None, eta_s: float | None) -> None:
            for line in news:
                console.print(line, markup=False)
            if moment is None:
                return
            progress = moment.progress
            bar.update(
                task,
                description=moment.text(eta_s),
                total=progress.total if progress and progress.total else None,
                completed=progress.done if progress else 0,
            )

        yield show


def _told(events: list[EventRow]) -> Iterator[str]:
    """The events worth a line."""
    for event in events:
        data = event.data
        if event.kind == "stage_started":
            yield f"{data['kind']}: {data['name']}"
        elif event.kind == "stage_finished" and not data.get("error"):
            cached = ", from the cache" if data.get("cached") else ""
            yield f"{data['kind']}: {data['name']} done in {units.duration(data['seconds'])}{cached}"
        elif event.kind == "message":
            yield one_line(f"{data['stage']}: {data['text']}")
        elif event.kind == "checkpoint":
            yield f"checkpoint at step {data['step']}"
        elif event.kind == "resumed":
            yield f"going on from step {data['step']}"
        elif event.kind == "plugin_error":
            yield one_line(str(data["error"]))


def ending(run: Run, state: State) -> str:
    """What there is to say of a run that has ended: figures, model, what next."""
    summary = summarize(run)
    took = units.duration((state.ended or time.time()) - state.started)
    head = f"{run.id} {state.name} after {took}" + (f": {plain(state.reason)}" if state.reason else "")
    lines = [head, *_figures(summary)]
    if state.name == "finished" and not summary.made_up:
        lines += [
            f"  model          {_short(run.model)}",
            "",
            f'Generate from it:  tuiftune generate {run.id} "Once upon a time"',
        ]
    elif state.name in ("stopped", "interrupted", "failed"):
        lines += ["", f"Its log:  tuiftune logs {run.id}", f"Go on:    tuiftune resume {run.id}"]
    return "\n".join(lines)


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
    if summary.total_steps:
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
    return "\n".join([f"{run.id} {moment.state.name}: {moment.text(None)}", *_figures(summarize(run))])


def log_lines(run: Run, keep_following: bool) -> Iterator[str]:
    """The lines of a run's log; with `keep_following`, on and on until the run has ended."""
    while keep_following and not run.worker_log.exists() and state_of(run).active:
        time.sleep(TICK_S)
    if not run.worker_log.exists():
        return
    rest = b""
    with run.worker_log.open("rb") as file:
        while True:
            ended = not keep_following or not state_of(run).active  # looked at before the last read
            while chunk := file.read(1 << 20):
                *whole, rest = (rest + chunk).split(b"\n")
                yield from (line.decode("utf-8", "replace") for line in whole)
            if ended:
                if rest:
                    yield rest.decode("utf-8", "replace")
                return
            time.sleep(TICK_S)
