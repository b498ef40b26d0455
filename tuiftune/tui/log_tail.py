"""The last lines of a log that grows, for the watcher thread."""

from __future__ import annotations

import os
from collections import deque
from pathlib import Path
from typing import BinaryIO

from tuiftune.text import one_line

LOG_LINES = 2000
LOG_BYTES = 64 * 1024
"""At most so much of a log is read at a look; a flood skips what lies before."""


class LogTail:
    """The last lines of a growing file; each look reads only the new bytes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: deque[str] = deque(maxlen=LOG_LINES)
        self._file_id: int | None = None
        self._offset = 0
        self._rest = b""

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
        if facts.st_ino != self._file_id or facts.st_size < self._offset:  # another file, or begun anew
            self._file_id, self._offset, self._rest = facts.st_ino, 0, b""
        if facts.st_size == self._offset:
            return False
        if facts.st_size - self._offset > LOG_BYTES:
            self._offset, self._rest = facts.st_size - LOG_BYTES, b""
        file.seek(self._offset)
        fresh = file.read(LOG_BYTES)
        self._offset += len(fresh)
        *whole, self._rest = (self._rest + fresh).split(b"\n")
        self._rest = self._rest[-LOG_BYTES:]
        self.lines.extend(_log_line(line) for line in whole)
        return True


def _log_line(line: bytes) -> str:
    """One line as it would look: of a progress bar that redraws itself, what it showed last."""
    text = line.decode("utf-8", "replace").rstrip("\r")
    return one_line(text.rpartition("\r")[2], 2000)
