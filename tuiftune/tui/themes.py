"""The dashboard's colours: two themes of its own, which one is used, and that a choice is remembered.

Both are made of the palette of Okabe and Ito (Color Universal Design, 2008), whose colours stay apart for people with
any of the common kinds of colour blindness; the signs beside them tell the same without colour.
"""

from __future__ import annotations

import os
from typing import Any

from textual.app import App
from textual.theme import BUILTIN_THEMES, Theme

from tuiftune.errors import TuiftuneError, WorkspaceError
from tuiftune.paths import theme_file

VARIABLE = "TUIFTUNE_THEME"
LONGEST = 100
"""Bytes of the file that remembers a theme."""
DARK = Theme(
    "dark",
    primary="#56b4e9",
    secondary="#0072b2",
    accent="#e69f00",
    warning="#f0e442",
    error="#e8652a",
    success="#19b585",
    foreground="#e0e0e0",
    background="#121212",
    surface="#1e1e1e",
    panel="#242f38",
)
"""Vermilion and green are a little lighter than in the palette, for a dark ground."""
LIGHT = Theme(
    "light",
    primary="#0072b2",
    secondary="#56b4e9",
    accent="#8a4b00",
    warning="#8a6d00",
    error="#7d1d6f",
    success="#1b6e3c",
    foreground="#202020",
    background="#fafafa",
    surface="#eeeeee",
    panel="#dde6ec",
    dark=False,
)
"""Its oranges and greens are darker than in the palette, for a light ground, where dark vermilion and dark orange would
be one colour to many: what is bad has the palette's reddish purple."""
OWN = (DARK, LIGHT)
COLOURLESS = "ansi-dark"
"""With NO_COLOR the terminal's own letters and ground are kept, and what stands out is bold, dim or reversed."""
LIGHT_GROUNDS = ("7", "9", "10", "11", "12", "13", "14", "15")
"""Of the 16 colours, as COLORFGBG numbers them."""


def names() -> list[str]:
    """All themes, our own first."""
    return [*(theme.name for theme in OWN), *(name for name in BUILTIN_THEMES if not name.startswith("ansi-"))]


def wanted() -> str:
    """The theme to begin with: TUIFTUNE_THEME's, else the one chosen last, else what suits the terminal's ground.

    Raises TuiftuneError where TUIFTUNE_THEME names none.
    """
    named = os.environ.get(VARIABLE, "")
    if named and named not in names():
        raise TuiftuneError(f"{VARIABLE}={named}: there is no such theme; choose one of {', '.join(names())}")
    return named or remembered() or suited()


def colourless() -> bool:
    """Whether no colours are to be drawn: https://no-color.org."""
    return bool(os.environ.get("NO_COLOR"))


def hand_to(app: App[Any]) -> None:
    """All themes to choose from, and the one to begin with. For the app's `__init__`. Raises TuiftuneError."""
    for theme in OWN:
        app.register_theme(theme)
    if not colourless():
        app.unregister_theme("ansi-dark")
        app.unregister_theme("ansi-light")
    app.set_reactive(App.theme, COLOURLESS if colourless() else wanted())


def suited() -> str:
    """Light where the terminal says that its ground is; few do (COLORFGBG, of rxvt, Konsole and others)."""
    return LIGHT.name if os.environ.get("COLORFGBG", "").rpartition(";")[2] in LIGHT_GROUNDS else DARK.name


def remembered() -> str | None:
    """The theme that was chosen last; None where none was, or it is not there any more."""
    try:
        with theme_file().open("rb") as file:
            name = file.read(LONGEST).decode("utf-8", "replace").strip()
    except (OSError, RuntimeError):  # RuntimeError: there is no home
        return None
    return name if name in names() else None


def remember(name: str) -> None:
    """Begin with that theme the next time. Raises WorkspaceError."""
    try:
        theme_file().parent.mkdir(parents=True, exist_ok=True)
        theme_file().write_text(f"{name}\n")
    except (OSError, RuntimeError) as error:
        raise WorkspaceError(f"the theme cannot be kept for the next time: {error}") from error
