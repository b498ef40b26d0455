"""Stages and their options as the last listing of plugins found them, for who cannot wait for another: completion."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuiftune.paths import remembered_file

if TYPE_CHECKING:
    from tuiftune.catalog import Catalog

FORMAT = 1


@dataclass(frozen=True)
class KnownOption:
    name: str
    type: str
    default: Any
    description: str

    @property
    def values(self) -> list[str]:
        """What it can be set to, where that is one of a few things; else its default."""
        found = re.findall(r"'([^']*)'", self.type)
        if "boolean" in self.type:
            found += ["true", "false"]
        if not found and self.default is not None:
            found.append(self.default if isinstance(self.default, str) else json.dumps(self.default))
        return found


@dataclass(frozen=True)
class KnownTable:
    """A stage, or a table that the core reads."""

    name: str
    kind: str
    """'' for a table of the core's."""
    options: list[KnownOption]


def remember(workspace: Path, catalog: Catalog) -> None:
    """Write down what there is, where it is not what is written already. Nothing is lost where that cannot be done:
    completion then knows the stages that ship with tuiftune."""
    tables = [(stage.name, stage.kind, stage.options) for stage in catalog.stages]
    tables += [(name, "", options) for name, options in catalog.sections.items()]
    found = [
        [name, kind, [[option.name, option.type, option.default, option.description] for option in options]]
        for name, kind, options in tables
    ]
    text = json.dumps({"format": FORMAT, "tables": found}, default=str)
    path = remembered_file(workspace)
    with contextlib.suppress(OSError, UnicodeError):
        if path.exists() and path.read_text(encoding="utf-8") == text:
            return
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        aside.write_text(text, encoding="utf-8")
        aside.replace(path)


def remembered(workspace: Path) -> list[KnownTable]:
    """What was there when plugins were last listed; the names of what ships with tuiftune where they never were."""
    try:
        data = json.loads(remembered_file(workspace).read_bytes())
        if data["format"] == FORMAT:
            return [
                KnownTable(name, kind, [KnownOption(*option) for option in options])
                for name, kind, options in data["tables"]
            ]
    except (OSError, ValueError, KeyError, TypeError):  # not there yet, or half written by who knows whom
        pass
    return list(_shipped())


def _shipped() -> Iterator[KnownTable]:
    """Each built-in stage is a module of its name; of which kind, only importing it would tell."""
    for path in sorted((Path(__file__).parent / "stages").glob("[!_]*.py")):
        yield KnownTable(path.stem, "built-in", [])
    yield from (KnownTable(name, "", []) for name in ("model", "run"))
