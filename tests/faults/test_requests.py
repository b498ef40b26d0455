"""Several ask one run for things at once: each has an answer, and asking twice does no harm."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tuiftune.run import checkpoints, launch, process
from tuiftune.run.folder import Run, State
from tuiftune.run.metrics_db import MetricsReader
from tuiftune.run.worker_start import MARK

InState = Callable[..., State]


def steps(run: Run) -> list[int]:
    reader = MetricsReader(run.metrics_file)
    found = [row.step for row in reader.rows("train/loss")]
    reader.close()
    return found


def all_at_once(run: Run, *kinds: str) -> list[str]:
    with ThreadPoolExecutor(len(kinds)) as pool:
        return list(pool.map(lambda kind: launch.ask(run, kind, 30), kinds))


def test_pause_checkpoint_resume_release_and_stop_from_many_places(
    profile: Callable[..., str], started: Callable[..., Run], in_state: InState, until: Callable[..., Any]
) -> None:
    run = started(profile("demo"), "train.steps=400", "train.save_every=1000")
    until(lambda: len(steps(run)) > 3)

    answers = all_at_once(run, *["pause"] * 4)
    at = steps(run)[-1]
    assert answers == [f"done: it waits at step {at}"] * 4
    in_state(run, "paused")

    assert all_at_once(run, *["checkpoint"] * 4) == [f"done: the checkpoint of step {at}"] * 4
    saved = checkpoints.step_folders(run.checkpoints)
    assert [checkpoints.step_of(one) for one in saved] == [at]
    assert checkpoints.flaw(saved[0]) is None
    assert steps(run)[-1] == at
    measured, wrote = all_at_once(run, "evaluate", "sample")
    assert measured.startswith("done: perplexity ")
    assert measured.endswith(f" at step {at}, made up")
    assert wrote == f"done: what it makes up after step {at} is among the samples"

    answers = sorted(all_at_once(run, "resume", "resume", "resume"))
    assert answers[0] == "done"
    assert all(answer == "done" or answer.startswith("refused: the run is ") for answer in answers)
    until(lambda: steps(run)[-1] > at + 3)
    in_state(run, "running")

    assert launch.ask(run, "resume", 30) == "refused: the run is running, not paused"
    assert launch.ask(run, "release", 30) == "done"
    state = in_state(run, "released")
    at = steps(run)[-1]
    assert state.reason == (
        f"paused at step {at} as asked, its memory given back; go on with: tuiftune resume {run.id}"
    )
    assert process.marked(MARK, str(run.path)) == [], "nothing of it runs, so its memory is free"
    assert launch.ask(run, "pause", 30) == "refused: the run has already ended (released)"
    assert launch.go_on(run) is None
    until(lambda: steps(run)[-1] > at + 3)

    answers = all_at_once(run, "pause", "stop", "stop", "stop", "checkpoint")
    assert answers[1:4] == ["done"] * 3
    state = in_state(run, "stopped")
    for answer in (answers[0], answers[4]):
        assert answer.startswith(("done: ", "refused: the run "))
    assert launch.ask(run, "checkpoint", 30) == "refused: the run has already ended (stopped)"
    assert steps(run) == list(range(1, steps(run)[-1] + 1))
    assert process.marked(MARK, str(run.path)) == []


def test_what_is_asked_of_a_run_that_prepares_its_data_is_done_at_the_first_step(
    profile: Callable[..., str], started: Callable[..., Run], in_state: InState
) -> None:
    run = started(profile("demo"), "train.steps=100")
    answers = all_at_once(run, "pause", "checkpoint")
    at = int(answers[0].removeprefix("done: it waits at step "))
    assert at < 50
    assert answers[1].startswith("done: the checkpoint of step ")
    assert in_state(run, "paused").reason == "paused as asked"
    assert launch.ask(run, "stop", 30) == "done"
    assert in_state(run, "stopped").reason == (
        f"stopped at step {at} as asked" if at else "stopped before its first step as asked"
    )


def test_a_release_and_a_stop_together_are_a_stop(
    profile: Callable[..., str], started: Callable[..., Run], in_state: InState, until: Callable[..., Any]
) -> None:
    run = started(profile("demo"), "train.steps=400")
    until(lambda: len(steps(run)) > 3)
    assert launch.ask(run, "pause", 30)
    assert all_at_once(run, "release", "stop") == ["done", "done"]
    assert in_state(run, "released", "stopped").name == "stopped"
