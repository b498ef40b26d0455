"""What a terminal shows, cell by cell, so that only cells that change are sent to it.

Textual paints the whole row of a pane in which a digit has changed, and names both colours before every word. Over SSH
that is most of what is sent: of the 5 kB a frame of a watched run some 30 cells are news.
"""

from __future__ import annotations

import itertools
import operator
import re
from collections.abc import Iterator
from dataclasses import dataclass

from rich.cells import cell_len

_TOKEN = re.compile(r"\x1b\[([0-9;]*)([Hm])|([^\x00-\x1f\x7f]+)|[\r\n]+")
_BEGIN, _END = "\x1b[?2026h", "\x1b[?2026l"
"""Around a frame, where the terminal can show it at once."""
_HARMLESS = re.compile(
    r"(?:\x1b\[[?<>=][0-9;]*\$?[a-zA-Z]|\x1b\[[0-9]* q|\x1b\](?:22|52);[^\x07\x1b]*(?:\x07|\x1b\\)|\x07)+"
)
"""Modes, questions, the mouse pointer's shape, the clipboard, the bell: no cell changes."""
_SCREENS = re.compile(r"\x1b\[\?(?:1049|1047|47)[hl]")
"""Another screen, whose cells nobody knows."""
NARROW_GAP = 4
"""So few cells of the same look are sent again rather than stepped over: the step takes as many bytes."""


@dataclass(frozen=True)
class Look:
    """How a cell is drawn, in the parameters of SGR: colours, and what is switched on."""

    front: str = ""
    back: str = ""
    modes: frozenset[str] = frozenset()

    def after(self, before: Look) -> str:
        """The sequence that leads here from another look; what the two share is not said again."""
        if before.modes - self.modes:
            return f"\x1b[0{''.join(f';{part}' for part in self._parts(_PLAIN))}m"
        parts = self._parts(before)
        return f"\x1b[{';'.join(parts)}m" if parts else ""

    def _parts(self, before: Look) -> list[str]:
        parts = sorted(self.modes - before.modes)
        if self.front != before.front:
            parts.append(self.front or "39")
        if self.back != before.back:
            parts.append(self.back or "49")
        return parts


_PLAIN = Look()
_SEEN_ON_BLANKS = frozenset(["4", "7", "9", "21", "53"])
"""Underlined, reversed, struck: these show where there is no letter."""
Cell = tuple[str, Look]


class Ink(dict[str, Cell]):
    """The cells of a look by their letter. Each is made once: of two rows of 4,800 cells a frame those that differ are
    found without looking into any."""

    def __init__(self, look: Look, blank: Cell) -> None:
        super().__init__({" ": blank})
        self.look = look

    def __missing__(self, letter: str) -> Cell:
        cell = self[letter] = (letter, self.look)
        return cell


class Cells:
    """The cells of a terminal of so many columns and rows; what is not known of them is None."""

    def __init__(self, columns: int, rows: int) -> None:
        self._columns = columns
        self._rows: list[list[Cell | None]] = [[None] * columns for _ in range(rows)]
        self._inks: dict[str, Ink] = {}
        """By the parameters that they are turned to with."""
        self._of_look: dict[Look, Ink] = {}
        self._blanks: dict[Look, Cell] = {}
        self._begun = False
        self._cursor: tuple[int, int] | None = None
        """Where it was left, row and column from 0."""

    def forget(self) -> None:
        """Nothing is known: the terminal may have lost what it showed."""
        self._rows = [[None] * self._columns for _ in self._rows]
        self._cursor = None

    def news(self, data: str) -> str:
        """What has to be sent for the terminal to show what it would after `data`; "" where it shows that already.

        A frame of moves, looks and text is cut down to the cells that change; all else is handed on as it is.
        """
        if data == _BEGIN:
            self._begun = True  # sent with what comes, if anything does
            return ""
        if data == _END:
            begun, self._begun = self._begun, False
            return "" if begun else _END
        found = self._frame(data)
        if found is None:
            if _SCREENS.search(data) or not _HARMLESS.fullmatch(data):
                self.forget()
            found = data
        if found and self._begun:
            self._begun = False
            return _BEGIN + found
        return found

    def _frame(self, data: str) -> str | None:
        tokens = list(_TOKEN.finditer(data))
        if sum(token.end() - token.start() for token in tokens) != len(data):
            return None
        pen = _Pen(self._rows, self._cursor)
        row, column, ink, moved = 0, 0, self._ink(""), False
        for token in tokens:
            parameters, what, text = token.groups()
            if what == "m":
                ink = self._ink(parameters)
            elif what == "H":
                row, column, moved = *_place(parameters), True
            elif text:
                if not moved:
                    return None  # it goes on where something else has left off
                column += self._write(pen, row, column, text, ink)
            else:
                moved = False
        return self._end(pen, (row, column) if moved else None)

    def _end(self, pen: _Pen, cursor: tuple[int, int] | None) -> str:
        """Without a look that would colour what comes next, the cursor where it belongs."""
        pen.turn(_PLAIN)
        if cursor is not None and cursor != pen.at and (pen.sent or cursor != self._cursor):
            pen.move(*cursor)
        self._cursor = pen.at
        return "".join(pen.sent)

    def _write(self, pen: _Pen, row: int, column: int, text: str, ink: Ink) -> int:
        """Send of a text what is new; returns how many cells it takes."""
        if row >= len(self._rows):
            return 0
        if not text.isascii() and (width := cell_len(text)) != len(text):
            self._write_wide(pen, row, column, text, width, ink)
            return width
        line, room = self._rows[row], max(0, self._columns - column)
        fresh: list[Cell | None] = list(map(ink.__getitem__, text[:room]))
        shown = line[column : column + len(fresh)]
        if shown != fresh:
            for first, last in _runs_of_news(shown, fresh):
                for part, cells in itertools.groupby(fresh[first:last], key=_look_of):
                    pen.write(row, column + first, letters := "".join(cell[0] for cell in cells if cell), part)
                    first += len(letters)
            line[column : column + len(fresh)] = fresh
        return len(text)

    def _write_wide(self, pen: _Pen, row: int, column: int, text: str, width: int, ink: Ink) -> None:
        """A text with letters of two cells or none is one thing: sent whole or not at all."""
        line, last = self._rows[row], min(self._columns, column + width)
        fresh: list[Cell | None] = [(text if at == column else "", ink.look) for at in range(column, last)]
        if line[column:last] != fresh:
            pen.write(row, column, text, ink.look, width)
            line[column:last] = fresh

    def _ink(self, parameters: str) -> Ink:
        if parameters not in self._inks:
            look = read_look(parameters)
            if look not in self._of_look:
                blank = look if look.modes & _SEEN_ON_BLANKS else Look("", look.back)
                self._of_look[look] = Ink(look, self._blanks.setdefault(blank, (" ", blank)))
            self._inks[parameters] = self._of_look[look]
        return self._inks[parameters]


class _Pen:
    """Writes cells one after the other, and moves and turns no more than it has to."""

    def __init__(self, rows: list[list[Cell | None]], at: tuple[int, int] | None) -> None:
        self.sent: list[str] = []
        self.at = at
        self._rows = rows
        self._look = _PLAIN

    def write(self, row: int, column: int, text: str, look: Look, width: int | None = None) -> None:
        """`width`: cells, where they are not one a letter."""
        self.move(row, column)
        blank = text.isspace() and not (look.modes | self._look.modes) & _SEEN_ON_BLANKS
        if not (blank and look.back == self._look.back):
            self.turn(look)
        self.sent.append(text)
        self.at = (row, column + (len(text) if width is None else width))

    def turn(self, look: Look) -> None:
        if look is not self._look and look != self._look:
            self.sent.append(look.after(self._look) if look != _PLAIN else "\x1b[0m")
            self._look = look

    def move(self, row: int, column: int) -> None:
        if self.at == (row, column):
            return
        gap = column - self.at[1] if self.at is not None and self.at[0] == row else 0
        if gap > 0 and self.sent:
            between = self._rows[row][column - gap : column]
            if gap <= NARROW_GAP and all(cell and cell[0] and self._as_now(cell) for cell in between):
                self.sent.append("".join(cell[0] for cell in between if cell))
            else:
                self.sent.append(f"\x1b[{gap}C")
        else:
            self.sent.append(f"\x1b[{row + 1};{column + 1}H")
        self.at = (row, column)

    def _as_now(self, cell: Cell) -> bool:
        letter, look = cell
        if letter == " ":
            return look.back == self._look.back and not (look.modes | self._look.modes) & _SEEN_ON_BLANKS
        return look == self._look and len(letter) == 1


def _runs_of_news(shown: list[Cell | None], fresh: list[Cell | None]) -> Iterator[tuple[int, int]]:
    """First and after the last of each run of cells that differ."""
    differ = [*map(operator.is_not, shown, fresh), False]
    last = 0
    while True in differ[last:]:
        first = differ.index(True, last)
        last = differ.index(False, first)
        yield first, last


def _look_of(cell: Cell | None) -> Look:
    return cell[1] if cell else _PLAIN


def _place(parameters: str) -> tuple[int, int]:
    """Row and column from 0 of a move."""
    row, _, column = parameters.partition(";")
    return int(row or 1) - 1, int(column or 1) - 1


def read_look(parameters: str) -> Look:
    """The look that SGR parameters lead to from a plain one, as Rich writes them: '1;38;5;253;48;5;233'."""
    front, back, modes = "", "", set[str]()
    parts = iter(parameters.split(";"))
    for part in parts:
        number = int(part or 0)
        if number in (38, 48):
            kind = next(parts, "5")
            colour = ";".join([part, kind, *[next(parts, "0") for _ in range(3 if kind == "2" else 1)]])
            front, back = (colour, back) if number == 38 else (front, colour)
        elif 30 <= number <= 37 or 90 <= number <= 97:
            front = part
        elif 40 <= number <= 47 or 100 <= number <= 107:
            back = part
        elif number == 39:
            front = ""
        elif number == 49:
            back = ""
        elif number == 0:
            front, back, modes = "", "", set()
        else:
            modes.add(part)
    return Look(front, back, frozenset(modes))
