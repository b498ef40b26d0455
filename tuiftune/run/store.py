"""What metrics.db and telemetry.db have in common: how they are made, mended, written and read on.

One file a writing process, so that no lock is ever shared and a reader can never stall a step. WAL with
`synchronous=NORMAL`: nothing acknowledged is lost when a process is killed, at most the last commit when
the power is.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuiftune.errors import StoreError

FORMAT = 1
"""PRAGMA user_version: raised when a reader of the old format could not read the new."""
APPLICATION_ID = 0x74756966
"""'tuif': a 0-byte or foreign file is not taken for a store."""


NEW_S = 10.0
"""A store has 0 bytes for a moment, when its writer begins."""


@dataclass(frozen=True)
class EventRow:
    id: int
    time: float
    kind: str
    data: dict[str, Any]


def connect_to_write(path: Path, schema: str) -> tuple[sqlite3.Connection, Path | None]:
    """A connection, and where a damaged file of that name was moved to, if there was one.

    Raises StoreError where a newer tuiftune or another program wrote it, sqlite3.OperationalError where
    nothing can be written.
    """
    try:
        return _make(path, schema), None
    except sqlite3.OperationalError:
        raise  # a full disk, a folder that cannot be written: the file itself may be good
    except sqlite3.DatabaseError:
        aside = set_aside(path)
        return _make(path, schema), aside


def _make(path: Path, schema: str) -> sqlite3.Connection:
    path.touch(mode=0o600)
    database = sqlite3.connect(path, isolation_level=None, timeout=5.0, check_same_thread=False)
    try:
        found = _format(database, path)
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=NORMAL")
        if found == 0:
            database.executescript(
                f"BEGIN; {schema} PRAGMA application_id={APPLICATION_ID}; PRAGMA user_version={FORMAT}; COMMIT;"
            )
        elif (said := database.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            raise sqlite3.DatabaseError(said)
    except BaseException:
        database.close()
        raise
    return database


def is_sound(path: Path) -> bool:
    """Whether a file that is there can be read and goes on to be written; one with nothing in it is. Raises StoreError
    as `connect_to_write`; where that cannot be found out (it is locked, the disk is full) it counts as sound."""
    database = sqlite3.connect(path, isolation_level=None, timeout=5.0)
    try:
        if _format(database, path) == 0:
            return True
        return bool(database.execute("PRAGMA quick_check(1)").fetchone()[0] == "ok")
    except sqlite3.OperationalError:
        return True
    except sqlite3.DatabaseError:
        return False
    finally:
        database.close()


def is_blank(path: Path) -> bool:
    """Whether there is nothing in a sound file, not even the tables."""
    database = sqlite3.connect(path, isolation_level=None, timeout=5.0)
    try:
        return _format(database, path) == 0
    except sqlite3.OperationalError:
        return False
    finally:
        database.close()


def _format(database: sqlite3.Connection, path: Path) -> int:
    """The format a file was written in; 0 where there is none yet. Raises StoreError for one not to be touched."""
    found: int = database.execute("PRAGMA user_version").fetchone()[0]
    if found == 0:
        return 0
    if database.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise StoreError(f"{path}: a database of another program. Move it away")
    if found > FORMAT:
        raise StoreError(
            f"{path}: written by a newer tuiftune (format {found}, this one reads {FORMAT}). Upgrade tuiftune"
        )
    return found


def set_aside(path: Path) -> Path:
    """Rename a damaged file, with its log, so that a person can look at it; returns its new name."""
    aside = path.with_name(f"{path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}")
    for suffix in ("", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            path.with_name(path.name + suffix).rename(f"{aside}{suffix}")
    return aside


def set_aside_text(path: Path, aside: Path) -> str:
    return f"{path.name} was damaged: set aside as {aside.name}, and a new one begun"


@contextlib.contextmanager
def transaction(database: sqlite3.Connection) -> Iterator[None]:
    """Everything written inside is one commit, or nothing is."""
    database.execute("BEGIN")
    try:
        yield
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise


CANNOT_WRITE = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)


class Reader:
    """A read-only look at a store that may not exist yet, never holding a transaction open."""

    def __init__(self, path: Path, still: bool = False) -> None:
        """`still`: nobody writes to it any more, so that it can be opened without its locks and its log: in a third of
        the time, and nothing is written beside it."""
        self.path = path
        self._still = still
        self._db: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        self._version: int | None = None

    def _rows(self, query: str, arguments: Iterable[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of a query; none while the file is not there yet. Raises StoreError when it is damaged."""
        try:
            if self._db is None:
                self._db = self._open()
            return self._db.execute(query, tuple(arguments)).fetchall() if self._db else []
        except sqlite3.Error as error:
            self.close()  # it may be mended or made anew by the next look, in the very same file
            raise StoreError(f"{self.path}: cannot be read: {error}") from error

    def _open(self) -> sqlite3.Connection | None:
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return None
        if found.st_size == 0:
            if abs(time.time() - found.st_mtime) > NEW_S:
                raise StoreError(f"{self.path}: empty (0 bytes): what was recorded in it is lost")
            return None
        try:
            database = self._connect("mode=ro&immutable=1" if self._still and self._log_is_empty() else "mode=ro")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF not in CANNOT_WRITE or not self._log_is_empty():
                raise
            # In a folder that cannot be written SQLite opens a database with a log only so.
            database = self._connect("mode=ro&immutable=1")
        if database is not None:
            self._file = (found.st_dev, found.st_ino)
        return database

    def _connect(self, mode: str) -> sqlite3.Connection | None:
        """None while the writer is just making the tables."""
        database = sqlite3.connect(
            f"{self.path.absolute().as_uri()}?{mode}",
            uri=True,
            isolation_level=None,
            timeout=1.0,
            check_same_thread=False,
        )
        try:
            if _format(database, self.path) > 0:
                return database
        except BaseException:
            database.close()
            raise
        database.close()
        return None

    def _log_is_empty(self) -> bool:
        try:
            return self.path.with_name(self.path.name + "-wal").stat().st_size == 0
        except FileNotFoundError:
            return True

    def changed(self) -> bool:
        """Whether anything was committed since the last call; costs some 7 us when not."""
        if self._db is not None and self._replaced():
            self.close()
        rows = self._rows("PRAGMA data_version")
        version = rows[0][0] if rows else None
        before, self._version = self._version, version
        return version is not None and version != before

    def _replaced(self) -> bool:
        """A damaged file was set aside and a new one begun: the open connection shows the old one for ever."""
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return False
        return (found.st_dev, found.st_ino) != self._file

    def events(self, after_id: int = 0) -> list[EventRow]:
        return [
            EventRow(number, when, kind, json.loads(data))
            for number, when, kind, data in self._rows(
                "SELECT id,time,kind,data FROM event WHERE id>? ORDER BY id", (after_id,)
            )
        ]

    def events_of(self, kinds: Sequence[str]) -> list[EventRow]:
        """All events of these kinds, the oldest first."""
        marks = ",".join("?" * len(kinds))
        return [
            EventRow(number, when, kind, json.loads(data))
            for number, when, kind, data in self._rows(
                f"SELECT id,time,kind,data FROM event WHERE kind IN ({marks}) ORDER BY id",  # noqa: S608 - marks alone
                kinds,
            )
        ]

    def last_event(self, kind: str | None = None) -> EventRow | None:
        """The newest event, of a kind or of all."""
        rows = self._rows(
            "SELECT id,time,kind,data FROM event WHERE kind=?1 OR ?1 IS NULL ORDER BY id DESC LIMIT 1", (kind,)
        )
        return EventRow(rows[0][0], rows[0][1], rows[0][2], json.loads(rows[0][3])) if rows else None

    def close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = self._version = None
