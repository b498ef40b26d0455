"""A line of text that is being typed: what keys make of it, and the part of it that fits."""

from __future__ import annotations

import re
from collections.abc import Callable

from rich.cells import cell_len


class LineEditor:
    """Not an Input: that one would have the focus moved to it, and of keys that come in a burst, as pasted or over a
    slow line, the first would still go where the focus was."""

    def __init__(self, text: str = "") -> None:
        self.text = text
        self.cursor = len(text)

    def key(self, key: str, character: str | None) -> bool:
        """Do what a key means here; whether it means anything."""
        before, after = self.text[: self.cursor], self.text[self.cursor :]
        if key in _MOVES:
            self.cursor = _MOVES[key](before, after)
        elif key in _CUTS:
            before, after = _CUTS[key](before, after)
            self.text, self.cursor = before + after, len(before)
        elif character is not None and character.isprintable():
            self.insert(character)
        else:
            return False
        return True

    def insert(self, text: str) -> None:
        """What is typed or pasted; its line breaks and tabs as they are typed in a text."""
        shown = text.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n").replace("\n", "\\n").replace("\t", "\\t")
        shown = "".join(letter for letter in shown if letter.isprintable())
        self.text = self.text[: self.cursor] + shown + self.text[self.cursor :]
        self.cursor += len(shown)

    def view(self, width: int) -> tuple[str, str, str]:
        """What is before the cursor, on it and after it, in `width` cells; the cursor is always in sight."""
        shown = "".join(letter if letter.isprintable() else "?" for letter in self.text)
        before, at, after = shown[: self.cursor], shown[self.cursor : self.cursor + 1] or " ", shown[self.cursor + 1 :]
        room = max(0, width - cell_len(at))
        keep = room - min(cell_len(after), room // 3)
        while cell_len(before) > keep:
            before = before[1:]
        while after and cell_len(before) + cell_len(after) > room:
            after = after[:-1]
        return before, at, after


def _word_back(before: str) -> str:
    return re.sub(r"\w*\W*$", "", before, count=1) if before else before


def _word_forward(after: str) -> int:
    found = re.match(r"\W*\w*", after)
    return found.end() if found else 0


_MOVES: dict[str, Callable[[str, str], int]] = {
    "left": lambda before, _: max(0, len(before) - 1),
    "right": lambda before, after: len(before) + min(1, len(after)),
    "home": lambda _before, _after: 0,
    "ctrl+a": lambda _before, _after: 0,
    "end": lambda before, after: len(before) + len(after),
    "ctrl+e": lambda before, after: len(before) + len(after),
    "ctrl+left": lambda before, _: len(_word_back(before)),
    "ctrl+right": lambda before, after: len(before) + _word_forward(after),
}
"""Key -> where it puts the cursor, of what stands before and after it."""
_CUTS: dict[str, Callable[[str, str], tuple[str, str]]] = {
    "backspace": lambda before, after: (before[:-1], after),
    "delete": lambda before, after: (before, after[1:]),
    "ctrl+d": lambda before, after: (before, after[1:]),
    "ctrl+w": lambda before, after: (_word_back(before), after),
    "ctrl+u": lambda _, after: ("", after),
    "ctrl+k": lambda before, _: (before, ""),
}
"""Key -> what it leaves of them."""
