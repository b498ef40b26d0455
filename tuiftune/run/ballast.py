"""A little room kept in the run's folder, given up when the disk is full: so that the run can still say so."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

from tuiftune.run.room import free_bytes

SIZE = 512 << 10
LOOK_S = 1.0


class Ballast:
    """A file of SIZE bytes. What is written in its place are a few kB: the state, why the run waits, metrics."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / ".ballast"
        self._looked_at = float("-inf")

    def look(self) -> None:
        """Give it up where hardly anything is left, take it again once there is plenty. Cheap: looks once a second."""
        now = time.monotonic()
        if now - self._looked_at < LOOK_S:
            return
        self._looked_at = now
        try:
            free, there = free_bytes(self._path.parent), self._path.exists()
        except OSError:  # the folder is gone, or its file system does not answer
            return
        if there and free < SIZE // 8:
            self.drop()
        elif not there and free > 8 * SIZE:
            self._take()

    def drop(self) -> None:
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)

    def _take(self) -> None:
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            return
        try:
            os.posix_fallocate(descriptor, 0, SIZE)
        except OSError:  # it is no more than a precaution
            self.drop()
        finally:
            os.close(descriptor)
