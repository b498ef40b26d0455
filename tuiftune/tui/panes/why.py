"""What ended the run, with what is left of it and what to do next; while it goes on, what it was healed from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

from tuiftune.run.card import Card
from tuiftune.run.folder import WAITING
from tuiftune.run.why import FOR, LABEL, facts, healed_facts
from tuiftune.tui.messages import RunView
from tuiftune.tui.panes.rows import Row, wrap
from tuiftune.tui.panes.scrolled import Scrolled

BESIDE = 11
"""Cells of the labels where it stands beside other panes."""
FEW = ("place", "exception", "step", "checkpoint", "healed", "machine")
ADVICE_ROWS = 4
BAD = ("exception", "not read")


class WhyPane(Scrolled):
    """The card of a run: the most important of it, or on the whole screen all."""

    help_text: ClassVar[str] = (
        "Why the run ended: what and where, the newest whole checkpoint, what the machine was like, and the next step. "
        "While it goes on: what it was healed from. w shows it on the whole screen; tuiftune why prints the same."
    )

    def __init__(self) -> None:
        super().__init__()
        self._view: RunView | None = None

    def show(self, view: RunView) -> None:
        self._view = view
        self.redraw()

    def title(self) -> Row:
        card = self._view.card if self._view else None
        note = f"  {card.ended_by}" if card and card.ended_by else ""
        return [
            ("why", "title"),
            (note, "muted"),
            *([] if self.full else [("   w", "accent"), (" all of it", "muted")]),
        ]

    def few_rows(self, width: int, height: int) -> Sequence[Row]:
        view = self._view
        if view is None or view.card is None:
            return self.all_rows(width)[:height]
        advice = _paragraph(view.card.advice, width, "strong")[: max(1, min(ADVICE_ROWS, height // 2))]
        known = dict(facts(view.card, view.now))
        rows = [row for label in FEW if label in known for row in _fact(label, known[label], width, BESIDE)[:2]]
        room = height - len(advice)
        if room > len(FEW):
            advice = [[], *advice]
        return [*rows[:room], *advice][:height]

    def all_rows(self, width: int) -> Sequence[Row]:
        view = self._view
        if view is None:
            return []
        if view.card is None:
            return list(_of_one_that_goes_on(view, width))
        return list(_whole(view.card, view.now, width))


def something_to_tell(view: RunView) -> bool:
    return view.card is not None or bool(view.healed) or view.state.name in WAITING


def _whole(card: Card, now: float, width: int) -> Iterator[Row]:
    yield from _paragraph(card.sentence, width, "bad" if card.state == "failed" else "warn")
    yield []
    for label, fact in facts(card, now):
        yield from _fact(label, fact, width, LABEL)
    if card.advice:
        yield []
        yield from _paragraph(card.advice, width, "strong")
    for what, command in card.commands.items():
        yield [(FOR.get(what, what).ljust(LABEL), "muted"), (command, "accent")]
    if card.log:
        yield []
        yield [(f"the end of {card.log_name}", "muted")]
        for line in card.log:
            yield from _paragraph(line, width, "")


def _of_one_that_goes_on(view: RunView, width: int) -> Iterator[Row]:
    if view.state.reason:
        yield from _fact(view.state.name, view.state.reason, width, LABEL)
    for label, fact in healed_facts(view.healed):
        yield from _fact(label, fact, width, LABEL)
    if not something_to_tell(view):
        yield [("nothing: it goes on as it should", "muted")]


def _fact(label: str, text: str, width: int, column: int) -> list[Row]:
    lines = wrap(text, width - column)
    tone = "bad" if label in BAD else ""
    return [
        [((label if number == 0 else "").ljust(column), "muted"), (line, tone)] for number, line in enumerate(lines)
    ]


def _paragraph(text: str, width: int, tone: str) -> list[Row]:
    return [[(line, tone)] for line in wrap(text, width)]
