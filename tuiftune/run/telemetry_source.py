"""Start the telemetry process, read its samples, and replace it when it dies or falls silent."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from tuiftune.run.process import python

SILENT_INTERVALS = 5
FIRST_SAMPLE_S = 30.0
"""Without persistence mode a driver wakes each GPU when it is asked: seconds, on a box with eight."""
LONGEST_BACKOFF_S = 60.0
MAX_LINE = 1 << 20


@dataclass(frozen=True)
class Sample:
    """One look at all devices."""

    time: float
    """Seconds since the epoch."""
    devices: dict[str, dict[str, float | str | None]]
    """'gpu0', 'gpu1', ... and 'host'; fields and units as tuiftune.telemetry has them, None where not known."""


class TelemetrySource:
    """The samples of a child process. `poll` never blocks; call it a few times a second."""

    def __init__(
        self,
        disk: Path,
        interval_s: float = 1.0,
        command: list[str] | None = None,
        errors: int | None = subprocess.DEVNULL,
        first_sample_s: float = FIRST_SAMPLE_S,
    ) -> None:
        """`disk`: a path on the file system to watch. `errors`: where the child's stderr goes (None: ours)."""
        self._command = command or python(
            "-m", "tuiftune.telemetry", "--interval", f"{interval_s:g}", "--disk", str(disk)
        )
        self._interval_s, self._errors, self._first_sample_s = interval_s, errors, first_sample_s
        self._lock = threading.Lock()
        self._newest: Sample | None = None
        self._newest_at: float | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._child_spoke = False
        self._started_at = 0.0
        self._start_at = 0.0
        self._backoff_s = 1.0
        self.problem: str | None = None
        """Why there are no samples just now; None when there are."""
        self._start()

    @property
    def pid(self) -> int | None:
        """The child's, while there is one."""
        return self._child.pid if self._child else None

    def poll(self) -> Sample | None:
        """The newest sample where there is one since the last call; looks after the child."""
        self._look_after()
        with self._lock:
            sample, self._newest = self._newest, None
        if sample is not None:
            self.problem = None
        return sample

    def close(self) -> None:
        """End the child. One stuck in the driver is left behind; it ends when the driver lets it."""
        child, self._child, self._start_at = self._child, None, float("inf")
        if child is None:
            return
        child.kill()
        try:
            child.wait(timeout=2.0)
        except subprocess.TimeoutExpired:
            self.problem = "the telemetry process hangs in the GPU's driver"

    def _start(self) -> None:
        self._started_at, self._child_spoke = time.monotonic(), False
        self._start_at = float("inf")
        try:
            self._child = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                start_new_session=True,  # a Ctrl+C in the terminal is not meant for it
            )
        except OSError as error:
            self._put_off(f"the telemetry process cannot be started: {error}")
            return
        threading.Thread(target=self._read, args=(self._child,), name="telemetry", daemon=True).start()

    def _read(self, child: subprocess.Popen[bytes]) -> None:
        """In a thread: keep the newest sample until the child's output ends."""
        lines = cast("IO[bytes]", child.stdout)
        with lines:
            while line := lines.readline(MAX_LINE):
                sample = parse(line)
                if sample is None or child is not self._child:
                    continue
                with self._lock:
                    self._newest, self._newest_at, self._child_spoke = sample, time.monotonic(), True

    def _look_after(self) -> None:
        now = time.monotonic()
        if self._child is None:
            if now >= self._start_at:
                self._start()
        elif self._child.poll() is not None:
            status, self._child = self._child.returncode, None
            self._put_off(f"the telemetry process ended (exit status {status}); a new one is started")
        elif self._silent_s(now) > (SILENT_INTERVALS * self._interval_s if self._child_spoke else self._first_sample_s):
            # Killed again at each look: inside a hung driver it ends when that comes back, and only then a new one
            # helps.
            self._child.kill()
            self.problem = f"the telemetry process has said nothing for {self._silent_s(now):.0f} s; it is replaced"

    def _silent_s(self, now: float) -> float:
        with self._lock:
            spoke = self._newest_at if self._child_spoke else None
        return now - (spoke if spoke is not None else self._started_at)

    def _put_off(self, problem: str) -> None:
        """Start a new one later: at once after a long good life, else after a growing while."""
        now = time.monotonic()
        if now - self._started_at > LONGEST_BACKOFF_S:
            self._backoff_s = 1.0
        self.problem = problem
        self._start_at = now + self._backoff_s
        self._backoff_s = min(2 * self._backoff_s, LONGEST_BACKOFF_S)


def parse(line: bytes) -> Sample | None:
    """A sample; None for a line that is none (a library's own print)."""
    try:
        data = json.loads(line)
        return Sample(float(data["time"]), {str(key): dict(fields) for key, fields in data["devices"].items()})
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
