"""Look a plugin file through, as its author would want it: in the describe child, for `tuiftune plugin check`."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

from tuiftune.catalog import LOADED, LOADING, PluginCheck
from tuiftune.errors import Problem
from tuiftune.paths import display
from tuiftune.plugins import load_builtins, load_file
from tuiftune.stage import Stage

SLOW = ("torch", "transformers", "datasets", "accelerate", "numpy", "pandas", "pyarrow", "scipy", "sklearn")
"""Whoever lists plugins waits for these: torch alone takes 1.7 s."""


def look_through(path: Path, limit_s: float) -> PluginCheck:
    """Load the file beside the built-in stages; where that works, see what makes it slow or hard to use."""
    registry = load_builtins(path.absolute().parent)
    before = set(sys.modules)
    print(f"{LOADING}{path.stem}", file=sys.stderr, flush=True)
    load_file(path, registry, limit_s)
    print(LOADED, file=sys.stderr, flush=True)
    brought = [name for name in SLOW if name in sys.modules and name not in before]
    file = display(path, path.absolute().parent)
    notes = []
    if not registry.problems:
        notes += list(_slow_imports(path, file, brought))
        for loaded in registry.stages.values():
            if loaded.plugin == path.stem:
                notes += list(_undocumented(loaded.cls, file))
    return PluginCheck(registry.plugins[-1], list(registry.problems), notes)


def _slow_imports(path: Path, file: str, brought: list[str]) -> Iterator[Problem]:
    """Where the file itself imports them at its top; else that something it imports does."""
    lines: dict[str, int] = {}
    for statement in ast.parse(path.read_bytes()).body:
        for name in _imported(statement):
            lines.setdefault(name.partition(".")[0], statement.lineno)
    said = [name for name in brought if name in lines]
    for name in said or brought[:1]:
        what = "is imported as soon as plugins are listed"
        yield Problem(f"{name} {what}", file, lines.get(name), hint="Import it inside run()")


def _imported(statement: ast.stmt) -> list[str]:
    if isinstance(statement, ast.Import):
        return [alias.name for alias in statement.names]
    return [statement.module or ""] if isinstance(statement, ast.ImportFrom) else []


def _undocumented(stage: type[Stage], file: str) -> Iterator[Problem]:
    """What `tuiftune plugins STAGE` would have no words for."""
    where = f"{stage.kind} stage {stage.name!r}"
    if not (stage.__doc__ or "").strip():
        line = _line_of(stage, f"class {stage.__name__}")
        yield Problem("has no docstring", file, line, where, "Its first line is what lists of stages show")
    for name, field in stage.Options.model_fields.items():
        if not field.description:
            what = f"option {name!r} has no description"
            hint = f"{name}: ... = tuiftune.Field(..., description=...)"
            yield Problem(what, file, _line_of(stage, f"{name}:"), where, hint)


def _line_of(stage: type[Stage], beginning: str) -> int | None:
    """The line of a class that begins so."""
    lines, first = inspect.getsourcelines(stage)
    found = [number for number, line in enumerate(lines, start=first) if line.strip().startswith(beginning)]
    return found[0] if found else None
