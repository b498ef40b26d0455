"""Above run.max_temperature a run waits at a step boundary until its GPU has cooled, and goes on as if nothing was."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import pytest

from tuiftune.run import folder, launch
from tuiftune.run.folder import Run
from tuiftune.run.heat import HeatGuard
from tuiftune.run.metrics_db import MetricsReader

InState = Callable[..., folder.State]


class FakeGpus(Protocol):
    def set(self, values: dict[str, str | int | bytes]) -> None: ...


def steps(run: Run) -> list[int]:
    reader = MetricsReader(run.metrics_file)
    found = [row.step for row in reader.rows("train/loss")]
    reader.close()
    return found


def test_a_hot_gpu_holds_its_run_until_it_is_cool(
    fake_gpus: FakeGpus, profile: Callable[..., str], started: Callable[..., Run], in_state: InState,
    until: Callable[..., Any],
) -> None:  # fmt: skip
    fake_gpus.set({"gpu0.temp": 70})
    run = started(profile("demo"), "run.max_temperature=83", "train.steps=300")
    until(lambda: len(steps(run)) > 3)
    fake_gpus.set({"gpu0.temp": 91})
    state = in_state(run, "paused")
    assert state.reason == "gpu0 has 91 °C, and run.max_temperature is 83: held until it has cooled to 78 °C"
    at = steps(run)[-1]
    assert launch.ask(run, "resume", 20) == f"refused: the run waits by itself: {state.reason}"
    assert launch.ask(run, "checkpoint", 20) == f"done: the checkpoint of step {at}"
    assert launch.ask(run, "pause", 20) == f"done: it waits at step {at}"
    fake_gpus.set({"gpu0.temp": 70})
    until(lambda: folder.recorded_state(run).reason == "paused as asked", "heat is over, the person's pause is not")
    assert steps(run)[-1] == at
    assert launch.go_on(run) == "done"
    in_state(run, "finished")
    assert steps(run) == list(range(1, 301))


@pytest.mark.parametrize(
    ("devices", "readings", "holds"),
    [
        (None, [90, 90], [False, False]),
        (None, [90, 90, 70, 90, 90], [False] * 5),
        (None, [90, 90, 90, 80, 80, 80, 78, 78, 78], [False, False, True, True, True, True, True, True, False]),
        (None, [90, 90, 90, None, None], [False, False, True, True, True]),
        (None, [None] * 4, [False] * 4),
        ("1", [90] * 4, [False] * 4),
        ("0", [90] * 3, [False, False, True]),
        ("GPU-aa", [90] * 3, [False, False, True]),
        ("", [90] * 3, [False] * 3),
    ],
)
def test_one_odd_reading_or_none_holds_nothing(
    devices: str | None, readings: list[int | None], holds: list[bool]
) -> None:
    guard = HeatGuard(83.0, devices)
    seen = [
        guard.feed({"gpu0": {"temperature_c": celsius, "uuid": "GPU-aabb"}, "host": {"cpu_percent": 3.0}}) is not None
        for celsius in readings
    ]
    assert seen == holds
