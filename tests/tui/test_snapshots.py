"""What each place looks like on fixed recorded runs, at three sizes: python -m tests.tui.snapshots draws them anew."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from textual.pilot import Pilot

from tuiftune.catalog import Catalog, read_catalog
from tuiftune.doctor.finding import BAD, GOOD, WARNING, Finding
from tuiftune.run import folder, notes
from tuiftune.run.folder import Run
from tuiftune.run.machine_processes import ProcessView
from tuiftune.tui.app import TuiftuneApp
from tuiftune.tui.data_reading import DataRead, Found
from tuiftune.tui.machine_watch import MachineWatch
from tuiftune.tui.messages import DeviceView, GoTo, MachineRead

from . import snapshots
from .conftest import GIB, Recorded, gpu_fields, host_fields, screen_text, until
from .test_data_screen import report
from .test_run_screen import heated

NOW = 1_767_355_200.0
"""2026-01-02 12:00:00 UTC"""
PROFILE = {"description": "Lines about numbers", "dataset": {"stage": "text", "path": "text.txt"}}
FINDINGS = [
    Finding("GPU", "driver", GOOD, "560.35, for CUDA up to 12.6"),
    Finding("GPU", "GPU 0", GOOD, "NVIDIA GeForce RTX 4070 Ti, 12.0 GiB, compute capability 8.9"),
    Finding("GPU", "GPU 0 persistence", WARNING, "off: the driver wakes the GPU anew", "sudo nvidia-smi -i 0 -pm 1"),
    Finding("torch", "build", BAD, "2.13.0+cpu, for the CPU alone", "install a torch for CUDA"),
    Finding("machine", "disk", GOOD, "120.0 GiB free of 250.0 GiB"),
]


def catalog(workspace: Path) -> Catalog:
    """That of the workspace, but for where plugins lie and how long they took to be loaded."""
    found = read_catalog(workspace)
    plugins = [
        dataclasses.replace(plugin, import_ms=2.5, path=f"/tuiftune/{Path(plugin.path).name}" if plugin.path else None)
        for plugin in found.plugins
    ]
    return dataclasses.replace(found, plugins=plugins)


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch, workspace: Path) -> Path:
    """A workspace where it is always noon, and runs have names that stay."""
    real = time.strftime
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    monkeypatch.setattr(time, "time", lambda: NOW)
    monkeypatch.setattr(time, "strftime", lambda form, at=None: real(form, at or time.gmtime(NOW)))
    made = iter("abcdefghij")

    def make_folder(runs: Path, profile: str) -> Run:
        run = Run(runs / f"{profile}-20260102-115900-{next(made) * 3}")
        run.path.mkdir()
        return run

    monkeypatch.setattr(folder, "_make_folder", make_folder)
    monkeypatch.setattr("tuiftune.run.size.size_on_disk", lambda _: 500 << 20)
    monkeypatch.setattr(MachineWatch, "start", lambda _: None)
    monkeypatch.setattr("tuiftune.doctor.examine.examine", lambda _: FINDINGS)
    monkeypatch.setattr(
        "tuiftune.tui.data_reading.DataReader.read",
        lambda self, subject: self._post(
            DataRead(subject, Found(report("numbers"), {"stage": "text", "path": "text.txt"}, {}, NOW - 125))
        ),
    )
    monkeypatch.setattr("tuiftune.tui.data_reading.DataReader.look_whether_changed", lambda *_: None)
    monkeypatch.setattr("tuiftune.tui.watch.read_catalog", catalog)
    monkeypatch.chdir(workspace)
    (workspace / "text.txt").write_text("one\n")
    (workspace / "profiles" / "numbers.toml").write_text(tomli_w.dumps({**PROFILE, "train": {"stage": "demo"}}))
    return workspace


@pytest.fixture
def recorded(still: Path, make: Any) -> list[Recorded]:
    """Two that ended, with names and settings that differ, and one that goes on, whose GPU grows hot."""
    runs = []
    for steps, name, rate in ((600, "all of it", 5e-4), (300, "half of it", 1e-3)):
        one = make.running(steps, "numbers")
        settings = {**PROFILE, "train": {"stage": "demo", "learning_rate": rate, "steps": steps}}
        one.run.profile_file.write_text(tomli_w.dumps(settings))
        notes.rename(one.run, name)
        one.model()
        one.finish("finished" if steps == 600 else "stopped")
        runs.append(one)
    going = make.running(372, "numbers")
    heated(going)
    going.healed("out of memory; going on with half as many tokens at once", 120)
    going.sample(200, " there was a little girl who")
    return [*runs, going]


async def at_run(pilot: Pilot[Any], runs: list[Recorded]) -> None:
    pilot.app.post_message(GoTo("run", runs[-1].run.id))
    await until(pilot, runs[-1].run.id, "372/600", "87 °C")


async def at_gpu(pilot: Pilot[Any], runs: list[Recorded]) -> None:
    await at_run(pilot, runs)
    await pilot.press("g")
    await until(pilot, "util % 97")


async def at_runs(pilot: Pilot[Any], runs: list[Recorded]) -> None:
    pilot.app.post_message(GoTo("runs", runs[0].run.id))
    await until(pilot, "all of it", "half of it", "500.0 MiB")


async def at_compare(pilot: Pilot[Any], runs: list[Recorded]) -> None:
    await at_runs(pilot, runs)
    for one in runs[:2]:
        pilot.app.post_message(GoTo("runs", one.run.id))
        await until(pilot, "500.0 MiB")
        await pilot.press("space")
    await pilot.press("c")
    await until(pilot, "side by side", "baseline")


async def at_data(pilot: Pilot[Any], _: list[Recorded]) -> None:
    pilot.app.post_message(GoTo("data", "numbers"))
    await until(pilot, "tokenizer of 50,257", "figures")


async def at_playground(pilot: Pilot[Any], runs: list[Recorded]) -> None:
    pilot.app.post_message(GoTo("playground", runs[0].run.id))
    await until(pilot, runs[0].run.id)


async def at_plugins(pilot: Pilot[Any], _: list[Recorded]) -> None:
    pilot.app.post_message(GoTo("plugins", "perplexity"))
    await until(pilot, "evaluate stage")


async def at_system(pilot: Pilot[Any], _: list[Recorded]) -> None:
    await pilot.press("7")
    await until(pilot, "what to do")
    devices = [DeviceView("gpu0", gpu_fields(0, 3), {"temperature_c": [50.0, 55.0, 64.0]}),
               DeviceView("host", host_fields(31.0, "ok"), {})]  # fmt: skip
    mine = ProcessView(4711, "gpu0", 5 * GIB, "you", 99.0, 2 * GIB, NOW - 3600, "python", "numbers-20260102-115900-ccc")
    other = ProcessView(4712, "gpu0", None, "other", None, None, NOW - 60, None)
    for _ in range(2):  # the second knows how much room there is
        pilot.app.post_message(MachineRead(devices, (mine, other), 1.0, None))
        await until(pilot, "4711")


async def at_profiles(pilot: Pilot[Any], _: list[Recorded]) -> None:
    await pilot.press("1")
    await until(pilot, "Lines about numbers", "profiles/numbers.toml", "half of it")


@pytest.mark.parametrize("shot", snapshots.SHOTS)
async def test_a_place_looks_as_it_did(shot: str, recorded: list[Recorded], still: Path) -> None:
    """Where it is meant to look otherwise: look at the new pictures, and keep them."""
    there: Callable[..., Any] = globals()[f"at_{shot}"]
    app = TuiftuneApp(still)
    app._glance = dataclasses.replace(app._glance, host="box")
    other = []
    async with app.run_test(size=snapshots.SIZES[0]) as pilot:
        await until(pilot, "? Help")
        await there(pilot, recorded)
        for size in snapshots.SIZES:
            await pilot.resize_terminal(*size)
            if shot == "system":
                await at_system(pilot, recorded)
            svg = await settled(pilot)
            path = snapshots.path_of(shot, size)
            if os.environ.get("DRAW_SNAPSHOTS") == "write":
                snapshots.write(path, svg)
            elif said := snapshots.difference(path, svg):
                other.append(f"{path.name}\n{said}")
    assert not other, "\n".join(other)


async def settled(pilot: Pilot[Any], deadline_s: float = 20.0) -> str:
    """The picture, once it stays the same for a while."""
    end = time.monotonic() + deadline_s
    before, same_since = "", time.monotonic()
    while time.monotonic() - same_since < 0.5:
        assert time.monotonic() < end, f"it does not come to rest:\n{before}"
        await pilot.pause(0.05)
        seen = screen_text(pilot.app)
        if seen != before:
            before, same_since = seen, time.monotonic()
    svg: str = pilot.app.export_screenshot(title="tuiftune")
    return svg.replace("<svg ", '<svg xml:space="preserve" ', 1)
