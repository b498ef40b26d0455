"""Find, extend, override and check profiles: from a name to what a run is started with."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from tuiftune import overrides as set_on_command_line
from tuiftune.catalog import ResolvedProfile
from tuiftune.check import LISTS, Pipeline, PlannedStage, check, dotted, named_stages
from tuiftune.errors import Problem, ProfileError
from tuiftune.paths import display, profile_folders, resolve_path
from tuiftune.plugins import Registry
from tuiftune.toml_lines import KeyPath, key_lines, parse, read

__all__ = ["Pipeline", "PlannedStage", "ProfileFile", "build", "list_profiles", "resolve"]


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


def resolve(workspace: Path, name: str, registry: Registry, overrides: Sequence[str] = ()) -> ResolvedProfile:
    """A profile (a name, or a path to a .toml file) after extending, overriding and checking.

    What is wrong with it is in `problems`, all at once; then `effective` is empty.
    """
    draft = _Draft(workspace)
    try:
        file = _find(workspace, name)
        draft.path = file.path
        draft.read(file.path)
    except ProfileError as error:
        return _unreadable(name, draft, workspace, error.problems)
    draft.override(overrides)
    checked = check(draft.table, registry, draft.locate, partial=bool(draft.problems))
    problems = sorted(draft.problems + checked.problems, key=lambda problem: _reading_order(problem, draft))
    notes = checked.notes + [
        f"it names no {kind} stage: others extend it, it cannot be run itself" for kind in checked.missing()[:1]
    ]
    return ResolvedProfile(
        name=file.name,
        path=display(file.path, workspace),
        description=str(draft.table.get("description", "")),
        effective={} if problems else checked.effective,
        origin={} if problems else draft.origin(checked.effective),
        pipeline=[stage for _, stage in named_stages(draft.table)],
        problems=problems,
        notes=[] if problems else notes,
        plugins={planned.plugin: planned.plugin_version for planned in checked.stages},
        runnable=_runnable(draft.table),
        absent=[] if problems else list(_absent(checked.stages, draft)),
    )


def _absent(stages: Iterable[PlannedStage], draft: _Draft) -> Iterator[Problem]:
    """Files that the profile names and that are not there (yet)."""
    for planned in stages:
        for option in planned.stage.required_files:
            text = getattr(planned.stage.options, option, None)
            path = resolve_path(text, draft.workspace) if isinstance(text, str) else None
            if path is None or path.exists():
                continue
            file, line = draft.locate((planned.kind, option))
            where = f"{planned.name if planned.kind in LISTS else planned.kind}.{option}"
            yield Problem(f"{text}: no such file (looked for {path})", file, line, where, f"Set it: --set {where}=FILE")


def build(effective: dict[str, Any], registry: Registry) -> Pipeline:
    """The stages of a run's own profile, checked again: a plugin may have changed since the run was made.

    Raises ProfileError.
    """
    checked = check(effective, registry)
    problems = checked.problems or [_missing(kind, registry) for kind in checked.missing()]
    if problems:
        raise ProfileError(problems)
    return checked.pipeline()


def _reading_order(problem: Problem, draft: _Draft) -> tuple[bool, bool, str, int]:
    """The profile's own lines first, then those of its bases, then the command line."""
    own = draft.path is not None and problem.file == display(draft.path, draft.workspace)
    return problem.file == set_on_command_line.SOURCE, not own, problem.file or "", problem.line or 0


def _missing(kind: str, registry: Registry) -> Problem:
    hint = f"Add [{kind}] with stage = ... Installed: {', '.join(registry.names(kind)) or 'none'}"
    return Problem("the profile names no such stage", where=kind, hint=hint)


def _runnable(table: dict[str, Any]) -> bool:
    return all(kind in table for kind in ("dataset", "train"))


def _unreadable(name: str, draft: _Draft, workspace: Path, problems: list[Problem]) -> ResolvedProfile:
    return ResolvedProfile(
        name=name,
        path=display(draft.path, workspace) if draft.path else "",
        description="",
        effective={},
        origin={},
        pipeline=[],
        problems=problems,
        notes=[],
        plugins={},
        runnable=False,
    )


def _find(workspace: Path, name: str) -> ProfileFile:
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


@dataclass(frozen=True)
class _Source:
    """A file (or the command line) that wrote values."""

    file: str
    """As messages show it."""
    text: str = ""

    @cached_property
    def lines(self) -> dict[KeyPath, int]:
        return key_lines(self.text)


@dataclass
class _Draft:
    """A profile's table while it is put together, and who wrote which of its values."""

    workspace: Path
    path: Path | None = None
    table: dict[str, Any] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    _origins: dict[KeyPath, _Source] = field(default_factory=dict)

    def read(self, path: Path) -> None:
        """Read a file and all that it extends. Raises ProfileError where one of them cannot be read at all."""
        layers = []
        chain = [path]
        while True:
            file = display(chain[-1], self.workspace)
            text = read(chain[-1], file)
            table = parse(text, file)
            source = _Source(file, text)
            layers.append((source, table))
            base = self._base(source, table.pop("extends", None), chain)
            if base is None:
                break
            chain.append(base)
        for source, table in reversed(layers):
            self.table.pop("description", None)  # a base's does not describe what extends it
            self.merge(self.table, table, source)

    def _base(self, source: _Source, extends: Any, chain: list[Path]) -> Path | None:
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
        self.problems.append(Problem(what, source.file, source.lines.get(("extends",)), "extends", hint))
        return None

    def merge(self, into: dict[str, Any], table: dict[str, Any], source: _Source, path: KeyPath = ()) -> None:
        """Tables merge key by key; everything else is replaced; a table that names another stage starts afresh."""
        for key, value in table.items():
            whole = (*path, key)
            old = into.get(key)
            if isinstance(value, dict) and isinstance(old, dict) and not _other_stage(old, value):
                self._origins[whole] = source
                self.merge(old, value, source, whole)
            else:
                into[key] = value
                self._written(whole, value, source)

    def _written(self, path: KeyPath, value: Any, source: _Source) -> None:
        """Note who wrote a value and all that is in it."""
        for key in [key for key in self._origins if key[: len(path)] == path]:
            del self._origins[key]
        self._note(path, value, source)

    def _note(self, path: KeyPath, value: Any, source: _Source) -> None:
        self._origins[path] = source
        for key, inner in _items(value):
            self._note((*path, key), inner, source)

    def override(self, texts: Sequence[str]) -> None:
        """Apply `key=value`s, the last layer."""
        found, problems = set_on_command_line.parse_all(texts)
        self.problems += problems
        source = _Source(set_on_command_line.SOURCE)
        for override in found:
            try:
                path = set_on_command_line.address(override, self.table)
            except ProfileError as error:
                self.problems += error.problems
                continue
            self._set(path, set_on_command_line.made_absolute(path, override.value), source)

    def _set(self, path: KeyPath, value: Any, source: _Source) -> None:
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
                return source.file, source.lines.get(path[:length])
        return (display(self.path, self.workspace), None) if self.path else (None, None)

    def origin(self, effective: dict[str, Any]) -> dict[str, str]:
        """Dotted key -> 'file:line', '--set' or 'default', for each value in force."""
        return {dotted(path): self._origin(path) for path in _leaves(effective)}

    def _origin(self, path: KeyPath) -> str:
        source = self._origins.get(path)
        if source is None:
            return "default"
        line = source.lines.get(path)
        return source.file if line is None else f"{source.file}:{line}"


def _other_stage(old: dict[str, Any], new: dict[str, Any]) -> bool:
    return "stage" in new and "stage" in old and new["stage"] != old["stage"]


def _nested(path: KeyPath, value: Any) -> Any:
    for key in reversed(path):
        value = {key: value}
    return value


def _items(value: Any) -> list[tuple[str | int, Any]]:
    if isinstance(value, dict):
        return list(value.items())
    return list(enumerate(value)) if isinstance(value, list) else []


def _leaves(value: Any, path: KeyPath = ()) -> list[KeyPath]:
    """Every value that is no table; an array of plain values is one."""
    tables = isinstance(value, dict) or (isinstance(value, list) and any(isinstance(item, dict) for item in value))
    if path and not (tables and value):
        return [path]
    return [leaf for key, inner in _items(value) for leaf in _leaves(inner, (*path, key))]
