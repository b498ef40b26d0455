"""How long from the command to the end of the first optimizer step, beside the plain script?

    python -m benchmarks.start [--rounds 3]

The script is the one that everybody writes: `datasets.map` over a tokenizer that pads, `transformers.Trainer`. Ours is
`tuiftune run --detach`, with its supervisor and worker. Both start a new Python, train the model that ships with
tuiftune on the text that ships with it, and are told the same: 8 samples a step, rows of at most 256 tokens. Ours is
measured with nothing prepared and once more with its data in the cache; without a baseline, as the script has none,
and with it. All in turn; a figure is the median over the rounds.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tuiftune.paths import assets

SCRIPT = """\
import sys, time
import datasets
from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer, TrainerCallback, TrainingArguments

model_folder, text, output = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(model_folder)
tokenizer.pad_token = tokenizer.eos_token
data = datasets.load_dataset("text", data_files=text, split="train").filter(lambda row: row["text"])

def tokenize(rows):
    found = tokenizer(rows["text"], truncation=True, max_length=256, padding="max_length")
    rows = zip(found["input_ids"], found["attention_mask"])
    found["labels"] = [[token if kept else -100 for token, kept in zip(*row)] for row in rows]
    return found

data = data.map(tokenize, batched=True, remove_columns=["text"]).train_test_split(0.1, seed=42)

class Tell(TrainerCallback):
    def on_step_end(self, args, state, control, **more):
        print("first step", time.time(), flush=True)
        control.should_training_stop = True

Trainer(
    model=AutoModelForCausalLM.from_pretrained(model_folder, dtype="float32"),
    args=TrainingArguments(output, per_device_train_batch_size=8, learning_rate=1e-3, max_steps=202, disable_tqdm=True,
                           report_to="none", save_strategy="no", use_cpu=USE_CPU),
    train_dataset=data["train"],
    callbacks=[Tell()],
).train()
"""
PROFILE = """\
extends = "quickstart"
description = "quickstart until its first step"
{evaluate}
[train]
max_steps = 1
"""
WAYS = ("script", "ours, nothing prepared", "ours, data in the cache", "ours, in the cache, with baseline")


def main(arguments: list[str]) -> None:
    asked = _parser().parse_args(arguments)
    found: dict[str, list[float]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory(prefix="tuiftune-") as name:
        folder = Path(name)
        workspace = new_workspace(folder / "workspace")
        for number in range(asked.rounds):
            shutil.rmtree(workspace / "cache", ignore_errors=True)
            for way in WAYS:
                profile = "measured" if "baseline" in way else "plain"
                seconds = script(folder) if way == "script" else ours(workspace, profile)
                found[way].append(seconds)
            times = ", ".join(f"{way} {values[-1]:.1f} s" for way, values in found.items())
            print(f"round {number + 1}: {times}", file=sys.stderr)
        phases = ours_by_phase(workspace)
    report(found, phases)


def report(found: dict[str, list[float]], phases: list[tuple[str, float]]) -> None:
    print(f"from the command to the end of the first step, {len(found['script'])} rounds")
    for way, values in found.items():
        ratios = [value / script for value, script in zip(values, found["script"], strict=True)]
        spread = f"{statistics.median(ratios):.2f} x the script's ({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"  {way:<36} {statistics.median(values):6.1f} s   {'' if way == 'script' else spread}")
    print("the last run of ours: " + ", ".join(f"{name} {seconds:.1f} s" for name, seconds in phases))


def new_workspace(folder: Path) -> Path:
    for name in ("profiles", "plugins"):
        (folder / name).mkdir(parents=True)
    (folder / "profiles" / "plain.toml").write_text(PROFILE.format(evaluate="evaluate = []"))
    (folder / "profiles" / "measured.toml").write_text(PROFILE.format(evaluate=""))
    return folder


def script(folder: Path) -> float:
    """Seconds from the start of the script to the end of its first step, its data not prepared before."""
    import torch

    file = folder / "script.py"
    file.write_text(SCRIPT.replace("USE_CPU", str(not torch.cuda.is_available())))
    command = [sys.executable, str(file), str(assets() / "babyllama-105"), str(assets() / "quickstart.txt")]
    cache = folder / "script-cache"
    shutil.rmtree(cache, ignore_errors=True)
    environment = {**os.environ, "HF_DATASETS_CACHE": str(cache), "HF_HUB_OFFLINE": "1"}
    start = time.time()
    done = subprocess.run(
        [*command, str(folder / "output")],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=True,
        text=True,
    )
    ends = [line.split()[-1] for line in done.stdout.splitlines() if line.startswith("first step")]
    return float(ends[0]) - start


def ours(workspace: Path, profile: str) -> float:
    """Seconds from the start of the command to the end of the run's first step."""
    from tuiftune.run.folder import find_run, state_of
    from tuiftune.run.metrics_db import MetricsReader

    start = time.time()
    command = [sys.executable, "-P", "-m", "tuiftune.cli", "run", profile, "--detach"]
    done = subprocess.run(command, cwd=workspace, stdout=subprocess.PIPE, check=True, text=True)
    run = find_run(workspace, done.stdout.strip())
    while state_of(run).active:
        time.sleep(0.2)
    if state_of(run).name != "finished":
        raise RuntimeError(f"{run.id} {state_of(run).name}: {state_of(run).reason}")
    reader = MetricsReader(run.metrics_file)
    (first,) = reader.rows("train/loss")
    reader.close()
    return float(first.time) - start


def ours_by_phase(workspace: Path) -> list[tuple[str, float]]:
    """What the newest run's start went to, by what it wrote down."""
    from tuiftune.run.folder import find_run
    from tuiftune.run.metrics_db import MetricsReader

    run = find_run(workspace, "latest")
    reader = MetricsReader(run.metrics_file)
    events = reader.events()
    (first,) = reader.rows("train/loss")
    baseline = [row.time for row in reader.rows("eval/loss") if row.step == 0]
    reader.close()
    marks = [("command, supervisor, plugins", float(run.origin()["created"]))]
    marks += [
        (str(event.data["name"]), event.time)
        for event in events
        if event.kind == "stage_started" and event.data["kind"] in ("dataset", "preprocess")
    ]
    train = next(event.time for event in events if event.kind == "stage_started" and event.data["kind"] == "train")
    marks.append(("imports, model and baseline" if baseline else "imports and model", train))
    if baseline:
        marks.append(("samples and the first step", baseline[0]))
    ends = [when for _, when in marks[1:]] + [first.time]
    return [(name, end - when) for (name, when), end in zip(marks, ends, strict=True)]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    return parser


if __name__ == "__main__":
    main(sys.argv[1:])
