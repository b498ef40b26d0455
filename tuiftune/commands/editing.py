"""`tuiftune duplicate` and `edit`: profiles of one's own, from a shell."""

from __future__ import annotations

import click

from tuiftune.commands.common import json_option
from tuiftune.errors import ProfileError, TuiftuneError
from tuiftune.paths import find_workspace


@click.command()
@click.argument("profile")
@click.argument("new")
@click.option(
    "--set",
    "overrides",
    metavar="KEY=VALUE",
    multiple=True,
    help="A value that NEW says differently, e.g. train.epochs=1. May be given several times.",
)
@json_option
def duplicate(profile: str, new: str, overrides: tuple[str, ...], json_wanted: bool) -> None:
    """Make NEW, a profile of yours that extends PROFILE and says only what is different."""
    from tuiftune import catalog, output
    from tuiftune.editing import files

    workspace = find_workspace()
    files.check_name(new)
    opened = files.open_new(workspace, profile, overrides, new)
    resolved = catalog.resolve_draft(workspace, opened.path, opened.to_text())
    problems = [problem for problem in resolved.problems if problem.file is None]
    if problems:
        raise ProfileError(problems)
    saved = files.save(opened, new)
    if json_wanted:
        output.as_json({"profile": new, "path": str(saved.path), "extends": profile, "own": saved.draft.own})
    else:
        output.fact(str(saved.path))
    for problem in (*resolved.problems, *resolved.absent):
        output.word(f"  before it runs: {problem}")


@click.command()
@click.argument("profile")
def edit(profile: str) -> None:
    """Open the file of PROFILE in $VISUAL or $EDITOR, then check it."""
    import subprocess

    from tuiftune import catalog, output
    from tuiftune.editing import files

    workspace = find_workspace()
    path = files.own_file(workspace, profile)
    status = subprocess.run(files.editor_command(path), check=False).returncode
    if status != 0:
        raise TuiftuneError(f"the editor ended with status {status}; {profile} was not checked")
    resolved = catalog.resolve_profile(workspace, profile)
    if resolved.problems:
        raise ProfileError(resolved.problems)
    output.fact(f"{resolved.name}: ok ({' → '.join(resolved.pipeline)})")
    for problem in resolved.absent:
        output.word(f"  before it runs: {problem}")
