"""Rows of tokens to tensors: padding, labels, and rows of like length together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from tuiftune.errors import StageError
from tuiftune.training.positions import position_limit

if TYPE_CHECKING:
    from datasets import Dataset

    IntArray = np.ndarray[Any, np.dtype[np.int64]]

IGNORED = -100
"""A label that is not counted: padding, and tokens whose loss_mask is 0."""

PADDING_ID = 0
"""What fills a short row up. Any id would do: padding is known by its position, never by this."""

COLUMNS = ("input_ids", "loss_mask", "lengths")
"""What the training reads of a row."""


def token_rows(dataset: Dataset) -> Dataset:
    """`dataset` with only the columns that training reads, as numpy.

    Raises StageError where it was not tokenised.
    """
    if "input_ids" not in dataset.column_names:
        raise StageError(
            f"the data has no tokens, only the columns {dataset.column_names}. Add a preprocess stage: 'tokenize'"
        )
    return dataset.select_columns([name for name in COLUMNS if name in dataset.column_names]).with_format("numpy")


def labels(row: Mapping[str, Any]) -> IntArray:
    """What each token of a row but the last predicts: the next one, or IGNORED where that carries no loss.

    Where a row has `lengths`, those of the documents in it, the first token of each is not predicted.
    """
    found = np.array(row["input_ids"][1:], dtype=np.int64)
    if row.get("loss_mask") is not None:
        found[~np.array(row["loss_mask"][1:], dtype=np.bool_)] = IGNORED
    if "lengths" in row:
        found[np.cumsum(row["lengths"])[:-1] - 1] = IGNORED
    return found


def collate(rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
    """A micro-batch: `input_ids` and `targets`, what each position predicts, both [rows, longest row - 1]; where
    rows have `lengths`, `position_ids` that start again with each document.

    Short rows are padded on the right, where no real position sees it, so there is no attention mask. The last
    token of a row predicts nothing and is not fed.
    """
    width = max(1, max(len(row["input_ids"]) for row in rows) - 1)
    input_ids = np.full((len(rows), width), PADDING_ID, dtype=np.int64)
    targets = np.full((len(rows), width), IGNORED, dtype=np.int64)
    positions = np.tile(np.arange(width), (len(rows), 1))
    for index, row in enumerate(rows):
        tokens = row["input_ids"][:width]
        input_ids[index, : len(tokens)] = tokens
        wanted = labels(row)
        targets[index, : len(wanted)] = wanted
        for start in np.cumsum(row.get("lengths", ()), dtype=np.int64)[:-1]:
            positions[index, start:] = np.arange(max(0, width - start))
    found = {"input_ids": input_ids, "targets": targets}
    if any("lengths" in row for row in rows):
        found["position_ids"] = positions
    return {name: torch.from_numpy(values) for name, values in found.items()}


@dataclass(frozen=True)
class StepBatches:
    """An optimizer step as it goes through the model of one process."""

    micro_batches: list[dict[str, torch.Tensor]]
    tokens: int
    """Of the whole step, over all processes, without padding."""
    counted: int
    """Those of them that have a label."""
    position: Any = None
    """Where the data stands after this step, for a source that keeps a place of its own."""


def collate_step(
    rows: Sequence[Mapping[str, Any]], slots: int, rank: int = 0, processes: int = 1, position: Any = None
) -> StepBatches:
    """The rows of an optimizer step in the micro-batches of one process, cut by `cut_step`."""
    lengths = np.array([len(row["input_ids"]) for row in rows], dtype=np.int64)
    return StepBatches(
        [collate([rows[number] for number in batch]) for batch in cut_step(lengths, slots, rank, processes)],
        tokens=int(lengths.sum()),
        counted=sum(int(np.count_nonzero(labels(row) != IGNORED)) for row in rows),
        position=position,
    )


def cut_step(lengths: IntArray, slots: int, rank: int = 0, processes: int = 1) -> list[IntArray]:
    """The numbers of a step's rows, of so many tokens, in micro-batches of at most `slots` padded tokens each, the
    longest rows first.

    Of several processes each gets every so manieth row by length, there and back, so that all have as much to do.
    """
    by_length = np.argsort(-lengths, kind="stable")
    lap = np.arange(len(lengths)) % (2 * processes)
    mine = by_length[np.minimum(lap, 2 * processes - 1 - lap) == rank]
    return [mine[batch] for batch in batches_by_length(np.maximum(lengths[mine] - 1, 0), slots)]


def row_lengths(dataset: Dataset) -> IntArray:
    """Tokens of each row, read from Arrow's offsets: no row becomes a Python list."""
    import pyarrow.compute as pc

    tables = dataset.select_columns(["input_ids"]).with_format("arrow").iter(batch_size=10_000)
    lengths = [pc.list_value_length(table["input_ids"]).to_numpy() for table in tables]
    return np.concatenate(lengths).astype(np.int64) if lengths else np.zeros(0, dtype=np.int64)


def column_sum(dataset: Dataset, name: str) -> int:
    """The sum of a column of integers."""
    import pyarrow.compute as pc

    tables = dataset.select_columns([name]).with_format("arrow").iter(batch_size=10_000)
    return sum(pc.sum(table[name]).as_py() or 0 for table in tables)


def check_fits(config: Any, splits: Mapping[str, IntArray]) -> None:
    """Raises StageError where a row is longer than the model has positions: on a GPU that would be
    a crash without words."""
    limit = position_limit(config)
    for split, lengths in splits.items():
        if limit is not None and len(lengths) and int(lengths.max()) > limit:
            raise StageError(
                f"the longest row of {split} has {int(lengths.max()):,} tokens, but the model takes {limit:,}. "
                f"Set max_length = {limit} for the preprocess stage 'tokenize'"
            )


def batches_by_length(lengths: IntArray, slots: int) -> list[list[int]]:
    """Row numbers in batches of at most `slots` padded tokens each (or one row), longest rows first: a batch that
    does not fit the memory is met at once. Rows that predict nothing (length 0) are left out, unless there
    are no others."""
    batches: list[list[int]] = []
    current: list[int] = []
    for index in np.argsort(-lengths, kind="stable").tolist():
        if lengths[index] < 1 and (current or batches):
            break
        longest = int(lengths[current[0]]) if current else int(lengths[index])
        if current and longest * (len(current) + 1) > slots:
            batches.append(current)
            current = []
        current.append(index)
    return [*batches, current] if current else batches
