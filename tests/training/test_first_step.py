"""What is told of the steps is what the trainer does: its order, its micro-batches, its labels."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
import torch

from tuiftune.paths import assets
from tuiftune.stages.causal_lm import CausalLM
from tuiftune.training.batches import IGNORED, collate_step, row_lengths, token_rows
from tuiftune.training.first_step import Steps, first_step, padding, pieces
from tuiftune.training.plan import Plan

SEED = 11
SLOTS = 24


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(assets() / "babyllama-105"))


@pytest.fixture
def train(tokenised: Callable[..., Any]) -> Any:
    """Rows of 1 to 20 tokens, some of which carry no loss."""
    draw = random.Random(3)  # noqa: S311
    rows = [[draw.randrange(3, 105) for _ in range(draw.randint(1, 20))] for _ in range(23)]
    return tokenised(rows, loss_mask=[[draw.random() < 0.6 for _ in row] for row in rows])["train"]


def steps_of(train: Any) -> Steps:
    options = CausalLM.Options(batch_size=3, grad_accum=2, batch_tokens=SLOTS)
    lengths = row_lengths(train)
    return Steps.of(Plan.of(options, lengths, torch.device("cpu")), SEED, lengths)


def collated(train: Any) -> list[list[dict[str, torch.Tensor]]]:
    """The micro-batches of each step of the first epoch, made as the trainer makes them."""
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(SEED)).tolist()
    data = token_rows(train)
    cut = [order[start : start + 6] for start in range(0, len(order), 6)]
    return [collate_step([data[number] for number in numbers], SLOTS).micro_batches for numbers in cut]


def test_the_first_step_is_the_one_the_trainer_collates(train: Any, tokenizer: Any) -> None:
    step = first_step(train, steps_of(train), tokenizer, shown=None)
    batches = collated(train)[0]
    assert [batch["slots"] for batch in step["micro_batches"]] == [batch["input_ids"].numel() for batch in batches]
    assert step["samples"] == 6
    counted = 0
    for told, batch in zip(step["micro_batches"], batches, strict=True):
        assert len(told["rows"]) == len(batch["input_ids"])
        for row, ids, targets in zip(told["rows"], batch["input_ids"], batch["targets"], strict=True):
            length = row["tokens"]
            assert row["ids"] == train[row["sample"]]["input_ids"]
            assert row["ids"][:-1] == ids.tolist()[: length - 1]
            assert row["loss"] == [False, *(targets[: length - 1] != IGNORED).tolist()]
            assert len(row["pieces"]) == length
            counted += int((targets != IGNORED).sum())
    assert step["tokens_with_loss"] == counted


def test_beyond_so_many_rows_only_their_lengths_are_told(train: Any, tokenizer: Any) -> None:
    whole, short = (first_step(train, steps_of(train), tokenizer, shown) for shown in (None, 2))
    rows = [row for batch in short["micro_batches"] for row in batch["rows"]]
    assert ["ids" in row for row in rows] == [True, True, *[False] * (len(rows) - 2)]
    assert [row["tokens"] for row in rows] == [
        row["tokens"] for batch in whole["micro_batches"] for row in batch["rows"]
    ]
    assert short["tokens_with_loss"] == whole["tokens_with_loss"]


def test_a_sample_of_one_token_is_left_out_and_counted(tokenised: Callable[..., Any], tokenizer: Any) -> None:
    data = tokenised([[5], [6, 7, 2], [8]])["train"]
    step = first_step(data, steps_of(data), tokenizer, None)
    (batch,) = step["micro_batches"]
    assert [row["ids"] for row in batch["rows"]] == [[6, 7, 2]]
    assert (step["samples"], step["left_out"], step["tokens"]) == (3, 2, 5)


def test_padding_is_that_of_every_step_of_the_epoch(train: Any) -> None:
    lengths = row_lengths(train)
    found = padding(lengths, steps_of(train), padded_to=32)
    computed = sum(batch["input_ids"].numel() for batches in collated(train) for batch in batches)
    assert found["computed_slots"] == computed
    assert found["padded_slots"] == 23 * 32
    assert found["share"] == pytest.approx(1 - sum(map(len, train["input_ids"])) / (23 * 32))
    assert found["speed_up_estimate"] == pytest.approx(23 * 32 / computed)
    assert found["steps_measured"] == found["steps_per_epoch"] == 4


def test_rows_longer_than_what_they_were_to_be_padded_to_set_the_width(train: Any) -> None:
    assert padding(row_lengths(train), steps_of(train), padded_to=0)["padded_to"] == max(map(len, train["input_ids"]))


def test_pieces_add_up_to_the_text_and_the_end_has_its_name(tokenizer: Any) -> None:
    ids = [*tokenizer("Once upon a time").input_ids, tokenizer.eos_token_id]
    found = pieces(tokenizer, ids)
    assert len(found) == len(ids)
    assert found[-1] == tokenizer.eos_token
    assert "".join(found[:-1]) == tokenizer.decode(ids[:-1])
    assert found[-2] == "e"


def test_a_character_of_several_tokens_is_told_with_its_last() -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE(vocab={letter: index for index, letter in enumerate(letters)}, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<end>")  # noqa: S106
    ids = tokenizer("a\u4e2d b").input_ids
    assert pieces(tokenizer, ids) == ["a", "", "", "\u4e2d", " ", "b"]
    assert pieces(tokenizer, [*ids[:3], tokenizer.eos_token_id]) == ["a", "", "\ufffd", "<end>"]
    broken = ids[1:2] * 20  # first bytes of characters that never end
    assert "".join(pieces(tokenizer, broken)) == "\ufffd" * 20
