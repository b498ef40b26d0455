"""What ended the run, with what is left of it and what to do next; while it goes on, what it was healed from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

from tuiftune.run.card import Card
from tuiftune.run.folder import WAITING
from tuiftune.run.why import FOR, LABEL, facts, healed_facts
from tuiftune.tui.messages import RunView
from tuiftune.tui.panes.header import REASON_ROWS
from tuiftune.tui.panes.rows import Row, Span, fit, joined, wrap
from tuiftune.tui.panes.scrolled import Scrolled

BESIDE = 11
"""Cells of the labels where it stands beside other panes."""
FEW = ("place", "exception", "step", "checkpoint", "healed", "machine")
ADVICE_ROWS = 3
PARAGRAPHS_FROM = 7
"""With fewer rows a row of facts and a row of what to do."""
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
        known: dict[str, str] = {}
        for label, fact in facts(view.card, view.now):
            known.setdefault(label, fact)
        few = [(label, known[label]) for label in FEW if label in known]
        if height < PARAGRAPHS_FROM:
            parts: list[list[Span]] = [[(f"{label} ", "muted"), (text, "")] for label, text in few]
            return [joined(parts, width), [(fit(_first_sentence(view.card.advice), width), "strong")]][-height:]
        rows: list[Row] = [
            [(label.ljust(BESIDE), "muted"), (fit(text, width - BESIDE), _tone(label))] for label, text in few
        ]
        rows = rows[: height - ADVICE_ROWS - 1]
        return [*rows, [], *_cut(view.card.advice, width, height - len(rows) - 1)]

    def all_rows(self, width: int) -> Sequence[Row]:
        view = self._view
        if view is None:
            return []
        if view.card is None:
            return list(_of_one_that_goes_on(view, width))
        return list(_whole(view.card, view.now, width))


def something_to_tell(view: RunView) -> bool:
    return view.card is not None or bool(view.healed) or view.stalled is not None or view.state.name in WAITING


def _whole(card: Card, now: float, width: int) -> Iterator[Row]:
    if len(wrap(card.sentence, width)) > REASON_ROWS:  # the header has it cut, else it has it all
        yield from _paragraph(card.sentence, width, "bad" if card.state == "failed" else "warn")
        yield []
    for label, fact in facts(card, now):
        yield from _fact(label, fact, width)
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
    if view.state.reason and view.state.name != "healing":  # that is the newest of what follows
        yield from _fact(view.state.name, view.state.reason, width)
    if view.stalled:
        yield from _fact("stands still", f"{view.stalled}, which is unusual", width)
    for label, fact in healed_facts(view.healed):
        yield from _fact(label, fact, width)
    if not something_to_tell(view):
        yield [("nothing: it goes on as it should", "muted")]


def _first_sentence(text: str) -> str:
    return f"{text.partition('. ')[0].rstrip('.')}."


def _cut(text: str, width: int, height: int) -> list[Row]:
    lines = wrap(text, width)
    if len(lines) > height:
        lines = [*lines[: height - 1], fit(f"{lines[height - 1]} …", width)]
    return [[(line, "strong")] for line in lines]


def _tone(label: str) -> str:
    return "bad" if label in BAD else ""


def _fact(label: str, text: str, width: int) -> list[Row]:
    lines = wrap(text, width - LABEL)
    return [
        [((label if number == 0 else "").ljust(LABEL), "muted"), (line, _tone(label))]
        for number, line in enumerate(lines)
    ]


def _paragraph(text: str, width: int, tone: str) -> list[Row]:
    return [[(line, tone)] for line in wrap(text, width)]
