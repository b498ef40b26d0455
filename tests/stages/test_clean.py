"""Stage `clean`: what is dropped from which split, and what it says of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tuiftune.errors import StageError
from tuiftune.stages.clean import Clean


@pytest.fixture
def clean(context: Callable[..., Any], documents: Callable[..., Any]) -> Callable[..., tuple[list[str], list[str]]]:
    """Runs the stage on two lists; the texts that are left of each."""

    def run(train: list[Any], validation: list[Any], **options: Any) -> tuple[list[str], list[str]]:
        left = Clean(Clean.Options(**options)).run(context(Clean, input=documents(train, validation)))
        return list(left["train"]["text"]), list(left["validation"]["text"])

    return run


def test_both_ends_are_stripped_and_empty_documents_dropped(clean: Callable[..., Any], heard: Any) -> None:
    assert clean([" a  b\n", "\t", ""], ["\nc "]) == (["a  b"], ["c"])
    assert heard.lines == [
        "validation: 1 of 1 documents kept",
        "train: 1 of 3 documents kept; dropped 2 empty or too short",
    ]


def test_whitespace_inside_can_be_collapsed(clean: Callable[..., Any]) -> None:
    assert clean([" a  b\n\tc "], ["d"], whitespace="collapse") == (["a b c"], ["d"])


def test_whitespace_can_be_kept(clean: Callable[..., Any]) -> None:
    assert clean(["  def f():\n", "   "], ["d"], whitespace="keep") == (["  def f():\n"], ["d"])


def test_of_equal_documents_the_first_stays_in_train(clean: Callable[..., Any], heard: Any) -> None:
    assert clean(["a", "b", "a ", "c", "b"], ["d", "d"]) == (["a", "b", "c"], ["d", "d"])
    assert heard.lines[1] == "train: 3 of 5 documents kept; dropped 2 exact duplicates"


def test_what_validation_holds_is_dropped_from_train(clean: Callable[..., Any], heard: Any) -> None:
    assert clean(["a", "b", "a", "c"], [" a"]) == (["b", "c"], ["a"])
    assert heard.lines[1] == "train: 2 of 4 documents kept; dropped 2 that validation holds too"


def test_each_part_can_be_turned_off(clean: Callable[..., Any]) -> None:
    assert clean(["a", "a", ""], ["a"], duplicates=False, leaks=False, min_chars=0) == (["a", "a", ""], ["a"])


def test_short_documents_are_dropped_from_both_splits(clean: Callable[..., Any]) -> None:
    assert clean(["ab", "abc", "abcd"], ["xy", "xyz"], min_chars=3) == (["abc", "abcd"], ["xyz"])


def test_documents_with_segments_keep_their_whitespace(
    context: Callable[..., Any], documents: Callable[..., Any]
) -> None:
    chat = {"text": " Hi? Hello. ", "segments": [{"text": " Hi? ", "loss": False}, {"text": "Hello. ", "loss": True}]}
    empty = {"text": "  ", "segments": [{"text": "  ", "loss": True}]}
    plain = {"text": " a ", "segments": None}
    data = documents([chat, empty, plain], [{"text": "v", "segments": None}])
    left = Clean().run(context(Clean, input=data))
    assert list(left["train"]) == [chat, {"text": "a", "segments": None}]


def test_a_split_that_is_left_empty_is_a_sentence(clean: Callable[..., Any]) -> None:
    with pytest.raises(StageError) as caught:
        clean(["a", "a", " "], ["a"])
    assert str(caught.value) == (
        "nothing is left of the 3 documents of train: 1 empty or too short, 2 that validation holds too. "
        "Relax clean.min_chars, clean.duplicates or clean.leaks, or bring more text"
    )


def test_many_documents_keep_their_order(clean: Callable[..., Any]) -> None:
    texts = [f"document {number}" for number in range(5_000)]
    assert clean(texts, ["v"])[0] == texts
