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
    column_sum,
    real_tokens,
    row_lengths,
    token_rows,
)

EOS = 2


def test_padding_is_masked_by_position_and_an_eos_of_the_text_keeps_its_label():
    batch = collate([{"input_ids": [5, 6, EOS]}, {"input_ids": [7, EOS, 0, EOS, 9]}])
    assert batch["labels"].tolist() == [[5, 6, EOS, IGNORED, IGNORED], [7, EOS, 0, EOS, 9]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]
    assert int(real_tokens(batch)) == 8


def test_rows_of_one_length_need_no_attention_mask():
    batch = collate([{"input_ids": [5, EOS]}, {"input_ids": [6, EOS]}])
    assert set(batch) == {"input_ids", "labels"}
    assert int(real_tokens(batch)) == 4


def test_a_token_whose_loss_mask_is_0_is_read_but_not_counted():
    batch = collate([{"input_ids": np.array([5, 6, 7]), "loss_mask": np.array([0, 1, 1])}])
    assert batch["input_ids"].tolist() == [[5, 6, 7]]
    assert batch["labels"].tolist() == [[IGNORED, 6, 7]]


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
