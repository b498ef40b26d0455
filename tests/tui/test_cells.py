"""Only cells that change are sent, and the terminal shows what it would have shown."""

from __future__ import annotations

import random

import pyte
import pytest
from rich.cells import cell_len

from tuiftune.tui.cells import Cells, Look, read_look

COLUMNS, ROWS = 30, 8
LOOKS = [
    "",
    "\x1b[31m",
    "\x1b[1;38;5;253;48;5;233m",
    "\x1b[38;5;253;48;5;233m",
    "\x1b[4;38;2;1;2;3m",
    "\x1b[7m",
    "\x1b[44m",
]
TEXTS = ["a", "  ", "loss 1.23", "▁▂▃", "日本", "é", "x y", "─" * 12]


def shown(screen: pyte.Screen) -> list[list[object]]:
    return [[screen.buffer[row][column] for column in range(COLUMNS)] for row in range(ROWS)]


def looks_of_blanks_left_out(cells: list[list[object]]) -> list[list[object]]:
    """A blank has no letter whose colour could be seen."""

    def seen(cell: object) -> object:
        blank = cell.data == " " and not (cell.underscore or cell.reverse)  # type: ignore[attr-defined]
        return (" ", cell.bg) if blank else cell  # type: ignore[attr-defined]

    return [[seen(cell) for cell in row] for row in cells]


def frame(draw: random.Random) -> str:
    """Rows of words as Textual paints them: a move, then each word in its look."""
    lines = []
    for row in sorted(draw.sample(range(ROWS), draw.randint(1, ROWS))):
        column, parts = draw.randrange(COLUMNS), []
        room = COLUMNS - column
        while (text := draw.choice(TEXTS)) and cell_len(text) <= room:
            room -= cell_len(text)
            look = draw.choice(LOOKS)
            parts.append(f"{look}{text}\x1b[0m" if look else text)
        lines.append(f"\x1b[{row + 1};{column + 1}H{''.join(parts)}")
    return "\n".join(lines) + "\x1b[1;1H"


@pytest.mark.parametrize("seed", range(25))
def test_the_terminal_shows_the_same_and_is_sent_less(seed: int) -> None:
    draw = random.Random(seed)  # noqa: S311
    whole, ours = pyte.Screen(COLUMNS, ROWS), pyte.Screen(COLUMNS, ROWS)
    to_whole, to_ours = pyte.Stream(whole), pyte.Stream(ours)
    cells, sent, painted = Cells(COLUMNS, ROWS), 0, 0
    for _ in range(40):
        data = frame(draw) if draw.random() < 0.9 else "\x1b[?25l"
        again = cells.news(data)
        to_whole.feed(data)
        to_ours.feed(again)
        assert looks_of_blanks_left_out(shown(ours)) == looks_of_blanks_left_out(shown(whole))
        assert (ours.cursor.y, ours.cursor.x) == (whole.cursor.y, whole.cursor.x)
        sent, painted = sent + len(again), painted + len(data)
        assert cells.news(data) in ("", data), "what is shown already is not sent again"
    assert sent < painted


def test_a_digit_that_changes_in_a_row_is_all_that_is_sent() -> None:
    cells = Cells(80, 24)
    name = "\x1b[38;5;253;48;5;233m loss \x1b[0m"
    row = f"\x1b[5;1H{name}\x1b[1;38;5;253;48;5;233m{{}}\x1b[0m\x1b[48;5;233m{{}}\x1b[0m\x1b[1;1H"
    cells.news(row.format("1.234", " " * 60))
    assert cells.news(row.format("1.235", " " * 60)) == "\x1b[5;11H\x1b[1;38;5;253;48;5;233m5\x1b[0m\x1b[1;1H"
    assert cells.news(row.format("1.235", " " * 60)) == ""


def test_a_frame_without_news_is_no_frame() -> None:
    cells = Cells(80, 24)
    sent = [cells.news(part) for part in ("\x1b[?2026h", "\x1b[1;1Hnew", "\x1b[?2026l")]
    assert sent == ["", "\x1b[?2026h\x1b[1;1Hnew", "\x1b[?2026l"]
    assert [cells.news(part) for part in ("\x1b[?2026h", "\x1b[1;1Hnew", "\x1b[?2026l")] == ["", "", ""]


@pytest.mark.parametrize("other", ["\x1b[?1049h", "\x1b[2J", "\x1b[1;1Ha tab\there", "text without a place"])
def test_what_may_change_cells_unseen_makes_all_of_them_unknown(other: str) -> None:
    cells = Cells(80, 24)
    cells.news("\x1b[1;1Hword")
    assert cells.news(other) == other
    assert cells.news("\x1b[1;1Hword") == "\x1b[1;1Hword"


def test_modes_questions_and_the_bell_are_handed_on_and_change_nothing() -> None:
    cells = Cells(80, 24)
    cells.news("\x1b[1;1Hword")
    for other in ("\x1b[?25l", "\x1b[?2026$p", "\x1b[>1u", "\x07", "\x1b]52;c;d29yZA==\x07", "\x1b]22;text\x1b\\"):
        assert cells.news(other) == other
    assert cells.news("\x1b[1;1Hword") == ""


def test_looks_are_read_as_rich_writes_them() -> None:
    assert read_look("1;3;38;5;9;48;2;1;2;3") == Look("38;5;9", "48;2;1;2;3", frozenset({"1", "3"}))
    assert read_look("97;44") == Look("97", "44")
    assert Look("31").after(Look("31", "", frozenset({"1"}))) == "\x1b[0;31m"
    assert Look("", "44").after(Look("31", "44")) == "\x1b[39m"
