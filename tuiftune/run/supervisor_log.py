"""Where a supervisor writes: a line in its log, an event or a sample in telemetry.db. A full disk ends neither."""

from __future__ import annotations

import contextlib
import sqlite3
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tuiftune.errors import TuiftuneError
from tuiftune.run.telemetry_db import TelemetryWriter
from tuiftune.secrets import masked
from tuiftune.text import one_line


def log(text: str) -> None:
    """A line in supervisor.log, which is this process's standard error."""
    with contextlib.suppress(OSError):  # a full disk must not end the supervisor
        print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {masked(one_line(text, 2000))}", file=sys.stderr, flush=True)


def log_of_the_run(path: Path, text: str) -> None:
    """A line in worker.log, between two workers, for those who read the run's log alone."""
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%H:%M:%S')} {one_line(text, 2000)}\n")
    except OSError as error:
        log(f"{path.name} is not written for now: {error}")


class Record:
    """telemetry.db, whose errors (a full disk) end nothing: said once, and opened again at the next write."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer: TelemetryWriter | None = None
        self._told = False

    def event(self, kind: str, data: Mapping[str, Any]) -> None:
        now = time.time()
        self.write(lambda writer: writer.event(kind, data, now))

    def write(self, what: Callable[[TelemetryWriter], None]) -> None:
        try:
            if self._writer is None:
                self._writer = TelemetryWriter(self._path)
            what(self._writer)
        except (sqlite3.Error, OSError, TuiftuneError) as error:
            if not self._told:
                log(f"{self._path.name} is not written for now: {error}")
            self._told = True
            self.close()
        else:
            self._told = False

    def close(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            with contextlib.suppress(sqlite3.Error):  # what could not be written was said
                writer.close()
