"""How the profile editor saves: what has to be asked before, and what may come in between."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from textual.screen import Screen

from tuiftune.editing.files import ChangedOnDisk, NameTaken, Opened
from tuiftune.errors import ProfileError
from tuiftune.tui import drafting
from tuiftune.tui.drafting import DraftNotSaved
from tuiftune.tui.screens.ask import AskScreen
from tuiftune.tui.screens.choose import ChooseScreen
from tuiftune.tui.screens.confirm import ConfirmScreen
from tuiftune.tui.screens.problems import ProblemsScreen

SAVE, LOSE, STAY = "save", "leave it", "stay"
"""What may be done before leaving."""


class Saving:
    """Saves a draft in a thread, whose answer goes to the screen."""

    def __init__(self, screen: Screen[Any], workspace: Path, profile: str) -> None:
        """`profile`: the one that a new one extends."""
        self._screen, self._workspace, self._profile = screen, workspace, profile
        self._busy = False
        self.suggested = ""
        """A name for a new one that is free."""
        self.leaving = False
        """Whether the screen is left once it is saved."""

    def save(self, opened: Opened) -> None:
        """To its file; a new one is asked for its name first."""
        if self._busy:
            return
        if opened.is_new:
            line = f"It extends {self._profile} and is saved to profiles/, in {self._workspace}."
            self._ask_for_name(opened, line, self.suggested)
        else:
            self._write(opened, opened.name)

    def _ask_for_name(self, opened: Opened, line: str, wanted: str) -> None:
        def answered(name: str | None) -> None:
            if name is not None:
                self._write(opened, name)
            else:
                self.leaving = False

        question = AskScreen("What is the profile to be called?", [line], "NAME", wanted)
        self._screen.app.push_screen(question, answered)

    def _write(self, opened: Opened, name: str, replace: bool = False) -> None:
        self._busy = True
        save = partial(drafting.save_draft, opened, name, replace, self._screen.post_message)
        self._screen.run_worker(save, thread=True, exit_on_error=False)

    def done(self) -> bool:
        """It is saved; whether the screen is to be left."""
        self._busy = False
        return self.leaving

    def failed(self, opened: Opened, message: DraftNotSaved) -> None:
        """It is not saved: ask for another name, or for a word, or say why."""
        self._busy = False
        name, error = message.name, message.error

        def answered(yes: bool | None) -> None:
            if yes:
                self._write(opened, name, replace=True)
            else:
                self.leaving = False

        if isinstance(error, NameTaken | ProfileError):
            self._ask_for_name(opened, str(error), name)
        elif isinstance(error, ChangedOnDisk):
            lines = [str(error), "What was changed there is lost if you do."]
            self._screen.app.push_screen(ConfirmScreen(f"Replace {name}?", lines, "replace it"), answered)
        else:
            self.leaving = False
            self._screen.app.push_screen(ProblemsScreen(f"{name} was not saved", str(error).splitlines()))

    def ask_before_leaving(self, save: Callable[[], object], leave: Callable[[], object]) -> None:
        """Something would be lost: save it first, leave all the same, or stay."""

        def answered(answer: str | None) -> None:
            if answer == SAVE:
                self.leaving = True
                save()
            elif answer == LOSE:
                leave()

        choices = [(SAVE, "and leave"), (LOSE, "what was changed here is gone"), (STAY, "and go on")]
        self._screen.app.push_screen(ChooseScreen("It is not saved", [], choices, SAVE), answered)
