"""When a run counts as standing still, and what is said of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tuiftune.run.folder import State
from tuiftune.run.metrics_db import MetricsReader, MetricsWriter
from tuiftune.run.stalling import look_for_stall, usual_step_s

T = 1_000_000.0
RUNNING = State("running", since=T, started=T)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[tuple[MetricsWriter, MetricsReader]]:
    writer, reader = MetricsWriter(tmp_path / "metrics.db"), MetricsReader(tmp_path / "metrics.db")
    yield writer, reader
    reader.close()
    writer.close()


def train(writer: MetricsWriter, steps: int, seconds: float, every: int = 1) -> float:
    """A training stage whose steps take so long; when the last was done."""
    writer.event("stage_started", {"index": 2, "kind": "train", "name": "x"}, T)
    for step in range(every, steps + 1, every):
        writer.metric(step, {"train/loss": 2.0}, T + step * seconds)
    writer.progress(2, steps, steps * 2, "steps", T + steps * seconds)
    return T + steps * seconds


def said(reader: MetricsReader, now: float, state: State = RUNNING) -> str | None:
    stall = look_for_stall(reader, state, now)
    return stall.text if stall else None


def test_two_minutes_without_a_step_are_said_where_steps_are_short(store: tuple[MetricsWriter, MetricsReader]) -> None:
    writer, reader = store
    last = train(writer, 100, 0.5)
    assert usual_step_s(reader) == 0.5
    assert said(reader, last + 119) is None
    assert said(reader, last + 130) == "no step for 130 s"
    assert said(reader, last + 4000) == "no step for 4,000 s"


def test_twenty_usual_steps_are_waited_for_where_steps_are_long(store: tuple[MetricsWriter, MetricsReader]) -> None:
    writer, reader = store
    last = train(writer, 50, 30.0, every=10)
    assert usual_step_s(reader) == 30.0, "of a step, though every tenth is recorded"
    assert said(reader, last + 590) is None
    assert said(reader, last + 610) == "no step for 610 s"


def test_an_evaluation_that_comes_on_is_a_sign_of_life(store: tuple[MetricsWriter, MetricsReader]) -> None:
    writer, reader = store
    last = train(writer, 100, 0.5)
    writer.progress(3, 400, 4000, "samples", last + 300)
    assert said(reader, last + 310) is None
    assert said(reader, last + 430) == "no step for 130 s"


def test_another_stage_and_a_worker_that_says_nothing_at_all_are_told_too(
    store: tuple[MetricsWriter, MetricsReader], tmp_path: Path
) -> None:
    writer, reader = store
    assert said(MetricsReader(tmp_path / "none.db"), T + 125) == "no progress for 125 s"
    writer.event("stage_started", {"index": 1, "kind": "preprocess", "name": "x"}, T + 50)
    assert said(reader, T + 165) is None
    assert said(reader, T + 175) == "no progress for 125 s"


def test_only_a_run_that_goes_on_can_stand_still_and_a_new_attempt_begins_anew(
    store: tuple[MetricsWriter, MetricsReader],
) -> None:
    writer, reader = store
    last = train(writer, 100, 0.5)
    for name in ("starting", "stopping", "paused", "healing", "finished", "failed"):
        assert said(reader, last + 500, State(name, since=T, started=T)) is None
    assert said(reader, last + 500, State("running", since=last + 450, started=T, attempt=2)) is None
    assert said(reader, last - 5000) is None, "a clock set back"
