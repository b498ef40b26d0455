"""Who has a GPU (or, where there is none, the CPU): locks that die with their holder, for all workspaces of a user.

Every run at work shares the locks of its devices, so one that was started directly never waits. A queued run chooses
only devices whose lock it could have alone, and shares them from then on. It chooses while nobody else does, and while
no supervisor is on its way to say which devices its run uses: both are told by one more lock, the gate.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tuiftune.paths import leases_folder

CPU = "cpu"
GATE = "choosing"
GATE_S = 5.0
"""Who chooses does so in far less; after this long a run starts without having announced itself."""


def gpus(devices: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Of a sample of the telemetry: 'gpu0' -> what names it for ever (its UUID, else 'gpu0'), in the driver's order."""
    return {name: str(fields.get("uuid") or name) for name, fields in devices.items() if name.startswith("gpu")}


def wished(
    devices: Mapping[str, Mapping[str, Any]], named: str | None, count: int, visible: str | None = None
) -> tuple[list[str], int]:
    """The GPUs a run may have, as 'gpu0', and how many of them it wants; none where it runs on the CPU.

    `named`: `run.devices`; those it names it wants all. `visible`: CUDA_VISIBLE_DEVICES as the supervisor finds it; of
    those it may have any.
    """
    found = gpus(devices)
    if named is not None:
        chosen = _named(found, named)
        return chosen, len(chosen)
    allowed = list(found) if visible is None else _named(found, visible)
    return allowed, min(count, len(allowed))


def _named(found: Mapping[str, str], text: str) -> list[str]:
    """Those of a list of indices and beginnings of UUIDs, in its order."""
    chosen: dict[str, None] = {}
    for one in filter(None, (part.strip() for part in text.split(","))):
        chosen |= dict.fromkeys(
            name for name, uuid in found.items() if one == name.removeprefix("gpu") or uuid.startswith(one)
        )
    return list(chosen)


class Leases:
    """The devices one run holds, for as long as this process lives."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._held: dict[str, int] = {}
        self._gate: int | None = None

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

    def share(self) -> None:
        """What is held alone is from now on shared with who starts directly."""
        for descriptor in self._held.values():
            fcntl.flock(descriptor, fcntl.LOCK_SH)

    def give_back(self, names: Iterable[str] | None = None) -> None:
        """These, or all."""
        for name in list(self._held if names is None else names):
            os.close(self._held.pop(name))

    def announce(self) -> None:
        """This run uses devices and will say which: nobody chooses until `settled`. Raises OSError."""
        deadline = time.monotonic() + GATE_S
        while self._gate is None and time.monotonic() < deadline:
            self._gate = self._lock(GATE, fcntl.LOCK_SH)
            if self._gate is None:
                time.sleep(0.01)

    @property
    def announced(self) -> bool:
        return self._gate is not None

    def settled(self) -> None:
        """It has its devices, or uses none for now."""
        if self._gate is not None:
            os.close(self._gate)
            self._gate = None

    @contextlib.contextmanager
    def choosing(self) -> Iterator[bool]:
        """Whether this one may choose now. Raises OSError."""
        gate = self._lock(GATE, fcntl.LOCK_EX)
        try:
            yield gate is not None
        finally:
            if gate is not None:
                os.close(gate)

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
