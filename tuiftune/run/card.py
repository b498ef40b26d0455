"""The post-mortem card of a run: what ended it, where, with what left to go on from, and what to do next.

The supervisor writes card.json when a run ends that did not finish. Where there is none (its supervisor was killed, or
the disk was full), whoever looks makes the same card from what lies in the folder.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from tuiftune.errors import TuiftuneError
from tuiftune.run.advice import ADVICE, commands
from tuiftune.run.cause import Cause, cause_of
from tuiftune.run.checkpoints import newest_sealed, step_of
from tuiftune.run.files import write_json
from tuiftune.run.folder import Run, State, log_tail
from tuiftune.run.metrics_db import MetricsReader
from tuiftune.run.store import EventRow
from tuiftune.run.summary import json_number
from tuiftune.run.supervisor_log import log
from tuiftune.run.telemetry_db import TelemetryReader
from tuiftune.secrets import masked
from tuiftune.text import one_line

LOG_LINES = 20
LINE = 500
"""Characters of a line of the log that a card keeps."""

Part = TypeVar("Part")


@dataclass(frozen=True)
class Healed:
    """One time that the run went on by itself after its worker had failed."""

    time: float
    """Seconds since the epoch."""
    kind: str
    """A word of tuiftune.run.failure."""
    sentence: str
    step: int
    """The furthest step until then."""
    changes: dict[str, Any] = field(default_factory=dict)
    """What was laid over the `[train]` table of the profile since then."""


@dataclass(frozen=True)
class Card:
    """The fields of card.json. Times are seconds since the epoch."""

    id: str
    profile: str
    name: str | None
    state: str
    kind: str
    """A key of tuiftune.run.advice.ADVICE; the state where nothing went wrong."""
    sentence: str
    ended_by: str
    """In words: 'an exception', 'signal 11 (SIGSEGV)'."""
    exception: str | None
    """The last line of the traceback."""
    place: str | None
    """`plugins/chat.py:12, in run`."""
    started: float
    time: float
    """When it ended; of a run whose end nobody saw, its last sign of life."""
    attempt: int
    step: int
    """The furthest step on record."""
    total_steps: int | None
    last_good_step: int | None
    """The newest step whose loss is a number."""
    last_good_loss: float | None
    made_up: bool
    """The loss is a demonstration's, not a model's."""
    checkpoint: int | None
    """The step of the newest checkpoint that is whole, by the names and sizes of its files."""
    passed_over: list[str] = field(default_factory=list)
    """A sentence for each newer one that is not."""
    healed: list[Healed] = field(default_factory=list)
    devices: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The newest reading of each GPU and of the host, fields as in tuiftune.telemetry."""
    devices_time: float | None = None
    environment: dict[str, str] = field(default_factory=dict)
    """Versions, platform and device."""
    log_name: str = ""
    log: list[str] = field(default_factory=list)
    """The last lines."""
    advice: str = ""
    commands: dict[str, str] = field(default_factory=dict)
    """What to type, by what it is for: 'go on', 'another', 'look', 'log'."""
    unread: list[str] = field(default_factory=list)
    """What could not be read for this card, a sentence each."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Card:
        """Raises TypeError or KeyError where it is none."""
        healed = [Healed(**one) for one in data["healed"]]
        return cls(**{**data, "healed": healed})


def leave_card(run: Run, state: State) -> None:
    """For the supervisor at a run's end. A failure to write it is said in the log and keeps nothing else from being
    done: whoever looks makes the card anew."""
    if state.name == "finished":
        return
    try:
        write_json(run.card_file, make_card(run, state).to_json())
    except OSError as error:
        log(f"{run.card_file.name} cannot be written: {error}")
    except Exception:  # a bug in here must not cost the rest of the ending
        log(f"{run.card_file.name} was not made: {traceback.format_exc()}")


def card_of(run: Run, state: State) -> Card:
    """The card of a run in `state`: as it was left, else made now."""
    try:
        card = Card.from_json(json.loads(run.card_file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, KeyError):
        return make_card(run, state)
    same = (card.id, card.state, card.attempt) == (run.id, state.name, state.attempt)
    return card if same else make_card(run, state)


def make_card(run: Run, state: State) -> Card:
    """From what lies in the folder; what cannot be read is said in `unread` and left out."""
    unread: list[str] = []

    def part(read: Callable[[], Part], otherwise: Part) -> Part:
        try:
            return read()
        except (OSError, ValueError, TypeError, KeyError, TuiftuneError) as error:
            unread.append(_safe(str(error)))
            return otherwise

    origin = run.origin()
    cause = part(lambda: cause_of(run, state), Cause(state.kind or state.name, ""))
    steps = part(lambda: _steps(run), _Steps())
    none_saved: tuple[Path | None, list[str]] = (None, [])
    saved, passed_over = part(lambda: newest_sealed(run.checkpoints, by_content=False), none_saved)
    machine = part(lambda: _machine(run), _Machine())
    no_log: tuple[str, list[str]] = ("", [])
    log_name, tail = part(lambda: _log(run), no_log)
    ended = state.ended or max(filter(None, (state.since, machine.time, steps.time)))
    return Card(
        id=run.id,
        profile=_safe(str(origin.get("profile") or "")),
        name=_safe(str(origin["name"])) if origin.get("name") else None,
        state=state.name,
        kind=cause.kind,
        sentence=_safe(state.reason or state.name, 2000),
        ended_by=cause.what,
        exception=_safe(cause.exception) if cause.exception else None,
        place=_safe(cause.place) if cause.place else None,
        started=state.started,
        time=state.since if state.active else ended,
        attempt=state.attempt,
        step=max(steps.furthest, step_of(saved) if saved else 0),
        total_steps=steps.total,
        last_good_step=steps.good,
        last_good_loss=steps.good_loss,
        made_up=bool(steps.facts.get("made_up", False)),
        checkpoint=step_of(saved) if saved else None,
        passed_over=[_safe(reason) for reason in passed_over],
        healed=machine.healed,
        devices=machine.devices,
        devices_time=machine.time,
        environment=part(lambda: _environment(origin, steps.facts), {}),
        log_name=log_name,
        log=tail,
        advice=ADVICE[cause.kind].text if cause.kind in ADVICE else "",
        commands=part(lambda: {what: _safe(text) for what, text in commands(run, cause.kind, state.name).items()}, {}),
        unread=unread,
    )


def healings(events: Iterable[EventRow]) -> list[Healed]:
    """What was healed, of the events of telemetry.db."""
    return [
        Healed(
            event.time,
            _safe(str(event.data.get("kind") or "")),
            _safe(str(event.data.get("sentence") or "")),
            int(event.data.get("step") or 0),
            dict(event.data.get("changes") or {}),
        )
        for event in events
        if event.kind == "healed"
    ]


def _safe(text: str, limit: int = LINE) -> str:
    """The one door through which words get onto a card: nothing that steers a terminal, no secret, nothing
    without an end."""
    return masked(one_line(text, limit))


@dataclass(frozen=True)
class _Steps:
    furthest: int = 0
    total: int | None = None
    good: int | None = None
    good_loss: float | None = None
    time: float | None = None
    """Of the newest value."""
    facts: dict[str, Any] = field(default_factory=dict)


def _steps(run: Run) -> _Steps:
    reader = MetricsReader(run.metrics_file)
    try:
        good, newest, facts = reader.last_finite("train/loss"), reader.last("train/loss"), reader.facts()
        total = facts.get("total_steps")
        return _Steps(
            furthest=reader.newest_step(),
            total=total if isinstance(total, int) else None,
            good=good.step if good else None,
            good_loss=good.value if good else None,
            time=newest.time if newest else None,
            facts=facts,
        )
    finally:
        reader.close()


@dataclass(frozen=True)
class _Machine:
    time: float | None = None
    devices: dict[str, dict[str, Any]] = field(default_factory=dict)
    healed: list[Healed] = field(default_factory=list)


def _machine(run: Run) -> _Machine:
    reader = TelemetryReader(run.telemetry_file)
    try:
        when, devices = reader.latest() or (None, {})
        known = {
            name: {key: _shown(value) for key, value in fields.items() if value not in (None, "")}
            for name, fields in devices.items()
        }
        return _Machine(when, known, healings(reader.events()))
    finally:
        reader.close()


def _shown(value: Any) -> Any:
    return _safe(value) if isinstance(value, str) else json_number(value)


def _log(run: Run) -> tuple[str, list[str]]:
    """The worker's last lines; the supervisor's where it has none."""
    for path in (run.worker_log, run.supervisor_log):
        lines = [_safe(line).rstrip() for line in log_tail(path, 2 * LOG_LINES)]
        told = [line for line in lines if line.strip(" ^~")]  # not what a traceback underlines
        if told:
            return path.name, told[-LOG_LINES:]
    return "", []


def _environment(origin: dict[str, Any], facts: dict[str, Any]) -> dict[str, str]:
    found = {**dict(origin.get("versions") or {}), "platform": origin.get("platform")}
    found |= {name: facts.get(name) for name in ("device", "device_name", "precision")}
    return {_safe(str(name)): _safe(str(value)) for name, value in found.items() if value}
