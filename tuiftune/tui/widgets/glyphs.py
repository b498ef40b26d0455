"""The sign of each state and of the row one is on, and paths as people write them.

Each sign has its ASCII form in tuiftune.signs.
"""

from __future__ import annotations

from pathlib import Path

from tuiftune.signs import ascii_only

__all__ = ["STATE_MARKS", "ascii_only", "pointer", "short_path"]

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


def pointer() -> str:
    """Before the row that is highlighted, which the colour alone does not tell everybody."""
    return "›"  # noqa: RUF001


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
