"""What a shell offers after Tab: runs, profiles, stages, options of a profile, series of a run.

Read from file names and from what the last listing of plugins left behind: no child process, no plugin, nothing heavy.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem, add_completion_class, split_arg_string

from tuiftune.errors import TuiftuneError
from tuiftune.paths import find_workspace, profile_folders, runs_folder
from tuiftune.shells import Bash, Zsh
from tuiftune.text import one_line

Items = list[CompletionItem[str]]
Complete = Callable[[click.Context, str], Iterable[CompletionItem[str]]]

NEWEST = 100
"""So many runs are offered; more of the name finds older ones."""
RUN_ID = re.compile(r"(?P<profile>[a-z0-9][a-z0-9._-]*)-(?P<stamp>\d{8}-\d{6})-[a-z]{3}")
DESCRIPTION = re.compile(r"""^description\s*=\s*["'](.+)["']""", re.MULTILINE)
STAGE = re.compile(r"""^\s*stage\s*=\s*["']([A-Za-z0-9_-]+)["']""", re.MULTILINE)
EXTENDS = re.compile(r"""^extends\s*=\s*["']([^"']+)["']""", re.MULTILINE)
READ_BYTES = 1 << 16
"""A profile's words stand in its beginning."""
DEEPEST = 8
"""So many profiles are followed that extend one another."""


def attach(commands: click.Group) -> None:
    """Give every parameter below `commands` its completion, by the word it has in the help: RUN, PROFILE, STAGE."""
    add_completion_class(Bash)
    add_completion_class(Zsh)
    for command in _commands(commands):
        for parameter in command.params:
            complete = _complete_for(parameter)
            if complete is not None:
                parameter.shell_complete = _guarded(complete)  # type: ignore[method-assign, assignment]


def _commands(group: click.Group) -> Iterator[click.Command]:
    for command in group.commands.values():
        yield command
        if isinstance(command, click.Group):
            yield from _commands(command)


def _complete_for(parameter: click.Parameter) -> Complete | None:
    known: dict[str, Complete] = {
        "RUN": runs,
        "PROFILE": profiles,
        "PROFILES": profiles,
        "STAGE": stages,
        "KEY": overrides,
        "SERIES": series,
    }
    words = re.findall(r"[A-Z]+", parameter.metavar or str(parameter.name).upper())
    if "RUN" in words and {"FOLDER", "MODEL", "FILE"} & set(words):
        return runs_or_folders
    return next((known[word] for word in words if word in known), None)


def _guarded(complete: Complete) -> Callable[[click.Context, str], Items]:
    """Where there is nothing to read there is nothing to offer: an error would be written over the command line."""

    def shell_complete(context: click.Context, incomplete: str) -> Items:
        try:
            return [item for item in complete(context, incomplete) if item.type != "plain" or _printable(item.value)]
        except (TuiftuneError, OSError):
            return []

    return shell_complete


def _printable(text: str) -> bool:
    return text == one_line(text) and text.isprintable()


# ------------------------------------------------------------------------------------------------------ runs


def runs(_: click.Context, incomplete: str) -> Iterator[CompletionItem[str]]:
    """The newest first, each with its state and its profile; and `latest`."""
    from tuiftune.run.folder import Run, state_of

    folder = runs_folder(find_workspace())
    found = sorted(_run_ids(folder), key=lambda run_id: run_id[1], reverse=True)
    if found and "latest".startswith(incomplete):
        yield CompletionItem("latest", help=f"now {found[0][0]}")
    for run_id, _stamp, profile in islice((run for run in found if run[0].startswith(incomplete)), NEWEST):
        try:
            state = state_of(Run(folder / run_id)).name
        except TuiftuneError:  # deleted a moment ago, or a folder that is no run
            continue
        yield CompletionItem(run_id, help=f"{state}, {profile}")


def _run_ids(folder: Path) -> Iterator[tuple[str, str, str]]:
    """(id, when it was started, profile), by the name alone: reading thousands of states would take seconds."""
    for entry in os.scandir(folder) if folder.is_dir() else ():
        found = RUN_ID.fullmatch(entry.name)
        if found:
            yield entry.name, found["stamp"], found["profile"]


def runs_or_folders(context: click.Context, incomplete: str) -> Iterator[CompletionItem[str]]:
    """Runs, and folders as soon as it looks like one."""
    if incomplete.startswith((".", "~")) or "/" in incomplete:
        yield CompletionItem(incomplete, type="dir")
    else:
        yield from runs(context, incomplete)


def series(_: click.Context, incomplete: str) -> Iterator[CompletionItem[str]]:
    """Those that the run on the command line has recorded."""
    from tuiftune.run.folder import find_run
    from tuiftune.run.metrics_db import MetricsReader

    folder = runs_folder(find_workspace())
    named = [word for word in _words() if (folder / word).is_dir() and "/" not in word]
    reader = MetricsReader(find_run(find_workspace(), named[-1] if named else "latest").metrics_file)
    try:
        yield from (CompletionItem(name) for name in reader.series() if name.startswith(incomplete))
    finally:
        reader.close()


# -------------------------------------------------------------------------------------- profiles and options


def profiles(_: click.Context, incomplete: str) -> Iterator[CompletionItem[str]]:
    """The nearest of each name, with what it says of itself."""
    for name, path in _profile_files().items():
        if name.startswith(incomplete):
            said = DESCRIPTION.search(_beginning(path))
            yield CompletionItem(name, help=one_line(said[1], 80) if said else None)
    if "/" in incomplete or incomplete.startswith("."):
        yield CompletionItem(incomplete, type="file")


def _profile_files() -> dict[str, Path]:
    found: dict[str, Path] = {}
    for _source, folder in profile_folders(find_workspace()):
        for path in sorted(folder.glob("[!_.]*.toml")):
            found.setdefault(path.stem, path)
    return found


def _beginning(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(READ_BYTES).decode("utf-8", "replace")


def stages(_: click.Context, incomplete: str) -> Iterator[CompletionItem[str]]:
    """All kinds of stages, and the tables that the core reads."""
    from tuiftune.remembered import remembered

    for table in remembered(find_workspace()):
        if table.name.startswith(incomplete):
            yield CompletionItem(table.name, help=f"{table.kind} stage" if table.kind else "table of every profile")


def overrides(_: click.Context, incomplete: str) -> Iterator[CompletionItem[str]]:
    """`train.epochs=` and the like; after the `=` what can stand there."""
    key, equals, _value = incomplete.partition("=")
    for option, about in dict(_options()).items():
        if equals:
            if option == key:
                values = (f"{key}={value}" for value in about.values)
                yield from (CompletionItem(value) for value in values if value.startswith(incomplete))
        elif option.startswith(incomplete):
            yield CompletionItem(f"{option}=", help=one_line(about.description, 80))


def _options() -> Iterator[tuple[str, Any]]:
    """(dotted key, option) of what the profiles on the command line use, else of every stage."""
    from tuiftune.remembered import remembered

    files = _profile_files()
    named = [word for word in _words() if word in files]
    used = _stages_of(named[-1], files) if named else set()
    for table in remembered(find_workspace()):
        if table.kind and used and table.name not in used:
            continue
        prefix = table.kind if table.kind in ("dataset", "train") else table.name
        yield from ((f"{prefix}.{option.name}", option) for option in table.options)


def _stages_of(name: str, files: dict[str, Path]) -> set[str]:
    """Stages named in a profile and in those it extends, found in the text: parsing TOML takes 30 ms."""
    used: set[str] = set()
    for _ in range(DEEPEST):
        path = files.get(name)
        if path is None:
            break
        text = _beginning(path)
        used |= set(STAGE.findall(text))
        base = EXTENDS.search(text)
        if base is None:
            break
        name = Path(base[1]).stem
    return used


def _words() -> list[str]:
    """The command line. click has parsed it too, and forgets all of it at an option that has no value yet."""
    return split_arg_string(os.environ.get("COMP_LINE") or os.environ.get("COMP_WORDS", ""))
