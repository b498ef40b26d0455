"""`tuiftune duplicate` and `edit`, as called from a shell."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

CommandLine = Callable[..., subprocess.CompletedProcess[str]]


def test_a_duplicate_says_only_what_is_different_and_is_checked_before_it_is_written(
    command_line: CommandLine, workspace: Path
) -> None:
    done = command_line("duplicate", "quickstart", "mine", "--set", "train.epochs=5", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    assert told["own"] == {"train": {"epochs": 5}}
    assert Path(told["path"]).read_text().endswith('extends = "quickstart"\n\n[train]\nepochs = 5\n')
    wrong = command_line("duplicate", "quickstart", "other", "--set", "train.epoch=5")
    assert wrong.returncode == 2
    assert wrong.stderr == (
        "train.epoch: not an option of train stage 'causal_lm' (plugin causal_lm). Did you mean 'epochs'?\n"
    )
    assert not (workspace / "profiles" / "other.toml").exists()
    taken = command_line("duplicate", "demo", "mine")
    assert taken.returncode == 2
    assert "there is a profile of that name already" in taken.stderr


def test_a_profile_is_opened_in_ones_editor_and_checked_and_a_shipped_one_is_not(
    command_line: CommandLine, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = workspace / "profiles" / "mine.toml"
    profile.write_text('# mine\nextends = "demo"\n[train]\nsteps = 5\n')
    monkeypatch.setenv("EDITOR", "sed -i s/steps/stepss/")
    done = command_line("edit", "mine")
    assert done.returncode == 2
    assert done.stderr.startswith("profiles/mine.toml:4: train.stepss: not an option of train stage 'demo'")
    monkeypatch.setenv("EDITOR", "sed -i s/stepss/steps/")
    done = command_line("edit", "mine")
    assert (done.returncode, done.stdout) == (0, "mine: ok (text → demo)\n")
    done = command_line("edit", "quickstart")
    assert done.returncode == 2
    assert "tuiftune duplicate quickstart my-quickstart" in done.stderr
