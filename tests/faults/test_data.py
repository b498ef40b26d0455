"""Data that is wrong: one sentence with file and line before any training, and nothing half left."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import Any

import pytest

FRENCH = "deux cafés à Paris\ngarçon\n".encode()
TABLE = ("dataset.stage=table",)
PACKED = """\
[model]
name = "tuiftune:babyllama-105"
[[preprocess]]
stage = "tokenize"
max_length = 64
[[preprocess]]
stage = "pack"
block_size = 64
"""

FAULTS: dict[str, tuple[str, bytes, tuple[str, ...], str]] = {
    "empty": ("bad.txt", b"", (), "text: {file}: the file is empty. Name one with text: --set dataset.path=FILE"),
    "blank": (
        "bad.txt",
        b" \n\n",
        (),
        "text: {file}: only blank lines. Name a file with text: --set dataset.path=FILE",
    ),
    "binary": (
        "bad.txt",
        b"some\nbytes\0here",
        (),
        "text: {file}:2: a NUL byte: this is binary data, not text. Name a text file",
    ),
    "bad UTF-8": (
        "bad.txt",
        FRENCH + b"et \xff fin\n",
        (),
        "text: {file}:3: byte 0xFF is not UTF-8, though the rest of the file is. Mend that line",
    ),
    "UTF-16 without its mark": (
        "bad.txt",
        FRENCH.decode().encode("utf-16-le"),
        (),
        "text: {file}: looks like utf-16-le. Read it with: --set dataset.encoding=utf-16-le",
    ),
    "Latin-1 said to be UTF-8": (
        "bad.txt",
        FRENCH.decode().encode("latin-1"),
        ("dataset.encoding=utf-8",),
        "text: {file}:1: byte 0xE9 is not utf-8. Let it be found out with: --set dataset.encoding=auto",
    ),
    "one huge line": (
        "bad.txt",
        b"short\n" + b"x" * (33 << 20) + b"\n",
        (),
        "text: {file}:2: a line of more than 32 MiB is too long for one document. Break it into lines",
    ),
    "one line": (
        "bad.txt",
        b"all there is\n",
        (),
        "text: there is only 1 document, and training needs at least one, validation another. Cut the data into more, "
        "as stage text does with dataset.unit=line (a paragraph is ended by an empty line), or name a file for it with "
        "dataset.validation=FILE",
    ),
    "torn JSON Lines": (
        "bad.jsonl",
        b'{"text": "a"}\n{"text": "b',
        TABLE,
        "table: {file}:2: not a JSON object a line: Unterminated string starting at. Mend that line",
    ),
    "gzip": (
        "bad.jsonl.gz",
        gzip.compress(b'{"text": "a"}\n'),
        TABLE,
        "table: {file}: not text but compressed with gzip. Unpack it first, with: gunzip",
    ),
    "not the gzip that its name says": (
        "bad.jsonl.gz",
        b'{"text": "a"}\n',
        TABLE,
        "table: {file}: its ending does not say what it is. Say so with: --set dataset.format=csv (or tsv, jsonl, "
        "parquet)",
    ),
    "no such column": (
        "bad.csv",
        b"review,label\nfine,1\nbad,0\n",
        TABLE,
        "table: {file}: no column 'text'; there are 'review', 'label'. Choose with: --set dataset.text=COLUMN",
    ),
}


def assert_said_once(done: Any, run: Any, sentence: str) -> None:
    """What the user reads: one sentence, a failed run, and what to do next."""
    assert done.returncode == 1
    assert done.stdout == ""
    said = [line for line in done.stderr.splitlines() if sentence in line]
    assert len(said) == 1, done.stderr
    assert said[0].startswith(f"{run.id} failed after ")
    assert said[0].endswith(sentence)
    assert "Traceback" not in done.stderr
    assert f"tuiftune why {run.id}" in done.stderr


def assert_never_trained(cli: Any, run: Any) -> None:
    assert cli.step(run) == 0
    assert [event["kind"] for event in cli.events(run, "stage_started") if event["kind"] == "train"] == []
    assert list(run.checkpoints.iterdir()) == []
    assert not run.model.exists()
    cli.assert_in_order(run)


@pytest.mark.parametrize("fault", FAULTS)
def test_data_that_cannot_be_used_is_one_sentence_before_any_training(cli: Any, workspace: Path, fault: str) -> None:
    name, content, settings, sentence = FAULTS[fault]
    path = workspace / name
    path.write_bytes(content)
    done, run = cli.run("quick", f"dataset.path={name}", *settings)
    stage, _, words = sentence.format(file=path).partition(": ")
    sentence = f"dataset stage '{stage}' (plugin {stage}): {words}"
    assert_said_once(done, run, sentence)
    assert cli.ended(run).reason == sentence
    assert_never_trained(cli, run)
    assert not (workspace / "cache").exists()


def test_a_file_that_is_not_there_is_said_before_a_run_is_made(cli: Any, workspace: Path) -> None:
    done = cli("run", "quick", "--set", "dataset.path=bad.txt")
    assert done.returncode == 2
    assert done.stderr == (
        f"--set: dataset.path: bad.txt: no such file (looked for {workspace / 'bad.txt'}). "
        "Set it: --set dataset.path=FILE\n"
    )
    assert not (workspace / "runs").exists()
    checked = cli("check", "gpt2-text")
    assert checked.returncode == 0
    assert "gpt2-text: ok" in checked.stdout
    assert "before it runs: " in checked.stderr
    assert "dataset.path: data/input.txt: no such file" in checked.stderr


def test_text_shorter_than_a_block_is_said_with_both_numbers(cli: Any, workspace: Path) -> None:
    cli.profile("packed", middle=PACKED)
    (workspace / "text.txt").write_text("a few words\nand no more\n")
    done, run = cli.run("packed")
    reason = cli.ended(run).reason or ""
    assert reason.startswith("preprocess stage 'pack' (plugin pack): ")
    assert "block_size" in reason
    assert "64" in reason
    assert_said_once(done, run, reason)
    assert_never_trained(cli, run)


def test_another_encoding_is_found_out_and_said(cli: Any, workspace: Path) -> None:
    (workspace / "old.txt").write_bytes(FRENCH.decode().encode("latin-1") * 5)
    done, run = cli.run("quick", "dataset.path=old.txt")
    assert done.returncode == 0, done.stderr
    assert "old.txt is not UTF-8 (byte 0xE9 in line 1): read as latin-1. If letters look wrong" in done.stderr
    cli.assert_in_order(run)
    (workspace / "wide.txt").write_bytes((FRENCH.decode() * 5).encode("utf-16"))
    done, run = cli.run("quick", "dataset.path=wide.txt")
    assert done.returncode == 0, done.stderr
    assert "10 documents: 9 to train on" in done.stderr


def test_data_changed_under_the_cache_is_read_anew_though_name_size_and_time_are_the_same(
    cli: Any, workspace: Path
) -> None:
    text = workspace / "text.txt"
    assert cli.run("quick")[0].returncode == 0
    assert "from the cache" in cli.run("quick")[0].stderr
    before, content = text.stat(), text.read_bytes()
    text.write_bytes(content[:-2] + b"\0\n")
    os.utime(text, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (text.stat().st_size, text.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    done, run = cli.run("quick")
    assert_said_once(done, run, "text.txt:50: a NUL byte: this is binary data, not text. Name a text file")
    assert_never_trained(cli, run)
    text.write_bytes(content)
    assert "from the cache" in cli.run("quick")[0].stderr, "what was good is there still"
