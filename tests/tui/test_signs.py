"""Terminals that have no UTF-8: whatever is drawn or printed comes out as ASCII, each sign as another one."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len

from tuiftune import signs

COMMAND = [sys.executable, "-P", "-m", "tuiftune.cli"]
ASCII = {"LC_ALL": "C", "LANG": "C", "PYTHONIOENCODING": "ascii"}
PLACES = {"1": "steady", "2": "loss", "3": "RUN", "4": "steady", "6": "perplexity", "5": "Type a prompt"}
"""Key of a place, and a word that stands there."""
PROFILE = 'description = "steady: é → 中"\n[dataset]\nstage = "text"\npath = "text.txt"\n[train]\nstage = "demo"\n'


def drawn_signs(path: Path) -> set[str]:
    """What is not ASCII in the strings of a module, its docstrings too: a command's are its help."""
    strings = (node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant))
    return {sign for text in strings if isinstance(text, str) for sign in text if not sign.isascii()}


def test_every_sign_in_the_source_has_an_ascii_form_of_its_width(repository: Path) -> None:
    modules = [path for path in (repository / "tuiftune").rglob("*.py") if path.parent.name != "web"]
    found = set().union(*map(drawn_signs, modules)) - set(map(chr, range(0x2801, 0x2900)))  # charts draw others at once
    found = {sign for sign in found if sign.isprintable()}
    assert {"→", "✓", "…", "°"} <= found
    for sign in found:
        form = signs.in_ascii(sign)
        assert form.isascii(), f"{sign} has no form in signs.py"
        assert cell_len(form) == cell_len(sign), sign


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [
        ("ascii", b"x 'C ~ e __ _ A  e "),
        ("latin-1", b"x 'C ~ \xe9 __ _ A  e "),
        ("utf-8", "x 'C ~ é 中 ﬁ Ａ e\u0301 ".encode()),  # noqa: RUF001 - the Linux console: few signs
    ],
)
def test_letters_stay_what_the_encoding_has_and_no_column_moves(encoding: str, expected: bytes) -> None:
    text = "✗ °C … é 中 ﬁ Ａ e\u0301 "  # noqa: RUF001
    assert text.encode(f"ascii_signs_{encoding}") == expected
    if encoding == "ascii":
        assert len(expected) == cell_len(text)


@pytest.mark.parametrize("environment", [ASCII, {"LC_ALL": "C"}, {"PYTHONIOENCODING": "latin-1"}, {"TERM": "linux"}])
def test_what_a_terminal_is_said_to_show(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert not signs.ascii_only(), "the tests' own terminal has UTF-8"
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert signs.ascii_only()


@pytest.fixture
def steady(workspace: Path, make: Any) -> Path:
    """A workspace with a profile of its own, a run in the middle and one at its end."""
    (workspace / "text.txt").write_text("one\ntwo\n")
    (workspace / "profiles" / "steady.toml").write_text(PROFILE)
    finished = make.finished()
    finished.gpus(1, 20)
    finished.log("a sentence that stands in the log, long enough to be cut off at the right edge … 66 °C")
    running = make.running()
    running.gpus(2, 20)
    running.healed("memory ran out: half as many rows at once × 2")  # noqa: RUF001
    return workspace


def test_all_places_are_drawn_with_ascii_alone(steady: Path, open_terminal: Callable[..., Any]) -> None:
    terminal = open_terminal(COMMAND, steady, 130, 40, **ASCII)
    terminal.wait_for("loss", "1 Profiles")
    for key, word in PLACES.items():
        terminal.type(key)
        seen = terminal.wait_for(word)
        assert not re.search(r"(?<![a-z])\?(?! Help)", seen), seen  # but at the end of a question, and the key
    terminal.type("\x1b")  # out of the prompt
    terminal.wait_for("q Leave")
    for key, word in (("?", "esc close"), ("\x10", "/  ")):  # the help, and the palette over it
        terminal.type(key)
        terminal.wait_for(word)
    terminal.kill()
    assert bytes(terminal.raw).isascii(), re.findall(rb"[^\x00-\x7f]+", terminal.raw)[:20]


@pytest.mark.parametrize("arguments", [("runs",), ("watch", "--once"), ("profiles",), ("check", "steady"), ("--help",)])
def test_commands_print_ascii_alone(
    steady: Path, arguments: tuple[str, ...], open_terminal: Callable[..., Any]
) -> None:
    terminal = open_terminal([*COMMAND, *arguments], steady, 100, 40, **{**ASCII, "PYTHONIOENCODING": ""})
    assert terminal.wait() == 0
    assert bytes(terminal.raw).isascii()
    assert b"?" not in terminal.raw


def test_the_letters_of_data_reach_a_pipe_whole(steady: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "C")
    done = subprocess.run([*COMMAND, "profiles"], cwd=steady, capture_output=True, check=True)
    assert "steady: é > 中" in done.stdout.decode()
    done = subprocess.run([*COMMAND, "profiles", "--json"], cwd=steady, capture_output=True, check=True)
    assert "steady: é → 中" in [profile["description"] for profile in json.loads(done.stdout)]
