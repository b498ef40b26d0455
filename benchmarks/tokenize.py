"""How fast does a text become token ids on disk, and in how much memory?

    python -m benchmarks.tokenize [--sizes 10,100,1000] [--tokenizer FOLDER] [--unit line|paragraph]

Text of so many MB is made of the lines of --data, cut and joined anew so that few are the same. Each size goes through
the stages `text` and `tokenize` as in a run, split, checked and kept in the cache, in a process of its own; then once
more, as a second run of the profile finds it. The smallest size also goes the usual way:
`datasets.map(batched=True)` over a tokenizer with `padding="max_length"`, the rows of which hold the same tokens.

Memory is what a process has allocated at its peak, above what it had after its imports and the tokenizer's loading;
pages of files, which the system takes back when it likes, are not counted (`RssAnon`, Linux only).
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tuiftune.paths import assets

SEED = 42
MB = 1_000_000
LINES_IN_A_PARAGRAPH = 40
SAMPLED_S = 0.01


@dataclass(frozen=True)
class Measured:
    """One way's work on one text."""

    text_bytes: int
    """Of the file."""
    rows: int
    tokens: int
    """Real ones: padding is not counted."""
    seconds: float
    peak_bytes: int
    again_seconds: float | None = None
    """The second run's."""


def main(arguments: list[str]) -> None:
    asked = _parser().parse_args(arguments)
    if asked.side:
        measure = {"ours": ours, "map": padded_map}[asked.side]
        with tempfile.TemporaryDirectory(prefix="tuiftune-", dir=asked.scratch) as folder:
            print(json.dumps(asdict(measure(asked.file, asked.tokenizer, asked.unit, asked.max_length, Path(folder)))))
        return
    sizes = sorted(float(size) for size in asked.sizes.split(","))
    print(f"{asked.data.name}, tokenizer {asked.tokenizer.name}, rows of at most {asked.max_length} tokens")
    print(
        f"{'MB of text':>12}{'rows':>14}{'tokens':>16}{'text MB/s':>12}{'tokens/s':>12}{'peak MiB':>10}{'again s':>10}"
    )
    found = [_sized(size, asked) for size in sizes]
    if asked.unit == "line":
        ratio = found[0][1].seconds / found[0][0].seconds
        print(f"{sizes[0]:g} MB by datasets.map, padded: {ratio:.1f} x the seconds of ours")


def _sized(size: float, asked: argparse.Namespace) -> list[Measured]:
    """One size, ours and, for the smallest, by map."""
    sides = ["ours", "map"] if size == min(map(float, asked.sizes.split(","))) and asked.unit == "line" else ["ours"]
    with tempfile.TemporaryDirectory(prefix="tuiftune-", dir=asked.scratch) as folder:
        file = Path(folder) / "text.txt"
        make_text(asked.data, file, int(size * MB))
        found = [_in_a_process(side, file, asked) for side in sides]
    for side, one in zip(sides, found, strict=True):
        again = f"{one.again_seconds:10.2f}" if one.again_seconds is not None else f"{side:>10}"
        print(
            f"{one.text_bytes / MB:12,.0f}{one.rows:14,}{one.tokens:16,}{one.text_bytes / MB / one.seconds:12,.2f}"
            f"{one.tokens / one.seconds:12,.0f}{one.peak_bytes / 2**20:10,.0f}{again}",
            flush=True,
        )
    return found


def make_text(source: Path, target: Path, size: int) -> None:
    """About `size` bytes: halves of lines of `source` joined to halves of others, a blank line now and then."""
    lines = [line.split() for line in source.read_text(encoding="utf-8").splitlines() if line.strip()]
    draw = random.Random(SEED)  # noqa: S311
    with target.open("w", encoding="utf-8") as file:
        written = count = 0
        while written < size:
            first, second = draw.choice(lines), draw.choice(lines)
            line = " ".join([*first[: len(first) // 2 + 1], *second[len(second) // 2 :]])
            count += 1
            written += file.write(f"{line}\n" if count % LINES_IN_A_PARAGRAPH else f"{line}\n\n")


def ours(file: Path, tokenizer: Path, unit: str, max_length: int, folder: Path) -> Measured:
    """The dataset and preprocess stages of a profile, twice, as two runs of it have them."""
    import datasets  # noqa: F401 - as torch and transformers: what is imported is not measured

    from tuiftune.plugins import load_registry
    from tuiftune.profile import build
    from tuiftune.run.pipeline import PipelineRun
    from tuiftune.testing import ListRecorder
    from tuiftune.training.model import load_tokenizer

    class Quiet(ListRecorder):
        def progress(self, stage: int, done: int, total: int | None, unit: str) -> None:
            """Not kept: there are many."""

    for name in ("profiles", "plugins"):
        (folder / name).mkdir()
    registry = load_registry(folder)
    profile: Mapping[str, Any] = {
        "model": {"tokenizer": str(tokenizer)},
        "dataset": {"stage": "text", "path": str(file), "unit": unit},
        "preprocess": [{"stage": "tokenize", "max_length": max_length}],
        "train": {"stage": "demo"},
    }
    pipeline = build(dict(profile), registry)
    load_tokenizer(pipeline.model, folder)
    seconds, cached = [], []
    with peak_memory() as peak:
        for number in range(2):
            recorder = Quiet()
            run = PipelineRun(folder, folder / "runs" / str(number), pipeline, registry, recorder)
            start = time.perf_counter()
            data = run.prepare_data()
            seconds.append(time.perf_counter() - start)
            cached.append([about["cached"] for kind, about in recorder.events if kind == "stage_finished"])
    assert cached == [[False, False], [True, True]], cached  # noqa: S101 - else another thing was measured
    tokens = sum(recorder.facts[f"{split}_tokens"] for split in data)
    rows = sum(map(len, data.values()))
    return Measured(file.stat().st_size, rows, tokens, seconds[0], peak[0], seconds[1])


def padded_map(file: Path, tokenizer: Path, unit: str, max_length: int, folder: Path) -> Measured:  # noqa: ARG001
    """A line a row, padded to `max_length`, as the usual script does it."""
    import datasets
    from transformers import AutoTokenizer

    datasets.disable_progress_bars()
    made = AutoTokenizer.from_pretrained(tokenizer, local_files_only=True)
    end = made.eos_token
    made.pad_token = made.pad_token or end

    def encode(batch: dict[str, list[str]]) -> Any:
        ended = [text + end for text in batch["text"]]
        return made(ended, truncation=True, padding="max_length", max_length=max_length)

    with peak_memory() as peak:
        start = time.perf_counter()
        lines = datasets.load_dataset("text", data_files=str(file), cache_dir=str(folder), split="train")
        lines = lines.filter(lambda row: bool(row["text"].strip()))
        data = lines.map(encode, batched=True, remove_columns=["text"])
        seconds = time.perf_counter() - start
    masks = data.select_columns(["attention_mask"]).with_format("numpy").iter(batch_size=1000)
    tokens = sum(int(batch["attention_mask"].sum()) for batch in masks)
    return Measured(file.stat().st_size, len(data), tokens, seconds, peak[0])


@contextmanager
def peak_memory() -> Iterator[list[int]]:
    """[the most bytes this process has allocated since, beyond what it had]; filled in at the end."""
    before = most = allocated()
    over = threading.Event()

    def watch() -> None:
        nonlocal most
        while not over.wait(SAMPLED_S):
            most = max(most, allocated())

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    found: list[int] = []
    yield found
    over.set()
    watcher.join()
    found.append(most - before)


def allocated() -> int:
    """Bytes of memory of this process that no file stands behind."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) * 1024


def _in_a_process(side: str, file: Path, asked: argparse.Namespace) -> Measured:
    command = [sys.executable, "-m", "benchmarks.tokenize", "--side", side, "--file", str(file), "--unit", asked.unit]
    command += ["--tokenizer", str(asked.tokenizer.resolve()), "--max-length", str(asked.max_length)]
    command += ["--scratch", str(file.parent)]
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run(command, cwd=root, stdout=subprocess.PIPE, check=True, text=True)
    return Measured(**json.loads(done.stdout.splitlines()[-1]))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="10,100,1000", help="MB of text, with commas between")
    parser.add_argument("--tokenizer", type=Path, default=assets() / "babyllama-105", help="folder of a tokenizer")
    parser.add_argument("--data", type=Path, default=assets() / "quickstart.txt", help="the lines to make text of")
    parser.add_argument("--unit", choices=("line", "paragraph"), default="line", help="what is one document")
    parser.add_argument("--max-length", type=int, default=512)
    parser.add_argument("--scratch", type=Path, help="folder with room for six times the text")
    parser.add_argument("--side", choices=("ours", "map"), help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    main(sys.argv[1:])
