"""What a run shows of its figures when they are no numbers, and when its data has no end; through the command line."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tuiftune.run.folder import find_run
from tuiftune.tui.reading import RunReader

CommandLine = Callable[..., subprocess.CompletedProcess[str]]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

SPOILS = """\
import tuiftune

class Spoils(tuiftune.Evaluator):
    \"\"\"Makes a weight no number once three steps are done.\"\"\"
    name = "spoils"

    def evaluate(self, ctx, model, tokenizer, step):
        if step == 3:
            model.lm_head.weight[7] = float("nan")
        return {}

@tuiftune.hookimpl
def register_stages():
    return [Spoils]
"""

PROFILE = """\
description = "as small as can be"
[model]
name = "tuiftune:babyllama-105"
[dataset]
stage = "text"
path = "tuiftune:quickstart.txt"
[[preprocess]]
stage = "tokenize"
max_length = 64
[train]
stage = "causal_lm"
max_steps = 12
batch_size = 4
grad_accum = 1
"""


def losses(command_line: CommandLine, run: str) -> dict[int, Any]:
    """By step, as the command line tells them; each step once."""
    printed = command_line("metrics", run, "--series", "train/loss", "--format", "jsonl").stdout
    rows = [json.loads(line) for line in printed.splitlines()]
    assert len({row["step"] for row in rows}) == len(rows)
    return {row["step"]: row["value"] for row in rows}


def test_a_loss_that_a_plugin_spoils_is_shown_as_it_is_and_ends_the_run_as_the_profile_says(
    workspace: Path, command_line: CommandLine
) -> None:
    (workspace / "plugins" / "spoils.py").write_text(SPOILS)
    more = 'nan_steps = 4\neval_every = 3\nsave_every = 2\n[[evaluate]]\nstage = "spoils"\n'
    (workspace / "profiles" / "spoilt.toml").write_text(PROFILE + more)
    done = command_line("run", "spoilt")
    assert done.returncode == 1
    found = losses(command_line, "latest")
    assert list(found) == [1, 2, 3, 4, 5, 6, 7]
    assert [step for step, loss in found.items() if loss == "nan"] == [4, 5, 6, 7]
    assert all(isinstance(found[step], float) for step in (1, 2, 3))

    reason = json.loads(command_line("runs", "--json").stdout)[0]["reason"]
    assert (
        "the loss has been no number for 4 steps, since step 4. The last checkpoint from before is step-000002"
        in reason
    )
    assert reason in done.stderr
    assert "step 4: the loss is nan" in command_line("logs", "latest").stdout
    reader = RunReader(find_run(workspace, "latest"), points=16)
    view = reader.look()
    reader.close()
    assert view is not None
    assert [str(value) for value in view.curves["train/loss"].means[3:]] == ["nan"] * 4


@pytest.mark.long
def test_a_run_on_a_stream_is_stopped_and_resumed_as_if_nothing_had_been(
    workspace: Path, command_line: CommandLine
) -> None:
    """Some 1,000 lines again and again: 150 steps of 16 are more than two passes."""
    (workspace / "text.txt").write_text("".join(f"line {number} of {number * 7}\n" for number in range(1_000)))
    streamed = PROFILE.replace("tuiftune:quickstart.txt", "text.txt").replace(
        "[[pre", "validation = 9\nstreaming = true\n[[pre"
    )
    (workspace / "profiles" / "streamed.toml").write_text(streamed.replace("max_steps = 12", "max_steps = 150"))
    options = ("streamed", "--detach", "--set", "train.batch_size=16", "--set", "train.save_every=50")
    parts = command_line("run", *options).stdout.strip()
    end = time.monotonic() + 120
    while len(losses(command_line, parts)) < 40:
        assert time.monotonic() < end, command_line("logs", parts).stdout
    assert command_line("stop", parts).returncode == 0
    stopped = losses(command_line, parts)
    assert len(stopped) < 150
    assert command_line("resume", parts).returncode == 0
    whole = command_line("run", *options).stdout.strip()
    assert command_line("watch", whole).returncode == 0
    assert list(losses(command_line, whole)) == list(range(1, 151))
    assert losses(command_line, parts) == losses(command_line, whole)
    assert "pass 3 over them begins" in command_line("logs", parts).stdout
