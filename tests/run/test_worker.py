"""The worker by itself: a run folder in, an exit.json and a store out."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tuiftune.catalog import resolve_profile
from tuiftune.run.folder import Run, create
from tuiftune.run.healing import History, write_history
from tuiftune.run.metrics_db import MetricsReader

PLUGIN = """\
import tuiftune

class Letters(tuiftune.DatasetLoader):
    \"\"\"The alphabet, a letter a document.\"\"\"
    name = "letters"

    def run(self, ctx):
        yield from "abcdefghij"

@tuiftune.hookimpl
def register_stages():
    return [Letters]

@tuiftune.hookimpl
def stage_finished(ctx, error):
    (ctx.run_dir / f"seen-{ctx.stage_name}").write_text(repr(error))

@tuiftune.hookimpl
def event_written(run, event):
    raise ValueError("this hook is broken")
"""


def make_run(workspace: Path, profile: str, **overrides: str) -> Run:
    (workspace / "profiles" / "job.toml").write_text(profile)
    resolved = resolve_profile(workspace, "job", [f"{key}={value}" for key, value in overrides.items()])
    assert not resolved.problems, resolved.problems
    return create(workspace, "job", resolved.effective, {"profile": "job"})


def work(run: Run) -> tuple[int, dict[str, Any]]:
    """Run the worker to its end: its exit status and exit.json."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "tuiftune.run.worker", str(run.path)], capture_output=True, text=True, check=False
    )
    return done.returncode, json.loads(run.exit_file.read_text()) | {"log": done.stderr}


@pytest.fixture
def letters(workspace: Path) -> Path:
    (workspace / "plugins" / "letters.py").write_text(PLUGIN)
    return workspace


def test_a_strangers_stage_and_hooks_run_like_our_own(letters: Path) -> None:
    run = make_run(letters, '[dataset]\nstage = "letters"\n[train]\nstage = "demo"\nsteps = 5\nseconds_per_step = 0\n')
    status, end = work(run)
    assert (status, end["outcome"]) == (0, "finished"), end
    assert (run.path / "seen-letters").read_text() == "None"
    reader = MetricsReader(run.metrics_file)
    kinds = [event.kind for event in reader.events()]
    assert kinds[0] == "run_started"
    assert kinds.count("stage_started") == kinds.count("stage_finished") == 2
    assert reader.facts()["pipeline"] == [
        {"index": 0, "kind": "dataset", "name": "letters"},
        {"index": 1, "kind": "train", "name": "demo"},
    ]


def test_a_hook_that_raises_is_named_once_and_training_goes_on(letters: Path) -> None:
    run = make_run(letters, '[dataset]\nstage = "letters"\n[train]\nstage = "demo"\nsteps = 5\nseconds_per_step = 0\n')
    status, end = work(run)
    assert status == 0
    errors = [event.data for event in MetricsReader(run.metrics_file).events() if event.kind == "plugin_error"]
    assert [error["plugin"] for error in errors] == ["letters"]
    assert "this hook is broken" in errors[0]["error"]
    assert end["log"].count("not called again in this run") == 1


def test_a_stage_error_is_the_sentence_with_stage_and_plugin(letters: Path) -> None:
    run = make_run(letters, '[dataset]\nstage = "text"\npath = "none.txt"\n[train]\nstage = "demo"\n')
    status, end = work(run)
    assert status == 1
    assert end["kind"] == "data"
    assert end["sentence"].startswith("dataset stage 'text' (plugin text): none.txt: no such file or folder")


def test_a_second_worker_of_the_same_run_does_nothing(letters: Path) -> None:
    from tuiftune.run.process import Lock

    run = make_run(letters, '[dataset]\nstage = "letters"\n[train]\nstage = "demo"\n')
    lock = Lock(run.worker_lock)
    assert lock.take()
    done = subprocess.run(
        [sys.executable, "-P", "-m", "tuiftune.run.worker", str(run.path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "another worker owns this run" in done.stderr
    assert not run.exit_file.exists()
    lock.release()


def test_a_second_attempt_goes_on_from_the_checkpoint_and_keeps_one_value_a_step(letters: Path) -> None:
    run = make_run(
        letters,
        '[dataset]\nstage = "letters"\n[train]\nstage = "demo"\nsteps = 40\nseconds_per_step = 0\n'
        "fail_at = 25\nsave_every = 10\n",
    )
    assert work(run)[0] == 1
    effective = run.profile_file.read_text()
    run.profile_file.write_text("\n".join(line for line in effective.splitlines() if "fail_at" not in line) + "\n")
    write_history(run.healing_file, History(forced=True))  # as `tuiftune resume --force` does
    run.exit_file.unlink()
    status, end = work(run)
    assert status == 0, end
    reader = MetricsReader(run.metrics_file)
    assert [row.step for row in reader.rows("train/loss")] == list(range(1, 41))
    assert [event.data["step"] for event in reader.events() if event.kind == "resumed"] == [20]


def test_a_run_whose_data_has_changed_is_not_resumed_on_the_other_data(letters: Path) -> None:
    run = make_run(
        letters,
        '[dataset]\nstage = "letters"\n[train]\nstage = "demo"\nsteps = 40\nseconds_per_step = 0\n'
        "fail_at = 25\nsave_every = 10\n",
    )
    assert work(run)[0] == 1
    plugin = letters / "plugins" / "letters.py"
    plugin.write_text(PLUGIN.replace("abcdefghij", "abcdefghijk"))
    status, end = work(run)
    assert status == 1
    assert "the data is no longer what this run began with" in end["sentence"]
    assert end["sentence"].endswith(
        f"Put it back as it was, start another run, or go on all the same: tuiftune resume {run.id} --force"
    )
    plugin.write_text(PLUGIN)
    assert "was asked to fail" in work(run)[1]["sentence"]


FIGURES = """\
import tuiftune

class Counting(tuiftune.Evaluator):
    \"\"\"Measures the model once it is finished.\"\"\"
    name = "counting"

    def run(self, ctx):
        return {"files": len(list(ctx.outputs["train"].iterdir()))}

class Written(tuiftune.Trainer):
    \"\"\"A trainer that needs no torch and leaves a folder with a model's name on it.\"\"\"
    name = "written"
    makes_model = True

    def run(self, ctx):
        ctx.metric(1, loss=2.0)
        ctx.outputs["step"] = 1
        (ctx.run_dir / "model").mkdir()
        (ctx.run_dir / "model" / "weights").write_text("")
        return ctx.run_dir / "model"

@tuiftune.hookimpl
def register_stages():
    return [Counting, Written]
"""


def test_what_an_evaluator_of_a_stranger_finds_is_recorded_and_said(letters: Path) -> None:
    (letters / "plugins" / "figures.py").write_text(FIGURES)
    run = make_run(
        letters,
        '[model]\nname = "any"\n[dataset]\nstage = "letters"\n[train]\nstage = "written"\n'
        '[[evaluate]]\nstage = "counting"\n',
    )
    status, end = work(run)
    assert status == 0, end
    reader = MetricsReader(run.metrics_file)
    assert [(row.step, row.value) for row in reader.rows("eval/files")] == [(1, 1.0)]
    assert "files 1" in end["log"]
