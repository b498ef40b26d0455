"""What `tuiftune doctor` finds: first what is not good, with what to do, then all that is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

from rich.cells import cell_len

from tuiftune.doctor.finding import BAD, GOOD, WARNING, Finding, counted
from tuiftune.tui.panes.rows import Row, wrap
from tuiftune.tui.panes.scrolled import Scrolled

SIGNS = {GOOD: ("✓", "good"), WARNING: ("!", "warn"), BAD: ("✗", "bad")}
LONGEST_NAME = 24
"""Cells of the column of names, at most."""
BESIDE_FROM = 50
"""With fewer cells the fact stands below its name."""


class DoctorPane(Scrolled):
    """The findings by group; the arrow keys scroll."""

    help_title: ClassVar[str] = "Doctor"
    help_text: ClassVar[str] = (
        "Whether this machine is fit to fine-tune on: the driver, each GPU, torch against both, the disk, memory, the "
        "terminal, the hub, the packages. What is not good stands first, with what to do about it: with a warning runs "
        "work, but not as well as they could; with what is bad they do not. The arrow keys scroll; r looks again. "
        "tuiftune doctor prints the same."
    )

    def __init__(self, *, id: str) -> None:  # noqa: A002
        super().__init__()
        self.id = id
        self.full = self.can_focus = True
        self._found: Sequence[Finding] | None = None
        self._note = ""

    def show(self, found: Sequence[Finding] | None, note: str) -> None:
        """`note`: when it was looked at, or that it is; None while there are no findings."""
        self._found, self._note = found, note
        self.redraw()

    def title(self) -> Row:
        words = f"  {counted(self._found)}" if self._found is not None else ""
        return [("doctor", "title"), (words, ""), (f"  {self._note}", "muted")]

    def all_rows(self, width: int) -> Sequence[Row]:
        return list(_rows(self._found, width)) if self._found is not None else []


def _rows(found: Sequence[Finding], width: int) -> Iterator[Row]:
    to_do = [one for level in (BAD, WARNING) for one in found if one.level == level]
    if to_do:
        yield []
        yield [("what to do", "strong")]
        column = _column([_in_full(one) for one in to_do], width)
        for one in to_do:
            yield from _finding(one, _in_full(one), column, width)
    column = _column([one.name for one in found if one.level == GOOD], width)
    group = ""
    for one in found:
        if one.level != GOOD:
            continue
        if one.group != group:
            group = one.group
            yield []
            yield [(group, "strong")]
        yield from _finding(one, one.name, column, width)


def _in_full(one: Finding) -> str:
    """`hub: reach`: away from its group."""
    return one.name if one.name.startswith(one.group) else f"{one.group}: {one.name}"


def _column(names: Sequence[str], width: int) -> int:
    """As wide as the longest name; 0 where the facts stand below."""
    longest = max(map(cell_len, names), default=0)
    return longest if width >= BESIDE_FROM and longest <= LONGEST_NAME else 0


def _finding(one: Finding, name: str, column: int, width: int) -> Iterator[Row]:
    sign, tone = SIGNS[one.level]
    head: Row = [(f"{sign} ", tone), (name.ljust(column), "" if one.level == GOOD else "strong")]
    if column:
        first, *others = wrap(one.fact, width - 4 - column) or [""]
        yield [*head, (f"  {first}", "muted" if one.level == GOOD else "")]
        indent = " " * (column + 4)
    else:
        indent = "  "
        yield head
        others = wrap(one.fact, width - 2)
    yield from ([(f"{indent}{line}", "muted" if one.level == GOOD else "")] for line in others)
    for number, line in enumerate(wrap(one.remedy, width - len(indent) - 2) if one.remedy else ()):
        yield [(f"{indent}{'→ ' if not number else '  '}", "accent"), (line, "")]
