"""Runs side by side: their settings where these differ, their results, and their curves over one another."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tuiftune import units
from tuiftune.errors import StoreError, TuiftuneError
from tuiftune.run.folder import Run
from tuiftune.run.metrics_db import EPOCHS, ClockFollower, Curve, CurveFollower, MetricsReader
from tuiftune.run.smoothing import smooth
from tuiftune.run.summary import RunSummary, summarize

LETTERS = "ABCDEF"
"""The name of each run where several are shown."""
LEFT_OUT = ("description", "extends")
STAGE_LISTS = ("preprocess", "evaluate")
DATA = ("dataset.", "seed")
"""Where these differ, so may the text that is held out."""
TOKENS = ("model.name", "model.tokenizer")
NONE = "—"
"""A run has no such setting."""


@dataclass(frozen=True)
class Series:
    """A curve that runs are compared by."""

    key: str
    title: str
    unit: str = ""
    jumps: bool = False
    """From step to step: it is drawn smoothed, unless that is not wanted."""


LOSS = "train/loss"
SERIES = (
    Series(LOSS, "training loss", jumps=True),
    Series("eval/perplexity", "perplexity"),
    Series("train/tokens_per_s", "speed", "tokens/s", jumps=True),
    Series("train/learning_rate", "learning rate"),
    Series("train/grad_norm", "gradient norm", jumps=True),
)
Window = tuple[int, int]
"""The first and the last step of a part that is looked at."""


@dataclass(frozen=True)
class Compared:
    """One of the runs, as of a look at it."""

    letter: str
    summary: RunSummary
    settings: Mapping[str, Any]
    """Dotted key -> value, of the effective profile."""
    curves: Mapping[str, Curve] = field(default_factory=dict)
    drawn: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """Of each curve the values to draw: smoothed where it jumps."""
    clock: tuple[Sequence[float], Sequence[float]] = ((), ())
    """Steps, and how many seconds after the run's start each was."""
    problem: str | None = None
    """What could not be read, as a sentence."""

    @property
    def title(self) -> str:
        """Its name, else what little of its id tells it from others: `quickstart jdj`."""
        return self.summary.name or f"{self.summary.profile or 'run'} {self.summary.id[-3:]}"


class Comparing:
    """Reads several runs on and on, only what is new. Not thread-safe."""

    def __init__(self, runs: Sequence[Run], points: int = 2048) -> None:
        """`points`: a curve is thinned to at most so many. Raises TuiftuneError for one run, or too many."""
        if not 2 <= len(runs) <= len(LETTERS):
            raise TuiftuneError(f"2 to {len(LETTERS)} runs can be compared, not {len(runs)}")
        if len({run.id for run in runs}) < len(runs):
            raise TuiftuneError("a run is not compared with itself: name different ones")
        self._ones = [_One(letter, run, points) for letter, run in zip(LETTERS, runs, strict=False)]

    def look(self, windows: Mapping[str, Window | None] | None = None, smoothing: float = 1.0) -> list[Compared]:
        """How they stand. `windows`: of the run with this letter only these steps, as fine as the points allow;
        `smoothing`: so many times as long as usual, 0 for none. Raises RunNotFound where one was deleted."""
        return [one.look((windows or {}).get(one.letter), smoothing) for one in self._ones]

    def close(self) -> None:
        for one in self._ones:
            one.reader.close()


class _One:
    """One of the runs that are compared."""

    def __init__(self, letter: str, run: Run, points: int) -> None:
        self.letter, self._run = letter, run
        self._settings = settings_of(run)
        self.reader = MetricsReader(run.metrics_file)
        keys = [*(series.key for series in SERIES), EPOCHS]
        self._followers = {key: CurveFollower(self.reader, key, points) for key in keys}
        self._clock = ClockFollower(self.reader, LOSS)
        self._latest: Compared | None = None
        self._looked_at: tuple[Window | None, float] = (None, 1.0)

    def look(self, window: Window | None, smoothing: float) -> Compared:
        summary, before = summarize(self._run), self._latest
        try:
            if self.reader.changed() or before is None:
                for follower in self._followers.values():
                    follower.update()
                self._clock.update(self._followers[LOSS].curve.steps)
            elif self._looked_at == (window, smoothing):
                return self._keep(replace(before, summary=summary))
            self._looked_at = (window, smoothing)
            curves = {
                key: one.curve if window is None or key == EPOCHS else one.within(*window)
                for key, one in self._followers.items()
            }
        except StoreError as error:
            for follower in self._followers.values():
                follower.reset()
            return self._keep(Compared(self.letter, summary, self._settings, problem=str(error)))
        drawn = {series.key: _drawn(series, curves[series.key], smoothing) for series in SERIES}
        clock = self._clock.since(summary.started)
        return self._keep(Compared(self.letter, summary, self._settings, curves, drawn, clock))

    def _keep(self, found: Compared) -> Compared:
        self._latest = None if found.problem else found
        return found


def _drawn(series: Series, curve: Curve, smoothing: float) -> Sequence[float]:
    return smooth(curve.steps, curve.means, smoothing) if series.jumps and smoothing else curve.means


# ------------------------------------------------------------------------------------------------- settings


def settings_of(run: Run) -> dict[str, Any]:
    """Every value a run was started with, by its dotted key; stages of a list by their name. Empty where its profile
    cannot be read."""
    try:
        with run.profile_file.open("rb") as file:
            table = tomllib.load(file)
    except (OSError, ValueError):
        return {}
    found: dict[str, Any] = {}
    for key, value in table.items():
        if key not in LEFT_OUT:
            _flatten(value, key, found)
    return found


def _flatten(value: Any, key: str, found: dict[str, Any]) -> None:
    if isinstance(value, dict):
        for name, inner in value.items():
            _flatten(inner, f"{key}.{name}", found)
    elif key in STAGE_LISTS and isinstance(value, list) and all(isinstance(one, dict) for one in value):
        names = [str(one.get("stage", number)) for number, one in enumerate(value)]
        found[key] = " → ".join(names)
        for number, (name, stage) in enumerate(zip(names, value, strict=True)):
            here = f"{key}.{name}" if names.count(name) == 1 else f"{key}.{number}"
            _flatten({option: inner for option, inner in stage.items() if option != "stage"}, here, found)
    else:
        found[key] = value


def different_keys(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """The keys whose values are not the same in all, or that not all have."""
    keys = dict.fromkeys(key for one in settings for key in one)
    return [key for key in keys if any(key not in one or not _same(one[key], settings[0].get(key)) for one in settings)]


def _same(one: Any, other: Any) -> bool:
    """1 and 1.0 are the same; 1 and true are not."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def differing(settings: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[str]]]:
    """Key and every run's value, as a person reads it, of each setting that is not the same in all."""
    return [(key, [written(one[key]) if key in one else NONE for one in settings]) for key in different_keys(settings)]


def written(value: Any) -> str:
    """A value as a person reads it: text without its quotes, numbers without needless digits."""
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    return json.dumps(value, ensure_ascii=False, default=str)


def caution(compared: Sequence[Compared]) -> str | None:
    """Where figures of these runs say little about one another, a sentence on it."""
    if any(one.settings == {} for one in compared):
        return "the profile of a run cannot be read: what it differs in is not known"
    if _other_data(compared):
        return "they were measured on other data, or other parts of it: perplexities are not comparable"
    if _other_tokens(compared):
        return "perplexities of other tokenizers are not comparable; bits per byte are"
    return None


def _other_data(compared: Sequence[Compared]) -> bool:
    return any(key.startswith(DATA) for key in different_keys([one.settings for one in compared]))


def _other_tokens(compared: Sequence[Compared]) -> bool:
    return any(key in TOKENS for key in different_keys([one.settings for one in compared]))


# -------------------------------------------------------------------------------------------------- results


@dataclass(frozen=True)
class Result:
    """A figure of all runs."""

    label: str
    texts: Sequence[str]
    best: frozenset[int] = frozenset()
    """Which of them have the best value; none where all are the same, or fewer than two have any."""


def results(compared: Sequence[Compared]) -> list[Result]:
    """What came of each run; a figure that none of them has is left out. Where figures are not comparable (`caution`)
    none is the best."""
    found = [one.summary for one in compared]
    known = all(one.settings != {} for one in compared)
    per_byte = min if known and not _other_data(compared) else None
    per_token = None if _other_tokens(compared) else per_byte
    rows = [
        Result("state", [one.state for one in found]),
        Result("step", [_step(one) for one in found]),
        _figure("baseline", found, lambda one: _of(one.baseline, "perplexity"), units.figure, None),
        _figure("best perplexity", found, lambda one: _of(one.best, "perplexity"), units.figure, per_token),
        _figure("last perplexity", found, lambda one: _of(one.last, "perplexity"), units.figure, per_token),
        _figure("last bits/byte", found, lambda one: _of(one.last, "bits_per_byte"), units.figure, per_byte),
        _figure("tokens/s", found, lambda one: one.tokens_per_s, units.count, max),
        _figure("peak VRAM", found, lambda one: one.peak_vram_bytes, units.size, None),
        _figure("took", found, lambda one: one.took_s, units.duration, None),
    ]
    if any(one.made_up for one in found):
        rows.append(Result("figures", ["made up" if one.made_up else "measured" for one in found]))
    return [row for row in rows if set(row.texts) != {NONE}]


def _of(figures: Mapping[str, float | None] | None, name: str) -> float | None:
    return figures.get(name) if figures else None


def _step(one: RunSummary) -> str:
    return f"{one.step:,}/{one.total_steps:,}" if one.total_steps else f"{one.step:,}"


def _figure(
    label: str,
    found: Sequence[RunSummary],
    value_of: Callable[[RunSummary], float | None],
    text_of: Callable[[float], str],
    choose: Callable[[Sequence[float]], float] | None,
) -> Result:
    values = [value_of(one) for one in found]
    known = [value for value in values if value is not None and math.isfinite(value)]
    best = choose(known) if choose is not None and len(known) > 1 and len(set(known)) > 1 else None
    texts = [NONE if value is None else text_of(value) for value in values]
    return Result(label, texts, frozenset(at for at, value in enumerate(values) if value is not None and value == best))
