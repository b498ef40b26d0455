"""The files of profiles: which may be rewritten, how a draft is opened and saved, and which editor opens the others."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuiftune import overrides as set_on_command_line
from tuiftune.editing.draft import Draft, Table
from tuiftune.errors import Problem, ProfileError, TuiftuneError, WorkspaceError
from tuiftune.layers import Layers, ProfileFile, draft_file, find_profile
from tuiftune.paths import display
from tuiftune.run.files import write_text
from tuiftune.sections import KINDS, LISTS
from tuiftune.toml_lines import comments, parse, read

MARK = "# Written by tuiftune's profile editor, which may rewrite it until it has a comment of yours."
"""The first line of a file that the editor wrote."""
RUN_LINE = "#   tuiftune run "
"""How the second begins."""
NAME = re.compile(r"[^\W_][\w-]{0,59}")
"""Letters, digits, '-' and '_': the name is that of a file, and stands in commands and run ids."""
UNNAMED = ".new"
"""Stands for the name of a draft that has none yet; no profile can be called so."""
EDITORS = ("nano", "vim", "vi")
"""Tried where the user has named none."""


class NameTaken(TuiftuneError):
    """There is a file of that name; it is not replaced without a word."""


class ChangedOnDisk(TuiftuneError):
    """The file is not what it was when it was opened."""


@dataclass
class Opened:
    """A draft, and where it comes from and goes to."""

    draft: Draft
    extends: str | None
    path: Path
    """The file it is saved to; its stem is UNNAMED until there is a name."""
    text: str | None = None
    """What the file said when it was read; None for a new one."""

    @property
    def name(self) -> str:
        return "" if self.path.stem == UNNAMED else self.path.stem

    @property
    def is_new(self) -> bool:
        return self.text is None

    def to_text(self) -> str:
        """What the file will say."""
        return file_text(self.name or "NAME", self.extends, self.draft.own)


def file_text(name: str, extends: str | None, own: Table) -> str:
    """A profile's file: what it extends, and what it says otherwise."""
    import tomli_w

    head = f"{MARK}\n{RUN_LINE}{name}\n\n"
    return head + tomli_w.dumps({**({"extends": extends} if extends is not None else {}), **own})


def may_be_rewritten(text: str) -> bool:
    """Whether the editor wrote it and nobody has put a comment into it, which rewriting would lose."""
    if not text.startswith(MARK):
        return False
    found = comments(text)
    return found[:1] == [MARK] and all(line.startswith(RUN_LINE) for line in found[1:2]) and len(found) <= 2


def is_editable_in_form(file: ProfileFile) -> bool:
    """Whether the form may change the profile's own file; any other is opened in a text editor. Raises ProfileError
    where it cannot be read."""
    return file.source != "shipped" and may_be_rewritten(read(file.path, str(file.path)))


def open_file(workspace: Path, file: ProfileFile) -> Opened:
    """A file that the editor wrote, to be changed in place. Raises ProfileError where it cannot be read."""
    shown = display(file.path, workspace)
    text = read(file.path, shown)
    table = parse(text, shown)
    extends = table.pop("extends", None)
    parent = Layers(workspace, file.path, is_draft=True)
    parent.read_base(text)
    _refuse_shapeless(parent.under(table))
    return Opened(Draft(parent, table), extends if isinstance(extends, str) else None, file.path, text)


def open_new(workspace: Path, parent_name: str, overrides: Sequence[str] = (), name: str = UNNAMED) -> Opened:
    """A new profile that extends another, with `key=value`s written into it. Raises ProfileError."""
    find_profile(workspace, parent_name)
    path = draft_file(workspace, name)
    parent = Layers(workspace, path, is_draft=True)
    parent.read_base(file_text(name, parent_name, {}))
    _refuse_shapeless(parent)
    draft = Draft(parent)
    _override(draft, overrides)
    return Opened(draft, parent_name, path)


def _refuse_shapeless(layers: Layers) -> None:
    """Raises ProfileError where a section is no table, or no array of tables: nothing can be set in there."""
    problems = []
    for section in (*KINDS, "model", "run"):
        value = layers.table.get(section, [] if section in LISTS else {})
        tables = isinstance(value, list) and all(isinstance(item, dict) for item in value)
        if not (tables if section in LISTS else isinstance(value, dict)):
            what = f"must be {'an array of tables' if section in LISTS else 'a table'}"
            problems.append(Problem(what, *layers.locate((section,)), where=section, hint="Mend it in a text editor"))
    if problems:
        raise ProfileError(problems)


def _override(draft: Draft, texts: Sequence[str]) -> None:
    found, problems = set_on_command_line.parse_all(texts)
    for override in found:
        try:
            path = set_on_command_line.address(override, draft.merged)
        except ProfileError as error:
            problems += error.problems
            continue
        value: Any = set_on_command_line.made_absolute(path, override.value)
        if path[-1] != "stage" or len(path) < 2:
            draft.set(path, value)
        elif path[0] in LISTS:
            draft.replace(str(path[0]), int(path[1]), str(value))
        else:
            draft.choose(str(path[0]), str(value))
    if problems:
        raise ProfileError(problems)


def check_name(name: str) -> None:
    """Raises ProfileError where a profile cannot be called so."""
    if not NAME.fullmatch(name):
        hint = "Letters, digits, - and _, at most 60, a letter or digit first"
        raise ProfileError([Problem("is no name for a profile", where=repr(name), hint=hint)])


def save(opened: Opened, name: str, *, replace: bool = False) -> Opened:
    """Write the draft to the profile's file; returns it as it is open now.

    Raises NameTaken where there is another file of that name, or it is one of a person's by now; ChangedOnDisk where it
    was changed since it was opened (not with `replace`); WorkspaceError where it cannot be written; ProfileError for a
    name that cannot be.
    """
    mine = name == opened.name and not opened.is_new
    path = opened.path if mine else opened.path.with_name(f"{name}.toml")
    if not mine:
        check_name(name)
    text = file_text(name, opened.extends, opened.draft.own)
    try:
        if mine:
            _look_for_changes(path, opened.text, replace)
        else:
            _reserve(path)
        write_text(path, text)
    except OSError as error:
        raise WorkspaceError(f"{path}: cannot be written: {error.strerror}. Nothing was saved") from error
    opened.draft.saved()
    return Opened(opened.draft, opened.extends, path, text)


def _look_for_changes(path: Path, text: str | None, replace: bool) -> None:
    """Raises NameTaken, ChangedOnDisk, ProfileError where it is no text any more."""
    if not path.exists():
        return
    now = read(path, str(path))
    if now == text:
        return
    if not may_be_rewritten(now):
        raise NameTaken(f"{path}: has a comment of somebody's by now, so it is not rewritten. Choose another name")
    if not replace:
        raise ChangedOnDisk(f"{path}: was changed since it was opened here")


def _reserve(path: Path) -> None:
    """Make an empty file of that name, so that nobody else can take it meanwhile; refuse where there is one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        raise NameTaken(f"{path}: there is a profile of that name already. Choose another name") from None


def own_file(workspace: Path, profile: str) -> Path:
    """The file of a profile of the user's. Raises ProfileError where there is none, TuiftuneError for one that ships
    with tuiftune: an update would replace it."""
    file = find_profile(workspace, profile)
    if file.source == "shipped":
        raise TuiftuneError(
            f"{profile} ships with tuiftune and is not edited. "
            f"Make one of yours that extends it: tuiftune duplicate {profile} my-{profile}"
        )
    return file.path


def editor_command(path: Path) -> list[str]:
    """The command that opens a file in the user's editor. Raises TuiftuneError where there is none."""
    for variable in ("VISUAL", "EDITOR"):
        words = shlex.split(os.environ.get(variable, ""))
        if words and shutil.which(words[0]) is None:
            raise TuiftuneError(f"${variable} is {words[0]!r}, which is no program here. E.g.: export {variable}=nano")
        if words:
            return [*words, str(path)]
    for name in EDITORS:
        if shutil.which(name):
            return [name, str(path)]
    raise TuiftuneError(f"no text editor is installed and $EDITOR names none, so open it yourself: {path}")
