"""Runs that wait for their turn: in order, one at a time, whatever is killed."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import pytest

from tuiftune.run import folder, launch, lease, process, queue
from tuiftune.run.folder import Run, State
from tuiftune.run.lease import Leases
from tuiftune.run.metrics_db import MetricsReader
from tuiftune.run.process import is_locked
from tuiftune.run.telemetry_db import TelemetryReader
from tuiftune.run.worker_start import MARK

InState = Callable[..., State]
Until = Callable[..., Any]
Queued = Callable[..., list[Run]]


class FakeGpus(Protocol):
    def set(self, values: dict[str, str | int | bytes]) -> None: ...


@pytest.fixture
def queued(workspace: Path, profile: Callable[..., str]) -> Iterator[Queued]:
    """`tuiftune run DEMO DEMO ... --queue`: so many runs; all are ended afterwards."""
    made: list[Run] = []

    def start(count: int, *settings: str, where: Path = workspace) -> list[Run]:
        name = profile("demo")
        sets = [part for setting in ("train.steps=25", *settings) for part in ("--set", setting)]
        command = [sys.executable, "-P", "-m", "tuiftune.cli", "run", *[name] * count, "--queue", *sets]
        done = subprocess.run(command, cwd=where, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        runs = [Run(where / "runs" / line) for line in done.stdout.split()]
        made.extend(runs)
        return runs

    yield start
    for run in made:
        supervisor = folder.recorded_state(run).supervisor
        if supervisor:
            process.send(supervisor, signal.SIGKILL)
        process.end_all(lambda run=run: process.marked(MARK, str(run.path)))


def span(run: Run) -> tuple[float, float]:
    """When its first and its last step were recorded."""
    reader = MetricsReader(run.metrics_file)
    times = [row.time for row in reader.rows("train/loss")]
    reader.close()
    return min(times), max(times)


def in_turn(runs: list[Run]) -> bool:
    spans = [span(run) for run in runs]
    return all(before[1] < after[0] for before, after in itertools.pairwise(spans))


def test_queued_runs_go_one_after_the_other_though_their_processes_are_killed(
    queued: Queued, in_state: InState, until: Until, command_line: Callable[..., Any]
) -> None:
    first, second, third = queued(3, "train.steps=60")
    in_state(first, "running")
    until(lambda: (folder.recorded_state(third).reason or "").startswith("2nd in the queue, after "))
    assert folder.recorded_state(third).reason == f"2nd in the queue, after {second.id}"
    waits = f"next in the queue; waits for the CPU, taken by {first.id}"
    until(lambda: folder.recorded_state(second).reason == waits, second.state_file.read_text)
    told = json.loads(command_line("queue", "--json").stdout)
    assert [(one["place"], one["id"]) for one in told] == [(1, second.id), (2, third.id)]

    for who in (folder.recorded_state(second).supervisor, folder.recorded_state(first).worker):
        assert who
        process.send(who, signal.SIGKILL)
    until(lambda: not is_locked(second.supervisor_lock))
    assert command_line("runs").returncode == 0, "whoever looks starts another supervisor"
    until(lambda: is_locked(second.supervisor_lock))
    for run in (first, second, third):
        in_state(run, "finished")
    assert [folder.recorded_state(run).attempt for run in (first, second, third)] == [2, 1, 1]
    assert in_turn([first, second, third])
    assert json.loads(command_line("queue", "--json").stdout) == []


def test_a_run_whose_supervisor_is_killed_keeps_its_device_and_its_place(
    queued: Queued, in_state: InState, until: Until
) -> None:
    first, second, third = *queued(1, "train.steps=100"), *queued(2)
    state = in_state(first, "running")
    assert state.worker
    for run in (first, third):
        until(lambda run=run: folder.recorded_state(run).supervisor)
        supervisor = folder.recorded_state(run).supervisor
        assert supervisor
        process.send(supervisor, signal.SIGKILL)
    # The next in the queue sees to both; nobody else looks.
    for run in (first, second, third):
        assert in_state(run, "finished").attempt == 1
    assert f"worker {state.worker.pid} adopted" in first.supervisor_log.read_text()
    assert third.supervisor_log.read_text().count("queued") == 2, "its first supervisor, and its second"
    assert in_turn([first, second, third])


def test_the_order_can_be_changed_and_entries_taken_out(
    queued: Queued, in_state: InState, until: Until, command_line: Callable[..., Any]
) -> None:
    first, second, third, fourth = queued(4, "train.steps=60")
    in_state(first, "running")
    assert command_line("pause", first.id).returncode == 0  # so that the others wait, however long all this takes
    assert command_line("queue", "move", fourth.id, "first").stdout == f"{fourth.id}: place 1\n"
    assert command_line("queue", "move", third.id, "up").stdout == f"{third.id}: place 2\n"
    assert command_line("pause", second.id).stdout.startswith(f"{second.id}: refused: the run waits in the queue")
    assert command_line("pause", "--release", second.id).stdout.startswith(f"{second.id}: refused: the run waits")
    assert command_line("stop", second.id).stdout == f"{second.id}: done\n"
    state = in_state(second, "stopped")
    assert state.reason == "taken out of the queue as asked"
    refused = command_line("queue", "move", second.id, "first")
    assert (refused.returncode, refused.stderr) == (2, f"{second.id} does not wait in the queue: it is stopped\n")
    supervisor = folder.recorded_state(third).supervisor
    assert supervisor
    process.send(supervisor, signal.SIGTERM)  # as at a shutdown of the machine
    assert f"start it with: tuiftune resume {third.id}" in (in_state(third, "interrupted").reason or "")
    assert command_line("resume", first.id).returncode == 0
    for run in (first, fourth):
        in_state(run, "finished")
    assert in_turn([first, fourth])


def test_a_run_started_directly_is_waited_for_and_waits_for_nobody(
    queued: Queued, started: Callable[..., Run], in_state: InState, until: Until
) -> None:
    direct = started("demo", "train.steps=150", "train.seconds_per_step=0.02")
    in_state(direct, "running")
    until(lambda: _newest_sample(direct), "with its first look at the machine it marks the CPU as used")
    (waits,) = queued(1)
    until(lambda: (folder.recorded_state(waits).reason or "").endswith(f"taken by {direct.id}"))
    another = started("demo", "train.steps=3")
    in_state(another, "finished")
    in_state(waits, "finished")
    assert in_turn([direct, waits])


def test_a_run_started_beside_a_queued_one_is_waited_for_in_another_workspace(
    queued: Queued, started: Callable[..., Run], in_state: InState, until: Until, workspace: Path, tmp_path: Path
) -> None:
    (first,) = queued(1, "train.steps=150")
    in_state(first, "running")
    direct = started("a-demo", "train.steps=220")
    other = tmp_path / "other"
    (other / "plugins").mkdir(parents=True)
    shutil.copytree(workspace / "profiles", other / "profiles")
    (last,) = queued(1, where=other)
    waits = "next in the queue; waits for the CPU, taken by another run of yours"
    until(lambda: folder.recorded_state(last).reason == waits, last.state_file.read_text)
    for run in (first, direct, last):
        in_state(run, "finished")
    assert span(first)[1] < span(direct)[1] < span(last)[0]


def test_vram_and_programs_of_others_are_waited_for_and_the_gpu_is_chosen(
    fake_gpus: FakeGpus, queued: Queued, in_state: InState, until: Until
) -> None:
    full = {"count": 2, "gpu0.mem_total": 12 << 30, "gpu1.mem_total": 12 << 30, "gpu1.procs": f"{os.getpid()}:1000"}
    fake_gpus.set({**full, "gpu0.mem_used": 9 << 30})
    (run,) = queued(1, "run.wait_for_vram=8GiB", "train.steps=200")
    until(lambda: "free VRAM" in (folder.recorded_state(run).reason or ""), run.state_file.read_text)
    assert folder.recorded_state(run).reason == "next in the queue; waits for 8GiB of free VRAM on gpu0 (3.0 GiB free)"
    fake_gpus.set({**full, "gpu0.mem_used": 1 << 30, "gpu0.procs": "4000000:1000"})
    until(lambda: "process 4000000" in (folder.recorded_state(run).reason or ""), run.state_file.read_text)
    fake_gpus.set({**full, "gpu0.mem_used": 1 << 30})
    state = in_state(run, "running")
    assert state.worker
    environment = Path(f"/proc/{state.worker.pid}/environ").read_bytes().decode()
    assert "CUDA_VISIBLE_DEVICES=GPU-" in environment, "the one that is free, by its UUID"

    # A driver that goes on listing the process after its end has not given its memory back.
    fake_gpus.set({**full, "gpu0.procs": f"{state.worker.pid}:1000"})
    pid = str(state.worker.pid)
    until(lambda: (_newest_sample(run) or {}).get("gpu0", {}).get("process_pids") == pid)
    assert launch.ask(run, "stop", 40) == "done"
    assert in_state(run, "stopped").left == [state.worker.pid]
    assert "their VRAM was not given back within 5 s" in run.supervisor_log.read_text()


def test_a_run_keeps_the_gpu_that_was_chosen_for_it_whoever_is_killed(
    fake_gpus: FakeGpus, queued: Queued, in_state: InState, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    lost = {"count": 3, "gpu0.error": 15}
    fake_gpus.set(lost)
    (first,) = queued(1, "train.steps=400")
    state = in_state(first, "running")
    assert state.worker
    assert state.supervisor
    uuid = "GPU-00000000-0000-0000-0000-000000000001"
    assert state.devices == uuid, "not the one that is lost, nor the one that is hidden"
    until(lambda: is_locked(first.worker_lock))
    process.send(state.supervisor, signal.SIGKILL)
    fake_gpus.set({**lost, "gpu1.procs": f"{state.worker.pid}:1000"})
    (second,) = queued(1)
    expected = f"waits for gpu1, taken by {first.id}"
    until(lambda: expected in (folder.recorded_state(second).reason or ""), second.state_file.read_text)
    process.send(state.worker, signal.SIGKILL)
    fake_gpus.set(lost)
    again = until(lambda: (now := folder.recorded_state(first)).attempt == 2 and now.worker)
    environment = Path(f"/proc/{again.pid}/environ").read_bytes().decode().split("\0")
    assert f"CUDA_VISIBLE_DEVICES={uuid}" in environment
    assert launch.ask(first, "stop", 40) == "done"
    in_state(second, "finished")


def _newest_sample(run: Run) -> dict[str, Any] | None:
    reader = TelemetryReader(run.telemetry_file)
    latest = reader.latest()
    reader.close()
    return latest[1] if latest else None


# ---- leases and numbers, without a run


def test_what_waited_when_the_machine_was_restarted_is_no_longer_in_the_queue(workspace: Path) -> None:
    run = folder.create(workspace, "test", {}, {}, "queued")
    queue.join(run)
    assert [one.run for one in queue.waiting(workspace)] == [run]
    me = process.identify(os.getpid())
    assert me
    folder.write_state(run, replace(folder.recorded_state(run), supervisor=replace(me, boot_id="another")))
    state = folder.state_of(run)
    reason = f"the machine was restarted while it waited; start it with: tuiftune resume {run.id}"
    assert (state.name, state.reason) == ("interrupted", reason)
    assert queue.waiting(workspace) == []


def test_a_worker_that_starts_and_does_not_hold_its_lock_yet_is_there(workspace: Path, until: Until) -> None:
    run = folder.create(workspace, "test", {}, {})
    with subprocess.Popen(["sleep", "60"]) as sleeper:
        worker = process.identify(sleeper.pid)
        folder.write_state(run, replace(folder.recorded_state(run), name="running", worker=worker))
        assert folder.state_of(run).name == "running"
        assert folder.is_orphaned(run), "a supervisor is missed"
        sleeper.kill()
    assert folder.state_of(run).name == "interrupted"
    assert not folder.is_orphaned(run)


def test_nobody_chooses_while_a_run_has_not_said_which_devices_it_uses(tmp_path: Path) -> None:
    starts, chooses = Leases(tmp_path), Leases(tmp_path)
    starts.announce()
    with chooses.choosing() as alone:
        assert not alone
    assert starts.take(["GPU-a"], alone=False) is None
    starts.settled()
    with chooses.choosing() as alone, Leases(tmp_path).choosing() as second:
        assert (alone, second) == (True, False)
        assert chooses.take(["GPU-a"], alone=True) == "GPU-a"
        assert chooses.take(["GPU-b"], alone=True) is None
        chooses.share()
    assert starts.take(["GPU-b"], alone=False) is None, "a run that is started directly never waits"


def test_devices_are_had_all_or_none_and_a_lease_ends_with_its_holder(tmp_path: Path) -> None:
    mine, yours = Leases(tmp_path), Leases(tmp_path)
    assert mine.take(["GPU-b"], alone=True) is None
    assert yours.take(["GPU-a", "GPU-b"], alone=True) == "GPU-b"
    assert mine.take(["GPU-a"], alone=True) is None, "nothing was kept of what could not be had whole"
    mine.give_back()
    assert yours.take(["GPU-a", "GPU-b"], alone=False) is None
    assert mine.take(["GPU-a"], alone=False) is None, "shared by runs that were started directly"
    assert Leases(tmp_path).take(["GPU-a"], alone=True) == "GPU-a"


@pytest.mark.parametrize(
    ("named", "count", "expected"),
    [
        (None, 1, (["gpu0", "gpu1"], 1)),
        (None, 3, (["gpu0", "gpu1"], 2)),
        ("1", 1, (["gpu1"], 1)),
        ("0,1", 1, (["gpu0", "gpu1"], 2)),
        ("GPU-bb", 1, (["gpu1"], 1)),
        ("", 1, ([], 0)),
        ("1,0,1", 1, (["gpu1", "gpu0"], 2)),
    ],
)
def test_which_gpus_a_run_may_have(named: str | None, count: int, expected: tuple[list[str], int]) -> None:
    devices: dict[str, dict[str, Any]] = {"gpu0": {"uuid": "GPU-aa"}, "gpu1": {"uuid": "GPU-bb"}, "host": {}}
    assert lease.wished(devices, named, count) == expected
    if named is None:
        assert lease.wished(devices, None, count, visible="1") == (["gpu1"], 1), "of those its environment shows"


def test_a_number_that_is_lost_is_the_last_place(workspace: Path) -> None:
    runs = [folder.create(workspace, "test", {}, {}, "queued") for _ in range(3)]
    for run in runs:
        queue.join(run)
    (runs[0].path / queue.NUMBER).write_text("{torn")
    assert [one.run for one in queue.waiting(workspace)] == [runs[1], runs[2], runs[0]]
    assert queue.move(runs[0], "first") == 1
    assert [one.run for one in queue.waiting(workspace)] == runs
