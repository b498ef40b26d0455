"""The fingerprint of rows: another for other rows, the same for the same ones however they lie on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tuiftune.run.content import content_key

COLUMNS: dict[str, list[Any]] = {
    "text": [None if number % 7 == 3 else "\u00e9" * (number % 5) + str(number) for number in range(2_500)],
    "input_ids": [list(range(number % 11)) for number in range(2_500)],
    "loss_mask": [[bool(token % 3) for token in range(number % 11)] for number in range(2_500)],
    "segments": [None if number % 2 else [{"text": str(number), "loss": number % 3 == 0}] for number in range(2_500)],
    "n_bytes": list(range(2_500)),
    "share": [number / 7 for number in range(2_500)],
}


def on_disk(folder: Path, columns: Mapping[str, Sequence[Any]], at_once: int) -> Any:
    """The rows in a file, so many in a record batch."""
    import datasets
    import pyarrow as pa

    table = pa.table(dict(columns))
    folder.mkdir()
    with pa.OSFile(str(folder / "rows.arrow"), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=at_once)
    rows = datasets.Dataset.from_file(str(folder / "rows.arrow"))
    return datasets.DatasetDict(train=rows, validation=rows.select(range(10)))


def test_the_same_rows_have_the_same_fingerprint_however_they_are_divided(tmp_path: Path) -> None:
    keys = {content_key(on_disk(tmp_path / str(size), COLUMNS, size)) for size in (7, 1_000, 1_024, 2_500)}
    assert len(keys) == 1
    moved = {name: ["x" if name == "text" else values[0], *values] for name, values in COLUMNS.items()}
    shifted = on_disk(tmp_path / "shifted", moved, 999)
    shifted["train"] = shifted["train"].select(range(1, 2_501))
    shifted["validation"] = shifted["train"].select(range(10))
    assert {content_key(shifted)} == keys


@pytest.mark.parametrize("name", list(COLUMNS))
def test_one_other_value_gives_another_fingerprint(tmp_path: Path, name: str) -> None:
    other = {
        "text": "other",
        "input_ids": [1],
        "loss_mask": [True],
        "segments": [{"text": "2000", "loss": True}],
        "n_bytes": 1,
        "share": 0.5,
    }
    changed = {**COLUMNS, name: [*COLUMNS[name][:2_000], other[name], *COLUMNS[name][2_001:]]}
    one, two = on_disk(tmp_path / "one", COLUMNS, 500), on_disk(tmp_path / "two", changed, 500)
    assert content_key(one) != content_key(two)


def test_letters_that_move_to_the_next_row_are_another_text(tmp_path: Path) -> None:
    one = on_disk(tmp_path / "one", {"text": ["ab", "c"] * 5}, 10)
    two = on_disk(tmp_path / "two", {"text": ["a", "bc"] * 5}, 10)
    assert content_key(one) != content_key(two)
