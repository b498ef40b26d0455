"""Rows on disk: Arrow files written and read in batches of bounded size, so that any amount of data goes through.

`datasets.map` and `from_generator` are not used: they take a thousand rows at a time, whatever their size, and
leave cache files beside data they do not own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["BATCH_BYTES", "BATCH_ROWS", "MAX_DOCUMENT_BYTES", "RowWriter", "read_batches"]

BATCH_ROWS = 1_000
BATCH_BYTES = 4 << 20
"""Text in one batch; tokenizing takes some 100 bytes a token, so about 100 MiB."""
MAX_DOCUMENT_BYTES = 32 << 20
"""A longer document is refused: tokenizing takes some 100 bytes of memory a byte of text."""
READ_ROWS = 100
"""Rows taken from disk at once: only what a batch needs is made into Python objects."""

TYPES: dict[str, Any] = {
    "text": "string",
    "segments": [("text", "string"), ("loss", "bool")],
    "input_ids": "int32",
    "loss_mask": "bool",
    "n_bytes": "int64",
    "document": "int64",
}
"""The columns that flow between stages, by name, with the type of a value or of a list's items."""
LISTS = ("segments", "input_ids", "loss_mask")


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
        """Rows as columns of equal length; lists may be numpy arrays."""
        import pyarrow as pa

        arrays = [pa.array(batch[field.name], field.type) for field in self._schema]
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


def read_batches(
    dataset: Dataset, columns: Sequence[str], size_of: str | None = None
) -> Iterator[dict[str, list[Any]]]:
    """The rows of `columns` in order, as Python values, at most BATCH_ROWS rows and about BATCH_BYTES a batch.

    `size_of` is the text column whose bytes are counted.
    """
    batch: dict[str, list[Any]] = {name: [] for name in columns}
    size = 0
    for table in dataset.with_format("arrow").iter(batch_size=READ_ROWS):
        for index in range(table.num_rows):
            for name in columns:
                batch[name].append(table.column(name)[index].as_py())
            size += len(batch[size_of][-1] or "") if size_of else 0
            if size >= BATCH_BYTES or len(batch[columns[0]]) >= BATCH_ROWS:
                yield batch
                batch, size = {name: [] for name in columns}, 0
    if batch[columns[0]]:
        yield batch
