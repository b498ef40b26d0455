"""`tuiftune doctor`: is this machine fit to fine-tune on?"""

from __future__ import annotations

import sys

import click

from tuiftune.commands.common import json_option
from tuiftune.paths import find_workspace


@click.command()
@json_option
def doctor(json_wanted: bool) -> None:
    """Look at the GPU, its driver, torch, the disk, the terminal, the hub; say what to do where something is wrong.

    Exit status 1 where something is bad.
    """
    from tuiftune import output
    from tuiftune.doctor.examine import examine
    from tuiftune.doctor.finding import BAD, worst
    from tuiftune.doctor.frame import frame
    from tuiftune.waiting import Waiting

    with Waiting("looking at this machine"):
        found = examine(find_workspace())
    if json_wanted:
        output.as_json([finding.to_json() for finding in found])
    else:
        output.fact(frame(found, output.width()))
    if worst(found) == BAD:
        sys.exit(1)
