"""Tab in a question for a file: names as a shell completes them."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.app import App
from textual.widgets import Input

from tuiftune.tui.file_names import complete
from tuiftune.tui.screens.ask import AskScreen

from .conftest import until


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("mails.txt", "mails-old.txt", "notes.md", ".hidden", "data/a.txt", "data/b/c.txt"):
        (tmp_path / "here" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "here" / name).write_text("x")
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HOME", str(tmp_path / "here"))
    return tmp_path / "here"


@pytest.mark.parametrize(
    ("typed", "text", "names"),
    [
        ("n", "notes.md", ["notes.md"]),
        ("m", "mails", ["mails-old.txt", "mails.txt"]),
        ("d", "data/", ["data/"]),
        ("data/", "data/", ["a.txt", "b/"]),
        ("~/data/a", "~/data/a.txt", ["a.txt"]),
        (".h", ".hidden", [".hidden"]),
        ("", "", ["data/", "mails-old.txt", "mails.txt", "notes.md"]),
        ("zzz", "zzz", []),
        ("nowhere/x", "nowhere/x", []),
        ("bad\0name/", "bad\0name/", []),
    ],
)
def test_what_can_only_be_one_thing_is_filled_in(files: Path, typed: str, text: str, names: list[str]) -> None:
    found = complete(typed, files)
    assert (found.text, list(found.names)) == (text, names)
    whole = complete(f"{files}/{typed}", files).text if not typed.startswith("~") else f"{files}/{text}"
    assert whole == f"{files}/{text}"


async def test_tab_completes_and_letters_go_on_to_the_answer(files: Path) -> None:
    answers: list[str | None] = []
    app: App[None] = App()
    async with app.run_test(size=(80, 24)) as pilot:
        app.push_screen(AskScreen("Which file?", ["a text"], "FILE", files=True), answers.append)
        await until(pilot, "tab completes the name")
        await pilot.press("m", "tab")
        await until(pilot, "mails-old.txt  mails.txt", " mails ")
        await pilot.press(".", "tab")
        await until(pilot, "mails.txt")
        assert app.screen.query_one(Input).value == "mails.txt"
        await pilot.press("z", "tab")
        await until(pilot, "no file begins so")
        await pilot.press("backspace", "shift+tab", "enter")
        assert answers == ["mails.txt"]
        app.push_screen(AskScreen("What else?", ["a value"], "VALUE"), answers.append)
        await until(pilot, "What else?")
        await pilot.press("a", "tab", "b", "enter")
        assert answers == ["mails.txt", "ab"], "Tab is no way out of the answer"
    assert files


def test_names_that_would_write_on_the_terminal_and_links_to_nowhere_are_no_harm(files: Path) -> None:
    (files / "ev\x1b[2Jil").touch()
    (files / "two\nlines").touch()
    (files / "loop").symlink_to("loop")
    assert list(complete("e", files).names) == []
    assert list(complete("t", files).names) == []
    assert list(complete("l", files).names) == ["loop"]
    assert "mails.txt" in complete("", files).names
