"""Profiles and runs for tests that break things."""

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

from tuiftune.run import folder, process
from tuiftune.run.folder import Run
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


@pytest.fixture
def in_a_namespace() -> Callable[..., Any]:
    """Run a script of tests/faults as root of a user and mount namespace of its own; what it prints is JSON."""

    def call(script: str, *arguments: str | Path) -> Any:
        command = ["unshare", "-rm", sys.executable, "-P", str(Path(__file__).with_name(script)), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=200, env={**os.environ})
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return call
