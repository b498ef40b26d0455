"""`--set a.b=VALUE`: the last word on a profile's values."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuiftune.errors import Problem, ProfileError
from tuiftune.paths import ASSET_PREFIX
from tuiftune.sections import LISTS, SECTIONS, dotted, named_stages
from tuiftune.toml_lines import KeyPath, parse

__all__ = ["SOURCE", "Override", "address", "made_absolute", "parse_all"]

SOURCE = "--set"

PATHS = (("dataset", "validation"), ("model", "name"), ("model", "tokenizer"))
"""Keys that may name a file or folder, beside any called `path` or `..._path`."""


@dataclass(frozen=True)
class Override:
    """One `key=value`, not yet addressed."""

    keys: tuple[str, ...]
    value: Any

    @property
    def names_stage(self) -> bool:
        return self.keys[-1] == "stage"


def parse_all(texts: Sequence[str]) -> tuple[list[Override], list[Problem]]:
    """The overrides in the order they apply: those that name a stage first, as that table starts afresh."""
    found, problems = [], []
    for text in texts:
        try:
            found.append(_parse(text))
        except ProfileError as error:
            problems.extend(error.problems)
    return sorted(found, key=lambda override: not override.names_stage), problems


def _parse(text: str) -> Override:
    """Raises ProfileError."""
    key, equals, value = text.partition("=")
    key = key.strip()
    if not equals or not key:
        raise ProfileError([Problem("has no KEY=VALUE", SOURCE, where=key or None, hint="E.g. --set train.epochs=1")])
    if not value.isprintable() and any("\ud800" <= letter <= "\udfff" for letter in value):
        raise ProfileError([Problem("its value is not UTF-8", SOURCE, where=key)])
    return Override(_keys(key), _value(value.strip()))


def _keys(key: str) -> tuple[str, ...]:
    """`preprocess.0."odd key"` -> ("preprocess", "0", "odd key")."""
    try:
        table: Any = parse(f"{key} = 0", SOURCE)
    except ProfileError as error:
        problem = Problem("is not a dotted key", SOURCE, where=key, hint="E.g. --set train.epochs=1")
        raise ProfileError([problem]) from error
    keys: list[str] = []
    while isinstance(table, dict) and len(table) == 1:
        ((name, table),) = table.items()
        keys.append(name)
    return tuple(keys)


def _value(text: str) -> Any:
    """What TOML takes it for, else the text itself: paths and names need no quotes in a shell.

    In such a text too, `\\n` and `\\t` are a line break and a tab, as they are in the profile: nobody means the
    two characters, and a template would put them into every sample.
    """
    try:
        parsed = parse(f"value = {text}", SOURCE)
    except ProfileError:
        parsed = {}
    if set(parsed) == {"value"}:
        return parsed["value"]
    return text.replace("\\n", "\n").replace("\\t", "\t")


def address(override: Override, table: dict[str, Any]) -> KeyPath:
    """Where in the profile's table an override goes.

    `tokenize.max_length` and `preprocess.tokenize.max_length` name a stage; `preprocess.0.max_length` counts.
    Raises ProfileError.
    """
    first, *rest = override.keys
    if first == "extends":
        raise _cannot(override, "cannot be set here", "Write it in the profile")
    if first in LISTS and rest:
        return (*_item(override, first, rest[0], table), *rest[1:])
    named = [path for path, name in named_stages(table) if name == first]
    if first in SECTIONS or not rest or not named:
        return (first, *rest)  # what is no section is told with all other problems
    if len(named) > 1:
        raise _cannot(override, f"{len(named)} stages are called {first!r}", f"Say which: {dotted(named[0])}")
    return (*named[0], *rest)


def _item(override: Override, kind: str, which: str, table: dict[str, Any]) -> KeyPath:
    """The stage of `[[kind]]` with that index or name."""
    items = table.get(kind)
    count = len(items) if isinstance(items, list) else 0
    names = {path: name for path, name in named_stages(table) if path[0] == kind}
    if which.isdecimal():
        if int(which) < count:
            return (kind, int(which))
        has = f"It has {count}: {', '.join(names.values())}" if names else None
        raise _cannot(override, f"the profile has no {kind} stage number {which}, counted from 0", has)
    found = [path for path, name in names.items() if name == which]
    if len(found) > 1:
        raise _cannot(override, f"{len(found)} {kind} stages are called {which!r}", f"Say which: {dotted(found[0])}")
    if found:
        return found[0]
    near = difflib.get_close_matches(which, names.values(), 1)
    hint = f"Did you mean {near[0]!r}?" if near else f"It has: {', '.join(names.values()) or 'none'}"
    raise _cannot(override, f"the profile has no {kind} stage {which!r}", hint)


def _cannot(override: Override, what: str, hint: str | None = None) -> ProfileError:
    return ProfileError([Problem(what, SOURCE, where=dotted(override.keys), hint=hint)])


def made_absolute(path: KeyPath, value: Any) -> Any:
    """A file that a shell completed is meant from the current folder, a profile's from the workspace."""
    last = str(path[-1])
    if path not in PATHS and last != "path" and not last.endswith("_path"):
        return value
    if isinstance(value, list):
        return [made_absolute(path, item) for item in value]
    if not isinstance(value, str) or not value or value.startswith(ASSET_PREFIX):
        return value
    here = Path.cwd() / value
    return str(here) if here.exists() else value
