"""What happens to a run, a line each, for whoever follows it: from the worker's events and from the supervisor's."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from tuiftune import units
from tuiftune.errors import StoreError
from tuiftune.run.folder import WAITING, Run, State
from tuiftune.run.store import EventRow
from tuiftune.run.telemetry_db import TelemetryReader
from tuiftune.text import one_line


def worker_news(event: EventRow) -> str | None:
    """A line on an event of metrics.db; None for one that is not worth it."""
    data = event.data
    if event.kind == "stage_started":
        return one_line(f"{data['kind']}: {data['name']}")
    if event.kind == "stage_finished" and not data.get("error"):
        cached = ", from the cache" if data.get("cached") else ""
        return one_line(f"{data['kind']}: {data['name']} done in {units.duration(data['seconds'])}{cached}")
    if event.kind == "message":
        return one_line(f"{data['stage']}: {data['text']}" if data["stage"] else str(data["text"]))
    if event.kind == "checkpoint":
        return f"checkpoint at step {data['step']}"
    if event.kind == "resumed":
        return f"going on from step {data['step']}"
    if event.kind == "proved":
        *most, last = data["agree"] or ["nothing"]
        agree = f"{', '.join(most)} and {last} agree" if most else f"{last} agrees"
        differ = [*(f"{text} (as forced)" for text in data["forced"]), *data["noted"]]
        return one_line("; ".join([f"{agree} with the checkpoint of step {data['step']}", *differ]), 1000)
    if event.kind == "released":
        return f"goes on at step {data['step']}, after {units.duration(data['seconds'])}"
    if event.kind == "plugin_error":
        return one_line(str(data["error"]))
    return None


class SupervisorNews:
    """What the supervisor said since this was made: it healed the run, held it, stopped it; a GPU is slowed down."""

    def __init__(self, run: Run) -> None:
        self._reader = TelemetryReader(run.telemetry_file)
        self._last = 0
        self._state: tuple[str, str | None] | None = None
        self._problems: set[str] = set()
        with contextlib.suppress(StoreError):  # said at the first look
            newest = self._reader.last_event()
            self._last = newest.id if newest else 0

    def look(self, state: State) -> list[str]:
        """A line for each thing that is new. `state`: the run's, which tells what it waits for also to those who come
        later and where the events could not be written."""
        lines: list[str] = []
        try:
            events = self._reader.events(self._last)
        except StoreError as error:
            events = []
            if str(error) not in self._problems:
                self._problems.add(str(error))
                lines.append(str(error))
        for event in events:
            self._last = event.id
            lines += self._of(event)
        if state.active and not events:  # else they are newer than it
            lines += self._entered(state.name, state.reason)
        return [one_line(line) for line in lines]

    def _of(self, event: EventRow) -> Iterator[str]:
        if event.kind == "healed":
            yield f"healed: {event.data.get('sentence')}; a new worker is started"
            self._state = ("healing", event.data.get("sentence"))
        elif event.kind == "alert" and event.data.get("alert") != "stall":  # that is seen sooner by who looks
            yield str(event.data.get("text"))
        elif event.kind == "state":
            yield from self._entered(str(event.data.get("state")), event.data.get("reason"))

    def _entered(self, name: str, reason: str | None) -> Iterator[str]:
        if (name, reason) == self._state:
            return
        before, self._state = self._state, (name, reason)
        if name == "pausing":
            yield f"pausing at the end of its step: {reason}"
        elif name in WAITING:
            yield f"{name}: {reason}" if reason and not reason.startswith(name) else reason or name
        elif name == "stopping" and before is not None:
            yield "stopping: it writes a checkpoint first, then it ends"

    def close(self) -> None:
        self._reader.close()
