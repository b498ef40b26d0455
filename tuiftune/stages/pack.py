"""Preprocess stage `pack`: rows of tokens laid end to end and cut into full blocks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

import tuiftune
from tuiftune.errors import RunStopped
from tuiftune.rows import RowWriter
from tuiftune.stages._positions import check_length

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset, DatasetDict

READ_ROWS = 1_000
WRITE_TOKENS = 1 << 20
"""Tokens written at once."""


class Pack(tuiftune.Preprocessor):
    """Lay tokenized documents end to end, in their order, and cut them into full blocks."""

    name = "pack"
    needs_validation = False

    class Options(tuiftune.Options):
        block_size: int = tuiftune.Field(
            512, ge=8, json_schema_extra={"unit": "tokens"}, description="tokens in a block"
        )
        validation: bool = tuiftune.Field(
            False,
            description="pack the validation split too; its perplexity can then not be compared with that of runs "
            "that measure documents one by one",
        )
        documents: Literal["apart", "joined"] = tuiftune.Field(
            "joined",
            description="'apart': a token sees nothing of the documents before its own in the block, and the first "
            "token of each carries no loss; 'joined': a block is read as one text",
        )

    def run(self, ctx: tuiftune.Context) -> DatasetDict:
        """The tokens of all rows, none lost: the last block is shorter.

        `loss_mask` goes along; `n_bytes` of a block is its rows' in proportion to their tokens in it. With documents
        apart, `lengths` (int32) has the tokens of each piece of a document in the block, in order; parts of a document
        that was split are one piece where they meet. Raises StageError where train is shorter than one block, or
        blocks do not fit the model. A stream is packed chunk by chunk.
        """
        import datasets

        assert ctx.input is not None  # noqa: S101 - preprocess stages come after the dataset
        for split, dataset in ctx.input.items():
            if "input_ids" not in dataset.column_names:
                raise tuiftune.StageError(f"{split} is not tokenized: put pack after tokenize")
        check_length("pack.block_size", self.options.block_size, ctx)
        packed = dict(ctx.input)
        packed["train"] = self._pack("train", ctx.input["train"], ctx)
        if self.options.validation and "validation" in ctx.input:
            packed["validation"] = self._pack("validation", ctx.input["validation"], ctx)
        return datasets.DatasetDict(packed)

    def _pack(self, split: str, dataset: Dataset, ctx: tuiftune.Context) -> Dataset:
        columns = [name for name in ("input_ids", "n_bytes", "loss_mask") if name in dataset.column_names]
        apart = self.options.documents == "apart"
        parts = _tokens(split, dataset, columns, apart, ctx)
        columns += ["lengths"] if apart else []
        size = self.options.block_size
        per_write = max(1, WRITE_TOKENS // size)
        tokens = blocks = 0
        with RowWriter(ctx.dir / f"{split}.arrow", columns) as writer:
            waiting: list[dict[str, Any]] = []
            for block in _blocks(parts, size):
                tokens += len(block["input_ids"])
                blocks += 1
                waiting.append(block)
                if len(waiting) >= per_write:
                    writer.add_batch(_columns(waiting, columns))
                    waiting = []
            if tokens < size and split == "train" and not ctx.streaming:
                raise tuiftune.StageError(
                    f"train is shorter than one block: {tokens:,} tokens, and pack.block_size is {size:,}. "
                    "Bring more text, or a smaller block: --set pack.block_size=N"
                )
            if waiting:
                writer.add_batch(_columns(waiting, columns))
            packed = writer.finish()
        line = f"{split}: {len(dataset):,} rows, {tokens:,} tokens packed into {blocks:,} blocks of {size:,}"
        ctx.log(line + (", documents kept apart" if apart else ""))
        return packed


def _columns(rows: list[dict[str, Any]], columns: list[str]) -> dict[str, list[Any]]:
    return {name: [row[name] for row in rows] for name in columns}


def _tokens(
    split: str, dataset: Dataset, columns: list[str], apart: bool, ctx: tuiftune.Context
) -> Iterator[dict[str, np.ndarray]]:
    """The rows of a batch end to end: arrays of one value a token, `n_bytes` spread over the tokens of its row.

    Where documents are kept apart, `document` is another number for each; a row is one where none is known.
    """
    import numpy as np

    done = 0
    for table in dataset.with_format("arrow").iter(batch_size=READ_ROWS):
        lists = table.column("input_ids").combine_chunks()
        found = {"input_ids": lists.flatten().to_numpy()}
        if "loss_mask" in columns:
            found["loss_mask"] = table.column("loss_mask").combine_chunks().flatten().to_numpy(zero_copy_only=False)
        lengths = lists.value_lengths().to_numpy()
        if apart:
            known = "document" in dataset.column_names
            number = table.column("document").to_numpy() if known else done + np.arange(table.num_rows)
            found["document"] = np.repeat(number, lengths)
        if "n_bytes" in columns:
            found["n_bytes"] = _spread(np.asarray(table.column("n_bytes").to_numpy()), lengths)
        yield found
        done += table.num_rows
        ctx.progress(done, len(dataset), f"rows of {split}")
        if ctx.stopping:
            raise RunStopped(0)


def _spread(totals: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Each total over as many tokens as its row has, in whole numbers that add up to it."""
    import numpy as np

    row = np.repeat(np.arange(len(lengths)), lengths)
    place = np.arange(len(row)) - np.repeat(np.cumsum(lengths) - lengths, lengths)  # of the token in its row
    total, length = totals[row], lengths[row].astype(np.int64)
    shares: np.ndarray = total * (place + 1) // length - total * place // length
    return shares


def _blocks(parts: Iterator[dict[str, np.ndarray]], size: int) -> Iterator[dict[str, Any]]:
    """Blocks of `size` tokens and the rest. Two tokens are held back until the end, so that no block is left with
    a single one, which would carry no loss."""
    import numpy as np

    held: dict[str, np.ndarray] = {}
    for part in parts:
        held = {name: np.concatenate([held[name], values]) for name, values in part.items()} if held else part
        full = max(0, (len(held["input_ids"]) - 2) // size)
        for number in range(full):
            yield _block(held, number * size, (number + 1) * size)
        held = {name: values[full * size :] for name, values in held.items()}
    start, left = 0, len(held["input_ids"]) if held else 0
    while left:
        length = size - 1 if left == size + 1 else min(size, left)
        yield _block(held, start, start + length)
        start, left = start + length, left - length


def _block(held: dict[str, np.ndarray], start: int, end: int) -> dict[str, Any]:
    import numpy as np

    block: dict[str, Any] = {name: values[start:end] for name, values in held.items()}
    if "document" in block:
        others = np.flatnonzero(np.diff(block.pop("document"))) + 1  # where another one begins
        block["lengths"] = np.diff(others, prepend=0, append=end - start)
    if "n_bytes" in block:
        block["n_bytes"] = int(block["n_bytes"].sum())
    return block


@tuiftune.hookimpl
def register_stages() -> list[type[tuiftune.Stage]]:
    return [Pack]
