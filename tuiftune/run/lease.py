"""Who has a GPU (or, where there is none, the CPU): locks that die with their holder, for all workspaces of a user.

A queued run takes its devices for itself; one that was started directly shares them without asking, so that what is
queued waits for it.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tuiftune.paths import leases_folder

CPU = "cpu"


def gpus(devices: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Of a sample of the telemetry: 'gpu0' -> what names it for ever (its UUID, else 'gpu0'), in the driver's order."""
    return {name: str(fields.get("uuid") or name) for name, fields in devices.items() if name.startswith("gpu")}


def wished(devices: Mapping[str, Mapping[str, Any]], named: str | None, count: int) -> tuple[list[str], int]:
    """The GPUs a run may have, as 'gpu0', and how many of them it wants; none where it runs on the CPU.

    `named`: `run.devices`; those it names it wants all.
    """
    found = gpus(devices)
    if named is None:
        return list(found), min(count, len(found))
    chosen = []
    for one in filter(None, (part.strip() for part in named.split(","))):
        chosen += [name for name, uuid in found.items() if one == name.removeprefix("gpu") or uuid.startswith(one)]
    return chosen, len(chosen)


class Leases:
    """The devices one run holds, for as long as this process lives."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._held: dict[str, int] = {}

    def take(self, names: Iterable[str], *, alone: bool) -> str | None:
        """All of them or none, without waiting. Returns the first that another holds; None where all were had.

        Raises OSError where the folder cannot be used.
        """
        taken: dict[str, int] = {}
        for name in names:
            if name in self._held:
                continue
            descriptor = self._lock(name, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
            if descriptor is None:
                for other in taken.values():
                    os.close(other)
                return name
            taken[name] = descriptor
        self._held |= taken
        return None

    def give_back(self) -> None:
        for descriptor in self._held.values():
            os.close(descriptor)
        self._held.clear()

    @property
    def held(self) -> Sequence[str]:
        return list(self._held)

    def _lock(self, name: str, how: int) -> int | None:
        folder = self._folder or leases_folder()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        safe = re.sub(r"[^A-Za-z0-9_.-]", "-", name)
        descriptor = os.open(folder / f"{safe}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, how | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        return descriptor
