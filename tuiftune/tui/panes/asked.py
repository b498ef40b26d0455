"""What was asked of a run's models before, a line each, where the screen has room for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.cells import cell_len, set_cell_size

from tuiftune import units
from tuiftune.run.played import Played
from tuiftune.run.playing import BASE, TUNED
from tuiftune.text import one_line
from tuiftune.tui.panes.rows import Row, Rows, fit

LEAST_TEXT = 12


class AskedPane(Rows):
    """The newest first."""

    help_title = "Asked before"
    help_text: ClassVar[str] = (
        "What this run's models were asked before and how they began to answer: when, which model, the seed, the "
        "prompt and the text. Up and down in the prompt bring the prompts back."
    )
    DEFAULT_CSS = "AskedPane { display: none; padding: 0 1; }"

    def __init__(self) -> None:
        super().__init__()
        self._history: Sequence[Played] = ()

    def show(self, history: Sequence[Played]) -> None:
        """`history`: the newest last."""
        self._history = history
        self.redraw()

    def rows(self, width: int, height: int) -> Sequence[Row]:
        title: Row = [("asked before", "title")]
        if not self._history:
            return [title, [("nothing yet; it is kept in the run's folder", "muted")]]
        newest = list(reversed(self._history))[: max(0, height - 1)]
        facts = [(units.ago(one.time), _model(one), f"seed {one.seed}") for one in newest]
        widths = [max(map(cell_len, column)) for column in zip(*facts, strict=True)]
        return [title, *(_row(one, fact, widths, width) for one, fact in zip(newest, facts, strict=True))]


def _model(one: Played) -> str:
    text = one.texts.get(TUNED) or one.texts.get(BASE)
    return one_line(text.model, 24) if text else ""


def _row(one: Played, facts: Sequence[str], widths: Sequence[int], width: int) -> Row:
    text = one.texts.get(TUNED) or one.texts.get(BASE)
    head = "".join(f"{set_cell_size(fact, cells)}  " for fact, cells in zip(facts, widths, strict=True))
    room = max(0, width - cell_len(head))
    prompt = fit(one_line(one.prompt), max(LEAST_TEXT, room // 2))
    said = fit(one_line(text.text) if text else "", max(0, room - cell_len(prompt)))
    return [(head, "muted"), (prompt, "accent"), (said, "")]
