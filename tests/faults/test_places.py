"""Where a workspace lies: odd names work, and what cannot be written is said in one sentence and leaves nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tuiftune.run import folder
from tuiftune.run.folder import Run, State
from tuiftune.run.metrics_db import MetricsReader

InState = Callable[..., State]

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


def test_a_path_with_blanks_and_letters_of_any_kind_works(
    workspace: Path, tmp_path: Path, command_line: Callable[..., Any], profile: Callable[..., str]
) -> None:
    import subprocess
    import sys

    name = profile("demo")
    odd = tmp_path / "mein Ördner 'neu' — 研究 \U0001f600"
    shutil.copytree(workspace, odd)
    (odd / "daten für uns.txt").write_text("eine Zeile\n" * 30)
    sets = ["--set", "dataset.path=daten für uns.txt", "--set", "train.steps=12"]
    command = [sys.executable, "-P", "-m", "tuiftune.cli"]
    done = subprocess.run([*command, "run", name, *sets], cwd=odd, capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stderr
    (run,) = folder.list_runs(odd)
    assert folder.state_of(run).name == "finished"
    shown = subprocess.run([*command, "why", run.id], cwd=odd, capture_output=True, text=True, timeout=60)
    assert shown.returncode == 0


def test_a_workspace_that_cannot_be_written_is_one_sentence_and_nothing_is_left(
    tmp_path: Path, in_a_namespace: Callable[..., Any]
) -> None:
    found = in_a_namespace("places.py", tmp_path)
    full = "No space left on device"
    for name, why in {"read-only": "Read-only file system", "no inodes": full, "no room": full}.items():
        seen = found[name]
        assert seen["status"] == 2, (name, seen)
        (sentence,) = seen["said"].strip().splitlines()
        assert why in sentence, name
        assert seen["left"] == [], (name, "no half run")


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
