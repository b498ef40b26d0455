"""What may happen to a run while somebody watches it: the dashboard stays up and says what happened."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tuiftune.run import folder

TRAINER = '''\
"""A trainer that talks too much and whose figures are no numbers now and then."""
import math
import time
import tuiftune

class Noisy(tuiftune.Trainer):
    """Steps until it is stopped."""
    name = "noisy"
    makes_model = False
    class Options(tuiftune.Options):
        lines_a_step: int = 500
    def run(self, ctx):
        ctx.checkpoints.mkdir(parents=True, exist_ok=True)
        step = 0
        while not ctx.stopping:
            ctx.step_boundary(step, lambda: "not saved")
            step += 1
            odd = math.nan if step % 7 == 0 else math.inf if step % 11 == 0 else 2 + 1 / step
            ctx.metric(step, loss=odd, learning_rate=1e-4, grad_norm=math.inf if step % 5 == 0 else 1.0)
            ctx.progress(step, None, "steps")
            for number in range(self.options.lines_a_step):
                print(f"step {step}: line {number} of many")
            time.sleep(0.05)
        raise tuiftune.RunStopped(step)

@tuiftune.hookimpl
def register_stages():
    return [Noisy]
'''
PROFILE = """
[dataset]
stage = "text"
path = "tuiftune:quickstart.txt"
[train]
stage = "noisy"
[run]
disk_reserve = "0"
"""
DASHBOARD = [sys.executable, "-P", "-m", "tuiftune.cli"]


@pytest.mark.slow
def test_the_dashboard_outlives_all_that_befalls_its_run_and_says_so(
    workspace: Path,
    started: Callable[..., Any],
    in_state: Callable[..., Any],
    until: Callable[..., Any],
    open_terminal: Callable[..., Any],
) -> None:
    (workspace / "plugins" / "noisy.py").write_text(TRAINER)
    (workspace / "profiles" / "noisy.toml").write_text(PROFILE)
    run = started("noisy")
    in_state(run, "running")
    terminal = open_terminal(DASHBOARD, workspace, 120, 40)

    # 10,000 lines a second, and values that are no numbers.
    terminal.wait_for(run.id, "● running", "no number", "a read")
    terminal.type("l")
    terminal.wait_for("worker.log   follows", "line 499 of many")
    terminal.type("?")
    terminal.wait_for("Keys here")
    terminal.type("\x1b")
    terminal.wait_for("line 499 of many")
    terminal.type("l")
    terminal.wait_for("samples", "loss")

    # Made very small, and large again.
    terminal.resize(20, 5)
    terminal.wait_for("● running", "steps", "q Leave")
    terminal.resize(120, 40)
    terminal.wait_for(run.id, "● running", "samples", "line 499 of many", "? Help")

    # Its worker is killed.
    worker = folder.recorded_state(run).worker
    assert worker is not None
    os.kill(worker.pid, signal.SIGKILL)
    terminal.wait_for("attempt 2", "killed", "healed")
    terminal.type("a")
    terminal.wait_for(f"Alerts of {run.id}", "was killed", "no number", "a new worker was started")
    terminal.type("\x1b")
    until(lambda: "Alerts of" not in terminal.text(), terminal.text)  # else this escape closes the next window
    in_state(run, "running")

    # Its folder goes away under the screen.
    shutil.rmtree(run.path, ignore_errors=True)
    terminal.wait_for(f"{run.id} cannot be shown")  # the folder was deleted, or cannot be read while it is
    terminal.type("\r")
    terminal.wait_for("type to filter", "noisy")
    terminal.type("3")
    terminal.wait_for("o Sort")
    terminal.type("q")
    assert terminal.wait() == 0
