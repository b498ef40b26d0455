"""A clock that somebody sets, back and forth: it changes the times that are shown and nothing else."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tuiftune.run import folder, launch
from tuiftune.run.folder import Run, State
from tuiftune.run.metrics_db import MetricsReader, MetricsWriter
from tuiftune.run.progress import Pipeline
from tuiftune.run.stalling import look_for_stall

InState = Callable[..., State]
YEAR_S = 365 * 86400.0

JUMPY = """
import time
import tuiftune

real = time.time
offset = 0.0


class Jumpy(tuiftune.DatasetLoader):
    \"\"\"Whose machine has a clock that somebody sets, back and forth, again and again.\"\"\"

    name = "jumpy"

    def run(self, ctx):
        time.time = lambda: real() + offset
        return [f"line {n}" for n in range(40)]


@tuiftune.hookimpl
def event_written(run, event):
    global offset
    offset = {0.0: -3600.0, -3600.0: 31_536_000.0}.get(offset, 0.0)


@tuiftune.hookimpl
def register_stages():
    return [Jumpy]
"""


def test_a_clock_that_jumps_changes_nothing_but_the_times_that_are_shown(
    workspace: Path, started: Callable[..., Run], in_state: InState, command_line: Callable[..., Any]
) -> None:
    (workspace / "plugins" / "jumpy.py").write_text(JUMPY)
    (workspace / "profiles" / "jumpy.toml").write_text(
        '[dataset]\nstage = "jumpy"\n[train]\nstage = "demo"\nsteps = 40\nseconds_per_step = 0.02\nsave_every = 5\n'
    )
    run = started("jumpy")
    assert in_state(run, "finished").attempt == 1
    reader = MetricsReader(run.metrics_file)
    times = [row.time for row in reader.rows("train/loss")]
    assert max(times) - min(times) > 3600, "it did jump"
    assert [row.step for row in reader.rows("train/loss")] == list(range(1, 41))
    kinds = [event.kind for event in reader.events()]
    assert kinds[0] == "run_started", "events come in their order whatever their times"
    took = [event.data["seconds"] for event in reader.events() if event.kind == "stage_finished"]
    assert all(0 <= seconds < 60 for seconds in took), "durations are of the monotonic clock"
    reader.close()
    assert [one.name for one in sorted(run.checkpoints.glob("step-*"))] == ["step-000035", "step-000040"]
    (told,) = json.loads(command_line("runs", "--json").stdout)
    assert told["step"] == 40
    assert command_line("watch", run.id, "--once").returncode == 0


def test_a_run_of_the_future_with_checkpoints_of_the_past_goes_on_from_its_last_step(
    profile: Callable[..., str], started: Callable[..., Run], in_state: InState, until: Callable[..., Any],
    command_line: Callable[..., Any],
) -> None:  # fmt: skip
    run = started(profile("demo"), "train.steps=80", "train.save_every=10", "run.keep_checkpoints=3")
    until(lambda: (run.checkpoints / "step-000030" / "complete.json").exists())
    assert launch.stop(run).startswith("done")
    kept = sorted(run.checkpoints.glob("step-*"))
    assert len(kept) == 3
    last = int(kept[-1].name.removeprefix("step-"))
    for age, one in enumerate(kept):
        os.utime(one, (1e9 - age * 1e6,) * 2)  # the newest step is the oldest file
    state = folder.recorded_state(run)
    assert state.ended
    folder.write_state(run, replace(state, started=state.started + YEAR_S, since=state.since + YEAR_S))

    for arguments in (("runs",), ("watch", run.id, "--once"), ("why", run.id), ("logs", run.id)):
        told = command_line(*arguments)
        assert told.returncode in (0, 1), told.stderr
        assert not re.search(r"(?<![\w-])-\d", told.stdout), "no negative time"
        assert "after 0.0 s" not in told.stdout, "and none made up"
        assert "Traceback" not in told.stderr
    assert command_line("resume", run.id, "--detach").returncode == 0
    assert in_state(run, "finished").attempt == 2
    reader = MetricsReader(run.metrics_file)
    assert [row.step for row in reader.rows("train/loss")] == list(range(1, 81))
    assert [event.data["step"] for event in reader.events() if event.kind == "resumed"] == [last]
    reader.close()
    assert [one.name for one in sorted(run.checkpoints.glob("step-*"))] == ["step-000060", "step-000070", "step-000080"]


@pytest.fixture
def looked_at(tmp_path: Path) -> Any:
    """A training begun at 10,000 s, of 10 steps a second apart; then the clock was set back by an hour."""
    writer = MetricsWriter(tmp_path / "metrics.db")
    stage = {"index": 0, "kind": "train", "name": "demo"}
    writer.event("run_started", {}, 10_000.0)
    writer.event("stage_started", stage, 10_000.0)
    reader, pipeline = MetricsReader(tmp_path / "metrics.db"), Pipeline()

    def step(number: int, when: float) -> None:
        writer.metric(number, {"train/loss": 1.0}, when)
        writer.progress(0, number, 100, "steps", when)
        pipeline.progress(reader.progress())

    for event in reader.events():
        pipeline.event(event)
    for number in range(1, 11):
        step(number, 10_000.0 + number)
    yield writer, reader, pipeline, step
    reader.close()
    writer.close()


def test_how_far_a_run_is_and_how_long_it_takes_are_told_after_the_clock_was_set_back(looked_at: Any) -> None:
    _, _, pipeline, step = looked_at
    running = State("running", since=10_000.0, started=10_000.0)
    assert pipeline.running(running, 10_010.0).eta_s == pytest.approx(90)
    assert pipeline.running(running, 6_410.0).eta_s == pytest.approx(90), "before its next step"
    for number in range(11, 41):
        step(number, 6_400.0 + number)
    view = pipeline.running(running, 6_440.0)
    assert (view.done, view.total) == (40, 100)
    assert view.eta_s == pytest.approx(60)


def test_a_run_that_stands_still_is_found_out_after_the_clock_was_set_back(looked_at: Any) -> None:
    _, reader, _, step = looked_at
    running = State("running", since=10_000.0, started=10_000.0)
    step(11, 6_411.0)
    assert look_for_stall(reader, running, 6_420.0) is None
    stall = look_for_stall(reader, running, 6_611.0)
    assert stall
    assert stall.text == "no step for 200 s"


def test_how_far_an_attempt_came_is_not_told_of_the_next_whatever_the_clock_says(looked_at: Any) -> None:
    writer, reader, _, _ = looked_at
    writer.event("run_started", {}, 6_400.0)
    assert reader.progress() == {}
