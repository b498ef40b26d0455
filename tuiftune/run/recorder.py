"""The worker's recorder: facts go into a queue, a thread writes them; training never waits for the disk."""

from __future__ import annotations

import contextlib
import logging
import queue
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tuiftune.errors import StoreError
from tuiftune.run.metrics_db import MetricsWriter
from tuiftune.run.record_mending import copy_store, mend
from tuiftune.secrets import masked
from tuiftune.text import one_line

log = logging.getLogger("tuiftune")

Write = Callable[[MetricsWriter], None]

BUFFERED = 200_000
"""Facts kept in memory while the disk takes none (some 100 MB); beyond that the oldest are let go, and said."""
RETRY_S = 1.0
DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
AT_ONCE = "stage_started"
"""This event is in the file when `event` returns: a stage that ends the process with its first act can be named."""


class StoreRecorder:
    """A stage.Recorder that writes to metrics.db.

    An error of the store (a full disk) never reaches training: what could not be written is kept and
    tried again, and the log says so once.
    """

    def __init__(self, path: Path, on_event: Callable[[str, dict[str, Any], float], None] | None = None) -> None:
        self._path = path
        self._writer = self._open()
        self._on_event = on_event
        self._queue: queue.SimpleQueue[Write | None] = queue.SimpleQueue()
        self._told = False
        self._damaged = False
        """The file, not the facts: found by whoever came upon it, mended by the thread."""
        self._thread = threading.Thread(target=self._write_all, name="recorder", daemon=True)
        self._thread.start()

    def metric(self, step: int, values: Mapping[str, float]) -> None:
        now, kept = time.time(), dict(values)
        self._queue.put(lambda writer: writer.metric(step, kept, now))

    def progress(self, stage: int, done: int, total: int | None, unit: str) -> None:
        now = time.time()
        self._queue.put(lambda writer: writer.progress(stage, done, total, unit, now))

    def event(self, kind: str, data: Mapping[str, Any]) -> None:
        now, kept = time.time(), {key: _storable(value) for key, value in data.items()}
        self._queue.put(lambda writer: writer.event(kind, kept, now))
        if kind == AT_ONCE:
            self.flush()
        if self._on_event is not None:
            self._on_event(kind, kept, now)

    def flush(self, timeout_s: float = 1.0) -> None:
        """Wait until what was recorded is written down; for a bounded time, since a disk may be full."""
        deadline = time.monotonic() + timeout_s
        for _ in range(2):  # the second mark is met in a later commit than the first, which is done by then
            met = threading.Event()
            self._queue.put(lambda _: met.set())  # noqa: B023 - waited for before the next
            met.wait(max(0.0, deadline - time.monotonic()))

    def sample(self, step: int, prompt: str, text: str, model: str) -> None:
        now, prompt, text, model = time.time(), _storable(prompt), _storable(text), _storable(model)
        self._queue.put(lambda writer: writer.sample(step, prompt, text, model, now))

    def fact(self, values: Mapping[str, Any]) -> None:
        kept = {key: _storable(value) for key, value in values.items()}
        self._queue.put(lambda writer: writer.fact(kept))

    def copy_history(self, place: Path) -> None:
        """Write all that was recorded so far to a new file, for a checkpoint. One without it is whole all the same:
        what hinders it is said.

        By a connection of its own, in the thread that asks: a store is read while it is written.
        """
        self.flush()
        try:
            copy_store(self._path, place)
        except sqlite3.DatabaseError as error:
            if not _is_damage(error):
                self.log(f"the checkpoint has no copy of the record: {error}")
                return
            self._damaged = True  # the writer, which has all it needs in memory, would not notice
            self.flush()
        except OSError as error:
            self.log(f"the checkpoint has no copy of the record: {error}")

    def rewind(self, step: int) -> None:
        """Forget what was recorded after `step`; it is done again."""
        self._queue.put(lambda writer: writer.rewind(step))

    def log(self, text: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {one_line(text, 2000)}", file=sys.stderr, flush=True)

    def close(self, timeout_s: float = 10.0) -> None:
        """Write what is left and stop."""
        self._queue.put(None)
        self._thread.join(timeout_s)

    def _open(self) -> MetricsWriter:
        """A damaged file is set aside, and the copy in the newest checkpoint taken in its place."""
        mended = mend(self._path, self._path.with_name("checkpoints"))
        writer = MetricsWriter(self._path)
        if mended:
            self.log(mended)
            writer.event("message", {"stage": None, "text": mended}, time.time())
        return writer

    def _reopen(self) -> None:
        """The file was damaged while it was written: by whatever it was, not by a full disk."""
        with contextlib.suppress(sqlite3.Error):
            self._writer.close()
        try:
            self._writer = self._open()
        except (sqlite3.Error, OSError, StoreError) as error:
            self.log(f"{self._path.name} is damaged and cannot be mended for now: {error}")
        else:
            self._damaged = False

    def _write_all(self) -> None:
        waiting: list[Write] = []
        ending = False
        while not ending:
            fresh = self._drain(RETRY_S if waiting else None)
            ending = None in fresh
            waiting += [write for write in fresh if write is not None]
            if self._damaged:
                self._reopen()
            waiting = self._commit(waiting)
        if waiting:
            self.log(f"{len(waiting)} metrics could not be stored")
        self._writer.close()

    def _drain(self, timeout_s: float | None) -> list[Write | None]:
        """All that is in the queue; waits for the first, at most `timeout_s`."""
        found: list[Write | None] = []
        try:
            found.append(self._queue.get(timeout=timeout_s))
            while True:
                found.append(self._queue.get_nowait())
        except queue.Empty:
            return found

    def _commit(self, waiting: list[Write]) -> list[Write]:
        """Write them as one commit and return those that are still to be written."""
        try:
            with self._writer.batch():
                for write in waiting:
                    write(self._writer)
        except sqlite3.OperationalError as error:  # a full disk, a locked file: it may pass
            return self._kept(waiting, error)
        except sqlite3.DatabaseError as error:
            if not _is_damage(error):
                return self._commit_each(waiting)
            self._damaged = True
            return waiting
        except Exception:  # one of them is not fit to be stored, and must not take the others with it
            return self._commit_each(waiting)
        self._told = False
        return []

    def _commit_each(self, waiting: list[Write]) -> list[Write]:
        """As `_commit`, one by one; what cannot be stored is said and let go."""
        for number, write in enumerate(waiting):
            try:
                with self._writer.batch():
                    write(self._writer)
            except sqlite3.OperationalError as error:
                return self._kept(waiting[number:], error)
            except Exception as error:
                self.log(f"something that was recorded cannot be stored: {type(error).__name__}: {error}")
        return []

    def _kept(self, waiting: list[Write], error: Exception) -> list[Write]:
        """What is tried again later; the oldest are let go where it has grown too long."""
        if not self._told:
            self.log(f"metrics are not stored for now: {error}. They are kept in memory and tried again")
        self._told = True
        if len(waiting) > BUFFERED:
            self.log(f"{len(waiting) - BUFFERED} metrics were let go: nothing could be stored for long")
        return waiting[-BUFFERED:]


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    """Of the file; errors of the module itself have no code."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in DAMAGED


def _storable(value: Any) -> Any:
    """A text without secrets, and without lone surrogates (of a file name that is not UTF-8), which cannot be stored:
    they become '?'."""
    if isinstance(value, str):
        return masked(value).encode("utf-8", "replace").decode()
    if isinstance(value, list | tuple):
        return [_storable(one) for one in value]
    if isinstance(value, dict):
        return {key: _storable(one) for key, one in value.items()}
    return value
