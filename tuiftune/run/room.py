"""Room on the disk: how much there is, and how much the next checkpoint takes."""

from __future__ import annotations

import os
from pathlib import Path

from tuiftune import units
from tuiftune.run.checkpoints import is_sealed, size_of, step_folders


def free_bytes(folder: Path) -> int:
    """What an ordinary user may still write to the file system of `folder`; a quota is not seen in it."""
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def checkpoint_bytes(checkpoints: Path) -> int:
    """The size of the newest sealed checkpoint; 0 before the first."""
    sealed = [folder for folder in step_folders(checkpoints) if is_sealed(folder)]
    return size_of(sealed[-1]) if sealed else 0


def shortage(folder: Path, what: str, needed_bytes: int, reserve_bytes: int) -> str | None:
    """A sentence where `what` does not fit beside the reserve; None where it does."""
    free = free_bytes(folder)
    if free >= needed_bytes + reserve_bytes:
        return None
    kept = f", and {units.size(reserve_bytes)} of it are kept free (run.disk_reserve)" if reserve_bytes else ""
    return (
        f"the disk is full: {what} takes {units.size(needed_bytes)}, {folder} has {units.size(free)} left{kept}. "
        "Make room; it goes on by itself"
    )
