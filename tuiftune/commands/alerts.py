"""`tuiftune alerts`: what happened to a run that a person should know of."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from tuiftune.commands.common import json_option
from tuiftune.paths import find_workspace

if TYPE_CHECKING:
    from tuiftune.run.alerts import Alert


@click.command()
@click.argument("run_reference", metavar="[RUN]", default="latest")
@click.option("--seen", is_flag=True, help="From now on they count as seen, in the dashboard too.")
@json_option
def alerts(run_reference: str, seen: bool, json_wanted: bool) -> None:
    """List what happened to RUN (the latest by default) that you should know of, the newest first.

    That it went on after a failure, was held or slowed down by heat, waited for room on the disk, that its loss was no
    number, it stood still, a plugin failed. A ! stands before those that nobody has seen.
    """
    from tuiftune import output
    from tuiftune.run import alerts as alerts_module
    from tuiftune.run.folder import find_run

    found = find_run(find_workspace(), run_reference)
    listed = alerts_module.look(found)
    if seen:
        alerts_module.mark_seen(found, [alert.key for alert in listed])
    if json_wanted:
        output.as_json([alert.to_json() for alert in reversed(listed)])
    elif listed:
        output.fact("\n".join(line for alert in reversed(listed) for line in _lines(alert, output.width())))
    else:
        output.word(f"{found.id}: nothing happened that you should know of")


def _lines(alert: Alert, width: int) -> Iterator[str]:
    moment = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(alert.time))
    step = "" if alert.step is None else f"  step {alert.step:,}"
    times = f"  {alert.times} times" if alert.times > 1 else ""
    yield f"{' ' if alert.seen else '!'} {moment}{step}{times}"
    for text in filter(None, (alert.sentence, alert.done)):
        yield from textwrap.wrap(text, max(20, width), initial_indent="    ", subsequent_indent="    ")
