"""`tuiftune devices`: the GPUs now, and who is on them."""

from __future__ import annotations

import time

import click

from tuiftune.commands.common import json_option
from tuiftune.errors import TuiftuneError
from tuiftune.paths import find_workspace

DEADLINE_S = 30.0
"""A driver without persistence mode wakes each GPU when it is asked."""
ASKED_AGAIN_S = 0.05
ROWS = 60


@click.command()
@json_option
def devices(json_wanted: bool) -> None:
    """Show each GPU as it is now, CPU and memory, and the processes on them."""
    from tuiftune import output
    from tuiftune.run.machine_processes import Processes
    from tuiftune.run.telemetry_source import TelemetrySource
    from tuiftune.tui.messages import DeviceView, Readings
    from tuiftune.tui.panes.devices import DevicesPane, lines_wanted
    from tuiftune.tui.panes.processes import table
    from tuiftune.waiting import Waiting

    source = TelemetrySource(find_workspace())
    try:
        with Waiting("reading this machine"):
            end = time.monotonic() + DEADLINE_S
            while (sample := source.poll()) is None:
                if time.monotonic() > end:
                    raise TuiftuneError(f"no readings within {DEADLINE_S:.0f} s: {source.problem or 'no answer'}")
                time.sleep(ASKED_AGAIN_S)
    finally:
        source.close()
    processes = Processes().look(sample.devices)
    if json_wanted:
        output.as_json({"devices": sample.devices, "processes": [one.to_json() for one in processes]})
        return
    pane, width = DevicesPane(), output.width()
    shown = [DeviceView(name, fields, {}) for name, fields in sorted(sample.devices.items())]
    pane.show(Readings(shown, 0.0, live=True))
    rows = [*pane.rows(width, lines_wanted(shown) + 1), (), *table(processes, width, ROWS)]
    output.fact("\n".join("".join(text for text, _ in row).rstrip() for row in rows))
