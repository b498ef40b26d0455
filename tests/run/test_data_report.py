"""`tuiftune data` from the command line: the shipped profile, and what stands in its way."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tuiftune.paths import assets


def data(workspace: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "tuiftune.cli", "data", *arguments],
        cwd=workspace,
        capture_output=True,
        text=True,
        timeout=200,
    )


@pytest.mark.long
def test_the_quickstart_is_told_as_it_is_trained(workspace: Path) -> None:
    import torch
    from transformers import AutoTokenizer

    done = data(workspace, "quickstart", "--json")
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    speeches = [line for line in (assets() / "quickstart.txt").read_text().splitlines() if line.strip()]
    tokenizer = AutoTokenizer.from_pretrained(str(assets() / "babyllama-105"))
    lengths = [len(tokenizer(speech).input_ids) + 1 for speech in speeches]
    splits = report["splits"].values()
    assert sum(split["documents"] for split in splits) == len(speeches)
    assert sum(split["tokens"] for split in splits) == sum(lengths)
    assert sum(split["cut"]["documents"] for split in splits) == sum(length > 256 for length in lengths)
    assert max(split["cut"]["longest_document"] for split in splits) == max(lengths)
    rows = report["splits"]["train"]["rows"]
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(42)).tolist()
    told = [row for batch in report["first_step"]["micro_batches"] for row in batch["rows"]]
    assert sorted(row["sample"] for row in told) == sorted(order[:8])
    for row in told:
        assert len(row["ids"]) == len(row["pieces"]) == len(row["loss"]) == row["tokens"]
        assert any("".join(row["pieces"]).replace("<s>", "").replace("</s>", "").strip() in text for text in speeches)
    assert report["padding"]["steps_measured"] == -(-rows // 8)

    plain = data(workspace, "quickstart")
    assert plain.returncode == 0, plain.stderr
    assert max(map(len, plain.stdout.splitlines())) <= 80
    assert "\x1b" not in plain.stdout
    assert "⟦<s>⟧" in plain.stdout
    assert f"Step 1: 8 samples, {report['first_step']['tokens']:,} tokens" in plain.stdout
    assert "an estimate from token counts" in " ".join(plain.stdout.split())


@pytest.mark.long
def test_what_a_stage_cannot_use_is_one_sentence_with_exit_status_2(workspace: Path) -> None:
    (workspace / "plugins" / "noise.py").write_text("print('noise')\n")
    done = data(workspace, "demo", "--json")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.splitlines()[-1].startswith("the data has no tokens, only the columns ['text']")
    assert "Traceback" not in done.stderr


def test_absent_data_is_said_before_anything_is_prepared(workspace: Path) -> None:
    done = data(workspace, "gpt2-text")
    assert done.returncode == 2
    assert "dataset.path: data/input.txt: no such file" in done.stderr
    assert done.stderr.count("\n") == 1
