"""The main job, for real: the shipped model on the shipped text, through the command line."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

CommandLine = Callable[..., subprocess.CompletedProcess[str]]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def test_quickstart_ends_with_a_perplexity_clearly_below_its_baseline_and_a_model_that_writes(
    workspace: Path, command_line: CommandLine
) -> None:
    done = command_line("run", "quickstart", "--set", "train.max_steps=100")  # half of it: the way is the same
    assert done.returncode == 0, done.stderr
    assert "perplexity" in done.stdout
    assert "tokens/s" in done.stdout
    assert "tuiftune generate" in done.stdout

    run = json.loads(command_line("runs", "--json").stdout)[0]
    assert run["state"] == "finished"
    assert run["last"]["perplexity"] < 0.8 * run["baseline"]["perplexity"]
    assert run["made_up"] is False

    rows = [json.loads(line) for line in command_line("metrics", "latest", "--format", "jsonl").stdout.splitlines()]
    assert [row["step"] for row in rows if row["series"] == "train/loss"] == list(range(1, run["total_steps"] + 1))

    written = command_line("generate", "latest", "Once upon a time", "--max-new-tokens", "40", "--seed", "1")
    assert written.returncode == 0, written.stderr
    assert written.stdout.startswith("Once upon a time")
    assert len(written.stdout) > len("Once upon a time") + 20
    again = command_line("generate", "latest", "Once upon a time", "--max-new-tokens", "40", "--seed", "1")
    assert again.stdout == written.stdout

    measured = command_line("evaluate", "latest", "--json")
    assert measured.returncode == 0, measured.stderr
    assert json.loads(measured.stdout)["perplexity"]["perplexity"] == pytest.approx(run["last"]["perplexity"], rel=1e-4)

    assert "  it writes      Once upon a time" in done.stdout
    folder = str(Path(run["path"], "model").relative_to(workspace))
    elsewhere = command_line("evaluate", folder, "--profile", "quickstart", "--json")
    assert json.loads(elsewhere.stdout) == json.loads(measured.stdout)

    second = command_line("run", "quickstart", "--set", "train.max_steps=2")
    assert second.returncode == 0, second.stderr
    assert "from the cache" in second.stderr
