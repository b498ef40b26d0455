"""Which lines of a log are warnings and errors: told from their words, since whatever a stage prints ends there."""

from __future__ import annotations

import re

PLAIN, WARNING, ERROR = 0, 1, 2

ERRORS = re.compile(
    r"(?i:\b(?:error|critical|fatal|failed|killed|panic|out of memory|cannot be)\b)"
    r"|\w(?:Error|Exception)\b|^Traceback \("
)
WARNINGS = re.compile(
    r"(?i:\b(?:warn|warning|deprecated|retrying|passed over|no number|nan|waiting at step)\b)|\wWarning\b"
)
LOOKED_AT = 500
"""Characters of a line: what it is about stands at its beginning."""


class Levels:
    """Lines one after the other: what follows the head of a traceback belongs to it."""

    def __init__(self) -> None:
        self._in_traceback = False

    def of(self, line: str) -> int:
        start = line[:LOOKED_AT]
        if self._in_traceback:
            self._in_traceback = start[:1] in (" ", "")  # the first line that is not indented is its last
            return ERROR
        if ERRORS.search(start):
            self._in_traceback = start.startswith("Traceback (")
            return ERROR
        return WARNING if WARNINGS.search(start) else PLAIN
