"""Numbers as a person reads them."""

from __future__ import annotations

import math

import pytest

from tuiftune import units
from tuiftune.errors import TuiftuneError


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (8.24, "8.2 s"), (59, "59 s"), (62, "1 min 02 s"), (11100, "3 h 05 min"), (187200, "2 d 04 h")],
)
def test_duration(seconds: float, text: str) -> None:
    assert units.duration(seconds) == text


@pytest.mark.parametrize(("seconds", "text"), [(-3, "0:00"), (42, "0:42"), (725, "12:05"), (11100, "3:05:00")])
def test_clock(seconds: float, text: str) -> None:
    assert units.clock(seconds) == text


@pytest.mark.parametrize(
    ("number", "text"), [(512, "512 B"), (3_774_874, "3.6 MiB"), (12 * 2**30, "12.0 GiB"), (2**41, "2.0 TiB")]
)
def test_size(number: float, text: str) -> None:
    assert units.size(number) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "—"),
        (math.nan, "nan"),
        (math.inf, "inf"),
        (5.12345, "5.123"),
        (12847.3, "12,847"),
        (5e-5, "5.00e-05"),
        (0, "0"),
    ],
)
def test_figure(value: float | None, text: str) -> None:
    assert units.figure(value) == text


@pytest.mark.parametrize(("age", "text"), [(5, "just now"), (300, "5 min ago"), (7200, "2 h ago"), (90000, "1 d ago")])
def test_ago(age: float, text: str) -> None:
    assert units.ago(1_000_000, now=1_000_000 + age) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("12GiB", 12 * 2**30),
        ("12GB", 12 * 10**9),
        ("800MiB", 800 * 2**20),
        (" 1.5 gib", 3 * 2**29),
        ("24000000000", 24 * 10**9),
    ],
)
def test_a_size_is_read_in_binary_and_decimal_units(text: str, expected: int) -> None:
    assert units.parse_size(text) == expected


@pytest.mark.parametrize("text", ["", "GiB", "-1GiB", "12Gi", "nan", "1e9", "0GiB", "9" * 400])
def test_what_is_no_size_is_told_in_one_sentence(text: str) -> None:
    with pytest.raises(TuiftuneError, match="is no amount of memory"):
        units.parse_size(text)
