"""Runs with a stand-in worker, and nothing left behind by them."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

import pytest

from tuiftune.errors import RunNotFound
from tuiftune.run import folder, launch, process
from tuiftune.run.folder import Run
from tuiftune.run.worker_start import MARK

DEADLINE_S = 30.0


def _wait_until(condition: Callable[[], Any], what: str = "") -> Any:
    end = time.monotonic() + DEADLINE_S
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError(f"not within {DEADLINE_S:.0f} s: {what}")


@pytest.fixture(autouse=True)
def no_resource_tracker() -> None:
    """Tests of several training processes leave multiprocessing's tracker as a child; here it is looked who is one."""
    resource_tracker._resource_tracker._stop()  # type: ignore[attr-defined]


@pytest.fixture
def wait_until() -> Callable[..., Any]:
    """Wait until a condition holds and return what it gave."""
    return _wait_until


@pytest.fixture
def new_run(workspace: Path) -> Iterator[Callable[..., Run]]:
    """Make run folders without a supervisor; whatever is running of them at the end is killed."""
    made: list[Run] = []

    def make(**options: Any) -> Run:
        table = {"stop_grace": 20.0, "max_restarts": 0, **options}
        made.append(folder.create(workspace, "test", {"run": table}, {"profile": "test"}))
        return made[-1]

    yield make
    for run in made:
        end_processes_of(run)


def end_processes_of(run: Run) -> None:
    with contextlib.suppress(RunNotFound):  # a test damaged it: then it has no supervisor either
        supervisor = folder.recorded_state(run).supervisor
        if supervisor:
            process.send(supervisor, signal.SIGKILL)
    process.end_all(lambda: process.marked(MARK, str(run.path)))


@pytest.fixture
def behave(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Say what the workers of supervisors started from here on do."""

    def choose(behaviour: str) -> None:
        script = str(Path(__file__).with_name("standin_worker.py"))
        tail = ["--", sys.executable, "-P", script, behaviour]

        def command(run: Run) -> list[str]:
            return process.python("-m", "tuiftune.run.supervisor", str(run.path), *tail)

        monkeypatch.setattr(launch, "supervisor_command", command)

    return choose


@pytest.fixture
def kill() -> Callable[[int], None]:
    return lambda pid: os.kill(pid, signal.SIGKILL)
