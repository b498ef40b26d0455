"""Whether a run whose worker has failed is started again, and with what changed: rules without a process in sight."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from tuiftune.run import failure
from tuiftune.run.control import Said
from tuiftune.run.files import read_json, write_json

LESS_MEMORY_TIMES = 6
"""How often a run is tried again with less memory."""
LOADING_TIMES = 2
"""Where memory ran out before a trainer said what it could do with less: another program may have had it."""
LONGEST_WAIT_S = 60.0


@dataclass(frozen=True)
class Failure:
    """How a worker ended that neither finished nor was stopped."""

    kind: str
    """A word of tuiftune.run.failure."""
    sentence: str
    step: int
    """The furthest step it is known to have come to."""
    by_signal: int = 0
    """The signal that ended it, where one did; SIGKILL for one whose end nobody saw."""


@dataclass(frozen=True)
class History:
    """healing.json: what was done so far to keep a run alive. It outlives supervisors."""

    restarts: int = 0
    """Since the run last came further than ever before."""
    furthest: int = 0
    """The furthest step of all attempts."""
    less_memory: int = 0
    """How often it was started with less memory."""
    last: str = ""
    """Sentence and step of the last failure: what comes again in the same place will not go away."""
    batch_tokens: int | None = None
    """In place of train.batch_tokens, and at most so many for evaluators; None for what the profile says."""
    gradient_checkpointing: bool = False
    forced: bool = False
    """Whether the last `resume` was to go on whatever differs from what the checkpoint was made of."""

    @property
    def changes(self) -> dict[str, Any]:
        """What is laid over the `[train]` table of the profile."""
        changed: dict[str, Any] = {}
        if self.batch_tokens is not None:
            changed["batch_tokens"] = self.batch_tokens
        if self.gradient_checkpointing:
            changed["gradient_checkpointing"] = True
        return changed

    def begun_anew(self, forced: bool = False) -> History:
        """After a person's `resume`: the counts start over, what was changed stays."""
        return replace(self, restarts=0, less_memory=0, last="", forced=forced)


@dataclass(frozen=True)
class Cure:
    """Start the worker again."""

    history: History
    sentence: str
    wait_s: float = 0.0
    for_room: bool = False
    """First wait until the disk has room."""


@dataclass(frozen=True)
class Incurable:
    """The run has failed."""

    sentence: str


def cure_of(found: Failure, history: History, said: Said, max_restarts: int) -> Cure | Incurable:
    """What to do about a failure. `said`: the newest words of the worker that failed."""
    further = found.step > history.furthest
    history = replace(history, furthest=max(found.step, history.furthest))
    if further:
        history = replace(history, restarts=0)
    if found.kind == failure.DISK_FULL:
        history = replace(history, restarts=history.restarts + 1)
        return Cure(history, found.sentence, _back_off(history.restarts), for_room=True)
    if found.kind in (failure.OOM, failure.HOST_OOM):
        return _less_memory(found, history, said)
    if found.kind == failure.CRASHED:
        return _again(found, history, max_restarts)
    return Incurable(found.sentence)


def _again(found: Failure, history: History, max_restarts: int) -> Cure | Incurable:
    this = f"{found.step} {found.sentence}"
    if not found.by_signal and found.step == 0:
        return Incurable(found.sentence)  # a bug before the first step is there again the next time
    if not found.by_signal and history.last == this:
        return Incurable(f"{found.sentence} (for the second time at step {found.step:,})")
    restarts = history.restarts + 1
    if restarts > max_restarts:
        if max_restarts == 0:
            return Incurable(found.sentence)
        return Incurable(f"{found.sentence} (and it came no further in {_times(max_restarts, 'restart')})")
    return Cure(replace(history, restarts=restarts, last=this), found.sentence, _back_off(restarts))


def _less_memory(found: Failure, history: History, said: Said) -> Cure | Incurable:
    if history.less_memory >= LESS_MEMORY_TIMES:
        return Incurable(f"{found.sentence}. {advice(said)}")
    tried = history.less_memory + 1
    slots, longest = said.memory.get("batch_tokens"), said.memory.get("longest")
    if not isinstance(slots, int) or not isinstance(longest, int):
        if tried > LOADING_TIMES:
            return Incurable(f"{found.sentence}. {advice(said)}")
        again = replace(history, less_memory=tried)
        return Cure(again, f"{found.sentence}; trying again, should another program have had it", _back_off(tried))
    if slots > longest:
        # The last but one try goes down to a single row at once, so that the last can be gradient checkpointing.
        fewer = longest if tried == LESS_MEMORY_TIMES - 1 else max(longest, slots // 2)
        again = replace(history, less_memory=tried, batch_tokens=fewer)
        return Cure(again, f"{found.sentence}; going on with {fewer:,} tokens at once in place of {slots:,}")
    if not said.memory.get("gradient_checkpointing"):
        again = replace(history, less_memory=tried, batch_tokens=slots, gradient_checkpointing=True)
        return Cure(again, f"{found.sentence} with a single row at once; going on with gradient checkpointing")
    return Incurable(f"{found.sentence} with a single row at once and gradient checkpointing. {advice(said)}")


def advice(said: Said) -> str:
    """What a person can do where memory is short."""
    if said.memory:
        return "Set a smaller tokenize.max_length, choose a smaller model, or end what else uses the memory"
    return "Choose a smaller model, or end what else uses the memory (see: nvidia-smi, free -h)"


def _back_off(times: int) -> float:
    return float(min(2 ** (times - 1), LONGEST_WAIT_S))


def _times(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def read_history(path: Path) -> History:
    """What was done so far; nothing where the file is not there or cannot be read."""
    try:
        data = read_json(path)
        return History(**{one.name: data[one.name] for one in fields(History) if one.name in data})
    except (OSError, ValueError, TypeError, AttributeError):
        return History()


def write_history(path: Path, history: History) -> None:
    """Raises OSError."""
    write_json(path, asdict(history))
