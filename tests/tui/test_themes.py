"""The colours: told apart by everybody, read on their ground, chosen once and kept, and left out where asked."""

from __future__ import annotations

import itertools
import math
import re
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from textual.color import Color
from textual.theme import Theme

from tuiftune.errors import TuiftuneError, WorkspaceError
from tuiftune.tui import themes
from tuiftune.tui.app import TuiftuneApp

from .conftest import until

COMMAND = [sys.executable, "-P", "-m", "tuiftune.cli"]
Rgb = tuple[float, float, float]
SEEN_AS = {
    "all": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "no red": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "no green": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
    "no blue": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.303900)),
}
"""Machado, Oliveira and Fernandes, 'A physiologically-based model for simulation of color vision deficiency' (2009),
severity 1: on linear RGB."""
APART = 20.0
"""CIE 1976 distance: 2.3 is just noticed, side by side."""


def linear(colour: Color) -> Rgb:
    def one(part: float) -> float:
        return part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4

    return (one(colour.r / 255), one(colour.g / 255), one(colour.b / 255))


def times(matrix: Sequence[Sequence[float]], vector: Rgb) -> Rgb:
    r, g, b = (sum(a * x for a, x in zip(row, vector, strict=True)) for row in matrix)
    return (r, g, b)


def lab(rgb: Rgb) -> Rgb:
    """CIE L*a*b* for a white of D65."""
    to_xyz = ((0.4124, 0.3576, 0.1805), (0.2126, 0.7152, 0.0722), (0.0193, 0.1192, 0.9505))
    parts = [max(0.0, part) / white for part, white in zip(times(to_xyz, rgb), (0.9505, 1.0, 1.089), strict=True)]
    x, y, z = (part ** (1 / 3) if part > 0.008856 else 7.787 * part + 16 / 116 for part in parts)
    return (116 * y - 16, 500 * (x - y), 200 * (y - z))


def contrast(one: Color, other: Color) -> float:
    """WCAG 2's contrast ratio."""
    low, high = sorted(0.2126 * r + 0.7152 * g + 0.0722 * b for r, g, b in (linear(one), linear(other)))
    return (high + 0.05) / (low + 0.05)


def colours(theme: Theme) -> dict[str, Color]:
    made = theme.to_color_system().generate()
    words = ("text-success", "text-warning", "text-error", "text-accent", "foreground", "background", "panel")
    return {word: Color.parse(made[word]) for word in words}


@pytest.mark.parametrize("theme", themes.OWN, ids=lambda theme: theme.name)
@pytest.mark.parametrize("eyes", SEEN_AS)
def test_good_warning_and_bad_are_told_apart_by_any_eyes(theme: Theme, eyes: str) -> None:
    seen = {word: lab(times(SEEN_AS[eyes], linear(colour))) for word, colour in colours(theme).items()}
    for one, other in itertools.combinations(("text-success", "text-warning", "text-error"), 2):
        assert math.dist(seen[one], seen[other]) > APART, (one, other)
        assert math.dist(seen[one], seen["foreground"]) > APART / 2, one


@pytest.mark.parametrize("theme", themes.OWN, ids=lambda theme: theme.name)
def test_words_are_read_on_their_ground(theme: Theme) -> None:
    """4.5 is what WCAG 2 asks of text; muted text is 60 % of the foreground."""
    found = colours(theme)
    for ground in ("background", "panel"):
        muted = found[ground].blend(found["foreground"], 0.6)
        for word in ("text-success", "text-warning", "text-error", "text-accent", "foreground"):
            assert contrast(found[word], found[ground]) >= 4.5, (word, ground)
        assert contrast(muted, found[ground]) >= 4.0, ground


def grounds(terminal: Any) -> set[str]:
    """The colours that cells of the screen have behind them."""
    return {cell.bg for line in terminal.screen.buffer.values() for cell in line.values()}


def test_a_theme_is_chosen_once_and_kept(workspace: Path, open_terminal: Callable[..., Any]) -> None:
    colour = {"COLORTERM": "truecolor"}
    terminal = open_terminal(COMMAND, workspace, 100, 30, **colour)
    terminal.wait_for("1 Profiles", "? Help")
    assert "121212" in grounds(terminal)
    terminal.type("\x10")
    terminal.wait_for("Search for commands")
    terminal.type("theme\r")
    terminal.wait_for("gruvbox")
    terminal.type("light\r")
    end = time.monotonic() + 20
    while "121212" in grounds(terminal) or "fafafa" not in grounds(terminal):
        assert time.monotonic() < end, terminal.text()
        time.sleep(0.05)
    while not themes.remembered():
        assert time.monotonic() < end
        time.sleep(0.05)
    terminal.kill()
    again = open_terminal(COMMAND, workspace, 100, 30, **colour)
    again.wait_for("1 Profiles", "? Help")
    assert "fafafa" in grounds(again)
    told = open_terminal(COMMAND, workspace, 100, 30, **colour, TUIFTUNE_THEME="gruvbox")
    told.wait_for("1 Profiles", "? Help")
    assert "fafafa" not in grounds(told)


def test_a_theme_that_there_is_not_is_refused_with_those_there_are(
    workspace: Path, open_terminal: Callable[..., Any]
) -> None:
    terminal = open_terminal(COMMAND, workspace, 200, 24, TUIFTUNE_THEME="pink")
    assert terminal.wait() == 2
    assert "TUIFTUNE_THEME=pink: there is no such theme; choose one of dark, light, " in terminal.text()


@pytest.mark.parametrize(
    ("ground", "theme"), [("15;0", "dark"), ("0;15", "light"), ("0;default;15", "light"), ("", "dark")]
)
def test_the_terminals_ground_is_heeded(ground: str, theme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLORFGBG", ground)
    assert themes.wanted() == theme


def test_a_theme_that_is_kept_no_longer_or_badly_is_passed_over(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    themes.remember("light")
    assert themes.wanted() == "light"
    (tmp_path / "tuiftune" / "theme").write_bytes(b"\xff" * 999)
    assert themes.wanted() == "dark"
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "tuiftune" / "theme"))
    with pytest.raises(WorkspaceError, match="cannot be kept"):
        themes.remember("dark")
    monkeypatch.setenv("TUIFTUNE_THEME", "pink")
    with pytest.raises(TuiftuneError, match="no such theme"):
        themes.wanted()


async def test_a_theme_that_cannot_be_kept_is_said_and_used(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", "/proc/nowhere")
    app = TuiftuneApp(workspace)
    async with app.run_test(size=(100, 30)) as pilot:
        await until(pilot, "/ Filter")
        app.theme = "light"
        await until(pilot, "the theme cannot be kept for the next time")
        assert app.current_theme.name == "light"


def test_without_colours_none_is_sent_and_what_is_chosen_still_stands_out(
    workspace: Path, make: Any, open_terminal: Callable[..., Any]
) -> None:
    make.running()
    make.finished()
    terminal = open_terminal(COMMAND, workspace, 120, 40, NO_COLOR="1")
    terminal.wait_for("loss")
    for key, words in (("1", "/ Filter"), ("3", "o Sort"), ("6", "n New"), ("?", "Keys here")):
        terminal.type(key)
        terminal.wait_for(words)
    codes = set(re.findall(rb"\x1b\[([0-9;:]*)m", bytes(terminal.raw)))
    assert codes <= {b"", b"0", b"1", b"2", b"3", b"4", b"7", b"1;7", b"1;4", b"0;1", b"0;7", b"1;2"}, codes
