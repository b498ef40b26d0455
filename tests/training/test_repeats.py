"""The same content is found wherever it stands, and nothing else is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from tuiftune.training.repeats import READ_ROWS, find_repeats, find_shared, row_digests, text_digests


def texts(values: list[str]) -> Any:
    import datasets

    return datasets.Dataset.from_dict({"text": values})


def test_repeats_are_counted_beyond_the_first_and_the_most_frequent_is_the_first_of_its_kind() -> None:
    values = ["", "b", "a", "b", "a ", "a", "", "", "", "c", "a"]
    found = find_repeats(text_digests(texts(values)))
    counts = Counter(value for value in values if value)
    assert found.compared == 7, "a document without text is not trained on"
    assert found.repeated == sum(counts.values()) - len(counts) == 3
    assert (found.most_frequent, found.times) == (2, 3)


def test_where_all_differ_nothing_is_the_most_frequent() -> None:
    found = find_repeats(text_digests(texts(["a", "b", ""])))
    assert (found.compared, found.repeated, found.most_frequent) == (2, 0, None)


def test_what_validation_shares_with_train_is_told_by_its_number() -> None:
    train, validation = (
        text_digests(texts(["x", "", "caf\u00e9"])),
        text_digests(texts(["y", "caf\u00e9", "", "x", "x"])),
    )
    assert find_shared(train, validation).tolist() == [1, 3, 4]


def test_rows_are_told_apart_by_where_they_end(tokenised: Callable[..., Any]) -> None:
    digests = row_digests(tokenised([[1, 2], [3], [1], [2, 3], [1, 2]])["train"])
    assert len(digests) == 5
    assert digests[0] == digests[4]
    assert len(set(digests.tolist())) == 4


def test_rows_of_many_batches_and_of_a_selection_are_those_rows(tokenised: Callable[..., Any]) -> None:
    rows = [[number % 7, number, 300_000 + number % 5] for number in range(2 * READ_ROWS + 100)]
    data = tokenised(rows)["train"]
    digests = row_digests(data)
    assert len(set(digests.tolist())) == len(rows)
    chosen = [2050, 3, 999, 1000]
    assert row_digests(data.select(chosen)).tolist() == digests[chosen].tolist()
