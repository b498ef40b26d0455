"""The runs that wait for their turn, in their order."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.cells import cell_len

from tuiftune.run.summary import RunSummary
from tuiftune.text import one_line
from tuiftune.tui.panes.rows import Row, Rows, Span, fit, fit_end
from tuiftune.tui.widgets.glyphs import pointer
from tuiftune.tui.widgets.run_columns import name_of

NAME_LEAST, NAME_MOST, ROOM_FROM = 20, 34, 96
"""Cells of a run's name, and from which width on it has them."""
PLACE = re.compile(r"^(?:next|\d+\w\w) in the queue(?:[;,] )?")
"""How a waiting run's reason begins."""
MOST = 5
"""So many rows it has at most, its title among them."""


@dataclass(frozen=True)
class Place:
    """A run of the queue."""

    number: int
    run: RunSummary


class QueuePane(Rows):
    """Not there while nothing waits."""

    help_title: ClassVar[str] = "Queue"
    help_text: ClassVar[str] = (
        "Runs that wait for those before them and for a free GPU, the next one first, and what each waits for. "
        "[ moves the highlighted run forward, ] back; s takes it out."
    )
    DEFAULT_CSS = """
    QueuePane { height: 1; padding: 0 1; margin: 0 0 1 0; display: none; }
    QueuePane.-waiting { display: block; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._places: Sequence[Place] = ()
        self._here: str | None = None
        self.most = MOST

    def show(self, waiting: Sequence[RunSummary], here: str | None) -> None:
        """`waiting`: the next one first. `here`: the id of the run that the keys are about."""
        self._places = [Place(number, run) for number, run in enumerate(waiting, start=1)]
        self._here = here
        height = min(self.most, len(waiting) + 1)
        if self.styles.height is None or self.styles.height.value != height:
            self.styles.height = height
        self.set_class(bool(waiting), "-waiting")
        self.redraw()

    def rows(self, width: int, height: int) -> Sequence[Row]:
        """Where not all fit, those around the highlighted one."""
        count = len(self._places)
        room = height - 1
        at = next((place.number - 1 for place in self._places if place.run.id == self._here), 0)
        first = max(0, min(at - room // 2, count - room))
        unseen = f"   {first + 1}-{first + room}" if count > room else ""
        title: list[Span] = [("queue", "title"), (f"  {count} wait{'s' if count == 1 else ''}{unseen}", "muted")]
        shown = self._places[first : first + room]
        most = NAME_MOST if width >= ROOM_FROM else NAME_LEAST
        names = min(most, max([0, *(cell_len(one_line(name_of(place.run), 60)) for place in shown)]))
        return [title, *(self._row(place, width, len(str(count)), names) for place in shown)]

    def _row(self, place: Place, width: int, digits: int, names: int) -> Row:
        here = place.run.id == self._here
        head = f"{place.number:>{digits}}  "
        name = one_line(name_of(place.run), 60)
        name = fit(name, names) if place.run.name else fit_end(name, names)
        reason = one_line(place.run.reason or "waits", 500)
        waits = PLACE.sub("", reason)  # the number says that
        return [
            (f"{pointer()} " if here else "  ", "accent"),
            (head, "strong"),
            (name + " " * (names - cell_len(name) + 2), "strong" if here else ""),
            (fit(waits, width - 2 - len(head) - names - 2), "muted"),
        ]
