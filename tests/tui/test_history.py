"""A figure's history in blocks."""

from __future__ import annotations

import math

import pytest

from tuiftune.tui.widgets.history import blocks


def test_values_become_blocks_from_the_lowest_to_the_highest() -> None:
    assert blocks([0, 1, 2, 3, 4, 5, 6, 7], 8) == ["▁▂▃▄▅▆▇█"]
    assert blocks([0, 50, 100], 3, 0, 100) == ["▁▅█"]
    assert blocks([-20, 120], 2, 0, 100) == ["▁█"]
    assert blocks([5, 5, 5], 3) == ["▁▁▁"]


def test_the_newest_values_are_kept_and_stand_at_the_right() -> None:
    assert blocks([9, 9, 0, 100], 2, 0, 100) == ["▁█"]
    assert blocks([100], 4, 0, 100) == ["   █"]
    assert blocks([], 3) == ["   "]
    assert blocks([1, 2], 0) == [""]


def test_what_is_not_there_is_a_gap() -> None:
    assert blocks([0, None, 100, math.nan, 0], 5, 0, 100) == ["▁ █ ▁"]
    assert blocks([None, None], 2) == ["  "]


def test_a_taller_history_has_so_many_rows() -> None:
    assert blocks([0, 50, 100], 4, 0, 100, rows=2) == ["  ▁█", " ▁██"]
    assert blocks([], 2, rows=3) == ["  "] * 3


def test_without_utf_8_the_blocks_are_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    assert blocks([0, 100], 2, 0, 100) == ["_#"]
