"""Example: every event of a run as a line of JSON in its folder, for other programs to follow.

tail -f runs/<run>/events.jsonl
"""

from __future__ import annotations

import json

import tuiftune
from tuiftune.hookspecs import Event, RunInfo


@tuiftune.hookimpl
def event_written(run: RunInfo, event: Event) -> None:
    line = {"time": event.time, "kind": event.kind, **event.data}
    with (run.path / "events.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(line, ensure_ascii=False, default=str) + "\n")
