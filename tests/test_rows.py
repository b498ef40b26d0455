"""Rows on disk come back in batches of bounded size, all of them, in order."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tuiftune.rows import BATCH_BYTES, BATCH_ROWS, RowWriter, lists, made_ahead, read_batches, read_tables


def written(path: Path, texts: list[str | None]) -> Any:
    with RowWriter(path, ["text"]) as writer:
        for text in texts:
            writer.add({"text": text}, len(text or ""))
        return writer.finish()


def drawn(count: int) -> list[str | None]:
    """Mostly short ones; some of 100 kB, in clusters."""
    draw = random.Random(2)  # noqa: S311
    return [
        None if number % 50 == 7 else str(number) * draw.choice([0, 1, 40, 30_000 if 900 < number < 1_100 else 3])
        for number in range(count)
    ]


@pytest.mark.parametrize(("rows", "size"), [(BATCH_ROWS, BATCH_BYTES), (300, 1 << 16), (1, BATCH_BYTES), (4_096, 1)])
def test_tables_hold_every_row_in_order_and_are_no_larger_than_asked(tmp_path: Path, rows: int, size: int) -> None:
    texts = drawn(5_000)
    dataset = written(tmp_path / "rows.arrow", texts)
    found: list[str | None] = []
    for table in read_tables(dataset, ["text"], "text", rows, size):
        part = table.column("text").to_pylist()
        assert 1 <= len(part) <= rows
        assert sum(len(text or "") for text in part[:-1]) < size, "but for its last row"
        found += part
    assert found == texts


def test_an_index_mapping_is_followed(tmp_path: Path) -> None:
    texts = drawn(2_000)
    chosen = list(range(1_999, 0, -3))
    dataset = written(tmp_path / "rows.arrow", texts).select(chosen)
    batches = list(read_batches(dataset, ["text"], "text"))
    assert [text for batch in batches for text in batch["text"]] == [texts[number] for number in chosen]
    assert list(read_batches(dataset.select([]), ["text"], "text")) == []


def test_values_end_to_end_become_lists(tmp_path: Path) -> None:
    import numpy as np

    made = lists(np.arange(6, dtype=np.int32), np.array([2, 0, 4]))
    with RowWriter(tmp_path / "rows.arrow", ["input_ids"]) as writer:
        writer.add_batch({"input_ids": made})
        assert writer.finish()["input_ids"][:] == [[0, 1], [], [2, 3, 4, 5]]


def test_the_next_item_is_made_while_one_is_worked_on() -> None:
    made = [threading.Event() for _ in range(4)]

    def items() -> Iterator[int]:
        for number, event in enumerate(made):
            event.set()
            yield number

    seen = []
    for number in made_ahead(items()):
        seen.append(number)
        assert number == 3 or made[number + 1].wait(10), "it is made without being asked for"
    assert seen == [0, 1, 2, 3]


def test_what_goes_wrong_in_the_making_is_raised_where_the_items_are_used() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("no second one")

    seen = []
    with pytest.raises(ValueError, match="no second one"):
        seen.extend(made_ahead(items()))
