"""How long is it from the command to the first optimizer step, against the plain script?

    python -m benchmarks.start [data.txt] [--model FOLDER] [--rounds 3] [--evaluate]

The plain script is the one everybody writes: `load_dataset`, a padded `map`, `transformers.Trainer`. Ours is
`tuiftune run PROFILE --detach`, through supervisor and worker, until the loss of step 1 stands in metrics.db. Both
train the same folder's model on the same lines, and take the same samples in step 1. Each round runs, in turn, the
script and ours, first with nothing cached, then again. The script evaluates nothing before step 1; ours does as its
profile says: without evaluators, or as the quickstart has them.

Ratios are medians over the rounds. The phases of ours are told by the events in the run's store.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tuiftune.paths import assets
from tuiftune.run import launch, process
from tuiftune.run.folder import Run, find_run, state_of
from tuiftune.run.metrics_db import MetricsReader
from tuiftune.run.store import Reader

SEED = 42
SIDES = ("script", "ours", "evaluated")
"""The plain script; ours without evaluators; ours with the quickstart's, which measure before step 1."""
RUNS = ("first", "again")
MAX_LENGTH = 256
BATCH = 8
LEARNING_RATE = 1e-3
LIMIT_S = 600.0

SCRIPT = """\
import json
import sys
import time

import torch
from datasets import load_dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer, TrainerCallback, TrainingArguments

data, model_folder, output, seed, max_length, batch, learning_rate = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(model_folder)
if tokenizer.pad_token is None:
    tokenizer.pad_token = tokenizer.eos_token
model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32)


def tokenize(rows):
    texts = [text + tokenizer.eos_token for text in rows["text"]]
    found = tokenizer(texts, truncation=True, max_length=int(max_length), padding="max_length")
    found["labels"] = [
        [token if counted else -100 for token, counted in zip(ids, mask)]
        for ids, mask in zip(found["input_ids"], found["attention_mask"])
    ]
    return found


dataset = load_dataset("text", data_files={"train": data})["train"]
dataset = dataset.map(tokenize, batched=True, remove_columns=["text"])


class Told(TrainerCallback):
    def on_log(self, args, state, control, logs=None, **kwargs):
        if logs and "loss" in logs:
            print(json.dumps({"time": time.time(), "loss": logs["loss"]}), flush=True)


arguments = TrainingArguments(
    output_dir=output,
    max_steps=1,
    per_device_train_batch_size=int(batch),
    learning_rate=float(learning_rate),
    logging_steps=1,
    save_strategy="no",
    report_to="none",
    seed=int(seed),
    data_seed=int(seed),
    use_cpu=not torch.cuda.is_available(),
)
Trainer(model=model, args=arguments, train_dataset=dataset, processing_class=tokenizer, callbacks=[Told()]).train()
"""

PROFILE = """\
seed = {seed}

[model]
name = "{model}"

[dataset]
stage = "text"
path = "{data}"
unit = "line"
validation = "{validation}"

[[preprocess]]
stage = "tokenize"
max_length = {max_length}

[train]
stage = "causal_lm"
max_steps = 1
batch_size = {batch}
grad_accum = 1
learning_rate = {learning_rate}
precision = "fp32"
"""
EVALUATORS = """
[[evaluate]]
stage = "perplexity"

[[evaluate]]
stage = "samples"
prompts = ["Once upon a time"]
max_new_tokens = 100
"""


@dataclass(frozen=True)
class Measured:
    """One start."""

    seconds: float
    """From the command until the loss of step 1 was known."""
    loss: float
    """Of step 1."""
    phases: dict[str, float] = field(default_factory=dict)
    """Of ours, in seconds, one after another."""


def main(arguments: list[str]) -> None:
    asked = _parser().parse_args(arguments)
    sides = [side for side in SIDES if side != "evaluated" or asked.evaluate]
    found: dict[tuple[str, str], list[Measured]] = {(run, side): [] for run in RUNS for side in sides}
    for number in range(asked.rounds):
        with tempfile.TemporaryDirectory(prefix="tuiftune-") as name:
            places = {side: prepare(Path(name) / side, asked.data, asked.model.resolve()) for side in sides}
            for run in RUNS:
                for side in sides:
                    one = start_side(side, places[side])
                    found[run, side].append(one)
                    print(f"round {number + 1}, {run}, {side}: {one.seconds:.2f} s", file=sys.stderr, flush=True)
    report(found, sides, asked)


def report(found: dict[tuple[str, str], list[Measured]], sides: list[str], asked: argparse.Namespace) -> None:
    """Print the table."""
    print(f"{asked.data.name}, model {asked.model.name}, {asked.rounds} rounds; from the command to step 1")
    for run in RUNS:
        script = found[run, "script"]
        print(f"  {'first run' if run == 'first' else 'data cached'}: the plain script {_spread(script)} s")
        for side in sides[1:]:
            ours = found[run, side]
            ratios = [one.seconds / other.seconds for one, other in zip(ours, script, strict=True)]
            evaluated = "measured before step 1" if side == "evaluated" else "no evaluation"
            print(
                f"    ours, {evaluated:<23} {_spread(ours)} s, {statistics.median(ratios):.2f} x the script's "
                f"({min(ratios):.2f} to {max(ratios):.2f})"
            )
            for phase in ours[0].phases:
                print(f"      {phase:<44} {statistics.median(one.phases[phase] for one in ours):6.2f} s")


def prepare(folder: Path, data: Path, model: Path) -> Path:
    """Lines that no side cuts, some of them held out, the script and the profiles, in the new `folder`."""
    from transformers import AutoTokenizer

    folder.mkdir(parents=True)
    tokenizer = AutoTokenizer.from_pretrained(model, local_files_only=True)
    lines = [line.strip() for line in data.read_text(encoding="utf-8").splitlines() if line.strip()]
    lengths = [len(ids) for ids in tokenizer(lines, verbose=False).input_ids]
    lines = [line for line, length in zip(lines, lengths, strict=True) if 2 <= length < MAX_LENGTH]
    held_out = min(50, len(lines) // 10)
    (folder / "validation.txt").write_text("\n".join(lines[:held_out]) + "\n", encoding="utf-8")
    (folder / "train.txt").write_text("\n".join(lines[held_out:]) + "\n", encoding="utf-8")
    (folder / "script.py").write_text(SCRIPT)
    for name in ("profiles", "plugins"):
        (folder / name).mkdir()
    profile = PROFILE.format(
        model=model,
        data=folder / "train.txt",
        validation=folder / "validation.txt",
        max_length=MAX_LENGTH,
        batch=BATCH,
        learning_rate=LEARNING_RATE,
        seed=SEED,
    )
    (folder / "profiles" / "ours.toml").write_text(profile)
    (folder / "profiles" / "evaluated.toml").write_text(profile + EVALUATORS)
    return folder


def start_side(side: str, place: Path) -> Measured:
    return start_script(place) if side == "script" else start_ours(place, side == "evaluated")


def start_script(place: Path) -> Measured:
    """The plain script, until it has logged the loss of step 1."""
    values = (place / "train.txt", _model(place), place / "script-output", SEED, MAX_LENGTH, BATCH, LEARNING_RATE)
    command = [sys.executable, str(place / "script.py"), *map(str, values)]
    environment = {**os.environ, "HF_HOME": str(place / "hugging-face"), "HF_HUB_OFFLINE": "1"}
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as a run of ours has it
    began = time.time()
    with (place / "script.log").open("w") as log:
        started = subprocess.Popen(
            command, cwd=place, env=environment, stdout=subprocess.PIPE, stderr=log, text=True, encoding="utf-8"
        )
        assert started.stdout is not None  # noqa: S101
        with started:
            for line in started.stdout:
                if line.startswith('{"time"'):
                    told = json.loads(line)
                    return Measured(told["time"] - began, float(told["loss"]))
    raise RuntimeError(f"the plain script took no step:\n{(place / 'script.log').read_text()[-3000:]}")


def start_ours(place: Path, evaluated: bool) -> Measured:
    """A detached run, until the loss of step 1 stands in its store; it has ended when this returns."""
    command = process.python("-m", "tuiftune.cli", "run", "evaluated" if evaluated else "ours", "--detach")
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": _python_path()}
    began = time.time()
    done = subprocess.run(command, cwd=place, env=environment, stdout=subprocess.PIPE, check=True, text=True)
    returned = time.time()
    run = find_run(place, done.stdout.strip())
    reader = MetricsReader(run.metrics_file)
    while not (losses := [row for row in reader.rows("train/loss") if row.step == 1]):
        if not state_of(run).active or time.time() - began > LIMIT_S:
            raise RuntimeError(f"{run.id} took no step: {state_of(run)}\n{run.worker_log.read_text()[-3000:]}")
        time.sleep(0.05)
    measured = Measured(losses[0].time - began, losses[0].value, phases_of(run, reader, began, returned))
    reader.close()
    launch.stop(run, now=True)
    while state_of(run).active or process.is_locked(run.supervisor_lock):
        time.sleep(0.05)
    return measured


def phases_of(run: Run, reader: MetricsReader, began: float, returned: float) -> dict[str, float]:
    """What the time up to step 1 went to, by the events of worker and supervisor."""
    supervisor = Reader(run.telemetry_file)
    running = next(row.time for row in supervisor.events() if row.kind == "state" and row.data["state"] == "running")
    supervisor.close()
    events = reader.events()
    created = float(run.origin()["created"])
    started = next(row.time for row in events if row.kind == "run_started")
    stages = {row.data["kind"]: row.time for row in reversed(events) if row.kind == "stage_started"}
    loaded = next(row.time for row in events if row.kind == "message" and " parameters on " in str(row.data["text"]))
    step = next(row for row in reader.rows("train/seconds") if row.step == 1)
    return {
        "the command reads the profile": created - began,
        "a supervisor starts a worker": running - created,
        "the worker starts, plugins": started - running,
        "imports": stages["dataset"] - started,
        "the dataset stage": stages["preprocess"] - stages["dataset"],
        "the preprocess stage": stages["train"] - stages["preprocess"],
        "tokenizer and model": loaded - stages["train"],
        "optimizer, evaluation if there is one": step.time - step.value - loaded,
        "step 1": step.value,
        "(the command had returned after)": returned - began,
    }


def _model(place: Path) -> str:
    import tomllib

    found: Any = tomllib.loads((place / "profiles" / "ours.toml").read_text())
    return str(found["model"]["name"])


def _python_path() -> str:
    root = str(Path(__file__).resolve().parents[1])
    return os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))


def _spread(measured: list[Measured]) -> str:
    seconds = [one.seconds for one in measured]
    return f"{statistics.median(seconds):.2f} ({min(seconds):.2f} to {max(seconds):.2f})"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?", default=assets() / "quickstart.txt", help="text, a line a sample")
    parser.add_argument("--model", type=Path, default=assets() / "babyllama-105", help="a model's folder")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--evaluate", action="store_true", help="also with the baseline before step 1")
    return parser


if __name__ == "__main__":
    main(sys.argv[1:])
