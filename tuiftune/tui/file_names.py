"""What Tab makes of the beginning of a file's name, as a shell does."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tuiftune.text import one_line

MOST = 10_000
"""Entries of a folder that are looked at."""


@dataclass(frozen=True)
class Completed:
    """What was typed, as far as it can only be one thing, and the names that it may go on to."""

    text: str
    names: Sequence[str]
    """Folders end with a slash. One: it is whole."""


def complete(typed: str, here: Path) -> Completed:
    """Hidden files only where a dot was typed; what cannot be read has none."""
    folder, _, start = typed.rpartition("/")
    names = []
    try:
        where = here / Path(f"{folder}/" if "/" in typed else ".").expanduser()
        with os.scandir(where) as entries:
            for _, entry in zip(range(MOST), entries, strict=False):
                name = entry.name
                if one_line(name, 1000) != name:  # what it holds may not reach the terminal
                    continue
                if name.startswith(start) and (start or not name.startswith(".")):
                    names.append(f"{name}/" if _is_folder(entry) else name)
    except (OSError, ValueError, RuntimeError):  # RuntimeError: of `~` where there is no home
        return Completed(typed, ())
    common = os.path.commonprefix(names) or start  # noqa: RUF071 - letters of a name, not parts of a path
    return Completed(f"{folder}/{common}" if "/" in typed else common, sorted(names))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """A link that leads nowhere, or where one may not look, is none."""
    try:
        return entry.is_dir()
    except OSError:
        return False
