"""The data screen, from the list of profiles to the last token of the first step, by keys."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from textual.pilot import Pilot

from tuiftune.catalog import Catalog
from tuiftune.tui.app import TuiftuneApp
from tuiftune.tui.data_reading import DataChanged, DataFailed, DataProgress, DataRead, Found, Subject
from tuiftune.tui.messages import GoTo
from tuiftune.tui.screens.ask import AskScreen
from tuiftune.tui.screens.data import DataScreen
from tuiftune.tui.screens.start import StartScreen
from tuiftune.tui.widgets import glyphs

PROFILE = """
description = "Lines about numbers"
[model]
init = "scratch"
tokenizer = "tuiftune:babyllama-105"
config = {model_type = "gpt2", n_layer = 1, n_embd = 32, n_head = 2}
[dataset]
stage = "text"
path = "text.txt"
validation = 0.2
[[preprocess]]
stage = "tokenize"
max_length = 32
[train]
stage = "causal_lm"
batch_size = 4
"""


def split(rows: int) -> dict[str, Any]:
    return {
        "documents": rows,
        "rows": rows,
        "tokens": 10 * rows,
        "mean_length": 10.0,
        "longest_length": 20,
        "tokens_with_loss": 9 * rows,
        "share_with_loss": 0.9,
        "unknown_tokens": None,
        "unknown_share": None,
        "longest": [{"tokens": 20, "text": "the longest one of them all, so long that it has to be cut somewhere"}],
        "cut": None,
        "repeats": {
            "unit": "documents",
            "count": 2,
            "share": 0.01,
            "most_frequent": {"times": 3, "text": "same\x1b[31m"},
        },
    }


def row(number: int) -> dict[str, Any]:
    pieces = [f"Question {number}?\n", "", "\u4e2d", " be", "cause", "\x1b[2J", "[bold]", "</s>"]
    loss = [False, False, True, True, True, False, True, True]
    return {"sample": number, "tokens": 8, "ids": list(range(8)), "pieces": pieces, "loss": loss}


def report(profile: str = "mine") -> dict[str, Any]:
    """As `tuiftune data --json` prints it."""
    return {
        "profile": profile,
        "pipeline": ["text", "tokenize", "causal_lm"],
        "vocabulary": 50257,
        "unknown_token": {"id": None, "text": None, "bytes": True},
        "splits": {"train": split(900), "validation": split(100)},
        "leaks": {"unit": "documents", "count": 1, "share_of_validation": 0.01, "example": "leaked"},
        "lengths": [{"from": 1, "to": 10, "train": 600, "validation": 20},
                    {"from": 11, "to": 20, "train": 300, "validation": 80}],
        "padding": {
            "slots_at_once": 64, "padded_to": 32, "share": 0.5, "padded_slots": 64, "computed_slots": 32,
            "speed_up_estimate": 2.0, "steps_measured": 3, "steps_per_epoch": 3,
        },
        "first_step": {
            "samples": 13, "left_out": 0, "tokens": 104, "tokens_with_loss": 65, "slots": 64,
            "micro_batches": [
                {"rows": [row(number) for number in range(6)], "slots": 32},
                {"rows": [row(number) for number in range(6, 12)] + [{"sample": 12, "tokens": 8}], "slots": 32},
            ],
        },
    }  # fmt: skip


FOUND = Found(report(), {"stage": "text", "path": "data/numbers.txt"}, {}, time.time() - 125)


@pytest.fixture
def mine(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace with one profile, and its data."""
    (workspace / "profiles" / "mine.toml").write_text(PROFILE)
    (workspace / "text.txt").write_text("".join(f"number {number} of them\n" for number in range(40)))
    monkeypatch.chdir(workspace)
    return workspace


def child_of(screen: DataScreen) -> subprocess.Popen[bytes]:
    """The process that reads for it."""
    child = screen._reader._child
    assert child is not None
    assert child._process is not None
    return child._process


@asynccontextmanager
async def opened(workspace: Path, size: tuple[int, int] = (80, 24)) -> AsyncIterator[tuple[Pilot[None], DataScreen]]:
    app = TuiftuneApp(workspace)
    async with app.run_test(size=size) as pilot:
        await pilot.press("4")
        await pilot.pause()
        assert isinstance(app.screen, DataScreen)
        yield pilot, app.screen


@asynccontextmanager
async def reported(
    workspace: Path, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch, found: Found = FOUND
) -> AsyncIterator[tuple[Pilot[None], DataScreen]]:
    """The screen with a report that nothing had to be read for."""
    monkeypatch.setattr(
        "tuiftune.tui.data_reading.DataReader.read",
        lambda self, subject: self._post(DataRead(subject, found)),
    )
    monkeypatch.setattr("tuiftune.tui.data_reading.DataReader.look_whether_changed", lambda *_: None)
    monkeypatch.setattr("tuiftune.tui.watch.read_catalog", lambda _: Catalog([], [], {}, []))
    async with opened(workspace, size) as (pilot, screen):
        pilot.app.post_message(GoTo("data", "mine"))
        yield pilot, screen


async def test_a_profile_is_chosen_read_and_given_up_and_found_again(mine: Path, make: Any, shown: Any) -> None:
    make.finished().finish()
    async with opened(mine) as (pilot, screen):
        seen = await shown(pilot, "quickstart", "run last · ", "Lines about numbers", "gpt2-text")
        assert [line.split()[0] for line in seen.splitlines()[3:5]] == ["quickstart", "mine"]
        assert "base " not in seen  # it is not run by itself
        while screen.pane.choice.name_chosen != "mine":
            await pilot.press("down")
        await pilot.press("enter")
        await shown(pilot, "its data is being read", "0:0", "loading libraries", "esc Give up")
        going_on = child_of(screen)
        await pilot.press("escape")
        await shown(pilot, "Given up.", "r reads it after all")
        assert going_on.wait(20) < 0
        await pilot.press("r")
        seen = await shown(pilot, "text.txt", "read just now", "TRAIN", "VALIDATION", "figures")
        rows = {line.strip().split("  ")[0]: line.split()[-2:] for line in seen.splitlines()}
        assert rows["documents"] == ["32", "8"]
        assert "text → tokenize → causal_lm" in seen
        assert list((mine / "cache").iterdir())  # kept for the run

        await pilot.press("1", "4")  # elsewhere and back: it is there at once
        await shown(pilot, "read just now", "documents")
        (mine / "text.txt").write_text("another text\n" * 50)
        await pilot.press("1", "4")
        await shown(pilot, "have changed since; r reads it again")

        await pilot.press("f")
        await shown(pilot, "Which file for mine?", "now text.txt")
        await pilot.press(*"no.txt", "enter")
        await shown(pilot, "no.txt: no such file", "dataset.path")
        assert isinstance(pilot.app.screen, AskScreen)  # it is not there either: asked again
        await pilot.press("escape")
        await shown(pilot, "f names the file", 'dataset.path="no.txt"')
        await pilot.press("o")
        await shown(pilot, "whose data is to be looked at?")
        await pilot.press("escape")
        await shown(pilot, "no such file")
        pilot.app.post_message(GoTo("data", "quickstart"))
        await shown(pilot, "its data is being read", "loading libraries")
        going_on = child_of(screen)
    assert going_on.wait(20) < 0  # it ends with the dashboard


async def test_the_report_is_walked_by_section_and_by_row(
    mine: Path, shown: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with reported(mine, (80, 24), monkeypatch) as (pilot, screen):
        seen = await shown(pilot, "data/numbers.txt", " min ago", "tokenizer of 50,257", "figures")
        assert "also in train" in seen
        for words in (("1 to 10", "66.7%", "The longest bar: 80.0%."), ("Most often in train", "“leaked”"),
                      ("the longest one",), ("50.0% of the slots",), ("13 samples, 104 tokens",)):  # fmt: skip
            await pilot.press("right_square_bracket")
            await shown(pilot, *words)
        assert screen.pane.figures.text[0].split()[-2:] != ["step", "1"]  # how much is below is told beside it
        seen = await shown(pilot, "⟦ ⟧ read, but not counted in the loss", "│ between tokens")
        await pilot.press("n")
        seen = await shown(pilot, "▸ sample 0", "8 tokens, 5 with loss", "micro-batch 1 of 2, row 1 of 6")
        lines = seen.splitlines()
        at = next(place for place, line in enumerate(lines) if "▸" in line)
        assert [line.strip() for line in lines[at + 1 : at + 3]] == [
            "⟦Question 0?⏎",  # the line ends with the text's
            "▫⟧│中│ be│cause│⟦▫⟧│[bold]│</s>",
        ]
        await pilot.press("N")
        await shown(pilot, "▸ sample 0")
        await pilot.press("n", "n")
        await shown(pilot, "▸ sample 2")
        await pilot.press("t")
        seen = await shown(pilot, "中 because", "⟦⟧[bold]</s>")
        assert "│" not in seen
        await pilot.press("G")
        await shown(pilot, "1 more row of this step not shown")
        await pilot.press("left_square_bracket", "left_square_bracket")
        await shown(pilot, "50.0% of the slots")
        await pilot.press("g")
        await shown(pilot, "documents")
        await pilot.click("#figures", offset=(12, 1))
        await shown(pilot, "1 to 10")
        await pilot.press("question_mark")
        await shown(pilot, "Help: data", "Row before", "Section before")
        await pilot.press("escape")
        await pilot.press("enter")
        await shown(pilot, "Start mine?", "text.txt")
        assert isinstance(pilot.app.screen, StartScreen)


async def test_at_every_size_nothing_is_wider_than_the_screen_and_nothing_steers_it(
    mine: Path, shown: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with reported(mine, (200, 60), monkeypatch) as (pilot, screen):
        await shown(pilot, "documents", "sample 0")
        for width, height in ((200, 60), (120, 40), (80, 24), (40, 14), (20, 5), (100, 16)):
            await pilot.resize_terminal(width, height)
            beside = width >= 100
            await shown(pilot, *(["documents", "sample 1"] if beside else ["figures"]))
            assert screen.pane.step.display is beside
            await pilot.press("n")
            await shown(pilot, "▸ sample", *(["step 1"] if width >= 40 else []))
            for pane in (screen.pane.figures, screen.pane.step) if beside else (screen.pane.figures,):
                assert pane.text[0]
                assert all(cell_len(line) <= pane.content_size.width for line in pane.text)
                assert not any("\x1b" in line for line in pane.text)
            await pilot.press("N")
            if not beside:
                await pilot.press("g")


async def test_without_utf_8_it_is_drawn_in_ascii(mine: Path, shown: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuiftune.tui.panes.data.ascii_only", lambda: True)
    assert not glyphs.ascii_only()
    report_of_ascii = json.loads(json.dumps(report()).replace("\\u4e2d", "c"))
    found = Found(report_of_ascii, FOUND.dataset, {}, time.time())
    async with reported(mine, (80, 60), monkeypatch, found) as (pilot, screen):
        await shown(pilot, "figures", "####", "[[Question 0?\\n")
        assert all(line.isascii() for line in screen.pane.figures.text)


async def test_what_goes_wrong_is_a_sentence_and_an_old_answer_changes_nothing(
    mine: Path, shown: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with reported(mine, (80, 24), monkeypatch) as (pilot, screen):
        await shown(pilot, "documents")
        other = Subject("other")
        for message in (DataFailed(other, ["not this one"]), DataChanged(other), DataProgress(other, "nor this")):
            screen.post_message(message)
        screen.post_message(DataFailed(Subject("mine"), ["the data has no tokens,\x1b[31m only [bold]columns[/]"]))
        seen = await shown(pilot, "There is no report:", "only [bold]columns[/]", "r tries again")
        assert "not this one" not in seen
        await pilot.press("r")
        await shown(pilot, "documents")
