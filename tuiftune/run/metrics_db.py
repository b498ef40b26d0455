"""metrics.db, which the worker writes: values, events, samples, progress; and curves thinned for a width."""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tuiftune.run.store import Reader, connect_to_write, set_aside_text, transaction

FANOUT = 8
"""Level n of the roll-up has buckets of 8**n steps: 1,000,000 steps are 245 buckets of level 4."""
LEVELS = 6
PAGE = 20_000
"""Rows read at once where all are asked for: some 5 MB."""
_SCHEMA = """
CREATE TABLE metric(series TEXT, step INTEGER, value REAL, note TEXT, time REAL,
                    PRIMARY KEY(series, step)) WITHOUT ROWID;
CREATE TABLE rollup(series TEXT, level INTEGER, bucket INTEGER, n INTEGER, min REAL, max REAL, sum REAL,
                    bad INTEGER, PRIMARY KEY(series, level, bucket)) WITHOUT ROWID;
CREATE TABLE event(id INTEGER PRIMARY KEY, time REAL, kind TEXT, data TEXT);
CREATE TABLE sample(id INTEGER PRIMARY KEY, time REAL, step INTEGER, prompt TEXT, text TEXT, model TEXT);
CREATE TABLE progress(stage INTEGER PRIMARY KEY, done INTEGER, total INTEGER, unit TEXT, time REAL);
CREATE TABLE fact(key TEXT PRIMARY KEY, value TEXT);
"""


@dataclass(frozen=True)
class SampleRow:
    id: int
    time: float
    step: int
    prompt: str
    text: str
    model: str


@dataclass(frozen=True)
class Progress:
    """How far a stage is."""

    stage: int
    done: int
    total: int | None
    unit: str
    time: float


@dataclass(frozen=True)
class MetricRow:
    series: str
    step: int
    value: float
    """NaN and infinities as they were."""
    time: float


@dataclass
class Curve:
    """A series thinned for drawing: one entry a step, or one a bucket of steps."""

    steps: list[float] = field(default_factory=list)
    """Middle of the bucket; the step itself where nothing was thinned."""
    means: list[float] = field(default_factory=list)
    """Mean of the finite values; NaN where there was none."""
    lows: list[float] = field(default_factory=list)
    highs: list[float] = field(default_factory=list)
    bad: list[bool] = field(default_factory=list)
    """Whether a NaN or an infinity was among the values."""

    def __len__(self) -> int:
        return len(self.steps)


def _stored(value: float) -> tuple[float | None, str | None]:
    """SQLite keeps no NaN: a value that is not finite is NULL with its name beside it."""
    return (value, None) if math.isfinite(value) else (None, str(value))


def _restored(value: float | None, note: str | None) -> float:
    return float(note or "nan") if value is None else value


class MetricsWriter:
    """The worker's side of metrics.db. Not thread-safe: one thread writes (see run.recorder)."""

    def __init__(self, path: Path) -> None:
        """A damaged file is set aside, and an event says so."""
        self._db, aside = connect_to_write(path, _SCHEMA)
        if aside:
            self.event("message", {"stage": None, "text": set_aside_text(path, aside)}, time.time())

    @contextlib.contextmanager
    def batch(self) -> Iterator[MetricsWriter]:
        """Everything written inside is one commit."""
        with transaction(self._db):
            yield self

    def metric(self, step: int, values: Mapping[str, float], when: float) -> None:
        """Record values at a step. A value recorded twice at a step counts once: the later one."""
        for series, value in values.items():
            number, note = _stored(value)
            replaced = self._db.execute("SELECT 1 FROM metric WHERE series=? AND step=?", (series, step)).fetchone()
            self._db.execute("INSERT OR REPLACE INTO metric VALUES(?,?,?,?,?)", (series, step, number, note, when))
            for level in range(1, LEVELS + 1):
                if replaced:
                    self._recount(series, level, step // FANOUT**level)
                else:
                    self._db.execute(
                        "INSERT INTO rollup VALUES(?,?,?,?,?,?,?,?) ON CONFLICT DO UPDATE SET n=n+excluded.n,"
                        " min=min(ifnull(min,excluded.min),ifnull(excluded.min,min)),"
                        " max=max(ifnull(max,excluded.max),ifnull(excluded.max,max)),"
                        " sum=sum+excluded.sum, bad=bad+excluded.bad",
                        (
                            series,
                            level,
                            step // FANOUT**level,
                            int(note is None),
                            number,
                            number,
                            number or 0.0,
                            int(note is not None),
                        ),
                    )

    def _recount(self, series: str, level: int, bucket: int) -> None:
        """Make a bucket anew from its FANOUT parts: steps, or buckets of the level below."""
        if level == 1:
            source, part = "metric", "step"
            figures = "count(value),min(value),max(value),total(value),sum(value IS NULL)"
            below = ""
        else:
            source, part = "rollup", "bucket"
            figures = "sum(n),min(min),max(max),total(sum),sum(bad)"
            below = f"AND level={level - 1}"
        first = bucket * FANOUT
        self._db.execute("DELETE FROM rollup WHERE series=? AND level=? AND bucket=?", (series, level, bucket))
        self._db.execute(
            f"INSERT INTO rollup SELECT series,?,?,{figures} FROM {source}"
            f" WHERE series=? {below} AND {part}>=? AND {part}<? GROUP BY series",
            (level, bucket, series, first, first + FANOUT),
        )

    def rewind(self, step: int) -> None:
        """Forget every value after `step`: a resumed run does those steps again."""
        names = [row[0] for row in self._db.execute("SELECT DISTINCT series FROM metric WHERE step>?", (step,))]
        self._db.execute("DELETE FROM metric WHERE step>?", (step,))
        self._db.execute("DELETE FROM sample WHERE step>? OR model='final'", (step,))
        for name in names:
            for level in range(1, LEVELS + 1):
                bucket = step // FANOUT**level
                self._db.execute("DELETE FROM rollup WHERE series=? AND level=? AND bucket>?", (name, level, bucket))
                self._recount(name, level, bucket)

    def event(self, kind: str, data: Mapping[str, Any], when: float) -> None:
        if kind == "run_started":  # how far an attempt came says nothing of the next, and clocks that were set lie
            self._db.execute("DELETE FROM progress")
        self._db.execute(
            "INSERT INTO event(time,kind,data) VALUES(?,?,?)",
            (when, kind, json.dumps(dict(data), ensure_ascii=False, default=str)),
        )

    def sample(self, step: int, prompt: str, text: str, model: str, when: float) -> None:
        self._db.execute(
            "INSERT INTO sample(time,step,prompt,text,model) VALUES(?,?,?,?,?)", (when, step, prompt, text, model)
        )

    def progress(self, stage: int, done: int, total: int | None, unit: str, when: float) -> None:
        self._db.execute("INSERT OR REPLACE INTO progress VALUES(?,?,?,?,?)", (stage, done, total, unit, when))

    def fact(self, values: Mapping[str, Any]) -> None:
        for key, value in values.items():
            self._db.execute("INSERT OR REPLACE INTO fact VALUES(?,?)", (key, json.dumps(value, default=str)))

    def close(self) -> None:
        self._db.close()


class MetricsReader(Reader):
    """A viewer's side of metrics.db."""

    def series(self) -> list[str]:
        """The names of all series. Walks the index from name to name: fast at any length."""
        return [
            row[0]
            for row in self._rows(
                "WITH RECURSIVE s(name) AS (SELECT min(series) FROM metric UNION ALL SELECT"
                " (SELECT min(series) FROM metric WHERE series>name) FROM s WHERE name IS NOT NULL)"
                " SELECT name FROM s WHERE name IS NOT NULL"
            )
        ]

    def last(self, series: str) -> MetricRow | None:
        """The newest value of a series."""
        rows = self._rows(
            "SELECT step,value,note,time FROM metric WHERE series=? ORDER BY step DESC LIMIT 1", (series,)
        )
        return MetricRow(series, rows[0][0], _restored(*rows[0][1:3]), rows[0][3]) if rows else None

    def last_finite(self, series: str) -> MetricRow | None:
        """The newest value of a series that is a number."""
        rows = self._rows(
            "SELECT step,value,time FROM metric WHERE series=? AND value IS NOT NULL ORDER BY step DESC LIMIT 1",
            (series,),
        )
        return MetricRow(series, *rows[0]) if rows else None

    def newest_step(self) -> int:
        """The highest step that anything was recorded at; 0 before the first."""
        found = [last.step for last in map(self.last, self.series()) if last is not None]
        return max(found, default=0)

    def newest(self, series: str, count: int) -> list[MetricRow]:
        """The last `count` values of a series, oldest first."""
        rows = self._rows(
            "SELECT step,value,note,time FROM metric WHERE series=? ORDER BY step DESC LIMIT ?", (series, count)
        )
        return [MetricRow(series, step, _restored(value, note), when) for step, value, note, when in reversed(rows)]

    def at(self, series: str, step: int) -> float | None:
        """The value of a series at a step."""
        rows = self._rows("SELECT value,note FROM metric WHERE series=? AND step=?", (series, step))
        return _restored(*rows[0]) if rows else None

    def all_at(self, step: int, names: Sequence[str]) -> dict[str, float]:
        """The values that several series have at a step."""
        marks = ",".join("?" * len(names))
        rows = self._rows(f"SELECT series,value,note FROM metric WHERE step=? AND series IN ({marks})", (step, *names))
        return {series: _restored(value, note) for series, value, note in rows}

    def lowest(self, series: str, after_step: int = -1) -> MetricRow | None:
        """The smallest finite value of a series, at steps after `after_step`."""
        rows = self._rows(
            "SELECT step,value,time FROM metric WHERE series=? AND step>? AND value IS NOT NULL"
            " ORDER BY value,step LIMIT 1",
            (series, after_step),
        )
        return MetricRow(series, *rows[0]) if rows else None

    def finite_after(self, series: str, step: int, most: int) -> list[MetricRow]:
        """The first values of a series after a step that are numbers."""
        rows = self._rows(
            "SELECT step,value,time FROM metric WHERE series=? AND step>? AND value IS NOT NULL ORDER BY step LIMIT ?",
            (series, step, most),
        )
        return [MetricRow(series, *row) for row in rows]

    def last_step_below(self, series: str, value: float) -> int:
        """The last step at which a series was not above a value; 0 where it never was."""
        rows = self._rows(
            "SELECT step FROM metric WHERE series=? AND value<=? ORDER BY step DESC LIMIT 1", (series, value)
        )
        return int(rows[0][0]) if rows else 0

    def not_finite(self, series: str, most: int = 2000) -> list[MetricRow]:
        """The values of a series that are no numbers, by step; of many the newest `most`. The roll-up tells where they
        are: where there are none, four rows of a million are looked at."""
        found: list[MetricRow] = []
        for first, last in self._bad_parts(series):
            rows = self._rows(
                "SELECT step,note,time FROM metric WHERE series=? AND step>=? AND step<? AND value IS NULL"
                " ORDER BY step DESC LIMIT ?",
                (series, first, last, most - len(found)),
            )
            found += [MetricRow(series, step, _restored(None, note), when) for step, note, when in rows]
            if len(found) >= most:
                break
        return found[::-1]

    def first_not_finite(self, series: str) -> MetricRow | None:
        """The first value of a series that is no number."""
        parts = list(self._bad_parts(series))
        if not parts:
            return None
        rows = self._rows(
            "SELECT step,note,time FROM metric WHERE series=? AND step>=? AND step<? AND value IS NULL"
            " ORDER BY step LIMIT 1",
            (series, *parts[-1]),
        )
        return MetricRow(series, rows[0][0], _restored(None, rows[0][1]), rows[0][2]) if rows else None

    def _bad_parts(self, series: str) -> Iterator[tuple[int, int]]:
        """First step, and the one after the last, of the parts that hold such values; the newest first."""
        query = (
            "SELECT bucket FROM rollup WHERE series=? AND level=? AND bucket>=? AND bucket<? AND bad>0"
            " ORDER BY bucket DESC"
        )
        fine, parts = LEVELS // 2, FANOUT ** (LEVELS - LEVELS // 2)
        for (coarse,) in self._rows(query, (series, LEVELS, -(2**62), 2**62)):
            for (bucket,) in self._rows(query, (series, fine, coarse * parts, (coarse + 1) * parts)):
                yield bucket * FANOUT**fine, (bucket + 1) * FANOUT**fine

    def step_at(self, series: str, when: float) -> int | None:
        """The newest step that was recorded at a moment (seconds since the epoch); None where there was none by then.
        Looked for by halves: nothing is sorted by time."""
        ends = self._rows(
            "SELECT (SELECT min(step) FROM metric WHERE series=?1),(SELECT max(step) FROM metric WHERE series=?1)",
            (series,),
        )
        if not ends or ends[0][0] is None:
            return None
        low, high = ends[0]
        found: int | None = None
        while low <= high:
            middle = (low + high) // 2
            row = self._rows(
                "SELECT step,time FROM metric WHERE series=? AND step<=? ORDER BY step DESC LIMIT 1", (series, middle)
            )[0]
            if row[1] <= when:
                found, low = row[0], middle + 1
            else:
                high = row[0] - 1
        return found

    def total(self, series: str) -> tuple[float, int]:
        """Sum and number of a series' finite values, from the coarsest roll-up: fast at any length."""
        rows = self._rows("SELECT total(sum),total(n) FROM rollup WHERE series=? AND level=?", (series, LEVELS))
        return (rows[0][0], int(rows[0][1])) if rows else (0.0, 0)

    def rows(self, series: str | None = None) -> Iterator[MetricRow]:
        """Every value, by series and then step; a page at a time, so that no transaction is held."""
        for name in [series] if series else self.series():
            step = -(2**62)
            while page := self._rows(
                "SELECT step,value,note,time FROM metric WHERE series=? AND step>? ORDER BY step LIMIT ?",
                (name, step, PAGE),
            ):
                for step, value, note, when in page:
                    yield MetricRow(name, step, _restored(value, note), when)

    def samples(self, after_id: int = 0) -> list[SampleRow]:
        return [
            SampleRow(*row)
            for row in self._rows(
                "SELECT id,time,step,prompt,text,model FROM sample WHERE id>? ORDER BY id", (after_id,)
            )
        ]

    def progress(self) -> dict[int, Progress]:
        return {row[0]: Progress(*row) for row in self._rows("SELECT stage,done,total,unit,time FROM progress")}

    def facts(self) -> dict[str, Any]:
        return {key: json.loads(value) for key, value in self._rows("SELECT key,value FROM fact")}

    def level_for(self, series: str, points: int) -> int:
        """The roll-up level that draws the whole series in at most `points` entries (0: the steps themselves)."""
        # Two look-ups in the index; min and max in one query walk the whole series.
        rows = self._rows(
            "SELECT (SELECT min(step) FROM metric WHERE series=?1),(SELECT max(step) FROM metric WHERE series=?1)",
            (series,),
        )
        if not rows or rows[0][0] is None:
            return 0
        span = rows[0][1] - rows[0][0] + 1
        for level in range(LEVELS):
            if span / FANOUT**level <= points or self._count_within(series, level, points):
                return level
        return LEVELS

    def _count_within(self, series: str, level: int, points: int) -> bool:
        """Sparse series (an evaluation each 1,000 steps) need no thinning however long they are."""
        table, where = ("metric", "") if level == 0 else ("rollup", f"AND level={level}")
        rows = self._rows(
            f"SELECT count(*) FROM (SELECT 1 FROM {table} WHERE series=? {where} LIMIT ?)", (series, points + 1)
        )
        return bool(rows) and rows[0][0] <= points

    def times(self, series: str, steps: Sequence[float]) -> list[float]:
        """When the value at each step was recorded, or the next one after it (seconds since 1970)."""
        found = []
        for step in steps:
            rows = self._rows(
                "SELECT time FROM metric WHERE series=? AND step>=? ORDER BY step LIMIT 1", (series, math.floor(step))
            )
            if rows:
                found.append(rows[0][0])
        return found

    def curve(self, series: str, level: int, first_step: int = 0, last_step: int = 2**62) -> Curve:
        """A series at a roll-up level, from `first_step` to `last_step`."""
        curve = Curve()
        if level == 0:
            for step, value, note in self._rows(
                "SELECT step,value,note FROM metric WHERE series=? AND step>=? AND step<=? ORDER BY step",
                (series, first_step, last_step),
            ):
                number = math.nan if value is None else value
                for target in (curve.means, curve.lows, curve.highs):
                    target.append(number)
                curve.steps.append(step)
                curve.bad.append(note is not None)
            return curve
        width = FANOUT**level
        for bucket, count, low, high, total, bad in self._rows(
            "SELECT bucket,n,min,max,sum,bad FROM rollup WHERE series=? AND level=? AND bucket>=? ORDER BY bucket",
            (series, level, first_step // width),
        ):
            curve.steps.append(bucket * width + (width - 1) / 2)
            curve.means.append(total / count if count and total is not None else math.nan)
            curve.lows.append(math.nan if low is None else low)
            curve.highs.append(math.nan if high is None else high)
            curve.bad.append(bad > 0)
        return curve


def level_of(span: float, points: int) -> int:
    """The level whose buckets cut so many steps into at most `points` (0: the steps themselves)."""
    return next((level for level in range(LEVELS) if span / FANOUT**level <= points), LEVELS)


EPOCHS = "train/epoch"
"""The series that tells where in its epochs a step is: read whole, whatever part of a run is looked at."""


class CurveFollower:
    """A series kept thinned in memory; each `update` reads only what is new."""

    def __init__(self, reader: MetricsReader, series: str, points: int) -> None:
        self._reader, self._series, self._points = reader, series, points
        self.curve = Curve()
        self._level: int | None = None
        self._next = 0

    def reset(self) -> None:
        """Read everything anew: after a rewind, or for another width."""
        self._level = None

    def update(self) -> Curve:
        """Read what is new; the last entry is read again, since its bucket may have grown."""
        if self._level is None or len(self.curve) > self._points:
            level = self._reader.level_for(self._series, self._points)
            if level != self._level:
                self._level, self._next = level, 0
                self.curve = Curve()
        level = self._level or 0
        fresh = self._reader.curve(self._series, level, self._next)
        if not len(fresh):
            return self.curve
        old = self.curve
        keep = len(old.steps)
        while keep and old.steps[keep - 1] >= fresh.steps[0]:
            keep -= 1
        self.curve = Curve(
            old.steps[:keep] + fresh.steps,
            old.means[:keep] + fresh.means,
            old.lows[:keep] + fresh.lows,
            old.highs[:keep] + fresh.highs,
            old.bad[:keep] + fresh.bad,
        )
        self._next = int(self.curve.steps[-1])
        return self.curve

    def within(self, first: int, last: int) -> Curve:
        """Steps `first` to `last` as fine as `points` allow, with some of what lies beside them; the whole curve where
        it is as fine as that."""
        level = level_of((last - first) * 1.25, self._points)
        if self._level is not None and self._level <= level:
            return self.curve
        margin = max(1, (last - first) // 8)
        return self._reader.curve(self._series, level, max(0, first - margin), last + margin)


class ClockFollower:
    """When steps of a series were recorded, in seconds since 1970; each `update` looks up only new ones."""

    def __init__(self, reader: MetricsReader, series: str) -> None:
        self._reader, self._series = reader, series
        self.steps: list[float] = []
        self.times: list[float] = []

    def update(self, steps: Sequence[float]) -> None:
        """Know them all, and nothing of others: a step that was read before may be one of a rewound part."""
        known = self.steps
        keep = (
            len(known) - 1 if known and list(steps[: len(known) - 1]) == known[:-1] else 0
        )  # the last bucket may grow
        found = self._reader.times(self._series, steps[keep:])
        self.steps = [*known[:keep], *steps[keep : keep + len(found)]]
        self.times = [*self.times[:keep], *found]

    def since(self, start: float) -> tuple[list[float], list[float]]:
        """The steps, and how many seconds after `start` each was."""
        return self.steps, [when - start for when in self.times]
