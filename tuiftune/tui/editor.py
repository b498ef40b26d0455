"""Open a file in the user's own editor, and come back to the dashboard when it is closed."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from textual.app import App, SuspendNotSupported

FALLBACKS = ("sensible-editor", "nano", "vim", "vi")
TAKE_A_LINE = ("sensible-editor", "nano", "vim", "vi", "nvim", "emacs", "micro", "kak", "joe", "ne", "mcedit")
"""Editors that are told a line as +LINE before the file."""


def edit(app: App[Any], path: Path, line: int | None = None) -> str | None:
    """Hand the terminal to the editor until it ends. Returns a sentence where that cannot be done.

    The screen's thread waits meanwhile: what the terminal shows is the editor's.
    """
    command = editor_command(os.environ)
    if command is None:
        return f"no editor was found. Name one: EDITOR=nano tuiftune; or open {path} in another window"
    if line is not None and Path(command[0]).name in TAKE_A_LINE:
        command.append(f"+{line}")
    try:
        with app.suspend():
            done = subprocess.run([*command, str(path)], check=False)
    except SuspendNotSupported:
        return f"an editor needs a terminal of its own, and there is none here. Open {path} elsewhere; r reads it again"
    except OSError as error:
        return f"{command[0]}: cannot be started: {error.strerror}. Name another editor with EDITOR=NAME"
    app.refresh(layout=True)
    return f"{command[0]} ended with status {done.returncode}" if done.returncode else None


def editor_command(environ: Mapping[str, str]) -> list[str] | None:
    """`$VISUAL`, else `$EDITOR`, else one that is installed; None where there is none."""
    for name in ("VISUAL", "EDITOR"):
        if words := shlex.split(environ.get(name, "")):
            return words
    found = next((name for name in FALLBACKS if shutil.which(name)), None)
    return [found] if found else None
