"""What a model writes after a prompt, as it comes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.cells import cell_len
from textual.content import Content

from tuiftune import units
from tuiftune.run.playing import Answer
from tuiftune.text import one_line, plain
from tuiftune.tui.panes.rows import Row, Rows, Span, fit, joined, row_cells, wrap

ENDED = {
    "end": ("the model ended it here", "good"),
    "length": ("all tokens that were asked for", "muted"),
    "limit": ("the model takes no longer text", "warn"),
    "stopped": ("stopped", "warn"),
}
"""How a text ended (tuiftune.run.played.ENDED), and the tone of that; below the text."""
TAB = "    "
TEXT_LIMIT = 1_000_000


class AnswerPane(Rows):
    """A title, how it goes, and the end of the text, or what somebody has scrolled to."""

    help_title = "Answers"
    help_text: ClassVar[str] = (
        "At the left what the run started from writes after the prompt, at the right the model of the run; the same "
        "seed gives the same text, here and with tuiftune generate. Page up and page down scroll both."
    )
    DEFAULT_CSS = "AnswerPane { width: 1fr; height: 1fr; }"

    def __init__(self, id: str) -> None:  # noqa: A002 - Textual's name for it
        super().__init__(id=id)
        self._title: Sequence[str] = ()
        self._prompt = ""
        self._answer: Answer | None = None
        self._hint = ""
        self._away = 0
        """Rows away from the end."""
        self._wrapped: tuple[object, list[Row]] = (None, [])

    def introduce(self, title: Sequence[str], hint: str) -> None:
        """What answers, and what is known of it; what stands there while there is no answer."""
        self._title, self._hint = [one_line(part) for part in title if part], hint
        self.redraw()

    def show(self, prompt: str, answer: Answer | None) -> None:
        if answer is None or self._answer is None or len(answer.text) < len(self._answer.text):
            self._away = 0
        self._prompt, self._answer = prompt, answer
        self.redraw()

    def scroll(self, pages: int) -> None:
        """Towards the start of the text (negative) or its end."""
        self._away -= pages * max(1, self.content_size.height - 4)
        self.redraw()

    def rows(self, width: int, height: int) -> Sequence[Row]:
        parts = [[(part, "muted" if number else "title")] for number, part in enumerate(self._title)]
        head: list[Row] = [joined(parts, width, "  ")] if parts else []
        answer = self._answer
        if answer is None:
            return [*head, *[[(line, "muted")] for line in wrap(self._hint, width)]]
        head.append(_standing(answer, width))
        if answer.note:
            head += [[(line, "warn")] for line in wrap(answer.note, width)]
        body = self._text(answer, width)
        room = max(1, height - len(head))
        hidden = max(0, len(body) - room)
        self._away = max(0, min(self._away, hidden))
        above = hidden - self._away
        if hidden and head[0]:
            note = " ".join([f"↑{above:,}"] * bool(above) + [f"↓{self._away:,}"] * bool(self._away))
            used = row_cells(head[0])
            if used + 2 + cell_len(note) <= width:
                head[0] = [*head[0], (" " * (width - used - cell_len(note)), ""), (note, "muted")]
        return [*head, *body[above : above + room]]

    def _text(self, answer: Answer, width: int) -> list[Row]:
        if answer.state == "failed":
            return [[(line, "bad")] for line in wrap(plain(answer.problem), width)]
        key = (self._prompt, answer.text, width)
        if self._wrapped[0] != key:
            self._wrapped = (key, wrapped(self._prompt, answer.text, width))
        if answer.state != "done":
            return self._wrapped[1]
        words, tone = ENDED.get(answer.ended, (one_line(answer.ended), "muted"))
        return [*self._wrapped[1], [(fit(f"■ {words}", width), tone)]]


def wrapped(prompt: str, text: str, width: int) -> list[Row]:
    """The prompt in its own tone and the text after it, in rows."""
    start, rest = (plain(part.replace("\t", TAB), TEXT_LIMIT) for part in (prompt, text))
    rows: list[Row] = []
    for line in Content.assemble((start, "bold"), rest).wrap(max(2, width)):
        said = min(len(line.plain), max((span.end for span in line.spans), default=0))
        spans: list[Span] = [(line.plain[:said], "accent"), (line.plain[said:].rstrip(), "")]
        rows.append([span for span in spans if span[0]])
    return rows


def _standing(answer: Answer, width: int) -> Row:
    """How far it is, in a row."""
    if answer.state == "waiting":
        return [("waits for its turn", "muted")]
    if answer.state == "loading":
        return [(fit("loads the model...", width), "accent")]
    if answer.state == "failed":
        return [("failed", "bad")]
    if answer.state == "stopped":
        return [("stopped before it wrote", "muted")]
    count = f"{answer.tokens:,} token{'' if answer.tokens == 1 else 's'}"
    speed = f"{units.figure(answer.tokens / answer.seconds)} tokens/s" if answer.seconds > 0 and answer.tokens else ""
    if answer.state == "writing":
        parts = [
            "writes...",
            *([count] if answer.tokens else []),
            *([speed] if answer.tokens > 1 else []),
            answer.device,
        ]
        return joined([[(part, "accent" if part == "writes..." else "muted")] for part in parts], width, "  ")
    parts = [count, *([speed] if speed else []), units.duration(answer.seconds), one_line(answer.device)]
    return joined([[(part, "muted")] for part in parts], width, "  ")
