"""Rows on disk: Arrow files written and read in batches of bounded size, so that any amount of data goes through.

`datasets.map` and `from_generator` are not used: they take a thousand rows at a time, whatever their size, and
leave cache files beside data they do not own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from datasets import Dataset

__all__ = [
    "BATCH_BYTES",
    "BATCH_ROWS",
    "MAX_DOCUMENT_BYTES",
    "RowWriter",
    "lists",
    "made_ahead",
    "read_batches",
    "read_tables",
]

T = TypeVar("T")

BATCH_ROWS = 1_000
BATCH_BYTES = 4 << 20
"""Text in one batch."""
MAX_DOCUMENT_BYTES = 32 << 20
"""A longer document is refused: tokenizing takes some 100 bytes of memory a byte of text."""
READ_ROWS = 100
"""Rows taken from disk at first; after that as many as a batch is likely to need."""

TYPES: dict[str, Any] = {
    "text": "string",
    "segments": [("text", "string"), ("loss", "bool")],
    "input_ids": "int32",
    "loss_mask": "bool",
    "n_bytes": "int64",
    "document": "int64",
    "lengths": "int32",
}
"""The columns that flow between stages, by name, with the type of a value or of a list's items."""
LISTS = ("segments", "input_ids", "loss_mask", "lengths")


class RowWriter:
    """Writes an Arrow file row by row or batch by batch; `finish` gives it back memory-mapped."""

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        import pyarrow as pa

        self.path, self.columns, self.rows = path, tuple(columns), 0
        self._schema = pa.schema([(name, _arrow_type(name)) for name in columns])
        self._sink = pa.OSFile(str(path), "wb")
        self._writer = pa.ipc.new_stream(self._sink, self._schema)
        self._waiting: dict[str, list[Any]] = {name: [] for name in columns}
        self._waiting_bytes = 0

    def add(self, row: Mapping[str, Any], size: int) -> None:
        """One row of about `size` bytes."""
        for name in self.columns:
            self._waiting[name].append(row[name])
        self._waiting_bytes += size
        if len(self._waiting[self.columns[0]]) >= BATCH_ROWS or self._waiting_bytes >= BATCH_BYTES:
            self._flush()

    def add_batch(self, batch: Mapping[str, Sequence[Any]]) -> None:
        """Rows as columns of equal length; lists may be numpy arrays. Arrow arrays are written as they are."""
        import pyarrow as pa

        arrays = [
            values if isinstance(values := batch[field.name], pa.Array) else pa.array(values, field.type)
            for field in self._schema
        ]
        self._writer.write_batch(pa.record_batch(arrays, schema=self._schema))
        self.rows += len(arrays[0])

    def finish(self) -> Dataset:
        """What was written, as a dataset on this file."""
        import datasets

        self._flush()
        self._close()
        return datasets.Dataset.from_file(str(self.path))

    def _flush(self) -> None:
        if self._waiting[self.columns[0]]:
            self.add_batch(self._waiting)
        self._waiting = {name: [] for name in self.columns}
        self._waiting_bytes = 0

    def _close(self) -> None:
        self._writer.close()
        self._sink.close()

    def __enter__(self) -> RowWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave no half-written file behind an error."""
        if kind is not None:
            self._sink.close()
            self.path.unlink(missing_ok=True)


def _arrow_type(name: str) -> Any:
    import pyarrow as pa

    named = TYPES[name]
    if isinstance(named, list):
        item = pa.struct([(key, pa.type_for_alias(alias)) for key, alias in named])
    else:
        item = pa.type_for_alias(named)
    return pa.list_(item) if name in LISTS else item


def lists(values: np.ndarray[Any, Any], lengths: np.ndarray[Any, Any]) -> pa.ListArray:
    """Values end to end as the lists that have these lengths; no value becomes a Python object."""
    import numpy as np
    import pyarrow as pa

    offsets = np.zeros(len(lengths) + 1, dtype=np.int32)
    np.cumsum(lengths, out=offsets[1:])
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values))


def read_batches(dataset: Dataset, columns: Sequence[str], size_of: str) -> Iterator[dict[str, list[Any]]]:
    """The rows of `columns` in order, as Python values, at most BATCH_ROWS rows and about BATCH_BYTES a batch.

    `size_of` is the text column whose bytes are counted.
    """
    for table in read_tables(dataset, columns, size_of):
        yield table.to_pydict()


def read_tables(
    dataset: Dataset, columns: Sequence[str], size_of: str, rows: int = BATCH_ROWS, size: int = BATCH_BYTES
) -> Iterator[pa.Table]:
    """The rows of `columns` in order, as Arrow tables of at most `rows` rows and about `size` bytes.

    `size_of` is the text column whose bytes are counted.
    """
    import numpy as np
    import pyarrow.compute as pc

    source = dataset.select_columns(list(columns)).with_format("arrow")
    start, at_once = 0, min(READ_ROWS, rows)
    while start < len(source):
        table = source[start : start + at_once]
        start += table.num_rows
        ends = np.cumsum(pc.fill_null(pc.binary_length(table.column(size_of)), 0).to_numpy())
        first = before = 0
        while first < table.num_rows:
            end = min(table.num_rows, int(np.searchsorted(ends, before + size)) + 1)
            yield table.slice(first, end - first)
            first, before = end, int(ends[end - 1])
        # What is read at once should be one batch: an index mapping is followed for all of it, in memory.
        at_once = max(1, min(rows, 4 * at_once, table.num_rows * size // max(1, before)))


def made_ahead(items: Iterator[T]) -> Iterator[T]:
    """The same items; the next is made in a thread while the one before it is worked on."""
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(next, items, None)
        while (item := waiting.result()) is not None:
            waiting = thread.submit(next, items, None)
            yield item
