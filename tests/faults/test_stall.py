"""A run that stands still is told to whoever looks, in words and figures, and nothing is done to it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tuiftune.run.folder import Run, State, create, write_state
from tuiftune.run.metrics_db import MetricsWriter
from tuiftune.run.process import Lock
from tuiftune.tui.panes.header import HeaderPane
from tuiftune.tui.reading import RunReader

SILENT_S = 300.0


@pytest.fixture
def silent(workspace: Path) -> Iterator[Run]:
    """A run whose 40th step, of half a second each, was five minutes ago; this process holds its locks."""
    run = create(workspace, "silent", {"train": {"stage": "demo"}}, {"profile": "silent"})
    locks = [Lock(run.supervisor_lock), Lock(run.worker_lock)]
    assert all(lock.take() for lock in locks)
    began = time.time() - SILENT_S - 20
    write_state(run, State("running", since=began, started=began))
    writer = MetricsWriter(run.metrics_file)
    writer.event("stage_started", {"index": 0, "kind": "train", "name": "demo", "plugin": "demo"}, began)
    for step in range(1, 41):
        writer.metric(step, {"train/loss": 2.0}, began + step / 2)
    writer.progress(0, 40, 400, "steps", began + 20)
    writer.close()
    yield run
    for lock in locks:
        lock.release()


def seconds_in(text: str) -> float:
    return float(text.partition("no step for ")[2].partition(" s")[0])


def test_a_run_that_stands_still_is_told_by_every_viewer(cli: Any, silent: Run) -> None:
    once = cli("watch", silent.id, "--once").stdout.splitlines()[0]
    assert once.startswith(f"{silent.id} running, no step for 30")
    assert SILENT_S <= seconds_in(once) < SILENT_S + 60
    (listed,) = json.loads(cli("runs", "--json").stdout)
    assert SILENT_S <= listed["stalled_s"] < SILENT_S + 60
    assert (listed["state"], listed["reason"]) == ("running", None), "nothing was done to it"
    assert "running, no step for 30" in cli("runs").stdout
    following = cli.start("watch", silent.id)
    try:
        assert following.stderr is not None
        line = next(line for line in following.stderr if "no step for" in line)
    finally:
        following.kill()
        following.communicate()
    assert line.endswith(f" s; to end it: tuiftune stop {silent.id} (or with --now, at once)\n")
    reader = RunReader(silent, points=64)
    view = reader.look()
    reader.close()
    assert view is not None
    pane = HeaderPane()
    pane._view = view
    ((text, tone),) = pane._reason(78)[0]
    assert SILENT_S <= seconds_in(text) < SILENT_S + 60
    assert tone == "warn"
