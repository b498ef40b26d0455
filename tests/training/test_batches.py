"""Padding is known by position, and rows of like length go together."""

from __future__ import annotations

import numpy as np
import pytest
import transformers

from tuiftune.errors import StageError
from tuiftune.training.batches import (
    IGNORED,
    batches_by_length,
    check_fits,
    collate,
    collate_step,
    column_sum,
    row_lengths,
    token_rows,
)

EOS = 2


def test_padding_is_masked_by_position_and_an_eos_of_the_text_keeps_its_label():
    batch = collate([{"input_ids": [5, 6, EOS]}, {"input_ids": [7, EOS, 0, EOS, 9]}])
    assert batch["targets"].tolist() == [[6, EOS, IGNORED, IGNORED], [EOS, 0, EOS, 9]]
    assert batch["input_ids"][1].tolist() == [7, EOS, 0, EOS]
    assert batch["input_ids"][0, :2].tolist() == [5, 6]
    assert set(batch) == {"input_ids", "targets"}, "no real position sees padding on its right: no mask is needed"


def test_a_token_whose_loss_mask_is_0_is_read_but_not_counted():
    batch = collate([{"input_ids": np.array([5, 6, 7, 8]), "loss_mask": np.array([0, 1, 0, 1])}])
    assert batch["input_ids"].tolist() == [[5, 6, 7]]
    assert batch["targets"].tolist() == [[6, IGNORED, 8]]


def test_a_step_is_cut_by_a_budget_and_what_predicts_nothing_is_left_out():
    rows = [{"input_ids": [1] * length} for length in (3, 9, 1, 5, 4)]
    step = collate_step(rows, slots=8)
    assert [tuple(batch["input_ids"].shape) for batch in step.micro_batches] == [(1, 8), (2, 4), (1, 2)]
    assert (step.tokens, step.counted) == (22, 17)
    (nothing,) = collate_step([{"input_ids": [EOS]}] * 2, slots=8).micro_batches
    assert nothing["targets"].eq(IGNORED).all(), "a step of nothing is still a step"


def test_only_the_columns_of_training_are_read(tokenised):
    data = tokenised([[1, 2]], n_bytes=[4])["train"]
    assert token_rows(data).column_names == ["input_ids"]


def test_untokenised_data_is_said_in_a_sentence(tokenised):
    data = tokenised([[1, 2]], n_bytes=[4])["train"].remove_columns("input_ids")
    with pytest.raises(
        StageError, match=r"no tokens, only the columns \['n_bytes'\]. Add a preprocess stage: 'tokenize'"
    ):
        token_rows(data)


def test_row_lengths_and_sums_follow_a_selection(tokenised):
    data = tokenised([[1], [1, 2], [1, 2, 3]], n_bytes=[1, 10, 100])["train"].select([2, 0])
    assert row_lengths(data).tolist() == [3, 1]
    assert column_sum(data, "n_bytes") == 101


def test_batches_hold_each_row_once_within_the_budget():
    lengths = np.array([3, 90, 10, 4, 11, 200])
    batches = batches_by_length(lengths, slots=100)
    assert sorted(index for batch in batches for index in batch) == list(range(6))
    assert batches[0] == [5]  # longer than the budget: alone
    assert all(len(batch) == 1 or lengths[batch].max() * len(batch) <= 100 for batch in batches)


def test_a_row_longer_than_the_model_is_said_with_both_numbers():
    config = transformers.GPT2Config(n_positions=256)
    with pytest.raises(
        StageError, match=r"longest row of train has 600 tokens, but the model takes 256. Set max_length = 256"
    ):
        check_fits(config, {"train": np.array([3, 600])})
    check_fits(config, {"train": np.array([256]), "validation": np.array([], dtype=int)})
