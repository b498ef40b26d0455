"""A thread that reads out this machine while no run does: for the top row, and for the system's place."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from textual.message import Message

from tuiftune.run.machine_processes import Processes
from tuiftune.run.telemetry_source import TelemetrySource
from tuiftune.tui.device_history import Devices
from tuiftune.tui.messages import ActionFailed, MachineRead

SAMPLE_S = 2.0
"""Seconds between two readings of the child process."""
SHOWN_S, GLANCED_S = 1.0, 5.0
"""Seconds between two looks at them: where they fill the screen, and for the top row alone."""
FIRST_S = 1.5
"""The screen comes first."""
TOLD_S = 15.0
"""So long a run's own readings are as good."""


class MachineWatch:
    """Its process for the driver is there only while somebody looks. `post` must be callable from any thread."""

    def __init__(self, workspace: Path, post: Callable[[Message], object]) -> None:
        self._disk, self._post = workspace, post
        self._needless_until = time.monotonic() + FIRST_S
        self._shown = self._stopped = False
        self._source: TelemetrySource | None = None
        self._devices = Devices()
        self._processes = Processes()
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="machine", daemon=True)

    # Called by the screen's thread.

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float = 3.0) -> None:
        """End the thread and the child process."""
        self._stopped = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def told_by_run(self) -> None:
        """A run that is active has told what its machine does."""
        self._needless_until = time.monotonic() + TOLD_S

    def set_shown(self, shown: bool) -> None:
        """Whether the system's place is on the screen."""
        if shown != self._shown:
            self._shown = shown
            self._wake.set()

    # The thread.

    def _watch(self) -> None:
        told = False
        try:
            while not self._stopped:
                try:
                    self._look()
                except Exception:  # said once: the next look may go well, or fail the same way
                    if not told and not self._stopped:
                        lines = traceback.format_exc().splitlines()[-12:]
                        self._post(ActionFailed("A bug in tuiftune's dashboard", lines))
                    told = True
                self._wake.wait(self._pause_s())
                if not self._stopped:
                    self._wake.clear()
        finally:
            self._close()

    def _pause_s(self) -> float:
        if self._shown or (self._source is not None and self._devices.read_at is None):
            return SHOWN_S
        needless_s = self._needless_until - time.monotonic()
        return max(SHOWN_S, min(GLANCED_S, needless_s)) if needless_s > 0 else GLANCED_S

    def _look(self) -> None:
        if not self._shown and time.monotonic() < self._needless_until:
            self._close()
            return
        if self._source is None:
            self._source = TelemetrySource(self._disk, SAMPLE_S)
        sample = self._source.poll()
        if sample is not None:
            self._devices.take(sample.time, sample.devices)
        if self._shown or sample is not None:
            processes = self._processes.look(sample.devices if sample else self._devices.latest) if self._shown else ()
            read_at = self._devices.read_at
            age_s = None if read_at is None else max(0.0, time.time() - read_at)
            self._post(MachineRead(self._devices.seen(), processes, age_s, self._source.problem))

    def _close(self) -> None:
        if self._source is not None:
            self._source.close()
            self._source = None
