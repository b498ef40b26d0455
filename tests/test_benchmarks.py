"""What the benchmarks compare is the same work: here their losses and tokens, never their times."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from benchmarks import overhead, start, tokenize, train
from tuiftune.paths import assets


def test_our_steps_have_the_losses_of_the_padded_recipe_on_the_plain_trainer(tmp_path):
    """Same weights, samples and order; rows of 2 to 24 tokens, padded to 32 there and not at all here."""
    draw = random.Random(3)  # noqa: S311
    rows = [[draw.randrange(3, 105) for _ in range(draw.randrange(2, 24))] for _ in range(4 * 16)]
    train.save_new_model(assets() / "babyllama-105", tmp_path)
    recipe, ours = train.recipe(rows, tmp_path, 32, 4), train.ours(rows, tmp_path, 32, 4)
    assert len(recipe.losses) == 4
    assert recipe.losses[-1] < recipe.losses[0]
    assert ours.losses == pytest.approx(recipe.losses, abs=1e-4)
    assert ours.tokens == recipe.tokens


def test_a_text_has_the_same_tokens_by_our_stages_and_by_the_padded_map(tmp_path: Path):
    tokenizer = assets() / "babyllama-105"
    text = tmp_path / "text.txt"
    tokenize.make_text(assets() / "quickstart.txt", text, 20_000)
    lines = [line for line in text.read_text().splitlines() if line]
    assert 20_000 <= text.stat().st_size < 21_000
    folders = [tmp_path / side for side in ("ours", "map")]
    for folder in folders:
        folder.mkdir()
    ours = tokenize.ours(text, tokenizer, "line", 1500, folders[0])
    by_map = tokenize.padded_map(text, tokenizer, "line", 1500, folders[1])
    assert max(map(len, lines)) < 1_400, "none is cut"
    assert (ours.rows, ours.tokens) == (by_map.rows, by_map.tokens)
    assert ours.rows == len(lines)
    assert ours.text_bytes == by_map.text_bytes == text.stat().st_size
    assert ours.again_seconds is not None


def test_memory_that_was_allocated_for_a_while_is_seen():
    with tokenize.peak_memory() as peak:
        taken = bytearray(b"x" * (64 << 20))
        time.sleep(20 * tokenize.SAMPLED_S)
        del taken
    assert 60 << 20 < peak[0] < 200 << 20


@pytest.mark.slow
def test_a_watched_run_has_the_losses_of_the_bare_loop_it_is_compared_with(tmp_path):
    workspace = overhead.new_workspace(tmp_path)
    steps = overhead.WARM_UP + 40
    bare, ours = (side(workspace, [], steps) for side in (overhead.bare_in_a_process, overhead.ours))
    assert len(bare.losses) == steps
    assert ours.losses == bare.losses
    assert ours.tokens == bare.tokens


@pytest.mark.slow
def test_the_plain_script_and_ours_both_come_to_their_first_step(tmp_path):
    workspace = start.new_workspace(tmp_path / "workspace")
    assert start.script(tmp_path) > 0
    assert start.ours(workspace, "measured") > 0
    phases = start.ours_by_phase(workspace)
    assert [name for name, _ in phases] == [
        "command, supervisor, plugins",
        "text",
        "tokenize",
        "imports, model and baseline",
        "samples and the first step",
    ]
    assert all(seconds >= 0 for _, seconds in phases)
