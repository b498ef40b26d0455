"""A run in one row: what `tuiftune runs` lists and the dashboard's menus show."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from tuiftune.errors import StoreError, TuiftuneError
from tuiftune.run.alerts import alerts_of
from tuiftune.run.folder import ACTIVE, Run, state_of
from tuiftune.run.metrics_db import MetricsReader
from tuiftune.run.notes import read_notes
from tuiftune.run.size import size_on_disk
from tuiftune.run.stalling import look_for_stall
from tuiftune.run.telemetry_db import TelemetryReader

FIGURES = ("perplexity", "loss", "bits_per_byte")


@dataclass(frozen=True)
class RunSummary:
    """The fields of `tuiftune runs --json`."""

    id: str
    profile: str
    name: str | None
    """A label given with --name, or later (tuiftune.run.notes)."""
    state: str
    reason: str | None
    step: int
    """Newest recorded optimizer step."""
    total_steps: int | None
    started: float
    """Seconds since the epoch."""
    ended: float | None
    baseline: dict[str, float | None] | None
    """The untouched model's figures: perplexity, loss, bits_per_byte."""
    best: dict[str, float | None] | None
    """The evaluation with the lowest loss after step 0."""
    last: dict[str, float | None] | None
    """The evaluation of the finished model; while there is none, the newest one after step 0."""
    tokens_per_s: float | None
    """All tokens trained on over all seconds of training; evaluation and saving left out."""
    peak_vram_bytes: int | None
    """Highest memory in use on any one GPU while the run went on, all processes together."""
    path: str
    made_up: bool
    """The figures are a demonstration's, not a model's."""
    stalled_s: float | None = None
    """Seconds since the last step, where that is far longer than usual."""
    stalled: str | None = None
    """The same in words: 'no step for 130 s'."""
    note: str | None = None
    """What a person wrote on it."""
    alerts: int = 0
    """Those that nobody has seen yet (tuiftune.run.alerts)."""
    size_bytes: int | None = None
    """What its folder takes on the disk; None where that was not looked up (tuiftune.run.size)."""

    @property
    def active(self) -> bool:
        """There is a process that sees to it."""
        return self.state in ACTIVE

    @property
    def took_s(self) -> float | None:
        """From its start to its end; None while it goes on, and where nobody saw the end or the clock was set back."""
        return None if self.ended is None or self.ended < self.started else self.ended - self.started

    def to_json(self) -> dict[str, Any]:
        """As JSON has no NaN, a figure that is not finite becomes its name: "nan", "inf"."""
        data = asdict(self)
        for key in ("baseline", "best", "last"):
            if data[key] is not None:
                data[key] = {name: json_number(value) for name, value in data[key].items()}
        data["tokens_per_s"] = json_number(data["tokens_per_s"])
        return data


def json_number(value: float | None) -> float | str | None:
    """NaN and infinities by name: JSON knows none."""
    return value if value is None or math.isfinite(value) else str(value)


def summarize(run: Run) -> RunSummary:
    """Read a run's folder. A damaged record leaves its fields empty and is said in `reason`."""
    origin = run.origin()
    notes = read_notes(run, origin)
    state = state_of(run)
    still = not state.active
    metrics, telemetry = MetricsReader(run.metrics_file, still), TelemetryReader(run.telemetry_file, still)
    try:
        figures = _figures(metrics)
        peak = _peak_vram(telemetry)
        stall = look_for_stall(metrics, state, time.time())
        unseen = sum(not alert.seen for alert in alerts_of(run, metrics, telemetry))
        problem = None
    except StoreError as error:
        figures, peak, stall, unseen, problem = _Figures(), None, None, 0, str(error)
    finally:
        metrics.close()
        telemetry.close()
    return RunSummary(
        id=run.id,
        profile=str(origin.get("profile", "")),
        name=notes.name,
        note=notes.note,
        state=state.name,
        reason=state.reason or problem,
        step=figures.step,
        total_steps=figures.total_steps,
        started=state.started,
        ended=state.ended,
        baseline=figures.baseline,
        best=figures.best,
        last=figures.last,
        tokens_per_s=figures.tokens_per_s,
        peak_vram_bytes=peak,
        path=str(run.path),
        made_up=figures.made_up,
        stalled_s=round(stall.seconds, 1) if stall else None,
        stalled=stall.text if stall else None,
        alerts=unseen,
    )


def summaries(
    runs: Sequence[Run], progress: Callable[[int, int], None] | None = None, sizes: bool = False
) -> list[RunSummary]:
    """Summaries of those runs that can be read; one deleted in the meantime is left out.

    `progress(done, total)` is told after each. `sizes`: with what each takes on the disk.
    """
    found = []
    for number, run in enumerate(runs, start=1):
        with contextlib.suppress(TuiftuneError):
            summary = summarize(run)
            found.append(replace(summary, size_bytes=size_on_disk(run.path)) if sizes else summary)
        if progress is not None:
            progress(number, len(runs))
    return found


@dataclass(frozen=True)
class _Figures:
    step: int = 0
    total_steps: int | None = None
    baseline: dict[str, float | None] | None = None
    best: dict[str, float | None] | None = None
    last: dict[str, float | None] | None = None
    tokens_per_s: float | None = None
    made_up: bool = False


def _figures(metrics: MetricsReader) -> _Figures:
    facts = metrics.facts()
    newest = metrics.last("train/loss")
    evaluated = metrics.last("eval/loss")
    lowest = metrics.lowest("eval/loss", after_step=0)
    return _Figures(
        step=newest.step if newest else 0,
        total_steps=_whole(facts.get("total_steps")),
        baseline=_at(metrics, 0),
        best=_at(metrics, lowest.step) if lowest else None,
        last=_at(metrics, _whole(facts.get("model_step")) or evaluated.step) if evaluated and evaluated.step else None,
        tokens_per_s=_tokens_per_s(metrics),
        made_up=bool(facts.get("made_up", False)),
    )


def _whole(fact: Any) -> int | None:
    """A fact is whatever a stage said; one that should be a number and is none is not known."""
    return int(fact) if isinstance(fact, int | float) and math.isfinite(fact) else None


def _tokens_per_s(metrics: MetricsReader) -> float | None:
    """Steps differ in length, so the mean of their speeds is not the speed; it stands in for a trainer that
    records no `tokens` and `seconds`."""
    (tokens, _), (seconds, _) = metrics.total("train/tokens"), metrics.total("train/seconds")
    if seconds > 0:
        return tokens / seconds
    speeds, count = metrics.total("train/tokens_per_s")
    return speeds / count if count else None


def _at(metrics: MetricsReader, step: int) -> dict[str, float | None] | None:
    found = metrics.all_at(step, [f"eval/{name}" for name in FIGURES])
    return {name: found.get(f"eval/{name}") for name in FIGURES} if found else None


def _peak_vram(telemetry: TelemetryReader) -> int | None:
    peaks = [
        telemetry.highest(device, "memory_used_bytes") for device in telemetry.devices() if device.startswith("gpu")
    ]
    known = [int(peak) for peak in peaks if peak is not None]
    return max(known) if known else None
