"""How a worker ended: by what it wrote itself, else by what can be told from the outside."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from pathlib import Path

from tuiftune.run import failure
from tuiftune.run.folder import Run, log_tail
from tuiftune.run.last_words import where_it_was
from tuiftune.run.process import signal_text
from tuiftune.run.room import free_bytes
from tuiftune.text import one_line

NOTHING_LEFT = 16 << 10
"""With so few bytes free, a worker could not write down why it ended."""


@dataclass(frozen=True)
class Ending:
    """How a worker, or the whole run, ended."""

    state: str
    """One of tuiftune.run.folder.ENDS."""
    reason: str | None = None
    kind: str | None = None
    """Of one that failed: a word of tuiftune.run.failure."""
    by_signal: int = 0


def without_a_word(run: Run, status: int | None, log_from: int, oom_kills_before: int) -> Ending:
    """A sentence on a worker that ended without exit.json.

    `status`: as subprocess has it, None where nobody saw its end; `log_from`: where its lines begin in worker.log;
    `oom_kills_before`: `oom_kills()` when it was started.
    """
    tail = [line for line in log_tail(run.worker_log, 200, after=log_from) if line.strip()]
    where = where_it_was(run, log_from)
    words = f". The last line of its log: {one_line(tail[-1], 300)}" if tail else ""
    if free_bytes(run.path) < NOTHING_LEFT:
        return Ending("failed", "the disk is full, and the worker could not even say so", failure.DISK_FULL)
    if status == -signal.SIGKILL and oom_kills() > oom_kills_before:
        reason = "the worker was killed (signal 9) because memory ran out, the machine's or its container's"
        return Ending("failed", reason, failure.HOST_OOM, signal.SIGKILL)
    if status == -signal.SIGKILL:
        reason = "the worker was killed (signal 9) by somebody else, or for want of memory (see: dmesg)"
        return Ending("failed", reason, failure.CRASHED, signal.SIGKILL)
    if status is not None and status < 0:
        kind = failure.kind_of_log(tail) or failure.CRASHED
        return Ending("failed", f"the worker was ended by {signal_text(-status)}{where or words}", kind, -status)
    if status is None:
        return Ending("failed", f"the worker ended without a word{where}{words}", failure.CRASHED, signal.SIGKILL)
    return Ending("failed", f"the worker ended without a word (exit status {status}){where}{words}", failure.CRASHED)


def oom_kills() -> int:
    """How many processes the kernel has killed for want of memory since it was started."""
    try:
        lines = Path("/proc/vmstat").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)
