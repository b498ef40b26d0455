"""telemetry.db, which the supervisor writes: what the GPUs and the host did, thinned with age; and its events."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tuiftune.run.store import Reader, connect_to_write, set_aside_text, transaction

_SCHEMA = """
CREATE TABLE telemetry(time REAL, device TEXT, field TEXT, value, PRIMARY KEY(device, field, time)) WITHOUT ROWID;
CREATE TABLE peak(device TEXT, field TEXT, value, PRIMARY KEY(device, field)) WITHOUT ROWID;
CREATE TABLE event(id INTEGER PRIMARY KEY, time REAL, kind TEXT, data TEXT);
"""


class TelemetryWriter:
    """The supervisor's side of telemetry.db: a row a field a second, thinned with age."""

    FULL_S = 3600.0
    """Samples older than this are kept once in 30 s."""
    THIN_S = 30
    THIN_EVERY_S = 600.0

    def __init__(self, path: Path) -> None:
        """A damaged file is set aside, and an event says so."""
        self._db, aside = connect_to_write(path, _SCHEMA)
        self._thinned = time.monotonic()
        if aside:
            self.event("telemetry", {"text": set_aside_text(path, aside)}, time.time())

    def sample(self, when: float, devices: Mapping[str, Mapping[str, float | str | None]]) -> None:
        """Record one look at all devices: {'gpu0': {'temperature_c': 61, ...}, 'host': {...}}."""
        rows = [(when, device, name, value) for device, fields in devices.items() for name, value in fields.items()]
        with transaction(self._db):
            self._db.executemany("INSERT OR REPLACE INTO telemetry VALUES(?,?,?,?)", rows)
            self._db.executemany(
                "INSERT INTO peak VALUES(?,?,?) ON CONFLICT DO UPDATE SET value=excluded.value"
                " WHERE excluded.value>value",
                [(device, name, value) for _, device, name, value in rows if isinstance(value, int | float)],
            )
        if time.monotonic() - self._thinned > self.THIN_EVERY_S:
            self._thinned = time.monotonic()
            self.thin(when - self.FULL_S)

    def thin(self, before: float) -> None:
        """Keep one sample in THIN_S of those older than `before`; the peaks of all are kept apart."""
        self._db.execute(
            "DELETE FROM telemetry WHERE time<? AND time NOT IN (SELECT min(time) FROM telemetry"
            " WHERE device='host' AND field='cpu_percent' AND time<? GROUP BY CAST(time AS INTEGER)/?)",
            (before, before, self.THIN_S),
        )

    def event(self, kind: str, data: Mapping[str, Any], when: float) -> None:
        self._db.execute(
            "INSERT INTO event(time,kind,data) VALUES(?,?,?)",
            (when, kind, json.dumps(dict(data), ensure_ascii=False, default=str)),
        )

    def close(self) -> None:
        self._db.close()


class TelemetryReader(Reader):
    """A viewer's side of telemetry.db."""

    def latest(self) -> tuple[float, dict[str, dict[str, Any]]] | None:
        """The newest sample: (when, {device: {field: value}})."""
        rows = self._rows("SELECT max(time) FROM telemetry WHERE device='host' AND field='cpu_percent'")
        if not rows or rows[0][0] is None:
            return None
        when = rows[0][0]
        devices: dict[str, dict[str, Any]] = {}
        for device, name, value in self._rows(
            "WITH RECURSIVE k(device,field) AS (SELECT * FROM (SELECT device,field FROM telemetry"
            " ORDER BY device,field LIMIT 1) UNION ALL SELECT t.device,t.field FROM k, telemetry t WHERE"
            " (t.device,t.field,t.time)=(SELECT device,field,time FROM telemetry"
            " WHERE (device,field)>(k.device,k.field)"
            " ORDER BY device,field LIMIT 1))"
            " SELECT k.device,k.field,(SELECT value FROM telemetry t WHERE t.device=k.device AND t.field=k.field"
            " AND t.time=?) FROM k",
            (when,),
        ):
            devices.setdefault(device, {})[name] = value
        return when, devices

    def history(self, device: str, name: str, since: float) -> list[tuple[float, float]]:
        """(time, value) of a field since a moment, numbers only."""
        return [
            (when, value)
            for when, value in self._rows(
                "SELECT time,value FROM telemetry WHERE device=? AND field=? AND time>=? ORDER BY time",
                (device, name, since),
            )
            if isinstance(value, int | float)
        ]

    def slowed_down(self, device: str, since: float) -> list[tuple[float, str]]:
        """When a device said, since a moment, that something slows it down, and what, with commas between."""
        return [
            (when, str(reasons))
            for when, reasons in self._rows(
                "SELECT time,value FROM telemetry WHERE device=? AND field='throttle' AND time>=? AND value!=''"
                " ORDER BY time",
                (device, since),
            )
        ]

    def devices(self) -> list[str]:
        """The names of all devices ever sampled: 'gpu0', 'host'."""
        return [
            row[0]
            for row in self._rows(
                "WITH RECURSIVE d(name) AS (SELECT min(device) FROM telemetry UNION ALL SELECT"
                " (SELECT min(device) FROM telemetry WHERE device>name) FROM d WHERE name IS NOT NULL)"
                " SELECT name FROM d WHERE name IS NOT NULL"
            )
        ]

    def highest(self, device: str, name: str) -> float | None:
        """The largest value of a field over the whole run."""
        rows = self._rows("SELECT value FROM peak WHERE device=? AND field=?", (device, name))
        return rows[0][0] if rows else None
