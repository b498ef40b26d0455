"""The worker's recorder: nothing is lost, and training never meets an error of the disk."""

from __future__ import annotations

import math
import sqlite3
import time
from pathlib import Path

import pytest

from tuiftune.run.metrics_db import MetricsReader
from tuiftune.run.recorder import StoreRecorder


def test_everything_recorded_is_there_after_closing(tmp_path: Path) -> None:
    recorder = StoreRecorder(tmp_path / "metrics.db")
    for step in range(1, 501):
        recorder.metric(step, {"train/loss": 1 / step})
    recorder.metric(501, {"train/loss": math.nan})
    recorder.event("message", {"text": "hello"})
    recorder.sample(5, "Once", "upon a time", "base")
    recorder.progress(3, 10, 20, "steps")
    recorder.fact({"total_steps": 501})
    recorder.close()
    reader = MetricsReader(tmp_path / "metrics.db")
    rows = list(reader.rows("train/loss"))
    assert [row.step for row in rows] == list(range(1, 502))
    assert math.isnan(rows[-1].value)
    assert reader.events()[0].data == {"text": "hello"}
    assert reader.samples()[0].text == "upon a time"
    assert reader.progress()[3].done == 10
    assert reader.facts() == {"total_steps": 501}


def test_what_the_disk_does_not_take_is_kept_and_written_later(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recorder = StoreRecorder(tmp_path / "metrics.db")
    blocker = sqlite3.connect(tmp_path / "metrics.db", isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")  # the writer gets SQLITE_BUSY after its 5 s, as it gets SQLITE_FULL at once
    for step in range(1, 4):
        recorder.metric(step, {"train/loss": 1.0})
    end = time.monotonic() + 30
    words = ""
    while "not stored for now" not in words and time.monotonic() < end:
        words += capsys.readouterr().err
        time.sleep(0.05)
    assert "not stored for now: database is locked" in words
    blocker.execute("COMMIT")
    recorder.close(timeout_s=30)
    assert [row.step for row in MetricsReader(tmp_path / "metrics.db").rows()] == [1, 2, 3]


def test_event_listeners_hear_each_event(tmp_path: Path) -> None:
    heard: list[str] = []
    recorder = StoreRecorder(tmp_path / "metrics.db", on_event=lambda *event: heard.append(event[0]))
    recorder.event("stage_started", {})
    recorder.event("checkpoint", {"step": 3})
    recorder.close()
    assert heard == ["stage_started", "checkpoint"]


def test_one_thing_that_cannot_be_stored_takes_nothing_with_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recorder = StoreRecorder(tmp_path / "metrics.db")
    recorder.metric(1, {"train/loss": 3.0})
    recorder.sample(1, "Once", ["not", "a", "text"], "base")  # type: ignore[arg-type]
    recorder.metric(2, {"train/loss": "much"})  # type: ignore[dict-item]
    recorder.sample(2, "Once", "half a character: \udcff", "base")
    recorder.metric(3, {"train/loss": 1.0})
    recorder.close()
    reader = MetricsReader(tmp_path / "metrics.db")
    assert [(row.step, row.value) for row in reader.rows("train/loss")] == [(1, 3.0), (3, 1.0)]
    assert [sample.text for sample in reader.samples()] == ["half a character: ?"]
    assert capsys.readouterr().err.count("cannot be stored: ") == 2
