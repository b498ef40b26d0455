"""Values as they are typed and shown on one line."""

from __future__ import annotations

from typing import Any

import pytest

from tuiftune.catalog import OptionInfo
from tuiftune.editing.values import choices_of, read_value, written

TEXT, INTEGER, FLOAT, EITHER = "string", "integer", "float", "float | integer | string"


def option(kind: str, **more: Any) -> OptionInfo:
    return OptionInfo("x", kind, None, False, "", **more)


@pytest.mark.parametrize(
    ("kind", "typed", "value"),
    [
        (TEXT, "0", "0"),
        (TEXT, "  data/my file.txt ", "data/my file.txt"),
        (TEXT, r"Q: {q}\nA: {a}", "Q: {q}\nA: {a}"),
        (TEXT, r'"a \\n b"', r"a \n b"),
        (TEXT, "true", "true"),
        (INTEGER, "1_000", 1000),
        (INTEGER, "many", "many"),
        (FLOAT, "5e-5", 5e-5),
        (EITHER, "0.1", 0.1),
        (EITHER, "100", 100),
        (EITHER, "test", "test"),
        (EITHER, '"100"', "100"),
        ("array", '["a", "b"]', ["a", "b"]),
        ("value", "{ a = 1 }", {"a": 1}),
    ],
)
def test_what_is_typed_is_read_and_written_the_same_again(kind: str, typed: str, value: Any) -> None:
    found = read_value(typed, option(kind))
    assert (found, type(found)) == (value, type(value))
    again = read_value(written(value, option(kind)), option(kind))
    assert (again, type(again)) == (value, type(value))


def test_only_an_option_that_has_no_other_values_has_choices_to_step_through() -> None:
    assert choices_of(option("'a' | 'b'", choices=["a", "b"])) == ["a", "b"]
    assert choices_of(option("integer | 'auto'", choices=["auto"])) == []
    assert choices_of(option("boolean")) == [False, True]


def test_bounds_are_told_in_words() -> None:
    assert option(INTEGER, minimum=1).bounds == "at least 1"
    assert option(FLOAT, more_than=0, maximum=1).bounds == "more than 0 and at most 1"
    assert option(FLOAT).bounds == ""
