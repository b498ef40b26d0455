"""`tuiftune plan`: from the command line to the facts and back."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tuiftune import planned
from tuiftune.run import folder, plan_report
from tuiftune.run.metrics_db import MetricsWriter

SCRATCH = """
[model]
init = "scratch"
tokenizer = "tuiftune:babyllama-105"
config = {model_type = "gpt2", n_layer = 1, n_embd = 32, n_head = 2, vocab_size = 300, bos_token_id = 1}
[dataset]
stage = "text"
path = "absent.txt"
[[preprocess]]
stage = "tokenize"
max_length = 48
[train]
stage = "causal_lm"
batch_size = 2
grad_accum = 3
"""
MODEL: dict[str, Any] = {
    "init": "scratch",
    "tokenizer": "tuiftune:babyllama-105",
    "config": {"model_type": "gpt2", "n_layer": 1, "n_embd": 32, "n_head": 2},
}
DATASET = {"stage": "text", "path": "text.txt", "unit": "line", "validation": 0.5}
PREPROCESS = [{"stage": "tokenize", "max_length": 32}]


@pytest.fixture
def effective(workspace: Path) -> dict[str, Any]:
    """A profile whose data is there: 10 lines to train on."""
    (workspace / "text.txt").write_text("".join(f"a line of text, number {number}\n" for number in range(20)))
    return {
        "seed": 1,
        "model": MODEL,
        "dataset": DATASET,
        "preprocess": PREPROCESS,
        "train": {"stage": "causal_lm", "batch_size": 2, "grad_accum": 2, "epochs": 3.0},
    }


def tuiftune(interpreter: str, cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [interpreter, "-m", "tuiftune.cli", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


@pytest.mark.long
def test_a_model_that_is_only_a_config_is_planned_without_its_data(workspace: Path, interpreter: str) -> None:
    (workspace / "profiles" / "mine.toml").write_text(SCRATCH)
    done = tuiftune(interpreter, workspace, "plan", "mine", "--vram", "1GiB", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["device"]["available_bytes"] == 2**30
    assert found["row_tokens"] == 48
    assert found["fits"]
    assert found["largest_batch_tokens"] % 47 == 0
    assert found["memory"]["method"] == "traced"
    assert found["steps_per_epoch"] is None
    assert "absent.txt" in found["data_problem"]
    shown = tuiftune(interpreter, workspace, "plan", "mine", "--vram", "1GiB").stdout
    assert "fits: 1.0 GiB of --vram" in shown
    assert "needs the data: " in shown
    assert "unknown" in shown


def test_a_size_that_is_none_ends_with_one_sentence(workspace: Path, interpreter: str) -> None:
    done = tuiftune(interpreter, workspace, "plan", "quickstart", "--vram", "12Gx")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "'12Gx' is no amount of memory. Write it as 12GiB, 800MiB, 12GB or a number of bytes\n"


@pytest.mark.slow
def test_a_model_that_is_not_at_hand_ends_with_its_sentence(workspace: Path, interpreter: str) -> None:
    name = "model.name=nobody/no-such-model"
    done = tuiftune(interpreter, workspace, "plan", "gpt2-text", "--vram", "8GB", "--set", name)
    assert (done.returncode, done.stdout) == (2, "")
    assert "'nobody/no-such-model' is " in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.long
def test_gpt2_is_planned_for_12_gib_without_a_network(workspace: Path, interpreter: str) -> None:
    done = tuiftune(interpreter, workspace, "plan", "gpt2-text", "--vram", "12GiB", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["model"]["parameters"] == 124_439_808
    assert (found["row_tokens"], found["fits"]) == (512, True)
    assert found["largest_batch_tokens"] >= 4 * 511
    assert found["largest_memory"]["total_bytes"] <= 12 * 2**30


def test_a_folder_with_a_config_alone_is_enough(workspace: Path, effective: dict[str, Any]) -> None:
    (workspace / "bare").mkdir()
    values = {"model_type": "gpt2", "n_layer": 1, "n_embd": 32, "n_head": 2, "vocab_size": 200}
    (workspace / "bare" / "config.json").write_text(json.dumps(values))
    found = plan_report.report(workspace, effective | {"model": {"name": "bare"}}, 2**30)
    assert found["model"]["parameters"] == 200 * 32 + 1024 * 32 + 12 * 32 * 32 + 13 * 32 + 2 * 32
    assert found["data_problem"] is not None
    assert (found["row_tokens"], found["row_tokens_source"]) == (32, "tokenize.max_length")


def test_steps_and_tokens_are_those_of_the_data(workspace: Path, effective: dict[str, Any]) -> None:
    found = plan_report.report(workspace, effective, None)
    assert found["data_problem"] is None
    assert found["row_tokens_source"] == "longest sample"
    assert found["samples_per_step"] == 4
    assert found["steps_per_epoch"] == 3  # 10 lines, 4 a step
    assert found["total_steps"] == 9
    assert found["tokens_per_step"] * 3 == pytest.approx(found["train_tokens"])
    assert found["device"]["type"] in ("cpu", "cuda")
    assert "about" not in planned.frame(found)  # nobody knows the speed yet


def test_the_time_is_that_of_an_earlier_run_of_the_same_model_on_the_same_device(
    workspace: Path, effective: dict[str, Any]
) -> None:
    here = plan_report.report(workspace, effective, None)
    for name, speed in ((here["device"]["name"], 100.0), ("another device", 9.0)):
        run = folder.create(workspace, "earlier", effective, {})
        writer = MetricsWriter(run.metrics_file)
        with writer.batch():
            writer.fact({"device_name": name})
            for step, value in enumerate((1.0, speed, speed), start=1):  # the first is slow
                writer.metric(step, {"train/tokens_per_s": value}, time.time())
        writer.close()
    found = plan_report.report(workspace, effective, None)
    assert found["tokens_per_s"] == 100
    assert found["tokens_per_s_source"].startswith("measured in run earlier-")
    assert found["seconds_per_epoch"] == found["train_tokens"] / 100
    assert "an estimate" in planned.frame(found)
    other = effective | {"model": MODEL | {"config": MODEL["config"] | {"n_layer": 2}}}
    assert plan_report.report(workspace, other, None)["tokens_per_s"] is None


def test_a_speed_that_nobody_measured_is_a_share_of_the_peak(workspace: Path) -> None:
    device = {"name": "NVIDIA A100-SXM4-40GB"}
    found = plan_report._time(workspace, {}, device, "bf16", 10**8, 10**6)
    assert found["tokens_per_s"] == pytest.approx(312e12 * 0.3 / 6e8)
    assert found["tokens_per_s_source"] == "312 TFLOP/s by the data sheet x 30% assumed utilisation"
