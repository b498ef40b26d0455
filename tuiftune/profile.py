"""From a profile's name to what a run is started with: extended, overridden and checked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tuiftune import overrides as set_on_command_line
from tuiftune.catalog import ResolvedProfile
from tuiftune.check import Pipeline, PlannedStage, check
from tuiftune.errors import Problem, ProfileError
from tuiftune.layers import Layers, ProfileFile, find_profile, list_profiles
from tuiftune.paths import display, resolve_path
from tuiftune.plugins import Registry
from tuiftune.sections import LISTS, named_stages

__all__ = ["Pipeline", "PlannedStage", "ProfileFile", "build", "list_profiles", "resolve", "resolve_draft"]


def resolve(workspace: Path, name: str, registry: Registry, overrides: Sequence[str] = ()) -> ResolvedProfile:
    """A profile (a name, or a path to a .toml file) after extending, overriding and checking.

    What is wrong with it is in `problems`, all at once; then `effective` is empty.
    """
    layers = Layers(workspace)
    try:
        file = find_profile(workspace, name)
        layers.path = file.path
        layers.read(file.path)
    except ProfileError as error:
        return _unreadable(name, layers, error.problems)
    layers.override(overrides)
    return _checked(file.name, layers, registry)


def resolve_draft(workspace: Path, path: Path, text: str, registry: Registry) -> ResolvedProfile:
    """A profile that is not saved yet: `text` is what its file would say. Messages about its own keys name no file."""
    name, layers = path.stem, Layers(workspace, path, is_draft=True)
    try:
        layers.read_text(text)
    except ProfileError as error:
        return _unreadable(name, layers, error.problems)
    return _checked(name, layers, registry)


def _checked(name: str, layers: Layers, registry: Registry) -> ResolvedProfile:
    checked = check(layers.table, registry, layers.locate, partial=bool(layers.problems))
    problems = sorted(layers.problems + checked.problems, key=lambda problem: _reading_order(problem, layers))
    notes = checked.notes + [
        f"it names no {kind} stage: others extend it, it cannot be run itself" for kind in checked.missing()[:1]
    ]
    return ResolvedProfile(
        name=name,
        path=_shown_path(layers),
        description=str(layers.table.get("description", "")),
        effective={} if problems else checked.effective,
        origin={} if problems else layers.origin(checked.effective),
        pipeline=[stage for _, stage in named_stages(layers.table)],
        problems=problems,
        notes=[] if problems else notes,
        plugins={planned.plugin: planned.plugin_version for planned in checked.stages},
        runnable=_runnable(layers.table),
        absent=[] if problems else list(_absent(checked.stages, layers)),
    )


def _absent(stages: Iterable[PlannedStage], layers: Layers) -> Iterator[Problem]:
    """Files that the profile names and that are not there (yet)."""
    for planned in stages:
        for option in planned.stage.required_files:
            text = getattr(planned.stage.options, option, None)
            path = resolve_path(text, layers.workspace) if isinstance(text, str) else None
            if path is None or path.exists():
                continue
            file, line = layers.locate((planned.kind, option))
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


def _reading_order(problem: Problem, layers: Layers) -> tuple[bool, bool, str, int]:
    """The profile's own lines first, then those of its bases, then the command line."""
    own = problem.file == layers.own_file
    return problem.file == set_on_command_line.SOURCE, not own, problem.file or "", problem.line or 0


def _missing(kind: str, registry: Registry) -> Problem:
    hint = f"Add [{kind}] with stage = ... Installed: {', '.join(registry.names(kind)) or 'none'}"
    return Problem("the profile names no such stage", where=kind, hint=hint)


def _runnable(table: dict[str, Any]) -> bool:
    return all(kind in table for kind in ("dataset", "train"))


def _shown_path(layers: Layers) -> str:
    return display(layers.path, layers.workspace) if layers.path else ""


def _unreadable(name: str, layers: Layers, problems: list[Problem]) -> ResolvedProfile:
    return ResolvedProfile(
        name=name,
        path=_shown_path(layers),
        description="",
        effective={},
        origin={},
        pipeline=[],
        problems=problems,
        notes=[],
        plugins={},
        runnable=False,
    )
