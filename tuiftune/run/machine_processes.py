"""Who uses this machine: the processes on each GPU, and those of tuiftune's runs, with what they take."""

from __future__ import annotations

import contextlib
import os
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tuiftune.run import process
from tuiftune.run.worker_start import MARK
from tuiftune.text import one_line

Devices = Mapping[str, Mapping[str, Any]]
"""'gpu0', 'host', ... -> the fields of tuiftune.telemetry."""
SETTLED_S = 10.0
"""By then a process is the program that it was started for."""
LONGEST = 300
"""Characters of a command line."""


@dataclass(frozen=True)
class ProcessView:
    """One process. What this user may not know of it, or what a container hides, is None."""

    pid: int
    device: str | None
    """'gpu0'; None of one that is on no GPU."""
    vram_bytes: int | None = None
    user: str | None = None
    cpu_percent: float | None = None
    """Of one core, since the last look."""
    ram_bytes: int | None = None
    started: float | None = None
    """Seconds since the epoch."""
    command: str | None = None
    run: str | None = None
    """The id of the run that it belongs to."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class Processes:
    """Looks again and again: a share of the CPU is that since the look before."""

    def __init__(self) -> None:
        self._known: dict[int, Any] = {}
        """pid -> its psutil.Process."""
        self._marks: dict[tuple[int, int], str | None] = {}
        """(pid, when it was made) -> the folder of its run: of all that there are, which may be thousands."""

    def look(self, devices: Devices) -> tuple[ProcessView, ...]:
        """Those on a GPU, by GPU, the largest first; then those of runs that are on none."""
        on_gpus = [one for name in sorted(devices) for one in _of_device(name, devices[name])]
        taken = {pid for pid, _, _ in on_gpus}
        of_runs = [(pid, None, None) for pid in self._of_runs() if pid not in taken]
        known, self._known = self._known, {}
        found: dict[int, ProcessView] = {}  # a process on several GPUs is asked once
        for pid, _, _ in (*on_gpus, *of_runs):
            if pid not in found:
                found[pid] = self._about(pid, known)
        return tuple(replace(found[pid], device=device, vram_bytes=vram) for pid, device, vram in (*on_gpus, *of_runs))

    def _of_runs(self) -> Iterator[int]:
        """Processes that train, evaluate or load data for a run; not those that only see to it."""
        known = self._marks
        now = time.time()
        self._marks = {}
        for one in _all_processes():
            # One that has just been forked has its parent's environment: it is looked at again.
            is_new = one not in known or (known[one] is None and now - one[1] < SETTLED_S)
            self._marks[one] = process.mark_of(one[0], MARK) if is_new else known[one]
        for pid in sorted(pid for (pid, _), run in self._marks.items() if run is not None):
            with contextlib.suppress(OSError):  # it has ended meanwhile
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                if not any(word in (b"tuiftune.run.supervisor", b"tuiftune.telemetry") for word in words):
                    yield pid

    def _about(self, pid: int, known: Mapping[int, Any]) -> ProcessView:
        import psutil

        try:
            before = known.get(pid)
            asked_before = before is not None and before.is_running()
            found = before if before is not None and asked_before else psutil.Process(pid)
            self._known[pid] = found
            with found.oneshot():
                cpu = found.cpu_percent()
                return ProcessView(
                    pid,
                    None,
                    None,
                    one_line(found.username(), 40),
                    cpu if asked_before else None,
                    found.memory_info().rss,
                    found.create_time(),
                    command_of(found.cmdline()) or one_line(found.name(), LONGEST),
                    run_of(pid),
                )
        except (psutil.Error, OSError):  # it has ended, or is on the host's side of a container
            return ProcessView(pid, None)


def _all_processes() -> Iterator[tuple[int, int]]:
    """(pid, when its entry in /proc was made, in seconds since the epoch): a pid that is used again has another."""
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):
                yield int(name), int(Path("/proc", name).stat().st_ctime)


def _of_device(name: str, fields: Mapping[str, Any]) -> list[tuple[int, str, int | None]]:
    """(pid, device, VRAM) of each process on it, the largest first."""
    pids, sizes = str(fields.get("process_pids") or "").split(), str(fields.get("process_bytes") or "").split()
    sizes += ["-"] * (len(pids) - len(sizes))
    found = [(int(pid), name, int(size) if size.isdigit() else None) for pid, size in zip(pids, sizes, strict=False)]
    return sorted(found, key=lambda one: -(one[2] or 0))


def run_of(pid: int) -> str | None:
    """The id of the run that a process of this user works for."""
    path = process.mark_of(pid, MARK)
    return None if path is None else one_line(Path(path).name, 100)


def command_of(words: Sequence[str]) -> str:
    """A command line as a person would write it: without the folders of the program, `python -m` and its options."""
    if not words:
        return ""
    program, arguments = Path(words[0]).name, list(words[1:])
    if program.startswith("python"):
        while arguments and arguments[0].startswith("-") and arguments[0] not in ("-m", "-c"):
            del arguments[0]
        if arguments[:1] == ["-m"] and len(arguments) > 1:
            module = arguments[1]
            program, arguments = module, arguments[2:]
    return one_line(shlex.join([program, *arguments]), LONGEST)
