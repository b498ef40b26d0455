"""What happened to a run that a person should know of, until they have seen it: healed, held, hot, no number, stalled.

Made from the events and values that are on record. Which of them were seen is a line each in a file of the run's
folder, to which any number of viewers append.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tuiftune.errors import WorkspaceError
from tuiftune.run.folder import Run
from tuiftune.run.metrics_db import MetricsReader
from tuiftune.run.orders import PAUSED
from tuiftune.run.store import EventRow
from tuiftune.run.telemetry_db import TelemetryReader
from tuiftune.text import one_line
from tuiftune.units import duration

TOGETHER_S = 600.0
"""What comes again of the same kind within so many seconds is told as one, with how often."""
SLOWED_BY = ("heat", "heat, by hardware", "power brake", "slowed by hardware")
"""Reasons of tuiftune.run.throttling that are worth an alert: at its power limit a card that is busy always is."""
NOT_FINITE = {
    "train/loss": "loss",
    "train/grad_norm": "gradient norm",
    "eval/loss": "loss on held-out text",
    "eval/perplexity": "perplexity on held-out text",
}
MOST_STEPS = 2000
"""So many are looked at, the newest; of those before only the first."""
NEAR = 100
"""Steps without a number that are no further apart are one alert: a run may have them again and again."""
RISEN = 0.05
"""In nats: a perplexity 5% higher is no noise of the evaluation."""
WORKER_KINDS = ("run_started", "held", "released", "plugin_error")
SUPERVISOR_KINDS = ("healed", "alert", "telemetry")
HOW = re.compile(r"(?:;| with a single row at once;) (?=going on with |trying again)")
"""Stands between what happened and what is tried, in the sentences of tuiftune.run.healing."""
LARGEST = 1 << 20
"""Bytes that are read of the file of those seen; no more were written by us."""


@dataclass(frozen=True)
class Alert:
    """The fields of `tuiftune alerts --json`. Times are seconds since the epoch."""

    key: str
    """What it is called where it was seen; what comes again has another."""
    kind: str
    """'memory', 'disk', 'crash', 'gpu', 'heat', 'nan', 'held', 'stall', 'plugin', 'telemetry', 'overfit', 'worse'."""
    time: float
    """When it began, the last time."""
    first: float
    """When it began, the first time."""
    times: int
    step: int | None
    """The furthest step by then, where that is known."""
    sentence: str
    done: str
    """What was done about it, or what became of it."""
    seen: bool = False

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class _Spell:
    """One time that something was so."""

    kind: str
    subject: str
    """Two of the same may be told as one."""
    begun: float
    text: str
    done: str
    step: int | None = None
    ended: float | None = None
    open: bool = False


class Alerts:
    """Fed with the events of both stores, as often as one likes: what was fed before changes nothing."""

    def __init__(self) -> None:
        self._spells: dict[tuple[str, float], _Spell] = {}
        self._not_finite: list[_Spell] = []

    def feed(self, events: Iterable[EventRow]) -> None:
        """Events of metrics.db or of telemetry.db, the older ones first."""
        for event in events:
            take = getattr(self, f"_on_{event.kind}", None)
            if take is not None and (event.kind in WORKER_KINDS or event.kind in SUPERVISOR_KINDS):
                take(event, event.data)

    def feed_values(self, metrics: MetricsReader) -> None:
        """Look for values that are no numbers, and at which step the run was where an event does not tell. Raises
        StoreError."""
        self._not_finite = [*_not_finite(metrics), *_not_better(metrics)]
        for spell in self._spells.values():
            if spell.step is None:
                spell.step = metrics.step_at("train/loss", spell.begun)

    def all(self, seen: Iterable[str] = ()) -> tuple[Alert, ...]:
        """The oldest first; `seen`: keys of those that somebody has seen."""
        known = set(seen)
        by_subject: dict[str, list[_Spell]] = {}
        for spell in [*self._spells.values(), *self._not_finite]:
            by_subject.setdefault(spell.subject, []).append(spell)
        found = [_alert(group, known) for spells in by_subject.values() for group in _groups(spells)]
        return tuple(sorted(found, key=lambda alert: alert.time))

    # What each event tells.

    def _add(self, spell: _Spell) -> None:
        self._spells.setdefault((spell.subject, spell.begun), spell)

    def _close(self, subjects: Sequence[str], when: float, done: str) -> None:
        for spell in self._spells.values():
            if spell.open and spell.subject in subjects and spell.begun <= when:
                spell.open, spell.ended, spell.done = False, when, done

    def _on_run_started(self, event: EventRow, _data: dict[str, Any]) -> None:
        """Another attempt: whatever its worker waited for, it does so no longer."""
        self._close(("held", "disk", "hot"), event.time, "its worker ended meanwhile, and another went on")

    def _on_held(self, event: EventRow, data: dict[str, Any]) -> None:
        why = one_line(str(data.get("reason") or ""))
        if why.startswith(PAUSED):  # by who is to be told
            return
        kind, subject = "held", "held"
        if why.startswith("the disk is full"):
            kind, subject = "disk", "disk"
        elif "run.max_temperature" in why:
            kind, subject = "heat", "hot"
        step = data.get("step")
        done = "the run was held at the end of a step; it goes on by itself"
        spell = _Spell(kind, subject, event.time, why, done, step if isinstance(step, int) else None, open=True)
        self._add(spell)

    def _on_released(self, event: EventRow, data: dict[str, Any]) -> None:
        seconds = data.get("seconds")
        after = f" after {duration(seconds)}" if isinstance(seconds, int | float) else ""
        self._close(("held", "disk", "hot"), event.time, f"the run was held at the end of a step, and went on{after}")

    def _on_plugin_error(self, event: EventRow, data: dict[str, Any]) -> None:
        text = one_line(str(data.get("error") or "a plugin failed"))
        done = "this hook of it is not called again in this run, which goes on"
        self._add(_Spell("plugin", f"plugin {data.get('plugin')}", event.time, text, done, ended=event.time))

    def _on_healed(self, event: EventRow, data: dict[str, Any]) -> None:
        text, how = _what_and_how(one_line(str(data.get("sentence") or "its worker failed")))
        step, word = data.get("step"), str(data.get("kind") or "")
        kind = {"oom": "memory", "host-oom": "memory", "disk-full": "disk", "gpu-lost": "gpu"}.get(word, "crash")
        done = f"a new worker was started{f', {how}' if how else ''}"
        subject = f"healed {event.time}"  # each in its own words
        self._add(_Spell(kind, subject, event.time, text, done, step if isinstance(step, int) else None, event.time))

    def _on_telemetry(self, event: EventRow, data: dict[str, Any]) -> None:
        text = one_line(str(data.get("text") or "the telemetry failed"))
        done = "readings of GPU and machine may be missing; training is not touched"
        self._add(_Spell("telemetry", "telemetry", event.time, text, done, ended=event.time))

    def _on_alert(self, event: EventRow, data: dict[str, Any]) -> None:
        reason = str(data.get("reason") or "")
        if data.get("alert") == "throttle" and reason not in SLOWED_BY:
            return
        kind = "stall" if data.get("alert") == "stall" else "heat"
        subject = one_line(f"{kind} {data.get('device') or ''} {reason}")
        since = data.get("since")
        begun = float(since) if isinstance(since, int | float) else event.time
        text = one_line(str(data.get("text") or subject))
        if data.get("phase") == "end":
            seconds = data.get("seconds")
            after = duration(seconds) if isinstance(seconds, int | float) else "a while"
            words = f"it went on after {after}" if kind == "stall" else f"no longer so after {after}"
            self._close((subject,), event.time, words)
            return
        done = (
            "nothing is done to it" if kind == "stall" else "the driver slows the GPU down by itself until it is over"
        )
        self._add(_Spell(kind, subject, begun, text, done, open=True))


def _what_and_how(sentence: str) -> tuple[str, str]:
    """`out of memory; going on with ...`: what happened, and what is tried."""
    what, *how = HOW.split(sentence, maxsplit=1)
    return what, how[0] if how else ""


def _not_finite(metrics: MetricsReader) -> Iterator[_Spell]:
    """Steps whose loss or gradient is no number, those near one another as one. An infinite gradient alone is no sign:
    the loss scaling of fp16 meets some and passes over them."""
    at: dict[int, tuple[float, list[str]]] = {}
    joined: set[int] = set()
    """Steps before which some were left out: there are too many to look at each."""
    for series, name in NOT_FINITE.items():
        rows = metrics.not_finite(series, MOST_STEPS)
        if len(rows) == MOST_STEPS and (first := metrics.first_not_finite(series)) is not None:
            joined.add(rows[0].step)
            rows = [first, *rows]
        for row in rows:
            if series != "train/grad_norm" or row.value != row.value:
                at.setdefault(row.step, (row.time, []))[1].append(name)
    good = metrics.last_finite("train/loss") if at else None
    spell: list[int] = []
    for step in [*sorted(at), None]:
        if spell and (step is None or (step > spell[-1] + NEAR and step not in joined)):
            names = list(dict.fromkeys(name for one in spell for name in at[one][1]))
            are = "is no number" if len(names) == 1 else "are no numbers"
            again = good is not None and good.step > spell[-1]
            done = "no checkpoint is written of such a step" + ("; later ones have numbers again" if again else "")
            text = f"the {' and the '.join(names)} {are} at {_steps_in_words(spell, joined)}"
            yield _Spell("nan", "nan", at[spell[0]][0], text, done, spell[0], at[spell[-1]][0])
            spell = []
        if step is not None:
            spell.append(step)


def _steps_in_words(steps: Sequence[int], joined: set[int]) -> str:
    first, last = steps[0], steps[-1]
    if len(steps) == 1:
        return f"step {first:,}"
    if len(steps) == last - first + 1 or joined.intersection(steps[1:]):
        return f"steps {first:,} to {last:,}"
    return f"{len(steps):,} of the steps {first:,} to {last:,}"


def _not_better(metrics: MetricsReader) -> Iterator[_Spell]:
    """A loss on held-out text that rises again, and one that is above the untouched model's."""
    base, last = metrics.at("eval/loss", 0), metrics.last_finite("eval/loss")
    best = metrics.lowest("eval/loss", after_step=0)
    if last is None or best is None or last.step == 0:
        return
    if last.value > best.value + RISEN:
        since = metrics.finite_after("eval/loss", best.step, 2)
        if len(since) > 1:
            values = f"{best.value:.4g} to {last.value:.4g}"
            text = f"the loss on held-out text has risen since step {best.step:,}: {values}"
            done = "nothing is done to it; run.keep_best keeps the best checkpoint, train.early_stopping ends such runs"
            yield _Spell("overfit", "overfit", since[0].time, text, done, last.step, last.time)
    if base is not None and math.isfinite(base) and last.value > base + RISEN:
        text = f"the loss on held-out text is above the untouched model's: {base:.4g} to {last.value:.4g}"
        done = "nothing is done to it; a lower train.learning_rate is what mostly helps"
        begun = metrics.finite_after("eval/loss", metrics.last_step_below("eval/loss", base), 1)
        yield _Spell("worse", "worse", begun[0].time if begun else last.time, text, done, last.step, last.time)


def _groups(spells: list[_Spell]) -> Iterator[list[_Spell]]:
    """Those that follow one another closely."""
    group: list[_Spell] = []
    for spell in sorted(spells, key=lambda one: one.begun):
        if group and spell.begun - (group[-1].ended or group[-1].begun) > TOGETHER_S:
            yield group
            group = []
        group.append(spell)
    if group:
        yield group


def _alert(group: Sequence[_Spell], seen: set[str]) -> Alert:
    last = group[-1]
    key = f"{last.kind}@{last.begun:.3f}"
    return Alert(key, last.kind, last.begun, group[0].begun, len(group), last.step, last.text, last.done, key in seen)


# ------------------------------------------------------------------------------------------- of one run, at once


def alerts_of(run: Run, metrics: MetricsReader, telemetry: TelemetryReader) -> tuple[Alert, ...]:
    """All of a run, the oldest first. Raises StoreError."""
    found = Alerts()
    found.feed(metrics.events_of(WORKER_KINDS))
    found.feed(telemetry.events_of(SUPERVISOR_KINDS))
    found.feed_values(metrics)
    return found.all(read_seen(run))


def look(run: Run) -> tuple[Alert, ...]:
    """The same, with readers of its own. Raises StoreError."""
    metrics, telemetry = MetricsReader(run.metrics_file), TelemetryReader(run.telemetry_file)
    try:
        return alerts_of(run, metrics, telemetry)
    finally:
        metrics.close()
        telemetry.close()


# ------------------------------------------------------------------------------------------------ what was seen


def seen_file(run: Run) -> Path:
    return run.path / "alerts-seen"


def read_seen(run: Run) -> frozenset[str]:
    """Keys of the alerts that were seen; none where the file is not there or cannot be read."""
    try:
        with seen_file(run).open("rb") as file:
            return frozenset(file.read(LARGEST).decode("utf-8", "replace").split("\n")) - {""}
    except OSError:
        return frozenset()


def mark_seen(run: Run, keys: Sequence[str]) -> None:
    """Write down that these were seen: one write that appends, so that two who do it at once lose nothing. Raises
    WorkspaceError."""
    fresh = [key for key in keys if key not in read_seen(run)]
    if not fresh:
        return
    try:
        descriptor = os.open(seen_file(run), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, "".join(f"{key}\n" for key in fresh).encode())
        finally:
            os.close(descriptor)
    except OSError as error:
        raise WorkspaceError(
            f"{seen_file(run)}: that they were seen cannot be written down: {error.strerror}"
        ) from error
