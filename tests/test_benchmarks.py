"""What the benchmarks compare is the same work: here their losses and tokens, never their times."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import pytest

from benchmarks import overhead, start, tokenize, train
from tuiftune.paths import assets

MODEL = assets() / "babyllama-105"


@pytest.mark.long
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


def test_memory_that_was_allocated_for_a_while_is_seen(repository: Path, interpreter: str):
    """In a process of its own: one that has freed as much before would take no more."""
    code = (
        "import time; from benchmarks.tokenize import SAMPLED_S, peak_memory\n"
        "with peak_memory() as peak:\n"
        "    taken = bytearray(b'x' * (64 << 20)); time.sleep(50 * SAMPLED_S); del taken\n"
        "print(peak[0])"
    )
    done = subprocess.run([interpreter, "-c", code], cwd=repository, capture_output=True, text=True, check=True)
    assert 60 << 20 < int(done.stdout) < 200 << 20


@pytest.mark.long
@pytest.mark.timeout(400)
def test_a_watched_run_has_the_losses_of_the_bare_loop_it_is_compared_with(tmp_path: Path):
    place = overhead.prepare(tmp_path, assets() / "quickstart.txt", MODEL, 20)
    bare, ours = overhead.bare(place, 20), overhead.ours(place, 20)
    assert len(bare.losses) == 20
    assert ours.losses == bare.losses
    assert ours.tokens == bare.tokens
    assert set(ours.others) == {"supervisor", "telemetry", "dashboard"}


@pytest.mark.long
@pytest.mark.timeout(400)
def test_our_start_takes_the_first_step_that_the_plain_script_takes(tmp_path: Path):
    """Same model, lines, order and step; theirs padded to 256. With a measured baseline the step is the same too."""
    places = {side: start.prepare(tmp_path / side, assets() / "quickstart.txt", MODEL) for side in start.SIDES}
    script, ours, evaluated = (start.start_side(side, places[side]) for side in start.SIDES)
    assert 1.0 < script.loss < 5.0
    assert ours.loss == pytest.approx(script.loss, abs=1e-4)
    assert evaluated.loss == pytest.approx(script.loss, abs=1e-4)
    for one in (ours, evaluated):
        *phases, returned = one.phases.values()
        assert all(seconds > 0 for seconds in phases)
        assert sum(phases) == pytest.approx(one.seconds, abs=0.01), "the phases are the whole way"
        assert returned < one.seconds


@pytest.mark.long
def test_a_run_whose_processes_are_killed_ends_as_the_one_left_alone(repository: Path, interpreter: str):
    command = [interpreter, "-m", "benchmarks.torture", "--kills", "2", "--seed", "3"]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    told = dict(line.split(maxsplit=1) for line in done.stdout.splitlines() if line.startswith(("kills", "wrong")))
    assert told["kills"].startswith("2 of 2: ")
    assert told["wrong"] == "nothing"
