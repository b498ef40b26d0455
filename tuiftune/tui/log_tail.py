"""The last lines of a log that grows, for the watcher thread."""

from __future__ import annotations

import os
from collections import deque
from pathlib import Path
from typing import BinaryIO

from tuiftune import units
from tuiftune.text import one_line
from tuiftune.tui.log_levels import PLAIN, Levels

LOG_LINES = 5000
LOG_BYTES = 256 * 1024
"""At most so much of a log is read at a look; a flood skips what lies before, and says how much."""
LINE = 2000
"""Characters of a line that are kept."""


class LogTail:
    """The last lines of a growing file; each look reads only the new bytes, and no more than LOG_BYTES."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: deque[str] = deque(maxlen=LOG_LINES)
        self.levels: deque[int] = deque(maxlen=LOG_LINES)
        """One of tuiftune.tui.log_levels for each line."""
        self.count = 0
        """Of all lines that there ever were in `lines`."""
        self._level_of = Levels()
        self._file_id: int | None = None
        self._offset = 0
        self._rest = b""

    @property
    def first(self) -> int:
        """The number of the first line that is kept."""
        return self.count - len(self.lines)

    def update(self) -> bool:
        """Read on; whether anything was new. A file that is not there yet is empty."""
        try:
            with self.path.open("rb") as file:
                return self._read_on(file)
        except FileNotFoundError:
            return False

    def _read_on(self, file: BinaryIO) -> bool:
        facts = os.fstat(file.fileno())
        if facts.st_ino != self._file_id:
            self.lines.clear()
            self.levels.clear()
        if facts.st_ino != self._file_id or facts.st_size < self._offset:  # another file, or begun anew
            self._file_id, self._offset, self._rest = facts.st_ino, 0, b""
        if facts.st_size == self._offset:
            return False
        skipped = max(0, facts.st_size - self._offset - LOG_BYTES)
        if skipped:
            self._offset, self._rest = self._offset + skipped, b""
        file.seek(self._offset)
        fresh = file.read(LOG_BYTES)
        self._offset += len(fresh)
        *whole, self._rest = (self._rest + fresh).split(b"\n")
        self._rest = self._rest[-LOG_BYTES:]
        if skipped:
            self._add(f"… {units.size(skipped)} that are not shown here; all of it: tuiftune logs", PLAIN)
            whole = whole[1:]  # its beginning was skipped
        for line in whole:
            text = _log_line(line)
            self._add(text, self._level_of.of(text))
        return True

    def _add(self, line: str, level: int) -> None:
        self.lines.append(line)
        self.levels.append(level)
        self.count += 1


def _log_line(line: bytes) -> str:
    """One line as it would look: of a progress bar that redraws itself, what it showed last."""
    shown = line.rstrip(b"\r").rpartition(b"\r")[2]
    return one_line(shown[: 8 * LINE].decode("utf-8", "replace"), LINE)
