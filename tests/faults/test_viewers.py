"""Viewers of a run that is watched by many, copied, damaged or deleted under them stay up and name what is wrong."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tuiftune.run.folder import Run, State, create, recorded_state, write_state
from tuiftune.run.metrics_db import MetricsWriter
from tuiftune.run.process import Lock
from tuiftune.run.telemetry_db import TelemetryWriter

Open = Callable[..., Any]


def test_many_viewers_of_one_run_do_not_disturb_it_or_one_another(cli: Any, open_terminal: Open) -> None:
    run = cli.detached("long")
    cli.until(lambda: cli.step(run) >= 1)
    before = recorded_state(run)
    dashboards = [open_terminal(cli.command, cli.workspace, *size) for size in ((80, 24), (120, 40), (40, 12))]
    watching = [cli.start("watch", run.id) for _ in range(3)]
    for dashboard in dashboards:
        dashboard.wait_for("running")
    dashboards[0].kill()
    watching[0].kill()
    dashboards[1].type("q")
    assert dashboards[1].wait() == 0
    cli.until(lambda: cli.step(run) >= 50)
    assert cli("stop", run.id).returncode == 0
    after = cli.ended(run)
    assert (after.name, after.supervisor, after.worker, after.attempt) == (
        "stopped",
        before.supervisor,
        before.worker,
        1,
    )
    steps = [data["step"] for data in cli.events(run, "checkpoint")]
    assert steps[:5] == [10, 20, 30, 40, 50]
    dashboards[2].wait_for("stopped")
    for one in watching[1:]:
        _, said = one.communicate(timeout=60)
        assert one.returncode == 1
        assert f"{run.id} stopped after" in said
    watching[0].communicate()


def reading_only(cli: Any, powerless: list[str], workspace: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*powerless, *cli.command, *arguments], cwd=workspace, capture_output=True, text=True, check=False
    )


def test_a_copy_that_cannot_be_written_is_looked_at_like_any_run(
    cli: Any, tmp_path: Path, powerless: list[str]
) -> None:
    run = cli.detached("long")
    cli.until(lambda: cli.step(run) >= 20)
    os.kill(recorded_state(run).supervisor.pid, signal.SIGKILL)  # its databases are as a power cut leaves them
    os.kill(recorded_state(run).worker.pid, signal.SIGKILL)
    shared = tmp_path / "shared"
    try:
        for name in ("profiles", "plugins"):
            (shared / name).mkdir(parents=True)
        shutil.copytree(run.path, shared / "runs" / run.id)
        for path in (shared, *shared.rglob("*")):
            path.chmod(0o555 if path.is_dir() else 0o444)
        for arguments, words in (
            (("runs",), "interrupted"),
            (("watch", run.id), "its processes are gone"),
            (("metrics", run.id, "--series", "train/loss"), "train/loss,20,"),
            (("logs", run.id), "50 documents"),
        ):
            done = reading_only(cli, powerless, shared, *arguments)
            assert words in done.stdout + done.stderr, done.stderr
            assert "Traceback" not in done.stderr
        refused = reading_only(cli, powerless, shared, "resume", run.id)
        assert refused.returncode == 2
        assert "Traceback" not in refused.stderr
        assert refused.stderr.count("\n") == 1
    finally:
        for path in (shared, *shared.rglob("*")):
            path.chmod(0o755)


@pytest.fixture
def recorded(workspace: Path) -> Iterator[Run]:
    """A run in the middle of its training, as far as anybody can see: this process holds its locks."""
    run = create(workspace, "seen", {"dataset": {"stage": "text"}, "train": {"stage": "demo"}}, {"profile": "seen"})
    locks = [Lock(run.supervisor_lock), Lock(run.worker_lock)]
    assert all(lock.take() for lock in locks)
    now = time.time()
    write_state(run, State("running", since=now, started=now))
    metrics, telemetry = MetricsWriter(run.metrics_file), TelemetryWriter(run.telemetry_file)
    metrics.event("stage_started", {"index": 1, "kind": "train", "name": "demo"}, now)
    for step in range(1, 2001):
        metrics.metric(step, {"train/loss": 3 - step / 1000}, now)
    for second in range(100):
        telemetry.sample(now - second, {"host": {"cpu_percent": 40.0, "gpu_status": "none"}})
    metrics.close()
    telemetry.close()
    yield run
    for lock in locks:
        lock.release()


def replaced(path: Path, content: bytes, age_s: float = 0.0) -> None:
    """Another content in the very same file, as a failing disk or a stray program leaves it."""
    for beside in path.parent.glob(f"{path.name}-*"):
        beside.unlink()
    with path.open("r+b") as file:
        file.truncate()
        file.write(content)
    os.utime(path, (time.time() - age_s,) * 2)


def test_files_damaged_under_an_open_dashboard_are_named_and_it_goes_on(
    cli: Any, recorded: Run, open_terminal: Open
) -> None:
    kept = {path: path.read_bytes() for path in (recorded.metrics_file, recorded.telemetry_file, recorded.state_file)}
    dashboard = open_terminal(cli.command, cli.workspace, 100, 40)
    dashboard.wait_for(recorded.id, "running", "40 %", "smoothed")
    noise = bytes(range(256)) * 64
    for path in (recorded.metrics_file, recorded.telemetry_file):
        replaced(path, noise)
        dashboard.wait_for(f"{path.name}: cannot be read")
        named = cli("watch", recorded.id, "--once")
        assert "Traceback" not in named.stderr
        replaced(path, b"", age_s=60)
        dashboard.wait_for(f"{path.name}: empty (0 bytes)")
        replaced(path, kept[path])
        dashboard.wait_for(recorded.id, "running", "40 %", "smoothed")
        cli.until(lambda: "cannot be read" not in dashboard.text(), dashboard.text())
    for torn in (b"", b"{", b'{"state": "running"}', noise):
        replaced(recorded.state_file, torn)
        dashboard.wait_for("state.json is damaged", "running")
        (listed,) = json.loads(cli("runs", "--json").stdout)
        assert (listed["state"], listed["id"]) == ("running", recorded.id)
        assert "state.json is damaged" in listed["reason"]
    replaced(recorded.state_file, kept[recorded.state_file])
    cli.until(lambda: "damaged" not in dashboard.text(), dashboard.text())
    shutil.rmtree(recorded.path)
    dashboard.wait_for("cannot be shown", "was deleted")
    dashboard.type("\r")
    dashboard.wait_for("type to filter", "quick")
    dashboard.type("\x1b")
    dashboard.wait_for("esc again leaves")
    dashboard.type("\x1b")
    assert dashboard.wait() == 0
    assert b"Traceback" not in dashboard.raw


def test_a_run_whose_state_is_lost_is_mended_by_who_looks_and_can_be_resumed(cli: Any) -> None:
    run = cli.detached("long", "train.steps=200")
    cli.until(lambda: cli.step(run) >= 15)
    assert cli("stop", run.id).returncode == 0
    cli.ended(run)
    replaced(run.state_file, b"")

    def listed_as(name: str) -> bool:  # for a moment it is that of a run whose supervisor is just mending it
        return bool(json.loads(cli("runs", "--json").stdout)[0]["state"] == name)

    cli.until(lambda: listed_as("stopped"))
    cli.until(lambda: run.state_file.stat().st_size, "the next supervisor writes it down")
    assert cli.ended(run).name == "stopped"
    run.exit_file.unlink()  # as after a power cut in the middle of it
    replaced(run.state_file, b"\0" * 300)
    cli.until(lambda: listed_as("interrupted"))
    done = cli("resume", run.id)
    assert done.returncode == 0, done.stderr
    assert cli.ended(run).name == "finished"
    assert cli.step(run) == 200
