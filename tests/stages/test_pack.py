"""Stage `pack`: blocks of which no token is lost, in an order that does not change."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from tuiftune.errors import StageError
from tuiftune.stages.pack import Pack
from tuiftune.stages.tokenize import Tokenize


def rows(lengths: list[int], with_mask: bool = False) -> list[dict[str, Any]]:
    """Rows whose tokens count up over all of them."""
    made, token = [], 0
    for length in lengths:
        ids = list(range(token, token + length))
        made.append({"input_ids": ids, "n_bytes": 3 * length + 1})
        if with_mask:
            made[-1]["loss_mask"] = [number % 2 == 0 for number in ids]
        token += length
    return made


@pytest.fixture
def pack(context: Callable[..., Any], documents: Callable[..., Any]) -> Callable[..., Any]:
    def run(train: list[dict[str, Any]], **options: Any) -> Any:
        validation = rows([3, 4], "loss_mask" in train[0])
        return Pack(Pack.Options(**options)).run(context(Pack, input=documents(train, validation)))

    return run


@pytest.mark.parametrize("lengths", [[5, 3, 8], [16], [17], [18, 1], [1] * 25, [3, 30, 7], [8, 8, 8, 7, 2]])
def test_no_token_and_no_byte_is_lost(pack: Callable[..., Any], lengths: list[int]) -> None:
    data = pack(rows(lengths), block_size=8)["train"]
    blocks = data["input_ids"][:]
    assert [token for block in blocks for token in block] == list(range(sum(lengths)))
    assert sum(data["n_bytes"]) == sum(3 * length + 1 for length in lengths)
    assert all(2 <= len(block) <= 8 for block in blocks), "a block of one token would carry no loss"
    assert all(len(block) == 8 for block in blocks[:-2])


def test_many_rows_make_the_same_blocks_every_time(pack: Callable[..., Any], heard: Any) -> None:
    draw = random.Random(3)  # noqa: S311
    lengths = [draw.randrange(1, 40) for _ in range(3_000)]
    first, second = (pack(rows(lengths), block_size=64)["train"] for _ in range(2))
    assert first["input_ids"][:] == second["input_ids"][:]
    assert [token for block in first["input_ids"] for token in block] == list(range(sum(lengths)))
    assert heard.lines[0] == (f"train: 3,000 rows, {sum(lengths):,} tokens packed into {len(first):,} blocks of 64")


def test_the_loss_mask_goes_along(pack: Callable[..., Any]) -> None:
    data = pack(rows([5, 9, 4], with_mask=True), block_size=8)["train"]
    assert [[token % 2 == 0 for token in row["input_ids"]] for row in data] == data["loss_mask"][:]


def test_validation_is_left_as_it_is(pack: Callable[..., Any]) -> None:
    assert [len(row) for row in pack(rows([20]), block_size=8)["validation"]["input_ids"]] == [3, 4]


def test_validation_can_be_packed_too_and_keeps_its_bytes(pack: Callable[..., Any]) -> None:
    data = pack(rows([20]), block_size=8, validation=True)["validation"]
    assert data["input_ids"][:] == [[0, 1, 2, 3, 4, 5, 6]]
    assert data["n_bytes"][:] == [3 * 3 + 1 + 3 * 4 + 1]


def test_text_shorter_than_one_block_is_a_sentence_with_both_numbers(pack: Callable[..., Any]) -> None:
    with pytest.raises(StageError) as caught:
        pack(rows([5, 6]), block_size=64)
    assert str(caught.value) == (
        "train is shorter than one block: 11 tokens, and pack.block_size is 64. "
        "Bring more text, or a smaller block: --set pack.block_size=N"
    )


def test_a_block_longer_than_the_model_takes_is_refused(pack: Callable[..., Any]) -> None:
    with pytest.raises(StageError, match=r"^pack\.block_size is 512, but the model takes at most 256 tokens"):
        pack(rows([5, 6]), block_size=512)


def test_pack_comes_after_tokenize(context: Callable[..., Any], documents: Callable[..., Any]) -> None:
    with pytest.raises(StageError, match=r"^train is not tokenized: put pack after tokenize$"):
        Pack().run(context(Pack, input=documents(["a"], ["b"])))


def test_documents_stay_apart_by_their_ends(context: Callable[..., Any], documents: Callable[..., Any]) -> None:
    texts = ["Once upon a time.", "The end came soon.", "She was happy."]
    tokenized = Tokenize(Tokenize.Options(max_length=64)).run(context(Tokenize, input=documents(texts, ["Hi"])))
    packed = Pack(Pack.Options(block_size=16)).run(context(Pack, input=tokenized))["train"]
    ids = [token for block in packed["input_ids"] for token in block]
    assert ids == [token for row in tokenized["train"]["input_ids"] for token in row]
    assert ids.count(2) == len(texts)
