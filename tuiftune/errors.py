"""Errors shown to a user as one sentence; anything else that is raised is a bug.

TuiftuneError            exit status 2
├── ProfileError         a profile with problems, all of them at once
├── PluginError          a plugin that could not be loaded or asked
├── WorkspaceError       a folder that cannot be used
├── RunNotFound          no run, or more than one, of that name
├── StoreError           a record that cannot be read
├── StageError           what a stage has to say to the user; the run fails with that sentence
│   ├── NotFinite        the loss is no number
│   ├── NoMemory         memory ran out: the run goes on with less at once
│   └── ProcessLost      one of several training processes is gone: the run goes on from its checkpoint
├── ResumeRefused        what it would go on with is not what it began with
└── RunFailed            exit status 1: the run ended without a model

RunStopped               no error: the user asked for a stop, and a trainer has obeyed
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


class TuiftuneError(Exception):
    """Printed as a sentence, without a traceback."""

    exit_status = 2


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a file: `file:line: where: what. hint`."""

    what: str
    file: str | None = None
    line: int | None = None
    """1-based; None when it is not known, never a guess."""
    where: str | None = None
    """A dotted key of the profile, or a plugin's name."""
    hint: str | None = None

    def __str__(self) -> str:
        place = self.file or ""
        if place and self.line is not None:
            place += f":{self.line}"
        parts = [part for part in (place, self.where, self.what) if part]
        sentence = ": ".join(parts)
        return f"{sentence.removesuffix('.')}. {self.hint}" if self.hint else sentence

    def to_json(self) -> dict[str, Any]:
        return {
            "file": self.file,
            "line": self.line,
            "where": self.where,
            "what": self.what,
            "hint": self.hint,
        }


class ProfileError(TuiftuneError):
    """A profile that cannot be run; carries every problem that was found."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


class PluginError(TuiftuneError):
    """A plugin that could not be loaded, or whose listing did not come back."""


class WorkspaceError(TuiftuneError):
    """A folder that cannot be used as asked."""


class RunNotFound(TuiftuneError):
    """No run of that name, or several."""


class StoreError(TuiftuneError):
    """A record of a run that cannot be read."""


class StageError(TuiftuneError):
    """What a stage has to say to the user: where, what is wrong, what to do."""

    kind: str | None = None
    """A word of tuiftune.run.failure where the stage knows it better than its place in the pipeline tells."""


class NotFinite(StageError):
    """The loss is no number any more."""

    kind = "nan"


class NoMemory(StageError):
    """Memory ran out; with less at once it may not."""

    kind = "oom"


class ProcessLost(StageError):
    """One of several processes that train together has ended."""

    kind = "crashed"


class ResumeRefused(TuiftuneError):
    """A run would not go on as the one that stopped; a person can say that it is to."""


class RunFailed(TuiftuneError):
    """The run ended without the model it was started for."""

    exit_status = 1


class RunStopped(Exception):
    """Raised by a trainer that was asked to stop, once its checkpoint is sealed."""

    def __init__(self, step: int) -> None:
        super().__init__(f"stopped at step {step}")
        self.step = step
