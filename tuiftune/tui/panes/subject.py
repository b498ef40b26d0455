"""Which run and which of its models the playground asks."""

from __future__ import annotations

from collections.abc import Sequence

from tuiftune.run.playable import Subject
from tuiftune.text import one_line
from tuiftune.tui.panes.rows import Row, Rows, Span, joined
from tuiftune.tui.widgets.glyphs import STATE_MARKS


class SubjectPane(Rows):
    """Which run and model answer."""

    DEFAULT_CSS = "SubjectPane { height: 1; padding: 0 1; }"

    def __init__(self) -> None:
        super().__init__()
        self._subject = Subject()

    def show(self, subject: Subject) -> None:
        self._subject = subject
        self.redraw()

    def rows(self, width: int, height: int) -> Sequence[Row]:  # noqa: ARG002
        subject = self._subject
        if subject.run is None:
            return [[("playground", "title")]]
        sign = STATE_MARKS.get(subject.state, ("·", ""))[0]
        parts: list[list[Span]] = [[(f"{sign} ", "muted"), (one_line(subject.run.id), "strong")]]
        if subject.model is not None:
            parts.append([(subject.model.name, "accent")])
        return [joined([*parts, [(subject.state, "muted")]], width)]
