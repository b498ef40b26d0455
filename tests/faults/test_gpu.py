"""A GPU or its driver that fails under a run: said, shown with its age or a dash, and training never notices."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tuiftune.run.folder import Run, recorded_state
from tuiftune.run.telemetry_db import TelemetryReader
from tuiftune.tui.panes.devices import DevicesPane
from tuiftune.tui.reading import RunReader

WELL: dict[str, Any] = {"gpu0.temp": 61, "gpu0.mem_used": 5 << 30, "gpu0.mem_total": 12 << 30}
HOT = {**WELL, "gpu0.temp": 91, "gpu0.reasons": "0x20"}


class Seen:
    """What the supervisor recorded, and what a person sees of it."""

    def __init__(self, run: Run) -> None:
        self.store = TelemetryReader(run.telemetry_file)
        self._reader = RunReader(run, points=64)

    def gpu(self) -> dict[str, Any]:
        found = self.store.latest()
        return found[1].get("gpu0", {}) if found else {}

    def status(self) -> str:
        found = self.store.latest()
        return str(found[1]["host"]["gpu_status"]) if found else ""

    def told(self, kind: str) -> list[dict[str, Any]]:
        return [event.data for event in self.store.events() if event.kind == kind]

    def lines(self) -> str:
        """The devices pane, 78 columns wide."""
        pane = DevicesPane()
        view = self._reader.look()
        while view is None:
            time.sleep(0.05)
            view = self._reader.look()
        pane.show(view.readings)
        return "\n".join("".join(text for text, _ in row) for row in pane.rows(78, 4))

    def close(self) -> None:
        self.store.close()
        self._reader.close()


@pytest.fixture
def begin(cli: Any) -> Any:
    """Start a run that goes on until it is stopped."""
    opened: list[Seen] = []

    def start() -> tuple[Run, Seen]:
        run = cli.detached("long")
        seen = Seen(run)
        opened.append(seen)
        cli.until(seen.store.latest, "a first sample")
        return run, seen

    yield start
    for seen in opened:
        seen.close()


def assert_trains(cli: Any, run: Run) -> None:
    at = cli.step(run)
    cli.until(lambda: cli.step(run) > at + 3, "the run goes on")
    state = recorded_state(run)
    assert (state.name, state.attempt, state.reason) == ("running", 1, None)


@pytest.mark.slow
def test_whatever_becomes_of_a_gpu_is_recorded_and_shown_and_the_run_goes_on(
    cli: Any, fake_gpus: Any, begin: Callable[[], tuple[Run, Seen]]
) -> None:
    """20 s: samples come once a second, a driver counts as hanging after 5, an alert as over after 10."""
    fake_gpus.set(HOT)
    run, seen = begin()
    worker = recorded_state(run).worker
    (alert,) = cli.until(lambda: seen.told("alert"), "slowed down for heat")
    assert (alert["phase"], alert["reason"], alert["text"]) == ("start", "heat", "gpu0 is slowed down: heat")
    assert "gpu0 is slowed down: heat" in run.supervisor_log.read_text()
    assert "91 °C" in seen.lines()
    assert "heat" in seen.lines()

    fake_gpus.set({**WELL, "crash.nvmlDeviceGetTemperatureV": 1})
    (text,) = cli.until(lambda: [data["text"] for data in seen.told("telemetry")], "the crash")
    assert text == "the telemetry process ended (exit status -6); a new one is started"
    lacking = (
        "FanSpeed_v2",
        "FanSpeed",
        "PowerUsage",
        "UtilizationRates",
        "EnforcedPowerLimit",
        "PowerManagementLimit",
    )
    fake_gpus.set({**WELL, **{f"gpu0.error.nvmlDeviceGet{name}": 3 for name in lacking}})
    cli.until(lambda: seen.gpu().get("temperature_c") == 61 and seen.gpu()["power_w"] is None, "a new process")
    assert seen.gpu()["fan_percent"] is None
    shown = " ".join(seen.lines().split())
    assert all(part in shown for part in ("GPU 0 61 °C", "VRAM 5.0/12.0 GiB", "util — %", "—/— W")), shown

    fake_gpus.set({**WELL, "sleep_ms.nvmlDeviceGetTemperatureV": 600_000})
    cli.until(lambda: "said nothing for" in str(seen.told("telemetry")), "the driver hangs")
    cli.until(lambda: "\nread " in seen.lines(), "the age of what there is")
    assert_trains(cli, run)

    fake_gpus.set(WELL)
    ended = cli.until(lambda: seen.told("alert")[1:], "no longer slowed down")
    assert [(data["phase"], data["reason"]) for data in ended] == [("end", "heat")]
    assert ended[0]["seconds"] >= 3
    fake_gpus.set({**WELL, "gpu0.error": 15})
    cli.until(lambda: seen.gpu().get("error"), "the GPU is lost")
    lost = "the GPU is lost: it no longer answers; the machine needs a restart"
    assert seen.status() == f"gpu0: {lost}"
    assert f"GPU 0  {lost}" in seen.lines()
    assert seen.gpu()["temperature_c"] is None
    assert_trains(cli, run)
    assert recorded_state(run).worker == worker
    assert seen.store.highest("gpu0", "temperature_c") == 91
    assert cli("stop", run.id).returncode == 0
    cli.assert_in_order(run)


def test_a_driver_that_does_not_fit_its_kernel_module_is_said_and_the_run_goes_on(
    cli: Any, fake_gpus: Any, begin: Callable[[], tuple[Run, Seen]]
) -> None:
    fake_gpus.set({"error.nvmlInitWithFlags": 18})
    run, seen = begin()
    assert seen.status() == "the NVIDIA driver was updated while it was loaded: restart the machine"
    assert seen.gpu() == {}
    shown = seen.lines()
    assert "no GPU: the NVIDIA driver was updated while it was loaded: restart the machine" in shown
    assert "CPU" in shown
    assert_trains(cli, run)


def test_without_the_drivers_library_the_host_is_recorded_and_the_run_goes_on(
    cli: Any, begin: Callable[[], tuple[Run, Seen]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "libnvidia-ml.so.1").touch()  # in the way of a real one: nothing can be loaded from it
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path / "none"))
    run, seen = begin()
    assert seen.status() == "no NVIDIA driver: libnvidia-ml.so.1 is not installed"
    _, devices = seen.store.latest() or (0, {})
    assert devices["host"]["ram_total_bytes"] > 0
    assert "no GPU: no NVIDIA driver: libnvidia-ml.so.1 is not installed" in seen.lines()
    assert_trains(cli, run)
