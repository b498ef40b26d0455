"""`tuiftune new-plugin` and `tuiftune plugin check`: for who writes a stage."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from tuiftune.commands.common import json_option
from tuiftune.errors import TuiftuneError
from tuiftune.paths import display, find_workspace

KINDS = ("dataset", "preprocess", "train", "evaluate")


@click.command("new-plugin")
@click.argument("name", metavar="NAME")
@click.option("--kind", type=click.Choice(KINDS), default="dataset", show_default=True, help="What its stage does.")
@json_option
def new_plugin(name: str, kind: str, json_wanted: bool) -> None:
    """Write plugins/NAME.py: a small stage that works, to be changed. Nothing that exists is touched."""
    from tuiftune import catalog, output
    from tuiftune import new_plugin as templates
    from tuiftune.waiting import Waiting

    workspace = find_workspace()
    with Waiting("reading plugins"):
        found = catalog.read_catalog(workspace)
    path = templates.make(workspace, name, kind, found)
    output.as_json({"path": str(path), "kind": kind, "stage": name}) if json_wanted else output.fact(str(path))
    output.word(f"Look it through with: tuiftune plugin check {display(path, workspace)}")


@click.group()
def plugin() -> None:
    """For who writes a plugin."""


@plugin.command()
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@json_option
def check(file: Path, json_wanted: bool) -> None:
    """Load the plugin in FILE, in a process of its own, and tell what is wrong with it, and what could be better.

    Exit status 2 where it cannot be loaded.
    """
    from dataclasses import asdict

    from tuiftune import catalog, output
    from tuiftune.waiting import Waiting

    with Waiting(f"loading {file}"):
        found = catalog.check_plugin(file)
    if json_wanted:
        output.as_json(
            {
                **asdict(found.plugin),
                "problems": [problem.to_json() for problem in found.problems],
                "notes": [note.to_json() for note in found.notes],
            }
        )
    elif not found.problems:
        brings = ", ".join(found.plugin.stages) or "watches only"
        output.fact(f"{found.plugin.path}: ok: {brings}; loaded in {found.plugin.import_ms:,.0f} ms")
    for line in (*found.problems, *found.notes):
        output.word(str(line))
    if found.problems:
        sys.exit(TuiftuneError.exit_status)
