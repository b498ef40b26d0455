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
from tuiftune.run.folder import Run, list_runs, recorded_state, state_of
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
    """The queued runs of a workspace, the next one first; not those that waited when the machine was restarted."""
    found = []
    for run in _candidates(workspace):
        try:
            if state_of(run).name == "queued":
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
            raise TuiftuneError(f"{run.id} does not wait in the queue: it is {state_of(run).name}")
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
        self._visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        self.devices: str | None = None
        """For CUDA_VISIBLE_DEVICES, once it may start; None where it runs on the CPU."""

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
        with self._leases.choosing() as alone:
            if not alone:
                return "next in the queue; waits to hear which devices a run that starts will use"
            orphan = self._revive(workspace)
            if orphan is not None:
                return f"next in the queue; waits for {orphan.id}, whose supervisor had died"
            reason = self._waits_for_device(devices)
            if reason is None:
                self._leases.share()
            return reason

    def _revive(self, workspace: Path) -> Run | None:
        """Runs whose supervisor has died get another, those that wait too. One that may be using a device, if any."""
        from tuiftune.run import launch

        at_work = None
        for run in list_runs(workspace):
            if run == self._run or is_locked(run.supervisor_lock):
                continue
            try:
                state = state_of(run)
                if state.active and state.supervisor is not None:  # without one, it is being started just now
                    launch.adopt_orphans([run])
                if state.active and state.name != "queued":
                    at_work = run
            except RunNotFound:  # deleted meanwhile
                continue
        return at_work

    def _waits_for_device(self, devices: Mapping[str, Mapping[str, Any]]) -> str | None:
        allowed, count = wished(devices, self._table.get("devices"), self._processes, self._visible)
        names = gpus(devices)
        if not count:
            held = self._leases.take([CPU], alone=True)
            return None if held is None else f"next in the queue; waits for {_holder(self._run, 'the CPU')}"
        chosen: list[str] = []
        reasons = []
        lost = [name for name in allowed if devices[name].get("error")]
        for name in (one for one in allowed if one not in lost):
            if self._leases.take([names[name]], alone=True) is not None:
                reasons.append(f"waits for {_holder(self._run, name, names[name])}")
                continue
            why = self._hindrance(name, devices[name])
            if why is None:
                chosen.append(name)
            else:
                self._leases.give_back([names[name]])
                reasons.append(why)
            if len(chosen) == count:
                self.devices = ",".join(names[one].removeprefix("gpu") for one in chosen)
                return None
        self._leases.give_back()
        reasons += [f"waits for {name}, which cannot be read: {devices[name]['error']}" for name in lost]
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


def _holder(run: Run, device: str, lasting: str = CPU) -> str:
    """`gpu0, taken by RUN` where it is a run of this workspace that is at work, else that it is taken.

    `lasting`: the name of its lease. Of a run that was started directly it is not recorded which GPU it has.
    """
    perhaps = None
    for other in list_runs(run.path.parent.parent):
        if other == run or not is_locked(other.supervisor_lock):
            continue
        try:
            state = recorded_state(other)
        except RunNotFound:  # deleted meanwhile
            continue
        if state.name == "queued":
            continue
        if state.devices is None:
            perhaps = perhaps or other.id
        elif lasting.removeprefix("gpu") in state.devices.split(","):
            return f"{device}, taken by {other.id}"
    return f"{device}, taken by {perhaps or 'another run of yours'}"


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
