"""What is waited for is told on a terminal and nowhere else."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

WAITS = """
import pathlib, sys, time
from tuiftune import waiting
waiting.PATIENCE_S = 0.01
with waiting.Waiting("planning mine") as wait:
    child = wait.child()
    wait.doing("tracing a step that is far longer than any terminal is wide, or at least than one of 60 columns")
    wait.say("a stage's word") if child.is_heard else print("nobody listens")
    while not pathlib.Path("go").exists():
        time.sleep(0.01)
print("done")
"""


def test_on_a_terminal_the_line_is_cut_to_it_and_leaves_nothing_behind(
    tmp_path: Path, open_terminal: Callable[..., Any]
) -> None:
    terminal = open_terminal([sys.executable, "-c", WAITS], tmp_path, columns=60)
    seen = terminal.wait_for("a stage's word", "0:00 planning mine: tracing a step")
    assert [line for line in seen.splitlines() if line.strip()] == [
        "a stage's word",
        "0:00 planning mine: tracing a step that is far longer than"[:59],
    ]
    (tmp_path / "go").touch()
    terminal.wait_for("done")
    terminal.wait()
    assert "planning" not in terminal.text()
    assert b"\x1b" not in terminal.raw


def test_without_a_terminal_nothing_is_shown(tmp_path: Path) -> None:
    (tmp_path / "go").touch()
    done = subprocess.run([sys.executable, "-c", WAITS], capture_output=True, text=True, cwd=tmp_path)
    assert (done.stdout, done.stderr) == ("nobody listens\ndone\n", "")
