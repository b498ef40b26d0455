"""Completion as a shell asks for it: bash for real in a terminal, zsh and fish through what their scripts say."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tuiftune.catalog import read_catalog
from tuiftune.run.folder import Run, State, create, write_state
from tuiftune.run.metrics_db import MetricsWriter

MINE = """\
description = "mine, of all"
extends = "base"
[dataset]
stage = "text"
path = "a.txt"
[train]
stage = "demo"
"""
Ask = Callable[..., list[str]]


@pytest.fixture
def place(workspace: Path) -> Path:
    """A workspace with a profile and two runs that have ended."""
    (workspace / "profiles" / "mine.toml").write_text(MINE)
    for profile, started in (("mine", 2_000.0), ("other", 1_000.0)):
        run = create(workspace, profile, {"train": {"stage": "demo"}}, {})
        run.path.rename(run.path.with_name(f"{profile}-20260101-0000{int(started) // 100}-abc"))
        moved = Run(run.path.with_name(f"{profile}-20260101-0000{int(started) // 100}-abc"))
        write_state(moved, State("finished", since=started, started=started, ended=started + 1))
    writer = MetricsWriter(moved.metrics_file)
    writer.metric(1, {"train/loss": 1.0, "eval/loss": 2.0}, 1.0)
    writer.close()
    return workspace


@pytest.fixture
def ask(place: Path) -> Ask:
    """What is offered after a line; as zsh's script asks unless said otherwise."""

    def completed(line: str, shell: str = "zsh", **environ: str) -> list[str]:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "tuiftune.cli"],
            env={**os.environ, "_TUIFTUNE_COMPLETE": f"{shell}_complete", "COMP_LINE": line, **environ},
            cwd=place,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.stderr == ""
        return [line for line in done.stdout.splitlines() if line]

    return completed


def test_runs_profiles_series_and_commands_are_offered(ask: Ask) -> None:
    assert ask("tuiftune watch ") == [
        "plain\tlatest\tnow mine-20260101-000020-abc",
        "plain\tmine-20260101-000020-abc\tfinished, mine",
        "plain\tother-20260101-000010-abc\tfinished, other",
    ]
    assert ask("tuiftune stop other") == ["plain\tother-20260101-000010-abc\tfinished, other"]
    assert ask("tuiftune run mi") == ["plain\tmine\tmine, of all"]
    assert "plain\tquickstart" in "\n".join(ask("tuiftune run mine --queue "))
    assert ask("tuiftune metrics other-20260101-000010-abc --series ") == ["plain\teval/loss", "plain\ttrain/loss"]
    assert ask("tuiftune metrics latest --series ") == []
    assert [line.split("\t")[1] for line in ask("tuiftune new-plugin a --kind e")] == ["evaluate"]
    assert ask("tuiftune generate ./pro") == ["dir\t./pro"]
    assert ask("tuiftune ru")[0].startswith("plain\trun\t")


def test_options_of_the_profile_are_offered_and_what_they_can_be_set_to(ask: Ask, place: Path) -> None:
    assert "plain\tcausal_lm\tbuilt-in stage" in ask("tuiftune plugins "), "nothing was listed yet"
    assert ask("tuiftune run mine --set ") == []
    read_catalog(place)
    keys = [line.split("\t")[1] for line in ask("tuiftune run mine --set ")]
    assert "train.seconds_per_step=" in keys
    assert "dataset.unit=" in keys
    assert "run.keep_checkpoints=" in keys
    assert not any(key.startswith("pack.") for key in keys), "the profile has no such stage"
    assert ask("tuiftune run mine --set dataset.unit=p") == ["plain\tdataset.unit=paragraph"]
    assert ask("tuiftune run mine --set run.keep_best=") == [
        "plain\trun.keep_best=true",
        "plain\trun.keep_best=false",
    ]
    # For readline a word begins after a = that is no part of a quoted word.
    assert ask("tuiftune run mine --set dataset.unit=p", "bash") == ["plain\tparagraph"]
    assert ask("tuiftune run mine --set=dataset.unit=p", "bash") == ["plain\tparagraph"]
    assert ask("tuiftune run mine --set=dataset.un", "bash") == ["plain\tdataset.unit="]
    assert ask("", "fish", COMP_WORDS="tuiftune run mine --set train.fail", COMP_CWORD="train.fail") == [
        "plain,train.fail_at=\tstep that fails with a sentence, as bad input does"
    ]
    assert "plain\tcausal_lm\ttrain stage" in ask("tuiftune plugins cau")


def test_where_nothing_can_be_read_nothing_is_offered_and_nothing_said(ask: Ask, place: Path) -> None:
    (place / "runs" / "evil\x1b[31m-20260101-000099-abc").mkdir()
    (place / "runs" / "gone-20260101-000098-abc").mkdir()
    assert not any("evil" in line or "gone-" in line for line in ask("tuiftune watch ")[1:])
    assert ask("tuiftune run ", TUIFTUNE_WORKSPACE="/nowhere", XDG_DATA_HOME="/nowhere") != []
    assert ask("tuiftune watch nothing") == []


def test_an_answer_takes_little_time_and_loads_nothing_heavy(place: Path, repository: Path) -> None:
    for number in range(2_000):
        (place / "runs" / f"many-20250101-{number:06d}-abc").mkdir()
    environ = {**os.environ, "_TUIFTUNE_COMPLETE": "bash_complete", "COMP_LINE": "tuiftune watch "}
    command = [sys.executable, "-X", "importtime", "-P", "-m", "tuiftune.cli"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, env=environ, cwd=place, capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert "mine-20260101-000020-abc" in done.stdout
    loaded = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines() if "|" in line}
    assert "click" in loaded
    assert not loaded & {"torch", "textual", "rich", "pydantic", "pluggy", "numpy", "tuiftune.plugins"}
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.0, "torch alone takes more"


def test_bash_completes(place: Path, open_terminal: Callable[..., Any], tmp_path: Path) -> None:
    """Its script in a real shell: a run, a key without a blank after it, a value, a folder."""
    read_catalog(place)
    program = tmp_path / "tuiftune"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -P -m tuiftune.cli "$@"\n')
    program.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    shell = open_terminal(["/bin/bash", "--norc", "--noprofile", "-i"], place, 120, 30, PS1="$ ", PATH=path)
    shell.wait_for("$")
    shell.type('eval "$(tuiftune completion bash 2>/dev/null)"; echo re"ady"\n')
    shell.wait_for("\nready")
    shell.type("tuiftune watch oth\t")
    shell.wait_for("watch other-20260101-000010-abc")
    shell.type("\x15tuiftune run mine --set dataset.un\t")
    shell.wait_for("--set dataset.unit=")
    shell.type("p\t")
    shell.wait_for("--set dataset.unit=paragraph")
    shell.type("\x15tuiftune evaluate ./prof\t")
    shell.wait_for("evaluate ./profiles/")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_goes_to_stdout_and_where_it_belongs_to_stderr(
    command_line: Callable[..., subprocess.CompletedProcess[str]], shell: str
) -> None:
    done = command_line("completion", shell)
    assert done.returncode == 0
    assert "_TUIFTUNE_COMPLETE" in done.stdout
    assert f"tuiftune completion {shell}" in done.stderr
    assert "once:" in done.stderr
