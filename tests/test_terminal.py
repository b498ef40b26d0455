"""The dashboard in a real terminal, driven by keys alone, over a real training run."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

DASHBOARD = [sys.executable, "-P", "-m", "tuiftune.cli"]
SHORT = """\
extends = "quickstart"
description = "the quickstart, cut short"
[train]
max_steps = 60
eval_every = 20
"""


def runs(workspace: Path) -> list[dict[str, Any]]:
    done = subprocess.run([*DASHBOARD, "runs", "--json"], cwd=workspace, capture_output=True, text=True, check=True)
    found: list[dict[str, Any]] = json.loads(done.stdout or "[]")
    return found


def until(condition: Callable[[], Any], deadline_s: float = 180) -> Any:
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.2)
    raise AssertionError(f"not within {deadline_s} s")


def test_a_run_is_started_by_keys_survives_its_terminal_and_is_found_again(
    workspace: Path, open_terminal: Callable[..., Any]
) -> None:
    (workspace / "profiles" / "quickest.toml").write_text(SHORT)

    first = open_terminal(DASHBOARD, workspace)
    first.wait_for("quickest", "quickstart")
    first.type("quickest")
    first.wait_for("the quickstart, cut short", "checks clean")
    first.type("\r")
    first.wait_for("Start quickest?", "train.epochs")
    first.type("\r")
    first.wait_for("causal_lm", "oss", "perplexity", deadline_s=120)
    until(lambda: runs(workspace)[0]["step"] >= 3)
    first.hang_up()
    assert first.wait() != 0

    at = runs(workspace)[0]
    assert at["state"] == "running"
    second = open_terminal(DASHBOARD, workspace, 120, 40)
    second.wait_for(at["id"], "running")
    third = open_terminal(DASHBOARD, workspace, 200, 60)
    third.wait_for(at["id"])
    second.kill()
    until(lambda: runs(workspace)[0]["state"] == "finished")
    screen = third.wait_for("finished", "tuiftune generate")
    assert at["id"] in screen
    third.type("q")
    assert third.wait() == 0
    assert b"\x1b[?1049l" in third.raw

    done = runs(workspace)[0]
    assert done["step"] == done["total_steps"] == 60
    assert done["last"]["perplexity"] < done["baseline"]["perplexity"]


def test_leaving_says_that_the_run_goes_on(workspace: Path, open_terminal: Callable[..., Any]) -> None:
    (workspace / "text.txt").write_text("".join(f"line {n}\n" for n in range(20)))
    (workspace / "profiles" / "slow.toml").write_text(
        '[dataset]\nstage = "text"\npath = "text.txt"\n'
        '[train]\nstage = "demo"\nsteps = 100000\nseconds_per_step = 0.05\n'
    )
    run_id = subprocess.run(
        [*DASHBOARD, "run", "slow", "--detach"], cwd=workspace, capture_output=True, text=True, check=True
    ).stdout.strip()
    terminal = open_terminal(DASHBOARD, workspace)
    terminal.wait_for(run_id[:20], "made", "demo")
    terminal.type("q")
    assert terminal.wait() == 0
    assert f"{run_id} goes on" in terminal.raw.decode()
    assert runs(workspace)[0]["state"] == "running"
    subprocess.run([*DASHBOARD, "stop", run_id, "--now"], cwd=workspace, capture_output=True, check=True)
