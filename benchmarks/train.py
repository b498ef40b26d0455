"""How much faster is a training step than by the common recipe, at the same losses?

    python -m benchmarks.train data.txt --tokenizer FOLDER [--column text] [--steps 4] [--rounds 3]

The recipe: rows padded to --max-length, `transformers.Trainer`, 4 x 4 samples a step, AdamW. Ours: the stage
`causal_lm` with its defaults. Both train the same GPT-2 (4 layers of 256, no dropout) from the same weights on
the same samples in the same order, in turn, each in a process of its own; the first step of each is not timed.
Ratios are medians over the rounds; "a CPU second" is steadier than a second where the machine has other work.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

SEED = 42
SIDES = ("recipe", "ours")
BATCH, ACCUMULATION = 4, 4
LEARNING_RATE = 5e-4


@dataclass(frozen=True)
class Measured:
    """One side's run of all steps but the first."""

    tokens: int
    """Real ones: padding is not counted."""
    seconds: float
    cpu_seconds: float
    peak_bytes: int
    """Of resident memory, from the start of the process."""
    losses: list[float]
    """Of every step, the first too."""
    parameters: int


def main(arguments: list[str]) -> None:
    asked = _parser().parse_args(arguments)
    if asked.side:
        measure = {"recipe": recipe, "ours": ours}[asked.side]
        rows = json.loads((asked.data / "rows.json").read_text())
        print(json.dumps(asdict(measure(rows, asked.data / "start", asked.max_length, asked.steps + 1))))
        return
    with tempfile.TemporaryDirectory(prefix="tuiftune-") as name:
        folder = Path(name)
        rows = tokenised(asked, (asked.steps + 1) * BATCH * ACCUMULATION)
        (folder / "rows.json").write_text(json.dumps(rows))
        save_new_model(asked.tokenizer, folder / "start")
        found: dict[str, list[Measured]] = {side: [] for side in SIDES}
        for number in range(asked.rounds):
            for side in SIDES:
                found[side].append(_in_a_process(side, folder, asked))
                print(f"round {number + 1}, {side}: {_line(found[side][-1])}", file=sys.stderr)
    report(found, asked)


def report(found: dict[str, list[Measured]], asked: argparse.Namespace) -> None:
    """Print the table."""
    pairs = list(zip(found["recipe"], found["ours"], strict=True))
    cpu = [_speed(b.tokens, b.cpu_seconds) / _speed(a.tokens, a.cpu_seconds) for a, b in pairs]
    wall = [_speed(b.tokens, b.seconds) / _speed(a.tokens, a.seconds) for a, b in pairs]
    memory = [b.peak_bytes / a.peak_bytes for a, b in pairs]
    apart = max(abs(a - b) for one, other in pairs for a, b in zip(one.losses, other.losses, strict=True))
    best = max(found["ours"], key=lambda one: _speed(one.tokens, one.seconds))
    peak = matmul_peak()
    mfu = 6 * best.parameters * _speed(best.tokens, best.seconds) / peak
    print(f"{asked.data.name}, rows of at most {asked.max_length} tokens, {asked.steps} steps, {asked.rounds} rounds")
    for title, values in (("tokens a CPU second", cpu), ("tokens a second", wall), ("peak memory", memory)):
        spread = f"{min(values):.2f} to {max(values):.2f}"
        print(f"  {title:<22} {statistics.median(values):7.2f} x the recipe's   ({spread})")
    print(f"  {'loss of a step':<22} {apart:.1e} apart at most")
    print(f"  {'MFU of ours':<22} {mfu:7.1%} of the {peak / 1e9:,.0f} GFLOP/s of a float32 matrix product here")


def tokenised(asked: argparse.Namespace, count: int) -> list[list[int]]:
    """So many samples as token ids, each ended by EOS, cut to the length of a row; the same for both sides."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(asked.tokenizer, local_files_only=True)
    texts = read_texts(asked.data, asked.column)
    random.Random(SEED).shuffle(texts)  # noqa: S311
    if len(texts) < count:
        texts *= -(-count // len(texts))
    found = tokenizer(texts[:count]).input_ids
    return [[*ids, tokenizer.eos_token_id][: asked.max_length] for ids in found]


def read_texts(path: Path, column: str) -> list[str]:
    """A line, a CSV row or a JSONL object a sample."""
    with path.open(encoding="utf-8", newline="") as file:
        if path.suffix == ".jsonl":
            return [json.loads(line)[column] for line in file if line.strip()]
        if path.suffix == ".csv":
            return [row[column] for row in csv.DictReader(file)]
        return [line.rstrip("\n") for line in file if line.strip()]


def save_new_model(tokenizer_folder: Path, folder: Path) -> None:
    """What both sides start from: random weights, and the tokenizer beside them."""
    import torch
    from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder, local_files_only=True)
    end = tokenizer.eos_token_id
    off = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    torch.manual_seed(SEED)
    GPT2LMHeadModel(
        GPT2Config(n_layer=4, n_embd=256, n_head=4, bos_token_id=end, eos_token_id=end, **off)
    ).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


class Clock:
    """When each step ended, by the wall and by the processor."""

    def __init__(self) -> None:
        self.ends: list[tuple[float, float]] = []
        self.losses: list[float] = []
        self.peak_bytes = 0

    def step(self, loss: float) -> None:
        self.ends.append((time.perf_counter(), time.process_time()))
        self.losses.append(loss)
        self.peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    def measured(self, rows: list[list[int]], parameters: int) -> Measured:
        (wall, cpu), (wall_end, cpu_end) = self.ends[0], self.ends[-1]
        tokens = sum(map(len, rows)) * (len(self.ends) - 1) // len(self.ends)
        return Measured(tokens, wall_end - wall, cpu_end - cpu, self.peak_bytes, self.losses, parameters)


def recipe(rows: list[list[int]], start: Path, max_length: int, steps: int) -> Measured:
    """Every row padded to `max_length`, logits and loss by the model, the Trainer's own loop."""
    import datasets
    import torch
    import transformers

    def padded(ids: list[int]) -> dict[str, list[int]]:
        more = max_length - len(ids)
        return {
            "input_ids": ids + [end] * more,
            "attention_mask": [1] * len(ids) + [0] * more,
            "labels": ids + [-100] * more,
        }

    class EachStep(transformers.TrainerCallback):  # type: ignore[misc]
        def on_log(self, *_arguments: Any, logs: dict[str, Any], **_named: Any) -> None:
            if "loss" in logs:
                clock.step(float(logs["loss"]))

    tokenizer = transformers.AutoTokenizer.from_pretrained(start, local_files_only=True)
    end = tokenizer.eos_token_id
    data = datasets.Dataset.from_list([padded(ids) for ids in rows])
    model, clock = transformers.AutoModelForCausalLM.from_pretrained(start, local_files_only=True), Clock()
    model.loss_type = "ForCausalLM"  # else GPT-2's loss is divided by a count that is too large
    with tempfile.TemporaryDirectory() as folder:
        trainer = transformers.Trainer(
            model=model,
            args=transformers.TrainingArguments(
                output_dir=folder,
                max_steps=steps,
                per_device_train_batch_size=BATCH,
                gradient_accumulation_steps=ACCUMULATION,
                learning_rate=LEARNING_RATE,
                weight_decay=0.01,
                logging_steps=1,
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
                seed=SEED,
                data_seed=SEED,
                use_cpu=not torch.cuda.is_available(),
            ),
            train_dataset=data,
            data_collator=transformers.default_data_collator,
            processing_class=tokenizer,
            callbacks=[EachStep()],
        )
        trainer.remove_callback(transformers.trainer_callback.PrinterCallback)
        trainer.train()
    return clock.measured(rows, model.num_parameters())


def ours(rows: list[list[int]], start: Path, max_length: int, steps: int) -> Measured:  # noqa: ARG001
    """The stage `causal_lm` as a profile runs it, with a recorder that looks at the clock."""
    import datasets

    from tuiftune.options import ModelOptions
    from tuiftune.stage import Context
    from tuiftune.stages.causal_lm import CausalLM
    from tuiftune.testing import ListRecorder

    clock = Clock()

    class Timed(ListRecorder):
        def metric(self, step: int, values: Any) -> None:
            super().metric(step, values)
            if "train/loss" in values:
                clock.step(values["train/loss"])

    recorder = Timed()
    kinds = datasets.Features({"input_ids": datasets.List(datasets.Value("int32"))})
    data = datasets.Dataset.from_dict({"input_ids": rows}, features=kinds)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ctx = Context(
            stage_name="causal_lm",
            kind="train",
            index=0,
            workspace=folder,
            dir=folder,
            run_dir=folder,
            seed=SEED,
            model=ModelOptions(name=str(start)),
            recorder=recorder,
            input=datasets.DatasetDict(train=data),
        )
        options: Any = CausalLM.Options(
            batch_size=BATCH,
            grad_accum=ACCUMULATION,
            learning_rate=LEARNING_RATE,
            weight_decay=0.01,
            max_steps=steps,
            precision="fp32",
        )
        CausalLM(options).run(ctx)
    return clock.measured(rows, recorder.facts["parameters"])


def matmul_peak(size: int = 2048, repeats: int = 5) -> float:
    """Floating-point operations a second of a float32 matrix product, the best of a few."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    one, other = torch.randn(2, size, size, device=device)
    best = 0.0
    for _ in range(repeats):
        start = time.perf_counter()
        float((one @ other)[0, 0])  # waits for the device
        best = max(best, 2 * size**3 / (time.perf_counter() - start))
    return best


def _in_a_process(side: str, folder: Path, asked: argparse.Namespace) -> Measured:
    command = [sys.executable, "-m", "benchmarks.train", str(folder), "--side", side]
    command += ["--tokenizer", str(asked.tokenizer), "--steps", str(asked.steps)]
    command += ["--max-length", str(asked.max_length)]
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run(command, cwd=root, stdout=subprocess.PIPE, check=True, text=True)
    return Measured(**json.loads(done.stdout.splitlines()[-1]))


def _speed(tokens: int, seconds: float) -> float:
    return tokens / seconds


def _line(one: Measured) -> str:
    return (
        f"{_speed(one.tokens, one.seconds):,.1f} tokens/s, {_speed(one.tokens, one.cpu_seconds):,.1f} a CPU second, "
        f"peak {one.peak_bytes / 2**20:,.0f} MiB"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="a .txt (a line a sample), .csv or .jsonl file")
    parser.add_argument("--tokenizer", type=Path, required=True, help="folder of GPT-2's tokenizer")
    parser.add_argument("--column", default="text")
    parser.add_argument("--max-length", type=int, default=512)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    main(sys.argv[1:])
