"""The first step of a training token by token: whole on the screen, shortened on the command line."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from rich.cells import cell_len, chop_cells

from tuiftune.data_signs import Row, Signs, Span, many

FIRST_STEP_ROWS = 8
"""Rows of the first step that the command line shows."""
RUN_CHARACTERS = 240
"""Of a stretch of tokens that are counted, or are not: both of its ends are shown there."""
RUNS = 8
"""Stretches of a row that are shown there."""
NOT_COUNTED = "read, but not counted in the loss"

Step = dict[str, Any]


def summary(step: Step) -> str:
    """`8 samples, 1,367 tokens, 1,359 of them with loss, in 2 micro-batches`."""
    left_out = f"; {many(step['left_out'], 'sample')} of one token left out" if step["left_out"] else ""
    return (
        f"{many(step['samples'], 'sample')}, {many(step['tokens'], 'token')}, {step['tokens_with_loss']:,} of them "
        f"with loss, in {many(len(step['micro_batches']), 'micro-batch', 'es')}{left_out}"
    )


def shortened_step(step: Step | None, width: int, signs: Signs) -> str:
    """What the command line prints of it; nothing where it is not known."""
    if step is None:
        return ""
    batches = step["micro_batches"]
    lines = [
        textwrap.fill(f"Step 1: {summary(step)}", width),
        f"Between {signs.open} {signs.close}: {NOT_COUNTED}",
    ]
    hidden = 0
    for number, batch in enumerate(batches, start=1):
        told = [row for row in batch["rows"] if "pieces" in row]
        hidden += len(batch["rows"]) - len(told)
        if told:
            lines += ["", f"micro-batch {number}: {many(len(batch['rows']), 'row')}, {many(batch['slots'], 'slot')}"]
        for row in told:
            lines.append(f"  sample {row['sample']:,}, {many(row['tokens'], 'token')}")
            lines += _wrapped(_marked(row["pieces"], row["loss"], signs), width, "    ")
    if hidden:
        lines += ["", f"not shown: {many(hidden, 'more row')}; --json has them all"]
    return "\n".join(lines)


def _marked(pieces: Sequence[str], loss: Sequence[bool], signs: Signs) -> str:
    """The text of a row on one line, long stretches shortened in their middle."""
    runs = [
        (counted, "".join(piece for _, piece in run))
        for counted, run in groupby(zip(loss, pieces, strict=True), key=lambda item: item[0])
    ]
    shown = [
        _shortened(text, signs) if counted else f"{signs.open}{_shortened(text, signs)}{signs.close}"
        for counted, text in runs[:RUNS]
        if text
    ]
    more = f" {signs.cut} {len(runs) - RUNS:,} more stretches" if len(runs) > RUNS else ""
    return "".join(shown) + more


def _shortened(text: str, signs: Signs) -> str:
    text = signs.visible(text)
    if len(text) <= RUN_CHARACTERS:
        return text
    kept = RUN_CHARACTERS // 2 - 20  # what says how much is left out takes the rest
    return f"{text[:kept]} {signs.cut} {len(text) - 2 * kept:,} characters {signs.cut} {text[-kept:]}"


def _wrapped(text: str, width: int, indent: str) -> list[str]:
    """Lines of at most `width` columns, broken at blanks where there are any."""
    room = max(10, width - len(indent))
    lines = textwrap.wrap(text, room, break_on_hyphens=False)
    return [(indent + part).rstrip() for line in lines for part in chop_cells(line, room)]


def told_rows(step: Step) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each row that is told token by token, with where it is: `micro-batch 1 of 2, row 3 of 4`."""
    batches = step["micro_batches"]
    for number, batch in enumerate(batches, start=1):
        for place, row in enumerate(batch["rows"], start=1):
            if "pieces" in row:
                yield f"micro-batch {number} of {len(batches)}, row {place} of {len(batch['rows'])}", row


def legend(signs: Signs, apart: bool) -> list[list[Span]]:
    """What the signs mean, group by group."""
    groups: list[list[Span]] = [[(f"{signs.open} {signs.close}", "muted"), (f" {NOT_COUNTED}", "muted")]]
    if apart:
        groups.append([(signs.apart, "rest"), (" between tokens", "muted")])
        groups.append([(signs.nothing, ""), (" no text of its own", "muted")])
    return groups


def token_rows(pieces: Sequence[str], loss: Sequence[bool], width: int, signs: Signs, apart: bool) -> list[Row]:
    """Every token in lines of at most `width` cells; those that are not counted dimmed and between marks.

    `apart`: a sign stands between two tokens, and lines end between tokens; else they end between words. A line
    ends after a line break of the text.
    """
    layout = _Layout(max(4, width), signs.apart if apart else "")
    shown: dict[str, str] = {}
    word: list[Span] = []
    last = len(pieces) - 1
    for place, (piece, counted) in enumerate(zip(pieces, loss, strict=True)):
        text = shown.get(piece)
        if text is None:
            text = shown[piece] = signs.visible(piece)
        if apart and not text:
            text = signs.nothing
        begins = not counted and (place == 0 or loss[place - 1])
        ends = not counted and (place == last or loss[place + 1])
        text = f"{signs.open if begins else ''}{text}{signs.close if ends else ''}"
        if word and (apart or text.startswith(" ")):
            layout.add(word)
            word = []
        word.append((text, "" if counted else "muted"))
        if piece.endswith("\n"):
            layout.add(word, more=False)
            layout.end_line()
            word = []
    layout.add(word, more=False)
    return layout.rows()


class _Layout:
    """Lines that are filled with groups of spans, none of which is broken but where no line could hold it."""

    def __init__(self, width: int, between: str) -> None:
        self._width, self._between = width, between
        self._rows: list[Row] = []
        self._row: list[Span] = []
        self._used = 0

    def add(self, group: Sequence[Span], *, more: bool = True) -> None:
        """A token or a word; `more`: another comes, so that the sign between them follows."""
        cells = sum(cell_len(text) for text, _ in group)
        if self._used and self._used + cells > self._width:
            self.end_line()
            if not self._between:  # the blank between two words is where the line ends
                group = [(group[0][0].removeprefix(" "), group[0][1]), *group[1:]]
        for text, tone in group:
            for number, part in enumerate(chop_cells(text, self._width)):
                if number or self._used + cell_len(part) > self._width:
                    self.end_line()
                self._put(part, tone)
        if more and self._between and self._used < self._width:
            self._put(self._between, "rest")

    def _put(self, text: str, tone: str) -> None:
        self._used += cell_len(text)
        if self._row and self._row[-1][1] == tone:
            self._row[-1] = (self._row[-1][0] + text, tone)
        elif text:
            self._row.append((text, tone))

    def end_line(self) -> None:
        if self._row:
            self._rows.append(self._row)
        self._row, self._used = [], 0

    def rows(self) -> list[Row]:
        self.end_line()
        return self._rows
