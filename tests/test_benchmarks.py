"""What the benchmarks compare is the same work: here their losses, never their times."""

from __future__ import annotations

import random

import pytest

from benchmarks import train
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
