"""Runs side by side: what differs, what came of it, and the curves told apart without colour."""

from __future__ import annotations

import json
import math
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from tuiftune import comparison
from tuiftune.errors import RunNotFound, TuiftuneError
from tuiftune.run import compare
from tuiftune.run.compare import Comparing
from tuiftune.run.files import write_json
from tuiftune.run.folder import Run, State, write_state
from tuiftune.run.metrics_db import MetricsWriter

PROFILE: dict[str, Any] = {
    "description": "one of two",
    "dataset": {"stage": "text", "path": "/data/a/rather/long/path/to/all/the/tales/of/the/world.txt"},
    "preprocess": [{"stage": "tokenize", "max_length": 256}],
    "train": {"stage": "causal_lm", "learning_rate": 1e-3, "batch_size": 8, "epochs": 2.0},
    "evaluate": [{"stage": "perplexity"}],
}


@pytest.fixture
def trained(new_run: Callable[..., Run]) -> Callable[..., Run]:
    """A run that has ended, with a curve that falls to `end`."""

    def make(end: float, profile: dict[str, Any], steps: int = 60, **state: Any) -> Run:
        run, now = new_run(), time.time()
        run.profile_file.write_text(tomli_w.dumps(profile))
        writer = MetricsWriter(run.metrics_file)
        with writer.batch():
            writer.fact({"total_steps": 60})
            for step in range(steps + 1):
                loss = end + 2 * math.exp(-step / 10)
                if step:
                    writer.metric(step, {"train/loss": loss, "train/tokens": 100, "train/seconds": end}, now)
                if step % 20 == 0:
                    writer.metric(step, {"eval/loss": loss, "eval/perplexity": math.exp(loss)}, now)
        writer.close()
        write_state(run, State(**{"name": "finished", "since": now, "started": now - 60, "ended": now, **state}))
        return run

    return make


def changed(**values: Any) -> dict[str, Any]:
    return {**PROFILE, "train": {**PROFILE["train"], **values}}


def look(runs: Sequence[Run]) -> list[compare.Compared]:
    comparing = Comparing(runs)
    try:
        return comparing.look()
    finally:
        comparing.close()


def test_only_settings_that_differ_are_told_and_stages_by_their_name(trained: Callable[..., Run]) -> None:
    longer = {**changed(learning_rate=5e-5, epochs=2), "description": "the other", "run": {"keep_checkpoints": 3}}
    longer["preprocess"] = [{"stage": "tokenize", "max_length": 512}, {"stage": "pack"}]
    found = look([trained(1.0, PROFILE), trained(1.2, longer)])
    assert compare.differing([one.settings for one in found]) == [
        ("preprocess", ["tokenize", "tokenize → pack"]),
        ("preprocess.tokenize.max_length", ["256", "512"]),
        ("train.learning_rate", ["0.001", "5e-05"]),
        ("run.keep_checkpoints", ["—", "3"]),
    ], "2 and 2.0 epochs are the same, and a description is no setting"


def test_the_best_of_each_figure_is_marked_but_where_other_data_makes_them_not_comparable(
    trained: Callable[..., Run],
) -> None:
    other = {**PROFILE, "dataset": {**PROFILE["dataset"], "validation": 0.2}}
    found = look([trained(1.2, PROFILE), trained(1.0, other), trained(3.0, other, steps=7, name="failed", reason="x")])
    rows = {row.label: row for row in compare.results(found)}
    assert rows["state"].texts == ["finished", "finished", "failed"]
    assert rows["step"].texts == ["60/60", "60/60", "7/60"]
    assert rows["best perplexity"].best == frozenset(), "of other data"
    assert rows["best perplexity"].texts[2] == "—", "of the untouched model alone"
    assert rows["tokens/s"].best == {1}
    assert rows["tokens/s"].texts == ["83", "100", "33"]
    assert rows["baseline"].best == frozenset()
    assert "peak VRAM" not in rows, "none of them has any"
    assert "not comparable" in (compare.caution(found) or "")
    alike = look([trained(1.2, PROFILE), trained(1.0, changed(epochs=3))])
    assert compare.caution(alike) is None
    assert {row.label: row for row in compare.results(alike)}["best perplexity"].best == {1}


def test_a_frame_of_text_cuts_nothing_and_names_each_curve_by_its_letter(trained: Callable[..., Run]) -> None:
    other = {**changed(learning_rate=5e-5), "dataset": {**PROFILE["dataset"], "path": "/data/b.txt"}}
    frame = comparison.draw_comparison(look([trained(1.0, PROFILE), trained(1.6, other, steps=40)]), 80, unicode=False)
    lines = frame.splitlines()
    assert frame.isascii() or set(frame) - set(map(chr, range(128))) <= {"—"}
    assert max(map(len, lines)) <= 80 or any(PROFILE["dataset"]["path"] in line for line in lines)
    at = lines.index("dataset.path")
    assert lines[at + 1] == f"  A  {PROFILE['dataset']['path']}"
    assert lines[at + 2] == "  B  /data/b.txt"
    plot = frame[frame.index("training loss, smoothed") :]
    title, *rows = plot.splitlines()
    assert title.startswith("training loss, smoothed  A test ")
    assert min("".join(rows).count(letter) for letter in "AB") >= 4
    assert "perplexity, logarithmic" not in plot


def test_what_goes_on_is_read_on_and_a_deleted_run_is_said(trained: Callable[..., Run]) -> None:
    runs = [trained(1.0, PROFILE), trained(1.2, PROFILE, steps=20)]
    comparing = Comparing(runs)
    first = comparing.look()
    writer = MetricsWriter(runs[1].metrics_file)
    with writer.batch():
        writer.metric(21, {"train/loss": 1.5}, time.time())
    writer.close()
    second = comparing.look()
    assert [len(one.curves["train/loss"]) for one in second] == [60, 21]
    assert second[0].curves["train/loss"] is first[0].curves["train/loss"], "only what is new is read"
    runs[0].path.rename(runs[0].path.with_name("gone"))
    with pytest.raises(RunNotFound):
        comparing.look()
    comparing.close()


def test_one_run_seven_or_the_same_twice_are_refused(new_run: Callable[..., Run]) -> None:
    run = new_run()
    for runs, words in (([run], "2 to 6 runs"), ([run] * 7, "2 to 6 runs"), ([run, run], "with itself")):
        with pytest.raises(TuiftuneError, match=words):
            Comparing(runs)


def test_the_commands(
    trained: Callable[..., Run], command_line: Callable[..., subprocess.CompletedProcess[str]], workspace: Path
) -> None:
    """Rename, note, compare, delete, trash, export and rerun, as a person types them."""
    first, second = trained(1.0, PROFILE), trained(1.2, changed(epochs=3))
    write_json(first.origin_file, {"profile": "tales", "name": None})

    def facts(*arguments: str) -> Any:
        done = command_line(*arguments)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    assert facts("rename", first.id, "the long one", "--json") == {"id": first.id, "name": "the long one"}
    command_line("note", first.id, "look at step 30")
    assert command_line("note", first.id).stdout == "look at step 30\n"
    told = {one["id"]: one for one in facts("runs", "--json")}[first.id]
    assert (told["name"], told["note"]) == ("the long one", "look at step 30")
    assert told["size_bytes"] > 10_000
    compared = facts("compare", first.id, second.id, "--json")
    assert compared["settings"] == {"train.epochs": {first.id: 2.0, second.id: 3}}
    assert len(compared["curves"][first.id]["train/loss"]) == 60
    assert "train.epochs  2  3" in command_line("diff", first.id, second.id).stdout
    wrong = command_line("rerun", first.id, "--set", "train.epochss=1", "--detach")
    assert wrong.returncode == 2
    assert "--set: train.epochss: not an option of train stage 'causal_lm'" in wrong.stderr
    exported = facts("export", first.id, "--to", "out.tar.gz", "--what", "metrics", "--json")
    assert exported["path"] == str(workspace / "out.tar.gz")
    unasked = command_line("delete", first.id)
    assert (unasked.returncode, "say so with --yes" in unasked.stderr) == (2, True)
    assert command_line("delete", first.id, "--yes").stdout == f"{first.id}\n"
    assert [one["id"] for one in facts("trash", "--json")] == [first.id]
    assert command_line("trash", "--restore", first.id).stdout == f"{first.id}\n"
    assert "nothing is in the trash" in command_line("trash", "--empty", "--yes").stderr
