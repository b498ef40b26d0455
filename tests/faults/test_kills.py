"""Processes of a run that are killed, done for real: what goes on, what is started again, what is lost (nothing)."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tuiftune.run import folder, launch, process
from tuiftune.run.folder import Run, State
from tuiftune.run.metrics_db import MetricsReader
from tuiftune.run.process import Identity, is_alive, is_locked
from tuiftune.run.telemetry_db import TelemetryReader
from tuiftune.run.worker_start import MARK

Until = Callable[..., Any]
InState = Callable[..., State]
Started = Callable[..., Run]
Profile = Callable[..., str]


def steps(run: Run) -> list[int]:
    reader = MetricsReader(run.metrics_file)
    found = [row.step for row in reader.rows("train/loss")]
    reader.close()
    return found


def healed(run: Run) -> list[dict[str, Any]]:
    reader = TelemetryReader(run.telemetry_file)
    found = [event.data for event in reader.events() if event.kind == "healed"]
    reader.close()
    return found


def worker_of(run: Run) -> Identity:
    worker = folder.recorded_state(run).worker
    assert worker
    return worker


def supervisor_of(run: Run) -> Identity:
    supervisor = folder.recorded_state(run).supervisor
    assert supervisor
    return supervisor


def nothing_is_left(run: Run) -> None:
    assert process.marked(MARK, str(run.path)) == []
    assert [path.name for path in run.path.rglob("*") if path.name.startswith(".")] == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_worker_that_is_killed_is_started_again_from_its_checkpoint(
    profile: Profile, started: Started, in_state: InState, until: Until, number: signal.Signals
) -> None:
    run = started(profile("demo"), "train.steps=80")
    until(lambda: len(steps(run)) > 25)
    process.send(worker_of(run), number)
    state = in_state(run, "finished")
    assert state.attempt == 2
    assert steps(run) == list(range(1, 81)), "each step once"
    (event,) = healed(run)
    assert event["kind"] == "crashed"
    assert ("signal 9" if number == signal.SIGKILL else f"{number.name}") in event["sentence"]
    reader = MetricsReader(run.metrics_file)
    resumed = [row.data["step"] for row in reader.events() if row.kind == "resumed"]
    reader.close()
    assert len(resumed) == 1
    assert resumed[0] >= 20
    until(lambda: not is_locked(run.supervisor_lock))
    nothing_is_left(run)


def test_crashes_without_progress_end_in_a_failure_and_a_resume_counts_anew(
    profile: Profile, started: Started, in_state: InState, until: Until
) -> None:
    run = started(profile("demo"), "train.steps=30", "train.crash_at=12", "run.max_restarts=3")
    state = in_state(run, "failed")
    assert (state.kind, state.attempt) == ("crashed", 2), "the same bug at the same step is not tried a third time"
    assert state.reason == (
        f"train stage 'demo' (plugin demo): RuntimeError: step 12 was asked to crash; the traceback is "
        f"in {run.worker_log.name} (for the second time at step 11)"
    )
    launch.resume(run)
    assert in_state(run, "failed").attempt == 4
    until(lambda: not is_locked(run.supervisor_lock))
    nothing_is_left(run)


def test_a_bug_before_the_first_step_is_not_tried_again(profile: Profile, started: Started, in_state: InState) -> None:
    state = in_state(started(profile("demo"), "train.crash_at=1"), "failed")
    assert (state.kind, state.attempt) == ("crashed", 1)


def test_a_killed_supervisor_is_missed_by_nobody_and_its_successor_heals(
    profile: Profile, started: Started, in_state: InState, until: Until
) -> None:
    run = started(profile("demo"), "train.steps=120")
    until(lambda: len(steps(run)) > 15)
    worker, first = worker_of(run), supervisor_of(run)
    process.send(first, signal.SIGKILL)
    at = len(steps(run))
    until(lambda: len(steps(run)) > at + 5, "the worker goes on by itself")
    assert launch.ensure_supervised(run)
    until(lambda: supervisor_of(run) != first)
    assert worker_of(run) == worker, "adopted, not started again"
    process.send(worker, signal.SIGKILL)
    assert in_state(run, "finished").attempt == 2
    assert steps(run) == list(range(1, 121))


def test_both_killed_is_interrupted_and_a_resume_goes_on(
    profile: Profile, started: Started, in_state: InState, until: Until
) -> None:
    run = started(profile("demo"), "train.steps=60")
    until(lambda: len(steps(run)) > 15)
    for who in (supervisor_of(run), worker_of(run)):
        process.send(who, signal.SIGKILL)
    until(lambda: folder.state_of(run).name == "interrupted")
    assert not launch.ensure_supervised(run), "what is started after that is a person's to say"
    launch.resume(run)
    in_state(run, "finished")
    assert steps(run) == list(range(1, 61))


def test_a_supervisor_killed_while_it_heals_is_followed_by_one_that_goes_on_healing(
    profile: Profile, started: Started, in_state: InState, until: Until
) -> None:
    run = started(profile("demo"), "train.steps=60")
    until(lambda: len(steps(run)) > 15)
    process.send(worker_of(run), signal.SIGKILL)
    in_state(run, "healing")
    process.send(supervisor_of(run), signal.SIGKILL)
    until(lambda: not is_locked(run.supervisor_lock))
    assert folder.state_of(run).name == "healing"
    assert launch.ensure_supervised(run)
    assert in_state(run, "finished").attempt == 2
    assert steps(run) == list(range(1, 61))


def test_a_paused_run_stays_paused_without_its_supervisor_and_the_next_one_knows(
    profile: Profile, started: Started, in_state: InState, until: Until
) -> None:
    run = started(profile("demo"), "train.steps=60")
    until(lambda: len(steps(run)) > 5)
    assert launch.ask(run, "pause", 20).startswith("done: it waits at step ")
    at, first = steps(run), supervisor_of(run)
    process.send(first, signal.SIGKILL)
    time.sleep(0.5)  # a worker that went on would have taken ten steps
    assert steps(run) == at
    launch.ensure_supervised(run)
    until(lambda: supervisor_of(run) != first)
    time.sleep(0.5)
    assert steps(run) == at
    assert folder.state_of(run).name == "paused"
    process.send(worker_of(run), signal.SIGKILL)
    until(lambda: folder.recorded_state(run).attempt == 2)
    assert in_state(run, "paused").reason == "paused as asked", "the next worker is held as the one before"
    assert launch.go_on(run) == "done"
    in_state(run, "finished")
    assert steps(run) == list(range(1, 61))


def test_a_stop_outlives_the_supervisor_it_was_asked_of(
    profile: Profile, started: Started, in_state: InState, until: Until
) -> None:
    run = started(profile("demo"), "train.steps=600")
    until(lambda: len(steps(run)) > 5)
    os.kill(supervisor_of(run).pid, signal.SIGSTOP)  # it cannot see the request any more
    from tuiftune.run import requests

    asked = requests.ask(run.requests, "stop")
    process.send(supervisor_of(run), signal.SIGKILL)
    until(lambda: launch.ensure_supervised(run))
    assert in_state(run, "stopped").reason
    assert requests.wait_answer(run.requests, asked, 10) == "done"


def test_a_worker_killed_before_it_takes_its_lock_is_started_again(
    workspace: Path, profile: Profile, started: Started, in_state: InState, until: Until
) -> None:
    run = started(profile("demo"), "train.steps=20")
    until(lambda: folder.recorded_state(run).worker)
    process.send(worker_of(run), signal.SIGKILL)  # Python has hardly begun
    state = in_state(run, "finished")
    assert state.attempt == 2
    assert steps(run) == list(range(1, 21))
    assert not is_alive(worker_of(run))
