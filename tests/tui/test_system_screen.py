"""The System place: GPUs and who is on them, live, the doctor's findings, and the top row where no run is watched."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tuiftune.run.machine_processes import Processes, ProcessView, command_of
from tuiftune.tui.panes.doctor import DoctorPane
from tuiftune.tui.panes.processes import table

COMMAND = [sys.executable, "-P", "-m", "tuiftune.cli"]
RUN = "gpt2-20261125-101010-abc"
GIB = 2**30


@pytest.fixture
def on_gpu() -> Iterator[list[int]]:
    """A process that belongs to a run, and a stranger."""
    marked = {**os.environ, "TUIFTUNE_RUN": f"/somewhere/runs/{RUN}"}
    children = [subprocess.Popen(["sleep", "300"], env=env) for env in (marked, None)]
    yield [child.pid for child in children]
    for child in children:
        child.kill()
        child.wait()


def telemetry_children(pid: int) -> list[int]:
    return [
        child.pid for child in psutil.Process(pid).children(recursive=True) if "tuiftune.telemetry" in child.cmdline()
    ]


def test_gpus_their_processes_and_findings_are_shown_live_and_left_alone_when_one_leaves(
    workspace: Path, fake_gpus: Any, on_gpu: list[int], open_terminal: Callable[..., Any]
) -> None:
    card: dict[str, Any] = {"gpu0.name": "NVIDIA RTX 4070 Ti", "gpu0.procs": f"{on_gpu[0]}:{9 * GIB},{on_gpu[1]}:-1"}
    fake_gpus.set({**card, "gpu0.temp": 71, "gpu0.util": 98})
    terminal = open_terminal(COMMAND, workspace, 120, 40)
    terminal.wait_for("1 Profiles")
    terminal.type("7")
    shown = terminal.wait_for("71 °C", RUN, "sleep 300", "what to do", "torch: build")
    assert "9.0 GiB" in next(line for line in shown.splitlines() if RUN in line)
    assert "clocks" in shown
    assert "→" in shown.partition("torch: build")[2].partition("GPU 0")[0], "what to do stands below what is bad"
    fake_gpus.set({**card, "gpu0.temp": 84, "gpu0.util": 100, "gpu0.reasons": 0x20})
    terminal.wait_for("84 °C", "slowed down: heat")
    fake_gpus.set({**card, "gpu0.error": 15})
    terminal.wait_for("lost")
    terminal.type("r")
    terminal.wait_for("doctor", "restart the machine")
    (child,) = telemetry_children(terminal.pid)
    terminal.type("q")
    assert terminal.wait() == 0
    end = time.monotonic() + 10
    while psutil.pid_exists(child):
        assert time.monotonic() < end, "the process that reads the driver is left behind"
        time.sleep(0.05)


def test_the_top_row_has_the_gpu_where_no_run_is_active(
    workspace: Path, fake_gpus: Any, open_terminal: Callable[..., Any]
) -> None:
    fake_gpus.set({"gpu0.temp": 47, "gpu0.util": 3})
    terminal = open_terminal(COMMAND, workspace, 120, 40)
    terminal.wait_for("1 Profiles", "GPU 0 47°", "3%")
    fake_gpus.set({"gpu0.temp": 52, "gpu0.util": 3})
    terminal.wait_for("GPU 0 52°")


def test_a_run_that_tells_what_its_machine_does_is_read_and_nothing_else(
    workspace: Path, make: Any, open_terminal: Callable[..., Any]
) -> None:
    running = make.running()
    running.gpus(1, 20)
    terminal = open_terminal(COMMAND, workspace, 120, 40)
    terminal.wait_for(running.run.id, "GPU 0")
    end = time.monotonic() + 5
    while time.monotonic() < end:  # the first look comes after 1.5 s
        assert telemetry_children(terminal.pid) == []
        time.sleep(0.2)


def test_devices_prints_the_same_without_a_dashboard(
    workspace: Path, fake_gpus: Any, on_gpu: list[int], command_line: Callable[..., Any]
) -> None:
    fake_gpus.set({"gpu0.temp": 71, "gpu0.procs": f"{on_gpu[0]}:{9 * GIB}"})
    lines = command_line("devices").stdout.splitlines()
    assert lines[0].startswith("GPU 0  71 °C")
    assert any(RUN in line and "9.0 GiB" in line for line in lines)
    told = json.loads(command_line("devices", "--json").stdout)
    assert told["devices"]["gpu0"]["temperature_c"] == 71
    of_run = next(one for one in told["processes"] if one["pid"] == on_gpu[0])
    assert (of_run["run"], of_run["device"], of_run["vram_bytes"]) == (RUN, "gpu0", 9 * GIB)


def test_processes_of_other_users_and_containers_are_told_as_far_as_known(on_gpu: list[int]) -> None:
    gone = 4_194_303  # beyond the largest pid of a common kernel
    looks = Processes()
    devices = {"gpu0": {"process_pids": f"{gone} {on_gpu[1]}", "process_bytes": f"{GIB} -"}, "host": {}}
    looks.look(devices)
    strange, sleeping, *of_runs = looks.look(devices)
    assert strange == ProcessView(gone, "gpu0", GIB)
    assert (sleeping.vram_bytes, sleeping.command, sleeping.run) == (None, "sleep 300", None)
    assert sleeping.cpu_percent is not None, "known from the second look on"
    assert (on_gpu[0], None, RUN) in [(one.pid, one.device, one.run) for one in of_runs], "beside other tests' runs"


@pytest.mark.parametrize(
    ("words", "written"),
    [
        (["/opt/venv/bin/python3", "-P", "-m", "tuiftune.run.worker", "a b"], "tuiftune.run.worker 'a b'"),
        (["/usr/bin/python", "-u", "train.py"], "python train.py"),
        (["python", "-c", "print(1)\x1b[31m"], "python -c 'print(1)'"),
        ([], ""),
    ],
)
def test_a_command_line_is_short_and_carries_no_control_signs(words: list[str], written: str) -> None:
    found = command_of(words)
    assert found.isprintable()
    assert found == written


@pytest.mark.parametrize("width", [40, 66, 84, 120])
def test_a_table_of_processes_keeps_to_its_room(width: int) -> None:
    many = [ProcessView(100 + n, "gpu0", GIB, "someone", 12.5, GIB, time.time() - 60, "x" * 99) for n in range(9)]
    rows = ["".join(text for text, _ in row) for row in table(many, width, 6)]
    assert len(rows) == 6
    assert all(len(row) <= width for row in rows[1:-1])
    assert rows[-1].startswith("and 6 more")
    assert ("CPU" in rows[1], "user" in rows[1]) == (width >= 66, width >= 84)
    assert table([], width, 6, "nobody")[0] == [("processes", "title"), ("  nobody", "muted")]


def test_findings_stand_below_their_names_where_it_is_narrow() -> None:
    from tuiftune.doctor.finding import BAD, GOOD, Finding

    pane = DoctorPane(id="doctor")
    found = [
        Finding("GPU", "driver", GOOD, "550, for CUDA up to 12.4"),
        Finding("hub", "reach", BAD, "no answer", "try again"),
    ]
    pane.show(found, "looked at 12:00")
    for width in (40, 80):
        lines = ["".join(text for text, _ in row) for row in pane.rows(width, 30)]
        assert lines[0] == "doctor  1 good, 0 warnings, 1 bad  looked at 12:00"
        assert lines.index("what to do") < lines.index("GPU")
        at = next(number for number, line in enumerate(lines) if "hub: reach" in line)
        assert lines[at].startswith("✗ hub: reach")
        assert "no answer" in lines[at if width == 80 else at + 1]
        assert lines[at + (1 if width == 80 else 2)].strip() == "→ try again"


def test_a_process_on_two_gpus_has_one_share_of_the_cpu() -> None:
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        looks = Processes()
        one = {"process_pids": str(busy.pid), "process_bytes": str(GIB)}
        devices = {"gpu0": one, "gpu1": {**one, "process_bytes": "-"}}
        looks.look(devices)
        time.sleep(0.5)
        first, second, *_ = looks.look(devices)
    finally:
        busy.kill()
        busy.wait()
    assert (first.device, second.device, first.vram_bytes, second.vram_bytes) == ("gpu0", "gpu1", GIB, None)
    assert first.cpu_percent == second.cpu_percent
    assert first.cpu_percent is not None
    assert first.cpu_percent > 5
