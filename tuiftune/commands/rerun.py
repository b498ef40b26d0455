"""`tuiftune rerun`: a run once more, with changes."""

from __future__ import annotations

import click

from tuiftune.commands.common import follow_run, json_option, set_option
from tuiftune.paths import find_workspace


@click.command()
@click.argument("run_reference", metavar="RUN")
@set_option
@click.option("--name", help="A label for the new run.")
@click.option("--detach", is_flag=True, help="Print the new run's id and return.")
@click.option("--queue", "queued", is_flag=True, help="Wait for the runs before and for a free GPU; print its id.")
@json_option
def rerun(
    run_reference: str, overrides: tuple[str, ...], name: str | None, detach: bool, queued: bool, json_wanted: bool
) -> None:
    """Start RUN once more from the profile it ran with, changed by --set, whatever its file says by now."""
    from tuiftune import output
    from tuiftune.run import launch
    from tuiftune.run.folder import find_run
    from tuiftune.run.rerun import command_of, resolved_again

    workspace = find_workspace()
    before = find_run(workspace, run_reference)
    resolved = launch.with_warnings(resolved_again(workspace, before, overrides), workspace)
    for note in resolved.notes:
        output.word(note)
    started = launch.start(workspace, resolved, name=name, command=command_of(before, overrides), queued=queued)
    if detach or queued:
        output.as_json({"id": started.id, "path": str(started.path)}) if json_wanted else output.fact(started.id)
        return
    output.word(f"{started.id} runs in the background; Ctrl+C leaves it running")
    follow_run(started, json_wanted)
