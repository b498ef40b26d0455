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


def test_blocks_of_joined_documents_know_nothing_of_them(pack: Callable[..., Any]) -> None:
    assert pack(rows([5, 9, 4]), block_size=8)["train"].column_names == ["input_ids", "n_bytes"]


@pytest.mark.parametrize("lengths", [[5, 3, 8], [16], [17], [1] * 25, [3, 30, 7], [8, 8, 8, 7, 2], [1, 20, 1, 1, 20]])
@pytest.mark.parametrize("with_mask", [False, True])
def test_documents_kept_apart_are_told_piece_by_piece(
    pack: Callable[..., Any], heard: Any, lengths: list[int], with_mask: bool
) -> None:
    joined = pack(rows(lengths, with_mask), block_size=8)["train"]
    apart = pack(rows(lengths, with_mask), block_size=8, documents="apart")["train"]
    document_of = [number for number, length in enumerate(lengths) for _ in range(length)]
    for block in apart:
        documents = [document_of[token] for token in block["input_ids"]]
        assert block["lengths"] == [documents.count(number) for number in sorted(set(documents))]
    assert apart.features["lengths"].feature.dtype == "int32"
    assert apart.remove_columns("lengths")[:] == joined[:], "the blocks themselves are no others"
    assert heard.lines[1] == f"{heard.lines[0]}, documents kept apart"


def test_parts_of_a_split_document_are_one_piece_where_they_meet(pack: Callable[..., Any]) -> None:
    data = rows([6, 6, 3, 3, 6])
    for row, document in zip(data, [1, 1, 2, 3, 3], strict=True):
        row["document"] = document
    packed = pack(data, block_size=16, documents="apart")["train"]
    assert packed["lengths"][:] == [[12, 3, 1], [8]]


def test_documents_are_kept_apart_over_many_rows(pack: Callable[..., Any]) -> None:
    draw = random.Random(4)  # noqa: S311
    lengths = [draw.randrange(1, 9) for _ in range(2_500)]
    packed = pack(rows(lengths), block_size=64, documents="apart")["train"]
    ends, total = set(), 0
    for pieces in packed["lengths"]:
        for piece in pieces:
            total += piece
            ends.add(total)
    document_ends = {sum(lengths[: number + 1]) for number in range(len(lengths))}
    block_ends = {token + 1 for token in (block[-1] for block in packed["input_ids"])}
    assert ends == document_ends | block_ends


def test_what_tokenize_splits_is_put_together_again_and_nothing_else(
    context: Callable[..., Any], documents: Callable[..., Any]
) -> None:
    texts = ["Once upon a time there was a cat.", "The end came soon.", "Hi"]
    tokenized = Tokenize(Tokenize.Options(max_length=16)).run(context(Tokenize, input=documents(texts, ["Hi"])))
    packed = Pack(Pack.Options(block_size=32, documents="apart", validation=True))
    data = packed.run(context(Pack, input=tokenized))
    ends = [[place for place, token in enumerate(block, 1) if token == 2] for block in data["train"]["input_ids"]]
    for block, pieces, ended in zip(data["train"]["input_ids"], data["train"]["lengths"], ends, strict=True):
        assert sum(pieces) == len(block)
        assert [sum(pieces[: number + 1]) for number in range(len(pieces))] == sorted({*ended, len(block)})
    assert data["validation"]["lengths"][:] == [[len(data["validation"][0]["input_ids"])]]
