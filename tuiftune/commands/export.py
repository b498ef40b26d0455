"""`tuiftune export`: a run's model or records, out of the workspace."""

from __future__ import annotations

from pathlib import Path

import click

from tuiftune.commands.common import json_option
from tuiftune.paths import find_workspace


@click.command()
@click.argument("run_reference", metavar="RUN")
@click.option(
    "--to",
    metavar="FOLDER|FILE.tar.gz",
    type=click.Path(path_type=Path),
    help="Where to; into a folder that is there it goes under the run's id. Left out: a folder of that id here.",
)
@click.option(
    "--what",
    type=click.Choice(["all", "model", "metrics"]),
    default="all",
    show_default=True,
    help="metrics: figures, texts, profile and how it went, without the model.",
)
@json_option
def export(run_reference: str, to: Path | None, what: str, json_wanted: bool) -> None:
    """Copy the finished model of RUN, and what was recorded of it, to a folder or into one file to send.

    Nothing that exists is written over. Secrets are masked in the records; the model is copied as it is.
    """
    from tuiftune import output, units
    from tuiftune.bars import bar
    from tuiftune.run.export import export as export_run
    from tuiftune.run.folder import find_run

    found = find_run(find_workspace(), run_reference)
    with bar(f"exporting {found.id}") as progress:
        made = export_run(found, to or Path(found.id), what, progress)
    for sentence in made.left_out:
        output.word(f"{found.id}: {sentence}")
    if json_wanted:
        output.as_json({"id": found.id, "path": str(made.place), "files": made.files, "size_bytes": made.size_bytes})
    else:
        output.fact(str(made.place))
        output.word(f"{made.files} files, {units.size(made.size_bytes)}")
