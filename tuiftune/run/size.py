"""How much of the disk a run takes, found out once of a run that has ended."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

AGAIN_S = 30.0
"""What a run that goes on takes is looked up again after so long."""
SECTOR = 512
"""What `st_blocks` counts in, whatever the file system's own blocks are."""


def size_on_disk(folder: Path) -> int:
    """Bytes of the disk that a folder takes, itself and all in it; a file with several names counts once. Links are
    not followed; what is deleted meanwhile, or cannot be looked at, counts nothing."""
    seen: set[tuple[int, int]] = set()
    total = 0
    for found in _stats(folder):
        if found.st_nlink > 1:
            if (found.st_dev, found.st_ino) in seen:
                continue
            seen.add((found.st_dev, found.st_ino))
        total += found.st_blocks * SECTOR
    return total


def _stats(folder: Path) -> Iterator[os.stat_result]:
    waiting = [str(folder)]
    try:
        yield os.lstat(folder)
    except OSError:
        return
    while waiting:
        try:
            entries = os.scandir(waiting.pop())
        except OSError:
            continue
        with entries:
            for entry in entries:
                try:
                    found = entry.stat(follow_symlinks=False)
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                except OSError:
                    continue
                yield found


class Sizes:
    """Sizes that were found out, kept as long as they hold. Not thread-safe: one thread asks."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[object, float, int]] = {}

    def of(self, folder: Path, version: object, ended: bool) -> int:
        """`version`: whatever differs once a run that had ended was resumed, such as when it ended."""
        now = time.monotonic()
        known = self._known.get(folder.name)
        if known and (known[0] == version if ended else now - known[1] < AGAIN_S):
            return known[2]
        found = size_on_disk(folder)
        self._known[folder.name] = (version, now, found)
        return found
