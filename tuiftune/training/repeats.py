"""What stands in the data more than once: repeats within a split, and what train and validation share.

Compared are digests of 8 bytes (BLAKE2b) of the whole content, exactly as it is: a blank more makes another text.
That two of 30 million different texts have the same digest has a chance of 1 in 40,000. Memory: some 40 bytes a
document, whatever its length.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tuiftune.rows import read_batches

if TYPE_CHECKING:
    from datasets import Dataset

    from tuiftune.training.batches import IntArray

    Digests = np.ndarray[Any, np.dtype[np.uint64]]

READ_ROWS = 1_000
DIGEST_BYTES = 8


@dataclass(frozen=True)
class Repeats:
    """Items of one split that are the same as an earlier one of it."""

    compared: int
    """All items, the first of each kind included."""
    repeated: int
    """Those that an earlier one equals: what would go if each stood there once."""
    most_frequent: int | None
    """The number of the first of the most frequent kind; None where nothing is repeated."""
    times: int
    """How often that one stands there."""


def find_repeats(digests: Digests) -> Repeats:
    """Of the items that hold anything."""
    numbers = np.flatnonzero(digests != EMPTY)
    _, first, counts = np.unique(digests[numbers], return_index=True, return_counts=True)
    repeated = len(numbers) - len(counts)
    if not repeated:
        return Repeats(len(numbers), 0, None, 1)
    times = int(counts.max())
    most_frequent = int(numbers[first[counts == times].min()])
    return Repeats(len(numbers), repeated, most_frequent, times)


def find_shared(train: Digests, validation: Digests) -> IntArray:
    """The numbers of the items of validation that stand in train too."""
    return np.flatnonzero((validation != EMPTY) & np.isin(validation, train))


def text_digests(dataset: Dataset) -> Digests:
    """Of the UTF-8 bytes of each `text`; which of its segments carry loss makes no difference."""
    return _collected(
        _digest(text.encode()) for batch in read_batches(dataset, ["text"], "text") for text in batch["text"]
    )


def row_digests(dataset: Dataset) -> Digests:
    """Of the token ids of each row, as int32; its loss mask makes no difference."""
    return _collected(_digest(row) for row in _row_bytes(dataset))


def _row_bytes(dataset: Dataset) -> Iterator[memoryview]:
    for table in dataset.select_columns(["input_ids"]).with_format("arrow").iter(batch_size=READ_ROWS):
        lists = table.column("input_ids").combine_chunks()
        tokens = lists.flatten().to_numpy().astype("<i4")
        view, start = memoryview(tokens.tobytes()), 0
        for end in (4 * np.cumsum(lists.value_lengths().to_numpy())).tolist():
            yield view[start:end]
            start = end


def _collected(digests: Iterator[int]) -> Digests:
    return np.fromiter(digests, dtype=np.uint64)


def _digest(content: bytes | memoryview) -> int:
    return int.from_bytes(hashlib.blake2b(content, digest_size=DIGEST_BYTES).digest(), "little")


EMPTY = _digest(b"")
"""Of a document without text, which is not trained on and so is not compared."""
