"""Where a worker was when it ended without a word: the stage by its record, the line by its log."""

from __future__ import annotations

import re
from pathlib import Path

from tuiftune.errors import StoreError
from tuiftune.paths import display, plugin_folder
from tuiftune.run.folder import Run, log_tail
from tuiftune.run.metrics_db import MetricsReader
from tuiftune.text import one_line

DUMP = "Fatal Python error: "
"""Python's fault handler begins so, and goes on with the innermost frame first."""
FRAME = re.compile(r'  File "(?P<file>.+)", line (?P<line>\d+) in ')
LOOKED_AT = 200


def where_it_was(run: Run, log_from: int = 0) -> str:
    """` in preprocess stage 'clean' (plugin tidy), at plugins/tidy.py:12`, as far as it is known; "" where nothing is.

    `log_from`: where this attempt begins in the worker's log.
    """
    stage, place = _stage(run), _place(run, log_from)
    return (f" in {stage}" if stage else "") + (f", at {place}" if place else "")


def _stage(run: Run) -> str | None:
    """The stage that had started and not ended."""
    reader = MetricsReader(run.metrics_file)
    try:
        begun = reader.last_event("run_started")
        started, finished = reader.last_event("stage_started"), reader.last_event("stage_finished")
    except StoreError:
        return None
    finally:
        reader.close()
    if started is None or any(later is not None and later.id > started.id for later in (begun, finished)):
        return None
    data = started.data
    plugin = f" (plugin {data['plugin']})" if data.get("plugin") else ""
    return one_line(f"{data.get('kind')} stage {data.get('name')!r}{plugin}", 200)


def _place(run: Run, log_from: int) -> str | None:
    """`plugins/tidy.py:12`: the innermost line of a dropped-in plugin in Python's own report of a crash."""
    lines = log_tail(run.worker_log, LOOKED_AT, after=log_from)
    starts = [number for number, line in enumerate(lines) if line.startswith(DUMP)]
    workspace = run.path.parent.parent
    folder = plugin_folder(workspace)
    for line in lines[starts[-1] + 1 :] if starts else ():
        frame = FRAME.match(line)
        if frame and Path(frame["file"]).is_relative_to(folder):
            return f"{one_line(display(Path(frame['file']), workspace))}:{frame['line']}"
    return None
