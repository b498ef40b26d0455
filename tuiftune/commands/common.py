"""What many commands have: options, and following a run."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from tuiftune.errors import RunFailed

if TYPE_CHECKING:
    from tuiftune.run.folder import Run

Command = TypeVar("Command", bound=Callable[..., Any])


def json_option(command: Command) -> Command:
    return click.option("--json", "json_wanted", is_flag=True, help="Print facts as JSON on stdout.")(command)


def set_option(command: Command) -> Command:
    return click.option(
        "--set",
        "overrides",
        metavar="KEY=VALUE",
        multiple=True,
        help="Override a value of the profile, e.g. train.epochs=1. May be given several times.",
    )(command)


def follow_run(run: Run, json_wanted: bool, after_event: int = 0) -> None:
    """Follow to the end and say how it ended; raises RunFailed where that is not `finished`."""
    from tuiftune import output
    from tuiftune.run.follow import ending, follow
    from tuiftune.run.summary import summarize

    try:
        state = follow(run, after_event=after_event)
    except KeyboardInterrupt:
        output.word(f"\n{run.id} goes on. Watch it: tuiftune watch {run.id}; stop it: tuiftune stop {run.id}")
        return
    if json_wanted:
        output.as_json(summarize(run).to_json())
    elif state.name == "finished":
        output.fact(ending(run, state))
    if state.name != "finished":
        raise RunFailed(ending(run, state))
