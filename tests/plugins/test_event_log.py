"""The example of a watching hook."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tuiftune.hookspecs import Event, RunInfo
from tuiftune.testing import load_plugin


def test_every_event_becomes_a_line(repository: Path, tmp_path: Path) -> None:
    registry = load_plugin(repository / "plugins" / "event_log.py")
    run = RunInfo("demo-1", tmp_path, "demo")
    for event in (Event("run_started", {"seed": 42}, 1.5), Event("checkpoint", {"step": 10, "path": Path("x")}, 2.0)):
        registry.watch("event_written", lambda plugin, error: pytest.fail(f"{plugin}: {error}"), run=run, event=event)
    assert [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()] == [
        {"time": 1.5, "kind": "run_started", "seed": 42},
        {"time": 2.0, "kind": "checkpoint", "step": 10, "path": "x"},
    ]
