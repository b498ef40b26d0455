"""A fingerprint of rows by their values alone."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from tuiftune.run.stream import TokenStream

__all__ = ["content_key"]

ROWS = 1_000
"""Hashed at once. Part of the fingerprint, as lengths and values take turns."""


def content_key(dataset: Mapping[str, Any]) -> str:
    """A fingerprint of the rows themselves, where it is not known what they were made of: the same rows have the
    same one, however they are divided and padded on disk. Of a stream its own."""
    digest = hashlib.sha256()
    for name in sorted(dataset):
        if isinstance(dataset[name], TokenStream):
            digest.update(f"{name} {dataset[name].fingerprint}".encode())
            continue
        digest.update(f"{name} {dataset[name].features}".encode())
        for table in dataset[name].with_format("arrow").iter(batch_size=ROWS):
            for column in table.columns:
                _add(digest, column.combine_chunks())
    return digest.hexdigest()


def _add(digest: Any, array: Any) -> None:
    """The values of an Arrow array. (Its buffers as they are serialised may end with those of the rows after it.)"""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = array.type
    digest.update(f"{len(array)} {array.null_count} {kind}".encode())
    if array.null_count:
        digest.update(array.is_null().to_numpy(zero_copy_only=False))
    if pa.types.is_struct(kind):
        for field in array.flatten():
            _add(digest, field)
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
        _add(digest, pc.fill_null(pc.list_value_length(array), 0))
        _add(digest, array.flatten())
    elif pa.types.is_string(kind) or pa.types.is_binary(kind):
        _add(digest, pc.fill_null(pc.binary_length(array), 0))
        _, offsets, values = array.buffers()
        ends = memoryview(offsets).cast("i")[array.offset : array.offset + len(array) + 1] if len(array) else [0, 0]
        digest.update(memoryview(values or b"")[ends[0] : ends[-1]])  # a null has no bytes
    elif pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
        digest.update(pc.fill_null(array, False if pa.types.is_boolean(kind) else 0).to_numpy(zero_copy_only=False))
    else:  # rare in rows of text and tokens: dates, decimals, dictionaries
        digest.update(repr(array.to_pylist()).encode())
