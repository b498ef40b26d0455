"""Which signs this terminal can show, the sign of each state, and paths as people write them."""

from __future__ import annotations

import codecs
import locale
import os
from pathlib import Path

STATE_MARKS = {
    "queued": ("○", "muted"),
    "starting": ("◐", "primary"),
    "running": ("●", "primary"),
    "pausing": ("◒", "warning"),
    "paused": ("‖", "warning"),
    "healing": ("✚", "warning"),
    "stopping": ("◑", "warning"),
    "finished": ("✓", "success"),
    "stopped": ("■", "warning"),
    "released": ("□", "warning"),
    "failed": ("✗", "error"),
    "interrupted": ("!", "warning"),
}
"""State of a run -> its sign and the theme's word for its colour; the sign alone tells it without colour."""


def ascii_only() -> bool:
    """Whether the terminal is not to be sent braille and block characters: its encoding is not UTF-8, or
    it is the Linux console, whose fonts have none."""
    named = os.environ.get("PYTHONIOENCODING", "").partition(":")[0] or locale.getpreferredencoding(False)
    try:
        encoding = codecs.lookup(named).name
    except LookupError:
        encoding = named
    return encoding != "utf-8" or os.environ.get("TERM") == "linux"


def pointer() -> str:
    """Before the row that is highlighted, which the colour alone does not tell everybody."""
    return ">" if ascii_only() else "›"  # noqa: RUF001


def short_path(path: str) -> str:
    """The path as a person would write it: relative to the current folder, or from `~`."""
    try:
        here, home = Path.cwd(), Path.home()
    except (OSError, RuntimeError):  # the folder was deleted, or there is no home
        return path
    full = Path(path)
    if full.is_relative_to(here):
        return str(full.relative_to(here))
    if full.is_relative_to(home):
        return f"~/{full.relative_to(home)}"
    return path
