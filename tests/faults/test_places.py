"""Where a workspace lies: odd names work, and what cannot be written is said in one sentence and leaves nothing."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tuiftune.run import folder


def test_a_path_with_blanks_and_letters_of_any_kind_works(
    workspace: Path, tmp_path: Path, command_line: Callable[..., Any], profile: Callable[..., str]
) -> None:
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


@pytest.mark.parametrize(
    ("limit", "mode", "why"), [("", 0o555, "Permission denied"), ("--fsize=0", 0o755, "File too large")]
)
def test_where_nothing_can_be_mounted_it_is_the_same(
    workspace: Path, profile: Callable[..., str], powerless: list[str], limit: str, mode: int, why: str
) -> None:
    name = profile("demo")
    (workspace / "runs").mkdir()
    (workspace / "runs").chmod(mode)
    before = [*(["prlimit", limit] if limit else []), *powerless]
    command = [*before, sys.executable, "-P", "-m", "tuiftune.cli", "run", name, "--detach"]
    done = subprocess.run(command, cwd=workspace, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2, done.stderr
    (sentence,) = done.stderr.strip().splitlines()
    assert sentence.startswith(f"{workspace / 'runs'}: no run can be made here: {why}. ")
    assert list((workspace / "runs").iterdir()) == []
