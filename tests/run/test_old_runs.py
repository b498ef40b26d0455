"""A run folder of the first format opens in this version: every reader is tried on it."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tuiftune.errors import StoreError
from tuiftune.run import checkpoints
from tuiftune.run.folder import Run, state_of
from tuiftune.run.metrics_db import MetricsReader
from tuiftune.run.proof import read_proof
from tuiftune.run.summary import summarize
from tuiftune.tui.reading import RunReader


@pytest.fixture
def old(workspace: Path, repository: Path) -> Run:
    shutil.copytree(repository / "tests" / "data" / "runs" / "v1", workspace / "runs" / "v1")
    return Run(workspace / "runs" / "v1")


def test_the_command_line_shows_it(old: Run, command_line: Callable[..., Any]) -> None:
    (told,) = json.loads(command_line("runs", "--json").stdout)
    assert (told["id"], told["profile"], told["name"], told["state"]) == ("v1", "old", "first format", "finished")
    assert (told["step"], told["total_steps"], told["made_up"]) == (60, 60, True)
    assert told["last"]["perplexity"] == pytest.approx(7.9, abs=0.1)
    lines = command_line("metrics", "v1", "--series", "train/loss").stdout.splitlines()
    assert [int(line.split(",")[1]) for line in lines[1:]] == list(range(1, 61))
    assert "v1 finished after" in command_line("watch", "v1", "--once").stdout
    assert "going on from step-000016" in command_line("logs", "v1").stdout
    assert command_line("why", "v1").returncode == 0
    refused = command_line("resume", "v1")
    assert (refused.returncode, "it is finished" in refused.stderr) == (2, True)


def test_the_dashboard_shows_it(old: Run) -> None:
    reader = RunReader(old, points=80)
    view = reader.look()
    reader.close()
    assert view is not None
    assert view.state.name == "finished"
    assert len(view.curves["train/loss"]) == 60
    assert [stage.status for stage in view.stages] == ["done", "done"]
    assert view.samples
    assert view.summary == summarize(old)


def test_its_checkpoint_is_whole_and_says_what_it_comes_from(old: Run) -> None:
    found, passed_over = checkpoints.newest_sealed(old.checkpoints)
    assert found is not None
    assert passed_over == []
    proof = read_proof(found)
    assert proof is not None
    assert proof[1] == 60
    assert proof[0].profile["train.steps"] == 60
    history = MetricsReader(found / "history.db")
    assert history.newest_step() == 60
    history.close()


def test_a_record_of_a_newer_version_is_refused_in_a_sentence(old: Run, command_line: Callable[..., Any]) -> None:
    database = sqlite3.connect(old.metrics_file)
    database.execute("PRAGMA user_version=99")
    database.close()
    reader = MetricsReader(old.metrics_file)
    with pytest.raises(StoreError, match="written by a newer tuiftune"):
        reader.series()
    assert state_of(old).name == "finished"
    shown = command_line("metrics", "v1")
    assert (shown.returncode, "Upgrade tuiftune" in shown.stderr) == (2, True)
