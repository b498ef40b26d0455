"""Faults are done for real, through the command line where a user would meet them, and nothing is left behind."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tuiftune.errors import RunNotFound
from tuiftune.run import folder, process
from tuiftune.run.folder import Run, State
from tuiftune.run.metrics_db import MetricsReader
from tuiftune.run.process import is_locked
from tuiftune.run.worker_start import MARK

DEADLINE_S = 120.0

REAL = """
extends = "base"
[model]
init = "scratch"
tokenizer = "tuiftune:babyllama-105"
[model.config]
model_type = "gpt2"
n_layer = {layers}
n_embd = {width}
n_head = 2
n_positions = 256
resid_pdrop = {dropout}
embd_pdrop = {dropout}
attn_pdrop = {dropout}
[dataset]
stage = "text"
path = "tuiftune:quickstart.txt"
unit = "line"
validation = 0.05
[[preprocess]]
stage = "tokenize"
max_length = 256
[[preprocess]]
stage = "pack"
block_size = 256
[train]
grad_accum = 1
[[evaluate]]
stage = "perplexity"
batch_tokens = 1024
[run]
disk_reserve = "0"
"""
"""A GPT-2 made from scratch, a character a token."""

DEMO = """
[dataset]
stage = "text"
path = "tuiftune:quickstart.txt"
[train]
stage = "demo"
steps = 60
seconds_per_step = 0.02
[run]
disk_reserve = "0"
"""


@pytest.fixture
def profile(workspace: Path) -> Callable[..., str]:
    """Write a profile of the workspace: `profile("demo")`, `profile("real", layers=2, width=32, dropout=0.1)`."""

    def write(kind: str, **numbers: float) -> str:
        shape = {"layers": 2, "width": 32, "dropout": 0.1, **numbers}
        name = f"a-{kind}"
        (workspace / "profiles" / f"{name}.toml").write_text(REAL.format(**shape) if kind == "real" else DEMO)
        return name

    return write


@pytest.fixture
def started(workspace: Path) -> Iterator[Callable[..., Run]]:
    """`tuiftune run PROFILE --set ... --detach`; what is left of the runs at the end is killed."""
    runs: list[Run] = []

    def start(
        profile: str, *settings: str, before: tuple[str, ...] = (), says: Callable[[str], bool] = lambda _: True
    ) -> Run:
        sets = [part for setting in settings for part in ("--set", setting)]
        command = [*before, sys.executable, "-P", "-m", "tuiftune.cli", "run", profile, *sets, "--detach"]
        done = subprocess.run(command, cwd=workspace, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        assert says(done.stderr), done.stderr
        runs.append(Run(workspace / "runs" / done.stdout.strip()))
        return runs[-1]

    yield start
    for run in runs:
        with contextlib.suppress(Exception):
            supervisor = folder.recorded_state(run).supervisor
            if supervisor:
                process.send(supervisor, signal.SIGKILL)
        process.end_all(lambda run=run: process.marked(MARK, str(run.path)))


@pytest.fixture
def until() -> Callable[..., Any]:
    """Wait until a condition holds and return what it gave."""

    def wait(condition: Callable[[], Any], what: Any = "", deadline_s: float = DEADLINE_S) -> Any:
        end = time.monotonic() + deadline_s
        while time.monotonic() < end:
            if found := condition():
                return found
            time.sleep(0.02)
        raise AssertionError(f"not within {deadline_s:.0f} s: {what() if callable(what) else what}")

    return wait


@pytest.fixture
def in_state(until: Callable[..., Any]) -> Callable[..., folder.State]:
    """Wait until a run's state.json names one of these states, and return it."""

    def wait(run: Run, *names: str) -> folder.State:
        def look() -> folder.State | None:
            state = folder.recorded_state(run)
            return state if state.name in names else None

        return until(look, lambda: (names, run.state_file.read_text(), run.supervisor_log.read_text()))  # type: ignore[no-any-return]

    return wait


@pytest.fixture(scope="session")
def powerless() -> list[str]:
    """Before a command: it may write nothing that is not made for writing, though this be root."""
    powers = "-dac_override,-dac_read_search"
    return ["setpriv", f"--bounding-set={powers}", f"--inh-caps={powers}"] if os.geteuid() == 0 else []


@pytest.fixture(scope="session")
def own_mounts() -> list[str]:
    """Before a command: it may mount what it likes, and nobody else sees it. As root of a namespace of users, or, where
    such are forbidden and this is root, as that."""
    ways = (["unshare", "-rm"], ["unshare", "-m"])
    for way in ways:
        if subprocess.run([*way, "true"], capture_output=True).returncode == 0:
            return way
    raise AssertionError("neither a namespace of users nor root: nothing can be mounted here")


@pytest.fixture
def in_a_namespace(own_mounts: list[str]) -> Callable[..., Any]:
    """Run a script of tests/faults with mounts of its own; what it prints is JSON."""

    def call(script: str, *arguments: str | Path) -> Any:
        command = [*own_mounts, sys.executable, "-P", str(Path(__file__).with_name(script)), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=200, env={**os.environ})
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return call


QUICK = """\
description = "a demonstration"
[dataset]
stage = "text"
path = "text.txt"
{middle}[train]
stage = "demo"
steps = {steps}
seconds_per_step = {seconds}
"""


class Cli:
    """`tuiftune ARGUMENTS` in a workspace, and what there is to know of the runs that it makes."""

    command = (sys.executable, "-P", "-m", "tuiftune.cli")

    def __init__(self, workspace: Path) -> None:
        self.workspace = workspace

    def __call__(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.command, *arguments],
            **{"cwd": self.workspace, "capture_output": True, "text": True, "timeout": 120, **options},
        )

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """The same, not waited for."""
        pipe = subprocess.PIPE
        return subprocess.Popen([*self.command, *arguments], cwd=self.workspace, stdout=pipe, stderr=pipe, text=True)

    def profile(self, name: str, steps: int = 5, seconds: float = 0.0, middle: str = "") -> None:
        """A profile of the demo trainer; `middle`: what stands before [train]."""
        text = QUICK.format(steps=steps, seconds=seconds, middle=middle)
        (self.workspace / "profiles" / f"{name}.toml").write_text(text)

    def plugin(self, name: str, text: str) -> None:
        (self.workspace / "plugins" / f"{name}.py").write_text(text)

    def run(self, profile: str, *settings: str) -> tuple[subprocess.CompletedProcess[str], Run]:
        """A run followed to its end."""
        done = self("run", profile, *(part for value in settings for part in ("--set", value)))
        return done, self.newest()

    def detached(self, profile: str, *settings: str) -> Run:
        """A run that goes on."""
        done = self("run", profile, "--detach", *(part for value in settings for part in ("--set", value)))
        assert done.returncode == 0, done.stderr
        return Run(self.workspace / "runs" / done.stdout.strip())

    def newest(self) -> Run:
        return folder.list_runs(self.workspace)[0]

    def until(self, condition: Callable[[], Any], what: object = "") -> Any:
        """Wait for something to be true and return it."""
        end = time.monotonic() + DEADLINE_S
        while time.monotonic() < end:
            if found := condition():
                return found
            time.sleep(0.05)
        raise AssertionError(f"not within {DEADLINE_S:.0f} s: {what}")

    def ended(self, run: Run) -> State:
        """Wait until a run has ended and its supervisor has gone; the state as recorded."""
        self.until(lambda: not folder.recorded_state(run).active, run.path)
        self.until(lambda: not is_locked(run.supervisor_lock), run.path)
        return folder.recorded_state(run)

    def step(self, run: Run) -> int:
        """The newest step that was recorded."""
        reader = MetricsReader(run.metrics_file)
        newest = reader.last("train/loss")
        reader.close()
        return newest.step if newest else 0

    def events(self, run: Run, kind: str) -> list[dict[str, Any]]:
        """What the worker recorded of a kind."""
        reader = MetricsReader(run.metrics_file)
        found = [event.data for event in reader.events() if event.kind == kind]
        reader.close()
        return found

    def assert_in_order(self, run: Run) -> None:
        """No process, no lock and no half file of a run that has ended, and none in the cache."""
        state = self.ended(run)
        assert process.marked(MARK, str(run.path)) == []
        assert state.left == []
        assert not is_locked(run.worker_lock)
        said = json.loads(run.exit_file.read_text()) if run.exit_file.exists() else {}
        assert said.get("outcome") in (None, state.name)
        assert [path for path in run.stages.rglob("*") if path.is_file()] == []
        assert [path for path in run.path.rglob(".*") if path.is_file()] == []
        assert list(self.workspace.glob("cache/.*")) == []


@pytest.fixture
def cli(workspace: Path) -> Iterator[Cli]:
    """A workspace with a text and the profiles `quick` and `long`; what still runs at the end is killed."""
    (workspace / "text.txt").write_text("".join(f"line {n} of a text\n" for n in range(50)))
    made = Cli(workspace)
    made.profile("quick")
    made.profile("long", steps=100_000, seconds=0.02)
    yield made
    for run in folder.list_runs(workspace):
        _end_processes_of(run)


def _end_processes_of(run: Run) -> None:
    try:
        supervisor = folder.recorded_state(run).supervisor
    except RunNotFound:  # a test damaged it
        supervisor = None
    if supervisor:
        process.send(supervisor, signal.SIGKILL)
    process.end_all(lambda: process.marked(MARK, str(run.path)))
