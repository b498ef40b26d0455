"""How a profile is edited from anywhere in the dashboard: in the form, or in the user's own text editor."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from textual.app import App, SuspendNotSupported

from tuiftune.catalog import Catalog, resolve_profile
from tuiftune.editing import files
from tuiftune.errors import TuiftuneError
from tuiftune.layers import find_profile
from tuiftune.tui.screens.choose import ChooseScreen
from tuiftune.tui.screens.editor import EditorScreen
from tuiftune.tui.screens.problems import ProblemsScreen

Done = Callable[[str | None], None]
"""Told the name of the profile that was saved or may have been changed, None where nothing was."""
OPEN, EXTEND = "open it", "extend it"
NOTICE_S = 4.0


def duplicate_profile(app: App[Any], workspace: Path, name: str, catalog: Catalog | None, done: Done) -> None:
    """Make a new profile in the form that extends that one."""
    app.push_screen(EditorScreen(workspace, name, catalog, duplicate=True), done)


def edit_profile(app: App[Any], workspace: Path, name: str, catalog: Catalog | None, done: Done) -> None:
    """A profile that the form wrote is changed there, one that ships with tuiftune is extended there, and of one that
    was written by hand the user says which of extending it there and opening it in a text editor is meant."""

    def look() -> None:
        try:
            file = find_profile(workspace, name)
            by_hand = file.source != "shipped" and not files.is_editable_in_form(file)
            command = files.editor_command(file.path) if by_hand else []
        except TuiftuneError as error:
            app.call_later(_say, app, f"{name} cannot be edited", error)
            return
        if by_hand:
            app.call_later(_ask, app, workspace, name, catalog, command, done)
        else:
            app.call_later(app.push_screen, EditorScreen(workspace, name, catalog), done)

    app.run_worker(look, thread=True, exit_on_error=False)


def _say(app: App[Any], title: str, error: TuiftuneError) -> None:
    app.push_screen(ProblemsScreen(title, str(error).splitlines()))


def _ask(app: App[Any], workspace: Path, name: str, catalog: Catalog | None, command: list[str], done: Done) -> None:
    def answered(chosen: str | None) -> None:
        if chosen == OPEN:
            _open(app, workspace, name, command, done)
        elif chosen == EXTEND:
            duplicate_profile(app, workspace, name, catalog, done)
        else:
            done(None)

    choices = [(OPEN, f"in {Path(command[0]).name}, as it was written"), (EXTEND, "in the form, by a new profile")]
    lines = ["Its file has comments, or an order of its own, which the form would not keep."]
    app.push_screen(ChooseScreen(f"{name} was written by hand", lines, choices, OPEN), answered)


def _open(app: App[Any], workspace: Path, name: str, command: list[str], done: Done) -> None:
    """Give the terminal to the editor until it ends, then check the file."""
    try:
        with app.suspend():
            subprocess.run(command, check=False)
    except SuspendNotSupported:
        lines = ["This terminal cannot be given to another program.", f"From a shell: tuiftune edit {name}"]
        app.push_screen(ProblemsScreen(f"{name} was not opened", lines))
        return
    except OSError as error:
        app.push_screen(ProblemsScreen(f"{name} was not opened", [f"{command[0]}: {error.strerror}"]))
        return
    done(name)
    app.run_worker(partial(_check, app, workspace, name), thread=True, exit_on_error=False)


def _check(app: App[Any], workspace: Path, name: str) -> None:
    try:
        problems = [str(problem) for problem in resolve_profile(workspace, name).problems]
    except TuiftuneError as error:
        problems = str(error).splitlines()
    if problems:
        app.call_later(app.push_screen, ProblemsScreen(f"{name} has problems", problems))
    else:
        app.call_later(partial(app.notify, "checks clean", title=name, timeout=NOTICE_S, markup=False))
