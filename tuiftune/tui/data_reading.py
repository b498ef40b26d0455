"""Reads the data of profiles in the background, one at a time, and keeps what was found for as long as the screen is
there."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from textual.message import Message

from tuiftune.catalog import resolve_profile
from tuiftune.errors import Problem, ProfileError, TuiftuneError
from tuiftune.run.child import Child, GivenUp
from tuiftune.run.inputs import inputs_of, unchanged
from tuiftune.run.tools import data_report_of
from tuiftune.text import one_line

KEPT = 12
"""Reports of a session."""
STEP_ROWS = 32
"""Rows of the first step that are told token by token."""


@dataclass(frozen=True)
class Subject:
    """Whose data is looked at."""

    profile: str
    overrides: tuple[str, ...] = ()


@dataclass(frozen=True)
class Found:
    """A report, and what it was made from."""

    report: Mapping[str, Any]
    dataset: Mapping[str, Any]
    """The profile's table, every value in force."""
    inputs: Mapping[str, Any] = field(default_factory=dict)
    """See tuiftune.run.inputs."""
    read_at: float = 0.0
    """Seconds since the epoch."""


class Reports:
    """Those of this session, the ones looked at last."""

    def __init__(self, most: int = KEPT) -> None:
        self._most = most
        self._found: dict[Subject, Found] = {}
        self.changed: set[Subject] = set()
        """Those whose files or profile are no longer what they were."""

    def get(self, subject: Subject | None) -> Found | None:
        return self._found.get(subject) if subject is not None else None

    def keep(self, subject: Subject, found: Found) -> None:
        """Keep a new one, or one that is looked at again, as the last to be forgotten."""
        if self._found.pop(subject, None) is not found:
            self.changed.discard(subject)
        self._found[subject] = found
        while len(self._found) > self._most:
            del self._found[next(iter(self._found))]


@dataclass
class DataProgress(Message):
    """What is being done for a report."""

    subject: Subject
    words: str

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, DataProgress) and message.subject == self.subject


@dataclass
class DataRead(Message):
    """A report is there."""

    subject: Subject
    found: Found


@dataclass
class DataAbsent(Message):
    """The profile names files that are not there: it is for any, and which one has to be asked."""

    subject: Subject
    absent: Sequence[Problem]


@dataclass
class DataFailed(Message):
    """There is no report."""

    subject: Subject
    lines: Sequence[str]
    """Every reason, a sentence each."""


@dataclass
class DataChanged(Message):
    """What a report was made from is no longer what it was."""

    subject: Subject


class DataReader:
    """Its methods return at once; what comes of them is posted.

    `post` must be callable from any thread (`Screen.post_message` is).
    """

    def __init__(self, workspace: Path, post: Callable[[Message], object]) -> None:
        self._workspace, self._post = workspace, post
        self._child: Child | None = None

    def read(self, subject: Subject) -> None:
        """Read the data of this one; what was being read is given up."""
        self.give_up()

        def now(words: str) -> None:
            self._post(DataProgress(subject, one_line(words, 200)))

        child = self._child = Child(now=now)
        threading.Thread(target=self._read, args=(subject, child), name="data", daemon=True).start()

    def give_up(self) -> None:
        """End what is being read, if anything is."""
        if self._child is not None:
            self._child.give_up()
            self._child = None

    def look_whether_changed(self, subject: Subject, found: Found) -> None:
        """Look whether the files are still those that a report was made from."""

        def look() -> None:
            if not unchanged(dict(found.inputs)):
                self._post(DataChanged(subject))

        threading.Thread(target=look, name="data files", daemon=True).start()

    def _read(self, subject: Subject, child: Child) -> None:
        try:
            self._post(self._answer(subject, child))
        except GivenUp:
            return
        except ProfileError as error:
            self._post(DataFailed(subject, [str(problem) for problem in error.problems]))
        except TuiftuneError as error:
            self._post(DataFailed(subject, str(error).splitlines()))
        except Exception as error:
            self._post(DataFailed(subject, [f"a bug in tuiftune: {type(error).__name__}: {error}"]))

    def _answer(self, subject: Subject, child: Child) -> Message:
        resolved = resolve_profile(self._workspace, subject.profile, subject.overrides)
        child.check()
        if resolved.absent and not resolved.problems:
            return DataAbsent(subject, resolved.absent)
        inputs = inputs_of(self._workspace, resolved)  # before it is read: what changes meanwhile is seen
        report = data_report_of(self._workspace, resolved, STEP_ROWS, child)
        return DataRead(subject, Found(report, resolved.effective["dataset"], inputs, time.time()))
