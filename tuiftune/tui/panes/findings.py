"""What `tuiftune check` would say about the draft, in its words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from tuiftune.errors import Problem
from tuiftune.text import one_line
from tuiftune.tui.panes.rows import Row, Rows, wrap

CHECKING = "it is checked..."
CLEAN = "checks clean"
LEAST, MOST = 1, 8
"""Rows that it takes."""


class FindingsPane(Rows):
    """One row where all is well, else as many as the sentences need, up to a part of the screen."""

    help_title: ClassVar[str] = "Problems"
    help_text: ClassVar[str] = (
        "What tuiftune check says about the profile as it stands here, found anew after each change. "
        "! goes to the next option that is named. A file that is not there yet keeps nobody from saving."
    )
    DEFAULT_CSS = "FindingsPane { height: 1; padding: 0 1; }"

    def __init__(self) -> None:
        super().__init__()
        self._problems: Sequence[Problem] = ()
        self._absent: Sequence[Problem] = ()
        self._note = CHECKING
        self._most = MOST

    def show(self, problems: Sequence[Problem], absent: Sequence[Problem], note: str = "") -> None:
        """Everything that is wrong, and files that are not there; `note` where nothing is known or to be said."""
        self._problems, self._absent, self._note = problems, absent, note
        self.fit_in(self._most)

    def fit_in(self, most: int) -> None:
        """Take at most so many rows."""
        self._most = max(LEAST, most)
        rows = len(self._all(self.likely_width))
        self.styles.height = max(LEAST, min(self._most, rows))
        self.redraw()

    def rows(self, width: int, height: int) -> Sequence[Row]:
        rows = self._all(width)
        if len(rows) <= height:
            return rows
        hidden = len(rows) - height + 1
        return [*rows[: height - 1], [("… ", "muted"), ("!", "accent"), (f" shows the rest, {hidden} rows", "muted")]]

    def _all(self, width: int) -> list[Row]:
        if not self._problems and not self._absent:
            return [[(one_line(self._note), "good" if self._note == CLEAN else "muted")]]
        rows: list[Row] = []
        for sign, tone, found in (("!", "bad", self._problems), ("?", "warn", self._absent)):
            for problem in found:
                lines = wrap(one_line(str(_near(problem))), width - 2)
                rows += [[(f"{sign} " if not number else "  ", tone), (line, "")] for number, line in enumerate(lines)]
        return rows


def _near(problem: Problem) -> Problem:
    """With the name alone of a file that is far away, as the shipped ones are."""
    return replace(problem, file=Path(problem.file).name) if problem.file and problem.file[0] == "/" else problem
