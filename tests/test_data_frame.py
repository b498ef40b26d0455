"""The report as a person reads it: nothing wider than the screen, nothing that could steer it, marks without colour."""

from __future__ import annotations

from typing import Any

import pytest
from rich.cells import cell_len

from tuiftune.data_frame import draw
from tuiftune.data_tokens import RUN_CHARACTERS

ESCAPE = "\x1b]0;title\x07\x1b[31m"


def split(**more: Any) -> dict[str, Any]:
    return {
        "documents": 30,
        "rows": 40,
        "tokens": 1234,
        "mean_length": 30.85,
        "longest_length": 64,
        "tokens_with_loss": 617,
        "share_with_loss": 0.5,
        "unknown_tokens": 0,
        "unknown_share": 0.0,
        "longest": [{"tokens": 90, "text": f"{ESCAPE}\u4e2d\u6587\n" * 40}],
        "cut": {
            "max_length": 64,
            "documents": 3,
            "documents_share": 0.1,
            "longest_document": 90,
            "tokens_thrown_away": 0,
            "share_thrown_away": 0.0,
        },
        "repeats": {"unit": "documents", "count": 2, "share": 2 / 30, "most_frequent": {"times": 3, "text": "Same"}},
        **more,
    }


def report(**more: Any) -> dict[str, Any]:
    pieces = ["Q", ": why?", "\nA:", " Because", ".", "</s>"]
    row = {
        "sample": 7,
        "tokens": 6,
        "ids": [1, 2, 3, 4, 5, 2],
        "pieces": pieces,
        "loss": [False, False, False, True, True, True],
    }
    long = {
        "sample": 8,
        "tokens": 400,
        "ids": [3] * 400,
        "pieces": ["S", *["\u4e2d"] * 398, "</s>"],
        "loss": [False] + [True] * 399,
    }
    return {
        "profile": "mine",
        "pipeline": ["text", "tokenize", "causal_lm"],
        "vocabulary": 105,
        "unknown_token": {"id": 0, "text": "<unk>", "bytes": False},
        "splits": {"train": split(), "validation": split()},
        "leaks": {"unit": "documents", "count": 1, "share_of_validation": 1 / 30, "example": f"{ESCAPE}Leaked"},
        "lengths": [
            {"from": 1, "to": 32, "train": 39, "validation": 20},
            {"from": 33, "to": 63, "train": 0, "validation": 0},
            {"from": 64, "to": 64, "train": 1, "validation": 20},
        ],
        "padding": {
            "slots_at_once": 1024,
            "padded_to": 64,
            "share": 0.518,
            "padded_slots": 2560,
            "computed_slots": 1280,
            "speed_up_estimate": 2.0,
            "steps_measured": 3,
            "steps_per_epoch": 3,
        },
        "first_step": {
            "samples": 4,
            "left_out": 1,
            "tokens": 420,
            "tokens_with_loss": 410,
            "slots": 800,
            "micro_batches": [
                {"rows": [long, row], "slots": 798},
                {"rows": [{"sample": 9, "tokens": 13}], "slots": 12},
            ],
        },
        **more,
    }


@pytest.mark.parametrize("width", [60, 80, 132])
def test_no_line_is_wider_than_the_screen_and_none_can_steer_it(width: int) -> None:
    drawn = draw(report(), width)
    assert max(map(cell_len, drawn.splitlines())) <= width
    assert "\x1b" not in drawn
    assert "title" not in drawn
    assert "“Leaked”" in drawn


def test_what_is_not_counted_is_between_marks_and_the_end_has_its_name() -> None:
    assert "    ⟦Q: why?⏎A:⟧ Because.</s>" in draw(report(), 80).splitlines()


def test_a_long_row_is_shown_by_both_ends_and_says_what_is_left_out() -> None:
    drawn = draw(report(), 80)
    (start,) = [place for place, line in enumerate(drawn.splitlines()) if "⟦S⟧" in line]
    whole = "".join(line[4:] for line in drawn.splitlines()[start:]).partition("  sample")[0]
    assert "characters …" in whole
    assert whole.count("\u4e2d") < RUN_CHARACTERS
    assert "</s>" in whole


def test_rows_that_are_not_shown_are_counted() -> None:
    drawn = draw(report(), 80)
    assert "not shown: 1 more row; --json has them all" in drawn
    assert "micro-batch 2" not in drawn
    assert "1 sample of one token left out" in " ".join(drawn.split())


def test_bars_are_on_one_scale_and_what_is_there_is_seen() -> None:
    lines = draw(report(), 80).splitlines()
    first = next(line for line in lines if line.strip().startswith("1 to 32 "))
    last = next(line for line in lines if line.strip().startswith("64  "))
    none = next(line for line in lines if line.startswith("33 to 63"))
    assert first.count("█") > 1.8 * last.count("█")
    assert "39  97.5% █" in first
    assert " 1   2.5% " in last
    assert not any(block in none for block in "▏▎▍▌▋▊▉█")


def test_figures_stand_beside_each_other() -> None:
    lines = draw(report(), 80).splitlines()
    assert any(line.split() == ["documents", "30", "30"] for line in lines)
    assert any(line.split() == ["with", "loss", "50.0%", "50.0%"] for line in lines)
    assert any(line.split() == ["longer", "than", "64", "3", "(10.0%)", "3", "(10.0%)"] for line in lines)
    assert any(line.split() == ["unknown", "none", "none"] for line in lines)
    assert any(line.split() == ["also", "in", "train", "1", "(3.3%)"] for line in lines)


def test_unknown_tokens_and_thrown_away_ones_are_told_where_there_are_some() -> None:
    lost = split()["cut"] | {"tokens_thrown_away": 500, "share_thrown_away": 0.288}
    drawn = draw(
        report(splits={"train": split(unknown_tokens=12, unknown_share=0.0097, cut=lost), "validation": split()}), 80
    )
    assert "unknown, <unk>" in drawn
    assert "12 (1.0%)" in drawn
    assert "500 (28.8%)" in drawn
    assert "Longest samples, after the cut" in drawn


def test_of_a_trainer_that_is_not_ours_no_step_is_told() -> None:
    drawn = draw(report(padding=None, first_step=None), 80)
    assert "Padding" not in drawn
    assert "Step 1" not in drawn
