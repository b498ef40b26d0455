"""What the profile editor does in threads: open, check and save a draft; each answers with a message."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from textual.message import Message

from tuiftune import catalog as catalog_reader
from tuiftune.catalog import Catalog, ResolvedProfile
from tuiftune.editing import files
from tuiftune.editing.files import Opened
from tuiftune.errors import TuiftuneError
from tuiftune.layers import find_profile, list_profiles

Post = Callable[[Message], object]


@dataclass
class DraftOpened(Message):
    """The profile was read, and what there is to choose from."""

    opened: Opened
    catalog: Catalog
    suggested: str
    """A name for a new one that is free."""


@dataclass
class DraftUnreadable(Message):
    """Why it was not."""

    lines: Sequence[str]


@dataclass
class DraftChecked(Message):
    """What there is to say about the state with that number; `error` where nothing could be found out."""

    number: int
    resolved: ResolvedProfile | None
    error: str = ""


@dataclass
class DraftSaved(Message):
    """It is in its file."""

    opened: Opened


@dataclass
class DraftNotSaved(Message):
    """Why it is not in a file of that name."""

    name: str
    error: TuiftuneError


def open_draft(workspace: Path, name: str, catalog: Catalog | None, duplicate: bool, post: Post) -> None:
    """A profile that the editor wrote is changed in place; of any other, or with `duplicate`, a new one is made that
    extends it."""
    try:
        file = find_profile(workspace, name)
        in_place = not duplicate and files.is_editable_in_form(file)
        opened = files.open_file(workspace, file) if in_place else files.open_new(workspace, name)
        suggested = free_name(workspace, f"my-{name}") if opened.is_new else opened.name
        post(DraftOpened(opened, catalog or catalog_reader.read_catalog(workspace), suggested))
    except TuiftuneError as error:
        post(DraftUnreadable(str(error).splitlines()))


def check_draft(workspace: Path, path: Path, text: str, number: int, post: Post) -> None:
    resolved, error = None, "it could not be checked"
    try:
        resolved, error = catalog_reader.resolve_draft(workspace, path, text), ""
    except TuiftuneError as problem:
        error = str(problem)
    finally:  # whatever happens, the next check waits for this answer
        post(DraftChecked(number, resolved, error))


def save_draft(opened: Opened, name: str, replace: bool, post: Post) -> None:
    try:
        post(DraftSaved(files.save(opened, name, replace=replace)))
    except TuiftuneError as error:
        post(DraftNotSaved(name, error))


def free_name(workspace: Path, wanted: str) -> str:
    """`wanted`, or that with a number behind it: one that no profile has."""
    taken = {profile.name for profile in list_profiles(workspace)}
    number, name = 1, wanted
    while name in taken:
        number += 1
        name = f"{wanted}-{number}"
    return name
