"""metrics.db and telemetry.db: what is written is read back, thinned right, through kills and damage."""

from __future__ import annotations

import itertools
import json
import math
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tuiftune.errors import StoreError
from tuiftune.run import metrics_db, store
from tuiftune.run.metrics_db import (
    FANOUT,
    LEVELS,
    Curve,
    CurveFollower,
    MetricRow,
    MetricsReader,
    MetricsWriter,
    Progress,
)
from tuiftune.run.telemetry_db import TelemetryReader, TelemetryWriter

WaitUntil = Callable[..., Any]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "metrics.db"


@pytest.fixture
def writer(path: Path) -> Iterator[MetricsWriter]:
    made = MetricsWriter(path)
    yield made
    made.close()


@pytest.fixture
def reader(path: Path, writer: MetricsWriter) -> Iterator[MetricsReader]:
    made = MetricsReader(path)
    yield made
    made.close()


def record(writer: MetricsWriter, values: dict[int, float], series: str = "train/loss") -> None:
    with writer.batch():
        for step, value in values.items():
            writer.metric(step, {series: value}, float(step))


def by_hand(values: dict[int, float], level: int) -> Curve:
    """A curve as the roll-up must have it, from the values themselves."""
    width = FANOUT**level
    buckets: dict[int, list[float]] = {}
    for step, value in sorted(values.items()):
        buckets.setdefault(step // width, []).append(value)
    curve = Curve()
    for bucket, found in buckets.items():
        finite = [value for value in found if math.isfinite(value)]
        curve.steps.append(bucket * width + (width - 1) / 2)
        curve.means.append(math.fsum(finite) / len(finite) if finite else math.nan)
        curve.lows.append(min(finite, default=math.nan))
        curve.highs.append(max(finite, default=math.nan))
        curve.bad.append(len(finite) < len(found))
    return curve


def same(found: Curve, expected: Curve) -> None:
    assert found.steps == expected.steps
    assert found.bad == expected.bad
    for name in ("means", "lows", "highs"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), nan_ok=True), name


def all_levels(reader: MetricsReader, values: dict[int, float]) -> None:
    for level in range(1, LEVELS + 1):
        same(reader.curve("train/loss", level), by_hand(values, level))


def noisy(steps: range, seed: int = 1) -> dict[int, float]:
    """Values with NaN and infinities among them."""
    chance = random.Random(seed)  # noqa: S311
    odd = (math.nan, math.inf, -math.inf)
    return {step: chance.choice(odd) if chance.random() < 0.1 else chance.uniform(-5, 5) for step in steps}


# ---- metrics


def test_values_are_read_back_as_they_were_with_nan_and_infinities(
    writer: MetricsWriter, reader: MetricsReader
) -> None:
    record(writer, {1: 2.5, 2: math.nan, 3: math.inf, 4: -math.inf})
    found = list(reader.rows("train/loss"))
    assert [row.step for row in found] == [1, 2, 3, 4]
    assert [str(row.value) for row in found] == ["2.5", "nan", "inf", "-inf"]
    assert reader.at("train/loss", 3) == math.inf
    assert reader.at("train/loss", 99) is None
    assert reader.last("train/loss") == MetricRow("train/loss", 4, -math.inf, 4.0)
    assert reader.last("eval/loss") is None
    curve = reader.curve("train/loss", 0)
    assert curve.steps == [1, 2, 3, 4]
    assert curve.bad == [False, True, True, True]
    assert str(curve.means) == "[2.5, nan, nan, nan]"


def test_the_roll_up_is_what_the_values_add_up_to(writer: MetricsWriter, reader: MetricsReader) -> None:
    values = noisy(range(1, 3000, 3))
    record(writer, values)
    all_levels(reader, values)


def test_a_step_recorded_twice_counts_once_the_later_value(writer: MetricsWriter, reader: MetricsReader) -> None:
    values = noisy(range(700))
    record(writer, values)
    again = noisy(range(0, 700, 5), seed=2)
    record(writer, again)
    assert len(list(reader.rows())) == 700
    all_levels(reader, values | again)


@pytest.mark.parametrize("step", [-1, 0, 1, 7, 8, 63, 64, 511, 600, 9999])
def test_a_rewind_forgets_what_came_after(writer: MetricsWriter, reader: MetricsReader, step: int) -> None:
    values = noisy(range(700))
    record(writer, values)
    record(writer, {0: 1.0, 100: 2.0}, "eval/loss")
    for at in (0, 50, 650):
        writer.sample(at, "prompt", f"text {at}", "model", 1.0)
    writer.sample(step, "prompt", "of a model that was finished", "final", 1.0)
    writer.rewind(step)
    kept = {at: value for at, value in values.items() if at <= step}
    all_levels(reader, kept)
    assert len(list(reader.rows("train/loss"))) == len(kept)
    assert [row.step for row in reader.rows("eval/loss")] == [at for at in (0, 100) if at <= step]
    assert [sample.step for sample in reader.samples()] == [at for at in (0, 50, 650) if at <= step]
    fresh = noisy(range(step + 1, step + 200), seed=3)
    record(writer, fresh)
    all_levels(reader, kept | fresh)


def test_all_rows_come_in_order_however_many_pages_they_fill(
    writer: MetricsWriter, reader: MetricsReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics_db, "PAGE", 7)
    record(writer, {step: float(step) for step in range(50)}, "b")
    record(writer, {step: float(step) for step in range(-3, 4)}, "a")
    assert [(row.series, row.step) for row in reader.rows()] == [
        *(("a", step) for step in range(-3, 4)),
        *(("b", step) for step in range(50)),
    ]
    assert [row.step for row in reader.rows("b")] == list(range(50))
    assert list(reader.rows("c")) == []
    assert reader.series() == ["a", "b"]


def test_the_lowest_and_the_mean_look_at_finite_values_only(writer: MetricsWriter, reader: MetricsReader) -> None:
    record(writer, {0: 0.1, 10: 3.0, 20: math.nan, 30: 2.0, 40: 2.0, 50: -math.inf})
    found = reader.lowest("train/loss", after_step=0)
    assert found is not None
    assert (found.step, found.value) == (30, 2.0), "the first of equals"
    assert reader.lowest("train/loss", after_step=40) is None
    assert reader.total("train/loss") == (pytest.approx(0.1 + 3 + 2 + 2), 4)
    assert reader.total("eval/loss") == (0, 0)


def test_values_too_large_to_add_up_break_no_curve(writer: MetricsWriter, reader: MetricsReader) -> None:
    record(writer, {0: 1.7e308, 1: 1.7e308, 8: -1.7e308, 9: -1.7e308})
    curve = reader.curve("train/loss", 2)
    assert (curve.lows, curve.highs) == ([-1.7e308], [1.7e308])


def test_events_samples_progress_and_facts_are_read_on(writer: MetricsWriter, reader: MetricsReader) -> None:
    writer.event("stage_started", {"name": "text", "odd": Path("/x")}, 1.0)
    writer.event("checkpoint", {"step": 5, "value": math.nan}, 2.0)
    first, second = reader.events()
    assert (first.kind, first.data, first.time) == ("stage_started", {"name": "text", "odd": "/x"}, 1.0)
    assert [event.id for event in reader.events(after_id=first.id)] == [second.id]
    writer.sample(3, "Once", "upon \x1b[31ma time", "trained", 4.0)
    assert [(one.step, one.prompt, one.text) for one in reader.samples()] == [(3, "Once", "upon \x1b[31ma time")]
    writer.progress(0, 1, 10, "documents", 1.0)
    writer.progress(0, 9, None, "documents", 2.0)
    assert reader.progress()[0] == Progress(0, 9, None, "documents", 2.0)
    writer.fact({"total_steps": 10, "made_up": True})
    writer.fact({"total_steps": 12})
    assert reader.facts() == {"total_steps": 12, "made_up": True}


def test_a_batch_is_written_whole_or_not_at_all(writer: MetricsWriter, reader: MetricsReader) -> None:
    with pytest.raises(TypeError):
        record(writer, {1: 1.0, 2: "no number"})  # type: ignore[dict-item]
    assert list(reader.rows()) == []
    record(writer, {1: 2.0})
    assert reader.at("train/loss", 1) == 2.0


def test_a_reader_sees_what_another_process_commits_and_only_then_has_changed(
    path: Path, writer: MetricsWriter, reader: MetricsReader
) -> None:
    assert reader.changed()
    assert not reader.changed()
    source = (
        "import sys; from pathlib import Path; from tuiftune.run.metrics_db import MetricsWriter\n"
        "w = MetricsWriter(Path(sys.argv[1])); w.metric(1, {'train/loss': 2.0}, 0.0); w.close()"
    )
    subprocess.run([sys.executable, "-c", source, str(path)], check=True)
    assert reader.changed()
    assert reader.at("train/loss", 1) == 2.0
    assert not reader.changed()


# ---- curves for a screen


@pytest.mark.parametrize("points", [20, 100, 5000])
def test_a_curve_followed_step_by_step_is_the_curve_read_at_once(
    writer: MetricsWriter, reader: MetricsReader, points: int
) -> None:
    follower = CurveFollower(reader, "train/loss", points)
    assert len(follower.update()) == 0
    values: dict[int, float] = {}
    chance = random.Random(4)  # noqa: S311
    step = 0
    while step < 3000:
        fresh = noisy(range(step, step + chance.randint(1, 60)), seed=step)
        step += len(fresh)
        record(writer, fresh)
        values |= fresh
        curve = follower.update()
        assert len(curve) <= points + 60
        level = next(level for level in range(LEVELS + 1) if reader.curve("train/loss", level).steps == curve.steps)
        same(curve, reader.curve("train/loss", level))
    assert len(follower.update()) <= points + 1, "the first and the last bucket may be parts"


def test_a_curve_is_read_anew_after_a_rewind(writer: MetricsWriter, reader: MetricsReader) -> None:
    follower = CurveFollower(reader, "train/loss", 100)
    record(writer, dict.fromkeys(range(90), 1.0))
    assert len(follower.update()) == 90
    writer.rewind(10)
    record(writer, {11: 5.0})
    follower.reset()
    curve = follower.update()
    assert curve.steps == list(range(12))
    assert curve.means[-1] == 5.0


def test_a_sparse_series_is_not_thinned_however_long_it_is(writer: MetricsWriter, reader: MetricsReader) -> None:
    record(writer, dict.fromkeys(range(0, 100000, 1000), 1.0), "eval/loss")
    record(writer, dict.fromkeys(range(5000), 1.0))
    assert reader.level_for("eval/loss", 200) == 0
    assert reader.level_for("train/loss", 200) == 2
    assert reader.level_for("none", 200) == 0


# ---- files that are missing, damaged, foreign, newer, closed, read-only


def test_a_store_that_is_not_there_yet_is_empty_and_then_there(path: Path) -> None:
    reader = MetricsReader(path)
    assert reader.series() == []
    assert not reader.changed()
    path.touch()
    assert list(reader.rows()) == [], "0 bytes: the writer has just begun"
    os.utime(path, (1000, 1000))
    with pytest.raises(StoreError, match=r"metrics\.db: empty \(0 bytes\): what was recorded in it is lost"):
        reader.series()
    writer = MetricsWriter(path)
    record(writer, {1: 1.0})
    assert reader.changed()
    assert reader.series() == ["train/loss"]
    reader.close()
    writer.close()


def test_a_store_that_was_closed_is_read_and_nothing_is_left_beside_it(path: Path) -> None:
    writer = MetricsWriter(path)
    record(writer, {1: 1.0})
    writer.close()
    reader = MetricsReader(path)
    assert reader.at("train/loss", 1) == 1.0
    reader.close()
    again = MetricsWriter(path)
    record(again, {2: 2.0})
    assert {beside.stat().st_mode & 0o777 for beside in path.parent.glob("metrics.db*")} == {0o600}
    again.close()
    assert [beside.name for beside in path.parent.glob("metrics.db*")] == ["metrics.db"]
    reader = MetricsReader(path)
    assert [row.step for row in reader.rows()] == [1, 2]
    reader.close()


@pytest.mark.parametrize("closed", [True, False], ids=["closed cleanly", "killed"])
def test_a_store_in_a_folder_that_cannot_be_written_is_read_all_the_same(closed: bool) -> None:
    folder = Path(tempfile.mkdtemp())  # pytest's own are closed to other users
    try:
        source = f"""
import os
from pathlib import Path
from tuiftune.run.metrics_db import MetricsWriter
writer = MetricsWriter(Path({str(folder)!r}) / "metrics.db")
for step in range(100): writer.metric(step, {{"train/loss": 1.0}}, 0.0)
writer.close() if {closed} else os._exit(0)
"""
        subprocess.run([sys.executable, "-c", source], check=True)
        for path in folder.iterdir():
            path.chmod(0o444)
        folder.chmod(0o555)
        source = f"""
import os
from pathlib import Path
from tuiftune.run.metrics_db import MetricsReader
if os.geteuid() == 0: os.setuid(65534)
assert not os.access({str(folder)!r}, os.W_OK)
reader = MetricsReader(Path({str(folder)!r}) / "metrics.db")
print(len(list(reader.rows())), reader.changed())
"""
        done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=False)
        assert done.stdout == "100 True\n", done.stderr
    finally:
        folder.chmod(0o755)
        shutil.rmtree(folder)


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "no database": lambda _: b"hello " * 5000,
    "header overwritten": lambda data: b"\0" * 100 + data[100:],
    "cut in half": lambda data: data[: len(data) // 2],
    "a page of noise": lambda data: data[:8192] + bytes(range(256)) * 32 + data[16384:],
}


def damaged(path: Path, name: str) -> None:
    writer = MetricsWriter(path)
    record(writer, {step: float(step) for step in range(2000)})
    writer.close()
    path.write_bytes(DAMAGES[name](path.read_bytes()))


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_store_is_set_aside_by_name_and_a_new_one_begun(path: Path, name: str) -> None:
    damaged(path, name)
    before = path.read_bytes()
    writer = MetricsWriter(path)
    record(writer, {1: 1.0})
    reader = MetricsReader(path)
    (event,) = reader.events()
    (aside,) = path.parent.glob("metrics.db.damaged-????????-??????")
    assert aside.read_bytes() == before
    assert event.data["text"] == f"metrics.db was damaged: set aside as {aside.name}, and a new one begun"
    assert [row.step for row in reader.rows()] == [1]
    reader.close()
    writer.close()


@pytest.mark.parametrize("name", ["no database", "header overwritten"])
def test_a_reader_says_which_store_is_damaged_and_goes_on_when_it_is_replaced(path: Path, name: str) -> None:
    damaged(path, name)
    reader = MetricsReader(path)
    with pytest.raises(StoreError, match=r"metrics\.db: cannot be read: "):
        reader.series()
    writer = MetricsWriter(path)
    record(writer, {1: 1.0})
    assert reader.changed()
    assert reader.series() == ["train/loss"]
    reader.close()
    writer.close()


def test_a_viewer_that_had_a_store_open_follows_when_it_is_replaced(path: Path) -> None:
    writer = MetricsWriter(path)
    record(writer, {5: 1.0})
    reader = MetricsReader(path)
    assert reader.changed()
    assert reader.series() == ["train/loss"]
    writer.close()
    path.rename(path.with_name("elsewhere.db"))
    writer = MetricsWriter(path)
    record(writer, {1: 1.0}, "eval/loss")
    assert reader.changed()
    assert reader.series() == ["eval/loss"]
    reader.close()
    writer.close()


def test_a_store_of_a_newer_format_is_refused_by_both_sides_and_left_alone(path: Path) -> None:
    MetricsWriter(path).close()
    with sqlite3.connect(path) as database:
        database.execute(f"PRAGMA user_version={store.FORMAT + 1}")
    database.close()
    sentence = rf"metrics\.db: written by a newer tuiftune \(format {store.FORMAT + 1}, this one reads {store.FORMAT}\)"
    with pytest.raises(StoreError, match=sentence):
        MetricsReader(path).series()
    with pytest.raises(StoreError, match=sentence):
        MetricsWriter(path)
    assert path.exists()


def test_a_database_of_another_program_is_not_taken_for_a_store(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.executescript("CREATE TABLE mine(x); PRAGMA user_version=1;")
    database.close()
    with pytest.raises(StoreError, match=r"metrics\.db: a database of another program"):
        MetricsReader(path).series()
    with pytest.raises(StoreError, match=r"metrics\.db: a database of another program"):
        MetricsWriter(path)


def test_a_folder_that_is_gone_is_an_error_and_not_a_damaged_file(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        MetricsWriter(tmp_path / "nowhere" / "metrics.db")


def test_nothing_that_was_committed_is_lost_when_the_writer_is_killed(path: Path, wait_until: WaitUntil) -> None:
    source = """
import sys
from pathlib import Path
from tuiftune.run.metrics_db import MetricsWriter
writer, step = MetricsWriter(Path(sys.argv[1])), 0
while True:
    step += 1
    writer.metric(step, {"train/loss": float(step)}, 0.0)
    print(step, flush=True)
"""
    reader = MetricsReader(path)
    for _ in range(3):
        child = subprocess.Popen([sys.executable, "-c", source, str(path)], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        told = "".join(child.stdout.readline() for _ in range(200))
        child.kill()
        told += child.communicate()[0]
        last = int(told.rpartition("\n")[0].rpartition("\n")[2])
        found = [row.step for row in reader.rows()]
        assert found == list(range(1, len(found) + 1))
        assert len(found) >= last
    reader.close()


def test_a_reader_never_stalls_a_writer_nor_the_other_way_round(path: Path, writer: MetricsWriter) -> None:
    reader = MetricsReader(path)
    record(writer, dict.fromkeys(range(1000), 1.0))
    rows = iter(reader.rows())
    next(rows)
    begun = time.monotonic()
    with writer.batch():
        writer.metric(2000, {"train/loss": 1.0}, 0.0)
        assert reader.at("train/loss", 2000) is None, "not committed"
        assert reader.at("train/loss", 5) == 1.0
    assert reader.at("train/loss", 2000) == 1.0
    assert time.monotonic() - begun < 1
    reader.close()


# ---- telemetry


@pytest.fixture
def telemetry(tmp_path: Path) -> Iterator[tuple[TelemetryWriter, TelemetryReader]]:
    path = tmp_path / "telemetry.db"
    writer, reader = TelemetryWriter(path), TelemetryReader(path)
    yield writer, reader
    reader.close()
    writer.close()


def look(temperature: float | None, cpu: float | None = 5.0) -> dict[str, dict[str, float | str | None]]:
    return {
        "gpu0": {"temperature_c": temperature, "name": "RTX", "fan_percent": None},
        "host": {"cpu_percent": cpu, "gpu_status": "ok"},
    }


def test_the_newest_sample_is_read_whole(telemetry: tuple[TelemetryWriter, TelemetryReader]) -> None:
    writer, reader = telemetry
    assert reader.latest() is None
    assert reader.devices() == []
    writer.sample(1.0, look(60))
    writer.sample(2.0, look(70, cpu=None))
    assert reader.latest() == (2.0, look(70, cpu=None))
    assert reader.devices() == ["gpu0", "host"]
    assert reader.history("gpu0", "temperature_c", since=0) == [(1.0, 60), (2.0, 70)]
    assert reader.history("gpu0", "temperature_c", since=1.5) == [(2.0, 70)]
    assert reader.history("gpu0", "name", since=0) == []
    writer.event("state", {"state": "running", "reason": None}, 3.0)
    assert [event.data["state"] for event in reader.events()] == ["running"]


def test_old_samples_are_thinned_and_the_highest_is_remembered(
    telemetry: tuple[TelemetryWriter, TelemetryReader],
) -> None:
    writer, reader = telemetry
    for second in range(600):
        writer.sample(1000.25 + second, look(99 if second == 100 else 50 + second % 10))
    writer.sample(1600.25, look(None))
    writer.thin(1000 + 300)
    kept = [when for when, _ in reader.history("gpu0", "temperature_c", since=0)]
    old = [when for when in kept if when < 1300]
    assert len(kept) - len(old) == 300, "what is new is kept whole"
    assert 10 <= len(old) <= 11
    assert max(after - before for before, after in itertools.pairwise(old)) <= 2 * TelemetryWriter.THIN_S
    writer.thin(1000 + 300)
    assert [when for when, _ in reader.history("gpu0", "temperature_c", since=0)] == kept, "twice is once"
    assert reader.highest("gpu0", "temperature_c") == 99
    assert reader.highest("gpu0", "fan_percent") is None
    assert reader.highest("gpu7", "temperature_c") is None


def test_a_sample_that_cannot_be_written_spoils_none_that_follow(
    telemetry: tuple[TelemetryWriter, TelemetryReader],
) -> None:
    writer, reader = telemetry
    with pytest.raises(sqlite3.Error):
        writer.sample(1.0, {"host": {"cpu_percent": [1, 2]}})  # type: ignore[dict-item]
    writer.sample(2.0, look(60))
    assert reader.history("gpu0", "temperature_c", since=0) == [(2.0, 60)]


@pytest.mark.slow
def test_a_full_disk_is_an_error_the_caller_sees_and_the_store_goes_on_when_there_is_room(tmp_path: Path) -> None:
    """The disk is full because the file may not grow: RLIMIT_FSIZE, in a process of its own."""
    source = """
import json, resource, signal, sqlite3, sys
from pathlib import Path
from tuiftune.run.metrics_db import MetricsReader, MetricsWriter
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
path = Path(sys.argv[1])
writer, step, failed = MetricsWriter(path), 0, 0
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
while failed < 20:
    try:
        with writer.batch():
            writer.metric(step, {"train/loss": float(step)}, 0.0)
        step += 1
    except sqlite3.OperationalError:
        failed += 1
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
with writer.batch():
    writer.metric(step, {"train/loss": float(step)}, 0.0)
writer.close()
print(json.dumps([step, [row.step for row in MetricsReader(path).rows()]]))
"""
    done = subprocess.run(
        [sys.executable, "-c", source, str(tmp_path / "metrics.db")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    step, found = json.loads(done.stdout)
    assert found == list(range(step + 1))


def test_a_poll_that_finds_nothing_is_cheap(writer: MetricsWriter, reader: MetricsReader) -> None:
    record(writer, {1: 1.0})
    reader.changed()
    begun = time.perf_counter()
    for _ in range(1000):
        assert not reader.changed()
    assert (time.perf_counter() - begun) / 1000 < 1e-3, "measured: 7 us"


def test_looking_leaves_no_descriptor_open(path: Path, writer: MetricsWriter) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        reader = MetricsReader(path)
        reader.series()
        reader.close()
    assert len(os.listdir("/proc/self/fd")) <= before + 1, "SQLite keeps one while the writer is in this process too"


def test_a_part_of_a_thinned_curve_is_read_as_fine_as_its_points_allow(tmp_path: Path) -> None:
    writer = MetricsWriter(tmp_path / "metrics.db")
    with writer.batch():
        for step in range(2100):
            writer.metric(step, {"train/loss": float(step)}, 0.0)
    writer.close()
    reader = MetricsReader(tmp_path / "metrics.db")
    follower = CurveFollower(reader, "train/loss", 256)
    assert len(follower.update()) == 33, "64 steps an entry: 8 would be 263"
    assert follower.within(1800, 2000).steps == list(range(1775, 2026)), "every step, and some on both sides"
    assert follower.within(0, 2100) is follower.curve
    reader.close()
