"""Put a profile together: find it by name, read what it extends, lay one over the other, and know who wrote what."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from tuiftune import overrides as set_on_command_line
from tuiftune.errors import Problem, ProfileError
from tuiftune.paths import display, profile_folders
from tuiftune.sections import dotted
from tuiftune.toml_lines import KeyPath, key_lines, parse, read


@dataclass(frozen=True)
class ProfileFile:
    """A profile that is there, not read yet."""

    name: str
    path: Path
    source: str
    """'workspace', 'user' or 'shipped'."""
    hides: list[Path]
    """Farther profiles of the same name."""


def list_profiles(workspace: Path) -> list[ProfileFile]:
    """Every profile by name, the nearest of each: workspace, user, shipped."""
    found: dict[str, ProfileFile] = {}
    for source, folder in profile_folders(workspace):
        for path in sorted(folder.glob("[!_.]*.toml")):
            if path.stem in found:
                found[path.stem].hides.append(path)
            elif path.is_file():
                found[path.stem] = ProfileFile(path.stem, path, source, [])
    return list(found.values())


def find_profile(workspace: Path, name: str) -> ProfileFile:
    """The nearest profile of that name, else the file of that path. Raises ProfileError."""
    profiles = list_profiles(workspace)
    for profile in profiles:
        if profile.name == name:
            return profile
    path = Path(name).expanduser()
    if name.endswith(".toml") and path.is_file():
        return ProfileFile(path.stem, path.absolute(), "file", [])
    raise ProfileError([Problem(f"there is no profile {name!r}", hint=_known(name, profiles))])


def _known(name: str, profiles: list[ProfileFile]) -> str:
    names = [profile.name for profile in profiles]
    near = difflib.get_close_matches(name, names, 1)
    return f"Did you mean {near[0]!r}?" if near else f"There are: {', '.join(names) or 'none'}"


def draft_file(workspace: Path, name: str) -> Path:
    """Where a profile of the user's is, or will be once it is saved."""
    return workspace / "profiles" / f"{name}.toml"


DRAFT = "this profile"
"""Where a value comes from that is not saved yet."""


@dataclass(frozen=True)
class Source:
    """A file (or the command line, or a draft) that wrote values."""

    file: str | None
    """As messages show it; None for a draft, which has no file yet."""
    text: str = ""

    @cached_property
    def _lines(self) -> dict[KeyPath, int]:
        return key_lines(self.text)

    def line(self, path: KeyPath) -> int | None:
        """Of that key; None where it is not in there, or where there is no file to look it up in."""
        return None if self.file is None else self._lines.get(path)


@dataclass
class Layers:
    """A profile's table while it is put together, and who wrote which of its values."""

    workspace: Path
    path: Path | None = None
    is_draft: bool = False
    """Whether `path` is only where it will be saved."""
    table: dict[str, Any] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    _origins: dict[KeyPath, Source] = field(default_factory=dict)

    @property
    def own_file(self) -> str | None:
        """The profile's own file as messages show it; None for a draft."""
        return None if self.is_draft or self.path is None else display(self.path, self.workspace)

    def read(self, path: Path) -> None:
        """Read a file and all that it extends. Raises ProfileError where one of them cannot be read at all."""
        file = display(path, self.workspace)
        self._lay(self._chain(path, Source(file, read(path, file))))

    def read_text(self, text: str) -> None:
        """The same with the text that the file at `path` would have."""
        self._lay(self._chain(self._draft_path(), Source(None, text)))

    def read_base(self, text: str) -> None:
        """Only what that text extends, as it is laid under it."""
        self._lay(self._chain(self._draft_path(), Source(None, text))[1:])
        self.table.pop("description", None)

    def _draft_path(self) -> Path:
        if self.path is None:
            raise ValueError("a draft needs the path it is to be saved at: what it extends is looked up from there")
        return self.path

    def _chain(self, path: Path, source: Source) -> list[tuple[Source, dict[str, Any]]]:
        """A profile and what it extends, one after the other, with their tables."""
        layers = []
        chain = [path]
        while True:
            table = parse(source.text, source.file or DRAFT)
            layers.append((source, table))
            base = self._base(source, table.pop("extends", None), chain)
            if base is None:
                return layers
            chain.append(base)
            file = display(base, self.workspace)
            source = Source(file, read(base, file))

    def _lay(self, layers: list[tuple[Source, dict[str, Any]]]) -> None:
        """The farthest base first, each of the others over it."""
        for source, table in reversed(layers):
            self.table.pop("description", None)  # a base's does not describe what extends it
            self.merge(self.table, table, source)

    def _base(self, source: Source, extends: Any, chain: list[Path]) -> Path | None:
        """The file that is extended; what is wrong with it is noted."""
        if extends is None:
            return None
        what, hint = "", None
        if not isinstance(extends, str):
            what = "must be a string: a profile's name, or a file such as './x.toml'"
        elif extends.endswith(".toml") or "/" in extends:
            path = chain[-1].parent / Path(extends).expanduser()
            if path.is_file():
                found: list[Path] = [path]
            else:
                what = f"there is no file {display(path, self.workspace)}"
        else:
            profiles = list_profiles(self.workspace)
            found = [path for p in profiles if p.name == extends for path in (p.path, *p.hides)]
            if found and found[0].resolve() == chain[-1].resolve() and len(found) > 1:
                found = found[found.index(chain[-1]) + 1 :] if chain[-1] in found else found[1:]
            if not found:
                what, hint = f"there is no profile {extends!r}", _known(extends, profiles)
        if not what:
            if found[0].resolve() not in [path.resolve() for path in chain]:
                return found[0]
            names = " -> ".join(display(path, self.workspace) for path in (*chain, found[0]))
            what = f"leads in a circle: {names}"
        self.problems.append(Problem(what, source.file, source.line(("extends",)), "extends", hint))
        return None

    def under(self, table: dict[str, Any]) -> Layers:
        """Another, in which `table` is laid over this one as a draft."""
        above = Layers(
            self.workspace, self.path, True, copy.deepcopy(self.table), list(self.problems), dict(self._origins)
        )
        above.merge(above.table, copy.deepcopy(table), Source(None))
        return above

    def merge(self, into: dict[str, Any], table: dict[str, Any], source: Source, path: KeyPath = ()) -> None:
        """Tables merge key by key; everything else is replaced; a table that names another stage starts afresh."""
        for key, value in table.items():
            whole = (*path, key)
            old = into.get(key)
            if isinstance(value, dict) and isinstance(old, dict) and not other_stage(old, value):
                self._origins[whole] = source
                self.merge(old, value, source, whole)
            else:
                into[key] = value
                self._written(whole, value, source)

    def _written(self, path: KeyPath, value: Any, source: Source) -> None:
        """Note who wrote a value and all that is in it."""
        for key in [key for key in self._origins if key[: len(path)] == path]:
            del self._origins[key]
        self._note(path, value, source)

    def _note(self, path: KeyPath, value: Any, source: Source) -> None:
        self._origins[path] = source
        for key, inner in _items(value):
            self._note((*path, key), inner, source)

    def override(self, texts: Sequence[str]) -> None:
        """Apply `key=value`s, the last layer."""
        found, problems = set_on_command_line.parse_all(texts)
        self.problems += problems
        source = Source(set_on_command_line.SOURCE)
        for override in found:
            try:
                path = set_on_command_line.address(override, self.table)
            except ProfileError as error:
                self.problems += error.problems
                continue
            self._set(path, set_on_command_line.made_absolute(path, override.value), source)

    def _set(self, path: KeyPath, value: Any, source: Source) -> None:
        """One value, merged as a table that has nothing else."""
        numbered = next((place for place, part in enumerate(path) if isinstance(part, int)), None)
        if numbered is None:
            self.merge(self.table, _nested(path, value), source)
            return
        section, index, rest = path[0], path[1], path[2:]
        items = self.table[str(section)]
        holder: dict[Any, Any] = {index: items[index]}  # so that a stage in an array merges like one in a table
        change: dict[Any, Any] = {index: _nested(rest, value)}
        self.merge(holder, change, source, (section,))
        items[index] = holder[index]

    def locate(self, path: KeyPath) -> tuple[str | None, int | None]:
        """The file and line that wrote a value, else the nearest table around it."""
        for length in range(len(path), 0, -1):
            source = self._origins.get(path[:length])
            if source:
                return source.file, source.line(path[:length])
        return self.own_file, None

    def origin(self, effective: dict[str, Any]) -> dict[str, str]:
        """Dotted key -> 'file:line', '--set' or 'default', for each value in force."""
        return {dotted(path): self.origin_of(path) for path in leaves(effective)}

    def origin_of(self, path: KeyPath) -> str:
        """'file:line', '--set', DRAFT or 'default'."""
        source = self._origins.get(path)
        if source is None:
            return "default"
        line = source.line(path)
        if source.file is None:
            return DRAFT
        return source.file if line is None else f"{source.file}:{line}"


def other_stage(old: dict[str, Any], new: dict[str, Any]) -> bool:
    """Whether a table names another stage than the one it is laid over, and so starts afresh."""
    return "stage" in new and "stage" in old and new["stage"] != old["stage"]


def _nested(path: KeyPath, value: Any) -> Any:
    for key in reversed(path):
        value = {key: value}
    return value


def _items(value: Any) -> list[tuple[str | int, Any]]:
    if isinstance(value, dict):
        return list(value.items())
    return list(enumerate(value)) if isinstance(value, list) else []


def leaves(value: Any, path: KeyPath = ()) -> list[KeyPath]:
    """Every value that is no table; an array of plain values is one."""
    tables = isinstance(value, dict) or (isinstance(value, list) and any(isinstance(item, dict) for item in value))
    if path and not (tables and value):
        return [path]
    return [leaf for key, inner in _items(value) for leaf in leaves(inner, (*path, key))]
