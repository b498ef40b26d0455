"""What a second run of a profile does again and what it takes from the cache, through the command line."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tuiftune.run.folder import Run
from tuiftune.run.metrics_db import MetricsReader
from tuiftune.tui.panes.pipeline import strip
from tuiftune.tui.reading import RunReader

CommandLine = Callable[..., subprocess.CompletedProcess[str]]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

PLUGIN = """\
import tuiftune

class Loud(tuiftune.Preprocessor):
    \"\"\"Every document in capitals.\"\"\"
    name = "loud"

    def run(self, ctx):
        return ctx.input.map(lambda row: {"text": row["text"].upper()})

@tuiftune.hookimpl
def register_stages():
    return [Loud]
"""

PROFILE = """\
description = "as small as can be"
[model]
name = "tuiftune:babyllama-105"
[dataset]
stage = "text"
path = "text.txt"
[[preprocess]]
stage = "loud"
[[preprocess]]
stage = "tokenize"
max_length = 64
"""
TRAIN = '[train]\nstage = "causal_lm"\nmax_steps = 1\n'
DEMO = '[train]\nstage = "demo"\nsteps = 1\nseconds_per_step = 0.0\n'

STAGES = ["text", "loud", "tokenize"]


@pytest.fixture
def prepared(workspace: Path) -> Path:
    """A workspace with a text, a plugin, a profile that trains and one that only looks so."""
    (workspace / "text.txt").write_text("".join(f"line {number} of a text\n" for number in range(40)))
    (workspace / "plugins" / "loud.py").write_text(PLUGIN)
    (workspace / "profiles" / "trains.toml").write_text(PROFILE + TRAIN)
    (workspace / "profiles" / "shows.toml").write_text(PROFILE + DEMO)
    return workspace


@pytest.fixture
def finished(prepared: Path, command_line: CommandLine) -> Callable[..., Run]:
    """Start a run with --detach, wait until it has ended well, and return it."""

    def run(profile: str, *values: str) -> Run:
        settings = [part for value in values for part in ("--set", value)]
        started = command_line("run", profile, "--detach", *settings)
        assert started.returncode == 0, started.stderr
        run_id = started.stdout.strip()
        end = time.monotonic() + 120
        while time.monotonic() < end:
            found = next(one for one in json.loads(command_line("runs", "--json").stdout) if one["id"] == run_id)
            if found["state"] not in ("starting", "running", "stopping"):
                assert found["state"] == "finished", command_line("logs", run_id).stdout
                return Run(Path(found["path"]))
            time.sleep(0.2)
        raise AssertionError(f"{run_id} did not end within 120 s")

    return run


def cached(run: Run) -> list[str]:
    """The stages that were not run but taken from the cache."""
    reader = MetricsReader(run.metrics_file)
    events = [event.data for event in reader.events() if event.kind == "stage_finished"]
    reader.close()
    assert [event["name"] for event in events][:3] == STAGES
    return [event["name"] for event in events if event["cached"]]


def test_a_second_run_with_another_learning_rate_takes_its_data_from_the_cache(
    prepared: Path, finished: Callable[..., Run], command_line: CommandLine
) -> None:
    assert cached(finished("trains")) == []
    os.utime(prepared / "text.txt")  # the same text, however new
    second = finished("trains", "train.learning_rate=1e-5")
    assert cached(second) == STAGES
    left = [path.name for path in (prepared / "cache").rglob("*.arrow") if not path.name.startswith("data-")]
    assert left == [], "what `map` writes in a stage is nobody's next time"
    followed = command_line("watch", second.id)
    assert followed.stderr.count(", from the cache") == 3, followed.stderr
    assert "train: causal_lm done in" in followed.stderr
    reader = RunReader(second, points=16)
    view = reader.look()
    reader.close()
    assert view is not None
    shown = "".join(text for text, _tone in strip(view.stages, 100))
    assert shown.startswith("✓ text cached → ✓ loud cached → ✓ tokenize cached → ✓ causal_lm ")


@pytest.mark.long
def test_what_changed_is_made_anew_with_all_that_comes_after_it(prepared: Path, finished: Callable[..., Run]) -> None:
    assert cached(finished("shows")) == []
    assert cached(finished("shows")) == STAGES
    assert cached(finished("shows", "tokenize.max_length=32")) == ["text", "loud"]
    plugin = prepared / "plugins" / "loud.py"
    plugin.write_text(PLUGIN.replace("upper()", "lower()"))
    assert cached(finished("shows")) == ["text"]
    lines = (prepared / "text.txt").read_text().splitlines()
    (prepared / "text.txt").write_text("\n".join([*lines[:-1], "another line at the end"]) + "\n")
    assert cached(finished("shows")) == []
    plugin.write_text(PLUGIN)
    (prepared / "text.txt").write_text("\n".join(lines) + "\n")
    assert cached(finished("shows")) == STAGES, "what was there before is there still"
