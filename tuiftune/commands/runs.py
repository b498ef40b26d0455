"""`tuiftune rename`, `note`, `delete` and `trash`: what a person keeps in order."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from tuiftune.commands.common import json_option
from tuiftune.errors import TuiftuneError
from tuiftune.paths import find_workspace

if TYPE_CHECKING:
    from tuiftune.run.trash import Deleted


@click.command()
@click.argument("run_reference", metavar="RUN")
@click.argument("name")
@json_option
def rename(run_reference: str, name: str, json_wanted: bool) -> None:
    """Give RUN another name; an empty one ('') takes it away. Its id stays."""
    from tuiftune import output
    from tuiftune.run import notes
    from tuiftune.run.folder import find_run

    found = find_run(find_workspace(), run_reference)
    called = notes.rename(found, name)
    if json_wanted:
        output.as_json({"id": found.id, "name": called})
    else:
        output.fact(f"{found.id}: {called or 'has no name now'}")


@click.command()
@click.argument("run_reference", metavar="RUN")
@click.argument("text", required=False)
@json_option
def note(run_reference: str, text: str | None, json_wanted: bool) -> None:
    """Write TEXT, a line, on RUN; '' takes it away. Without TEXT: print what is written there."""
    from tuiftune import output
    from tuiftune.run import notes
    from tuiftune.run.folder import find_run

    found = find_run(find_workspace(), run_reference)
    written = notes.read_notes(found).note if text is None else notes.annotate(found, text)
    if json_wanted:
        output.as_json({"id": found.id, "note": written})
    elif written:
        output.fact(written if text is None else f"{found.id}: {written}")
    else:
        output.word(f"{found.id}: has no note{'' if text is None else ' now'}")


@click.command()
@click.argument("references", metavar="RUN...", nargs=-1, required=True)
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def delete(references: tuple[str, ...], yes: bool, json_wanted: bool) -> None:
    """Move RUNs that have ended into the trash. `tuiftune trash --restore RUN` has one back."""
    from tuiftune import output, units
    from tuiftune.run import trash
    from tuiftune.run.folder import find_run
    from tuiftune.run.size import size_on_disk

    workspace = find_workspace()
    found = list(dict.fromkeys(find_run(workspace, reference) for reference in references))
    if not yes:
        taken = [f"{run.id}  {units.size(size_on_disk(run.path))}" for run in found]
        _agree("Move to the trash?", taken)
    deleted = []
    try:
        for run in found:
            deleted.append(trash.delete(run))
            if not json_wanted:
                output.fact(run.id)
    finally:
        if json_wanted:
            output.as_json([{"id": one.id, "path": str(one.run.path)} for one in deleted])
    output.word("The disk has room again after: tuiftune trash --empty")


@click.command("trash")
@click.argument("references", metavar="[RUN]...", nargs=-1)
@click.option("--restore", is_flag=True, help="Put RUNs back where they were.")
@click.option("--empty", is_flag=True, help="Remove RUNs, or all without any, for good.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def trash_command(references: tuple[str, ...], restore: bool, empty: bool, yes: bool, json_wanted: bool) -> None:
    """List the deleted runs; put some back, or remove them for good."""
    from tuiftune import output
    from tuiftune.run import trash

    workspace = find_workspace()
    if restore and (empty or not references):
        raise click.UsageError("--restore wants the runs to put back, and no --empty. See: tuiftune trash")
    if references and not (restore or empty):
        raise click.UsageError("What with them? --restore or --empty")
    found = [trash.find(workspace, one) for one in references] or trash.contents(workspace)
    if restore:
        back = [trash.restore(one) for one in found]
        if json_wanted:
            output.as_json([{"id": run.id, "path": str(run.path)} for run in back])
        else:
            output.fact("\n".join(run.id for run in back))
    elif empty:
        _empty(found, yes, json_wanted)
    else:
        _list(found, json_wanted)


def _list(found: list[Deleted], json_wanted: bool) -> None:
    from tuiftune import output, units
    from tuiftune.run.size import size_on_disk

    sizes = [size_on_disk(one.run.path) for one in found]
    if json_wanted:
        rows = [
            {"id": one.id, "deleted": one.time, "size_bytes": size, "path": str(one.run.path)}
            for one, size in zip(found, sizes, strict=True)
        ]
        output.as_json(rows)
    elif found:
        lines = [(one.id, units.ago(one.time), units.size(size)) for one, size in zip(found, sizes, strict=True)]
        output.fact(output.table(lines, ("RUN", "DELETED", "SIZE>")))
    else:
        output.word("nothing is in the trash")


def _empty(found: list[Deleted], yes: bool, json_wanted: bool) -> None:
    from tuiftune import output, units
    from tuiftune.bars import bar
    from tuiftune.run import trash
    from tuiftune.run.size import size_on_disk

    taken = sum(size_on_disk(one.run.path) for one in found)
    if found and not yes:
        _agree(f"Remove for good, {units.size(taken)}?", [one.id for one in found])
    with bar("removing") as progress:
        trash.empty(found, progress)
    if json_wanted:
        output.as_json({"removed": [one.id for one in found], "freed_bytes": taken})
    elif found:
        output.fact(f"{len(found)} removed, {units.size(taken)} free again")
    else:
        output.word("nothing is in the trash")


def _agree(question: str, lines: list[str]) -> None:
    """Ask on the terminal. Raises TuiftuneError for a no, and where nobody can be asked."""
    from tuiftune import output

    if not sys.stdin.isatty():
        raise TuiftuneError(f"{question} Nobody can be asked here: say so with --yes")
    for line in lines:
        output.word(f"  {line}")
    if not click.confirm(question, err=True):
        raise TuiftuneError("nothing was changed")
