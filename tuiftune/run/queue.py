"""Runs that wait for their turn: a number in each run's folder, and what its supervisor waits for. No daemon."""

from __future__ import annotations

import json
import os
import pwd
import time
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuiftune import units
from tuiftune.errors import RunNotFound, TuiftuneError
from tuiftune.paths import runs_folder
from tuiftune.run.files import write_json
from tuiftune.run.folder import Run, list_runs, recorded_state
from tuiftune.run.lease import CPU, Leases, gpus, wished
from tuiftune.run.process import Lock, is_locked

NUMBER = "queue.json"
LOOK_S = 1.0
"""A waiting supervisor looks so often."""
WHERE = ("first", "last", "up", "down")


@dataclass(frozen=True)
class Waiting:
    """A run of the queue."""

    run: Run
    number: float
    """The lowest is next; what `join` and `move` have given it."""


def waiting(workspace: Path) -> list[Waiting]:
    """The queued runs of a workspace, the next one first."""
    found = []
    for run in _candidates(workspace):
        try:
            if recorded_state(run).name == "queued":
                found.append(Waiting(run, _number(run)))
        except RunNotFound:
            continue
    return sorted(found, key=lambda one: (one.number, one.run.id))


def _candidates(workspace: Path) -> Iterable[Run]:
    folder = runs_folder(workspace)
    if not folder.is_dir():
        return []
    found = (Path(entry.path) for entry in os.scandir(folder) if not entry.is_symlink())
    return [Run(path) for path in found if (path / NUMBER).is_file()]


def _number(run: Run) -> float:
    """One whose number cannot be read comes last."""
    try:
        return float(json.loads((run.path / NUMBER).read_text(encoding="utf-8"))["number"])
    except (OSError, ValueError, KeyError, TypeError):
        return float("inf")


def join(run: Run) -> None:
    """Put a run at the end of its workspace's queue. Raises OSError, TuiftuneError."""
    workspace = run.path.parent.parent
    with _changing(workspace):
        last = [one.number for one in waiting(workspace) if one.number < float("inf")]
        write_json(run.path / NUMBER, {"number": max(last, default=0.0) + 1})


def move(run: Run, where: str) -> int:
    """Give a queued run another place ('first', 'last', 'up', 'down'); its place then, from 1.

    Raises TuiftuneError where it does not wait.
    """
    workspace = run.path.parent.parent
    with _changing(workspace):
        order = [one.run for one in waiting(workspace)]
        if run not in order:
            raise TuiftuneError(f"{run.id} does not wait in the queue: it is {recorded_state(run).name}")
        at = order.index(run)
        order.remove(run)
        place = {"first": 0, "last": len(order), "up": max(0, at - 1), "down": min(len(order), at + 1)}[where]
        order.insert(place, run)
        try:
            for number, one in enumerate(order, start=1):
                write_json(one.path / NUMBER, {"number": float(number)})
        except OSError as error:
            raise TuiftuneError(f"{runs_folder(workspace)}: the queue cannot be changed: {error.strerror}") from error
    return place + 1


class _changing:  # noqa: N801 - a context
    """Two who change the order do so one after the other."""

    def __init__(self, workspace: Path) -> None:
        self._lock = Lock(runs_folder(workspace) / ".queue.lock")

    def __enter__(self) -> None:
        if not self._lock.take(timeout_s=10.0):
            raise TuiftuneError(f"{self._lock.path}: somebody else is changing the queue for longer than 10 s")

    def __exit__(self, *_: object) -> None:
        self._lock.release()


class Turn:
    """For the supervisor of a queued run: whether it may start, else why not."""

    def __init__(self, run: Run, leases: Leases) -> None:
        self._run, self._leases = run, leases
        self._looked_at = float("-inf")
        self._reason: str | None = "waits for its turn"
        self._table, self._processes = _options(run)
        self.devices: str | None = None
        """For CUDA_VISIBLE_DEVICES, once it may start; None for what the profile says."""

    def look(self, devices: Mapping[str, Mapping[str, Any]] | None) -> str | None:
        """`devices`: the newest sample of the telemetry, None before the first. None: its turn has come, and its
        devices are held; else what it waits for."""
        now = time.monotonic()
        if now - self._looked_at >= LOOK_S:
            self._looked_at = now
            self._reason = self._waits_for(devices)
        return self._reason

    def _waits_for(self, devices: Mapping[str, Mapping[str, Any]] | None) -> str | None:
        workspace = self._run.path.parent.parent
        if devices is None:
            return "waits to see which GPUs there are"
        ahead = []
        for one in waiting(workspace):
            if one.run == self._run:
                break
            if is_locked(one.run.supervisor_lock):
                ahead.append(one.run)
        if ahead:
            return f"{_ordinal(len(ahead) + 1)} in the queue, after {ahead[-1].id}"
        orphan = next((run for run in list_runs(workspace) if _is_orphan(run)), None)
        if orphan is not None:
            from tuiftune.run import launch

            launch.adopt_orphans([orphan])
            return f"next in the queue; waits for {orphan.id}, whose supervisor had died"
        return self._waits_for_device(devices)

    def _waits_for_device(self, devices: Mapping[str, Mapping[str, Any]]) -> str | None:
        allowed, count = wished(devices, self._table.get("devices"), self._processes)
        names = gpus(devices)
        if not count:
            held = self._leases.take([CPU], alone=True)
            return None if held is None else f"next in the queue; waits for {_holder(self._run, 'the CPU')}"
        chosen: list[str] = []
        reasons = []
        for name in allowed:
            why = self._hindrance(name, devices[name])
            if why is None and self._leases.take([names[name]], alone=True) is not None:
                why = f"waits for {_holder(self._run, name)}"
            if why is None:
                chosen.append(name)
            else:
                reasons.append(why)
            if len(chosen) == count:
                self.devices = ",".join(names[one].removeprefix("gpu") for one in chosen)
                return None
        self._leases.give_back()
        return f"next in the queue; {reasons[0]}"

    def _hindrance(self, name: str, fields: Mapping[str, Any]) -> str | None:
        """What of the profile's conditions for a GPU does not hold."""
        if self._table.get("wait_for_others", True):
            pids = [int(pid) for pid in str(fields.get("process_pids") or "").split()]
            if pids:
                return f"waits for {', '.join(map(_who, pids[:3]))} on {name} (or set run.wait_for_others = false)"
        wanted = self._table.get("wait_for_vram")
        if wanted is None:
            return None
        total, used = fields.get("memory_total_bytes"), fields.get("memory_used_bytes")
        if not isinstance(total, int | float) or not isinstance(used, int | float):
            return f"waits for {wanted} of free VRAM on {name}, which does not tell how much it has"
        if total - used < units.parse_size(str(wanted), least=0):
            return f"waits for {wanted} of free VRAM on {name} ({units.size(total - used)} free)"
        return None


def _options(run: Run) -> tuple[dict[str, Any], int]:
    """The `[run]` table and how many processes train; nothing where the profile cannot be read, as its worker says."""
    try:
        with run.profile_file.open("rb") as file:
            profile = tomllib.load(file)
        return dict(profile.get("run", {})), int(profile.get("train", {}).get("processes", 1))
    except (OSError, ValueError, TypeError, AttributeError):
        return {}, 1


def _is_orphan(run: Run) -> bool:
    """A worker that goes on without its supervisor, whose leases are free though it uses the device."""
    return is_locked(run.worker_lock) and not is_locked(run.supervisor_lock)


def _holder(run: Run, device: str) -> str:
    """`gpu0, taken by RUN` where a run of this workspace is at work, else that it is taken."""
    for other in list_runs(run.path.parent.parent):
        if other != run and is_locked(other.supervisor_lock) and recorded_state(other).name != "queued":
            return f"{device}, taken by {other.id}"
    return f"{device}, taken by another run of yours"


def _who(pid: int) -> str:
    """`alice's process 123`; of one that cannot be seen (another container's) the number alone."""
    try:
        uid = Path(f"/proc/{pid}").stat().st_uid
    except OSError:
        return f"process {pid}"
    try:
        return f"{pwd.getpwuid(uid).pw_name}'s process {pid}"
    except KeyError:
        return f"user {uid}'s process {pid}"


def _ordinal(number: int) -> str:
    ending = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
