"""Keep a log that is being written from filling the disk."""

from __future__ import annotations

import os
import time
from pathlib import Path

LIMIT = 16 << 20
KEPT = 4 << 20
LOOK_S = 1.0


def older(path: Path) -> Path:
    """Where the part before lies."""
    return path.with_name(f"{path.name}.1")


class ShortLog:
    """Looked at once a second: one that has grown beyond the limit is begun anew, its last part kept beside it."""

    def __init__(self, path: Path, limit: int = LIMIT) -> None:
        self._path, self._limit = path, limit
        self._looked_at = float("-inf")

    def look(self) -> bool:
        """Whether it was begun anew. Raises OSError."""
        now = time.monotonic()
        if now - self._looked_at < LOOK_S:
            return False
        self._looked_at = now
        try:
            if self._path.stat().st_size <= self._limit:
                return False
        except FileNotFoundError:
            return False
        keep_short(self._path)
        return True


def keep_short(path: Path) -> None:
    """Move the last KEPT bytes to `older(path)` and empty the file.

    Its writer holds it open, to append: so it is copied and cut, not renamed. What is written between the two (a
    millisecond) is lost.
    """
    place = older(path)
    aside = place.with_name(f".{place.name}.partial")
    with path.open("r+b") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - KEPT))
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as copy:
            copy.write(file.read())
        file.truncate(0)
    os.replace(aside, place)
