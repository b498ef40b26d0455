"""The real pynvml on a small C library, read by the telemetry process as the supervisor reads it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from tuiftune.run.telemetry_source import Sample, TelemetrySource, parse
from tuiftune.telemetry import GPU_FIELDS, throttle_text

GIB = 1 << 30
DEADLINE_S = 20.0


class FakeGpus(Protocol):
    def set(self, values: dict[str, str | int | bytes]) -> None: ...


Look = Callable[[Callable[[dict[str, Any]], Any]], dict[str, Any]]


@pytest.fixture
def look(tmp_path: Path) -> Iterator[Look]:
    """Start a telemetry process with the first call; read its samples until one is as wanted: its devices."""
    command = [sys.executable, "-P", "-m", "tuiftune.telemetry", "--interval", "0.05", "--retry", "0.2"]
    children: list[subprocess.Popen[bytes]] = []

    def until(wanted: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        if not children:
            children.append(subprocess.Popen([*command, "--disk", tmp_path], stdout=subprocess.PIPE))
        lines = children[0].stdout
        assert lines is not None
        end = time.monotonic() + DEADLINE_S
        devices: dict[str, Any] = {}
        while time.monotonic() < end:
            devices = json.loads(lines.readline())["devices"]
            if wanted(devices):
                return devices
        raise AssertionError(f"not seen within {DEADLINE_S:.0f} s; last: {devices}")

    yield until
    for child in children:
        child.kill()
        child.communicate()


def anything(devices: dict[str, Any]) -> bool:
    return bool(devices)


def status(words: str) -> Callable[[dict[str, Any]], bool]:
    return lambda devices: words in devices["host"]["gpu_status"]


def wait_until(condition: Callable[[], Any], what: str) -> Any:
    end = time.monotonic() + DEADLINE_S
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError(f"not within {DEADLINE_S:.0f} s: {what}")


def test_every_figure_of_a_gpu_is_read_in_its_unit(fake_gpus: FakeGpus, look: Look) -> None:
    fake_gpus.set(
        {
            "gpu0.name": "NVIDIA GeForce RTX 4070 Ti",
            "gpu0.uuid": "GPU-1234",
            "gpu0.temp": 71,
            "gpu0.mem_used": 9 * GIB,
            "gpu0.mem_reserved": GIB // 2,
            "gpu0.mem_total": 12 * GIB,
            "gpu0.util": 98,
            "gpu0.memutil": 61,
            "gpu0.power": 281_500,
            "gpu0.power_limit": 285_000,
            "gpu0.fan": 55,
            "gpu0.sm_clock": 2610,
            "gpu0.mem_clock": 10501,
            "gpu0.reasons": "0x4",
            "gpu0.slowdown": 90,
            "gpu0.procs": "4242:1073741824,4243:-1",
        }
    )
    devices = look(lambda devices: devices["gpu0"]["temperature_c"] == 71)
    assert devices["gpu0"] == {
        "uuid": "GPU-1234",
        "name": "NVIDIA GeForce RTX 4070 Ti",
        "temperature_c": 71,
        "memory_used_bytes": 9 * GIB,
        "memory_reserved_bytes": GIB // 2,
        "memory_total_bytes": 12 * GIB,
        "utilization_percent": 98,
        "memory_utilization_percent": 61,
        "power_w": 281.5,
        "power_limit_w": 285.0,
        "fan_percent": 55,
        "sm_clock_mhz": 2610,
        "memory_clock_mhz": 10501,
        "throttle": "power limit",
        "slowdown_c": 90,
        "processes": 2,
        "process_pids": "4242 4243",
        "process_bytes": "1073741824 -",
        "error": None,
    }
    assert devices["host"]["gpu_status"] == "ok"


def test_the_host_is_read_with_and_without_a_gpu(fake_gpus: FakeGpus, look: Look) -> None:
    host = look(anything)["host"]
    assert 0 <= host["cpu_percent"] <= 100
    assert 0 < host["ram_used_bytes"] < host["ram_total_bytes"]
    assert 0 < host["disk_free_bytes"] <= host["disk_total_bytes"]
    fake_gpus.set({"count": 0})
    devices = look(lambda devices: "gpu0" not in devices or devices["gpu0"]["error"])
    assert devices["host"]["ram_total_bytes"] == host["ram_total_bytes"]


def test_what_a_card_does_not_have_is_null_and_the_rest_is_there(fake_gpus: FakeGpus, look: Look) -> None:
    lacking = (
        "FanSpeed", "FanSpeed_v2", "PowerUsage", "EnforcedPowerLimit", "PowerManagementLimit", "UtilizationRates",
        "TemperatureThreshold", "ComputeRunningProcesses_v3", "ComputeRunningProcesses_v2",
        "CurrentClocksEventReasons", "CurrentClocksThrottleReasons", "ClockInfo",
    )  # fmt: skip
    fake_gpus.set({"gpu0.temp": 50, **{f"gpu0.error.nvmlDeviceGet{name}": 3 for name in lacking}})
    gpu = look(lambda devices: devices["gpu0"]["fan_percent"] is None)["gpu0"]
    known = {name for name in GPU_FIELDS if gpu[name] is not None}
    assert known == {
        "uuid", "name", "temperature_c", "memory_used_bytes", "memory_reserved_bytes", "memory_total_bytes",
    }  # fmt: skip
    assert gpu["temperature_c"] == 50


def test_an_old_driver_is_asked_in_its_own_way(fake_gpus: FakeGpus, look: Look) -> None:
    newer = ("MemoryInfo_v2", "TemperatureV", "CurrentClocksEventReasons", "ComputeRunningProcesses_v3")
    fake_gpus.set(
        {
            "gpu0.temp": 66,
            "gpu0.mem_used": 2 * GIB,
            "gpu0.mem_reserved": GIB,
            "gpu0.reasons": "0x20",
            "gpu0.procs": "1:1",
            **{f"error.nvmlDeviceGet{name}": 13 for name in newer},
        }
    )
    gpu = look(lambda devices: devices["gpu0"]["memory_reserved_bytes"] is None)["gpu0"]
    assert gpu["temperature_c"] == 66
    assert gpu["memory_used_bytes"] == 3 * GIB, "the older way counts the reserve as used"
    assert gpu["throttle"] == "heat"
    assert gpu["processes"] == 1


def test_two_gpus_are_told_apart_and_a_lost_one_leaves_the_other_alone(fake_gpus: FakeGpus, look: Look) -> None:
    two: dict[str, str | int | bytes] = {"count": 2, "gpu0.temp": 60, "gpu1.temp": 40}
    fake_gpus.set(two)
    devices = look(lambda devices: "gpu1" in devices)
    assert devices["gpu0"]["uuid"] != devices["gpu1"]["uuid"]
    fake_gpus.set({**two, "gpu0.error": 15})
    devices = look(lambda devices: devices["gpu0"]["error"])
    assert devices["gpu0"]["temperature_c"] is None
    assert devices["gpu0"]["memory_used_bytes"] is None
    assert devices["gpu1"]["temperature_c"] == 40
    assert devices["host"]["gpu_status"] == ("gpu0: the GPU is lost: it no longer answers; the machine needs a restart")
    fake_gpus.set(two)
    assert look(status("ok"))["gpu0"]["temperature_c"] == 60


def test_a_gpu_keeps_its_name_when_the_one_before_it_is_gone(fake_gpus: FakeGpus, look: Look) -> None:
    fake_gpus.set({"count": 2, "gpu0.uuid": "GPU-a", "gpu1.uuid": "GPU-b", "gpu1.temp": 44})
    look(lambda devices: "gpu1" in devices and devices["gpu1"]["uuid"] == "GPU-b")
    fake_gpus.set({"count": 1, "gpu0.uuid": "GPU-b", "gpu0.temp": 44})
    devices = look(lambda devices: devices["gpu0"]["error"])
    assert devices["gpu1"]["temperature_c"] == 44
    assert devices["gpu0"]["uuid"] == "GPU-a"
    assert "no longer lists" in devices["host"]["gpu_status"]


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        (18, "the NVIDIA driver was updated while it was loaded: restart the machine"),
        (12, "no NVIDIA driver: libnvidia-ml.so.1 is not installed"),
        (9, "the NVIDIA driver is installed but not loaded (nvidia-smi says more)"),
        (999, "NVML: Unknown Error (code 999)"),
    ],
)
def test_a_driver_that_cannot_be_used_is_said_and_asked_again_later(
    fake_gpus: FakeGpus, look: Look, code: int, sentence: str
) -> None:
    fake_gpus.set({"error.nvmlInitWithFlags": code, "error.nvmlDeviceGetCount_v2": 1})
    devices = look(status(sentence))
    assert not devices.get("gpu0", {}).get("temperature_c")
    fake_gpus.set({"gpu0.temp": 33})
    assert look(status("ok"))["gpu0"]["temperature_c"] == 33


def test_no_gpu_at_all_is_said(fake_gpus: FakeGpus, tmp_path: Path) -> None:
    fake_gpus.set({"count": 0})
    child = subprocess.Popen([sys.executable, "-P", "-m", "tuiftune.telemetry"], stdout=subprocess.PIPE)
    assert child.stdout is not None
    with child.stdout as lines:
        sample = json.loads(lines.readline())
    assert sample["devices"]["host"]["gpu_status"] == "no GPU: the NVIDIA driver is loaded and lists none"
    assert list(sample["devices"]) == ["host"]
    assert child.wait(DEADLINE_S) == 0, "it ends when nobody reads it"


def test_a_driver_slower_than_the_interval_still_gives_samples(fake_gpus: FakeGpus, look: Look) -> None:
    fake_gpus.set({"sleep_ms.nvmlDeviceGetTemperatureV": 100})
    for _ in range(5):
        assert look(anything)["gpu0"]["temperature_c"] == 45


def test_a_name_with_escape_sequences_and_wrong_bytes_is_made_harmless(fake_gpus: FakeGpus, look: Look) -> None:
    fake_gpus.set({"gpu0.name": b"NVIDIA N\xe4me \x1b[31mRED\x1b]0;owned\x07!"})
    gpu = look(lambda devices: "RED" in devices["gpu0"]["name"])["gpu0"]
    assert gpu["name"] == "NVIDIA N\ufffdme RED!"


def test_it_ends_when_its_parent_has_gone_even_where_its_output_goes_on(tmp_path: Path) -> None:
    output = tmp_path / "samples"
    command = f"{sys.executable} -P -m tuiftune.telemetry --interval 0.05 > {output} & echo $!; exec sleep 600"
    parent = subprocess.Popen(["sh", "-c", command], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    with parent.stdout as lines:
        pid = int(lines.readline())
    try:
        wait_until(lambda: output.exists() and output.read_text().count("\n") > 1, "samples")
        parent.kill()
        parent.wait()
        wait_until(lambda: not _runs(pid), "the telemetry process has ended")
    finally:
        parent.kill()
        if _runs(pid):
            os.kill(pid, signal.SIGKILL)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def test_reasons_for_low_clocks_are_told_in_words() -> None:
    assert throttle_text(0) == ""
    assert throttle_text(0x1 | 0x2 | 0x10 | 0x100) == "", "idle and clocks a person set hold nothing back"
    assert throttle_text(0x8) == "slowed by hardware"
    assert throttle_text(0x8 | 0x40) == "heat, by hardware"
    assert throttle_text(0x4 | 0x20) == "power limit, heat"


# ---- the source: what the supervisor and the dashboard hold ------------------------------------


@pytest.fixture
def open_source(tmp_path: Path) -> Iterator[Callable[..., TelemetrySource]]:
    opened: list[TelemetrySource] = []

    def start(**arguments: Any) -> TelemetrySource:
        opened.append(TelemetrySource(tmp_path, **{"interval_s": 0.1, **arguments}))
        return opened[-1]

    yield start
    for source in opened:
        source.close()


def next_sample(source: TelemetrySource, wanted: Callable[[Sample], Any] = bool) -> Sample:
    def seen() -> Sample | None:
        sample = source.poll()
        return sample if sample is not None and wanted(sample) else None

    found: Sample = wait_until(seen, f"a sample as wanted ({source.problem})")
    return found


def test_a_source_hands_out_each_sample_once(fake_gpus: FakeGpus, open_source: Callable[..., TelemetrySource]) -> None:
    source = open_source()
    first = next_sample(source)
    assert next_sample(source).time > first.time
    assert set(first.devices) == {"gpu0", "host"}


def test_a_source_replaces_a_child_that_was_killed(
    fake_gpus: FakeGpus, open_source: Callable[..., TelemetrySource]
) -> None:
    source = open_source()
    next_sample(source)
    first = source.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: source.poll() is None and source.problem, "the loss is noticed")
    assert source.problem == "the telemetry process ended (exit status -9); a new one is started"
    next_sample(source)
    assert source.pid != first
    assert source.problem is None


def test_a_source_replaces_a_child_that_hangs_in_the_driver(
    fake_gpus: FakeGpus, open_source: Callable[..., TelemetrySource]
) -> None:
    source = open_source()
    next_sample(source)
    first = source.pid
    fake_gpus.set({"sleep_ms.nvmlDeviceGetTemperatureV": 600_000})
    wait_until(lambda: source.poll() is None and "said nothing" in (source.problem or ""), "the silence is noticed")
    fake_gpus.set({"gpu0.temp": 52})
    assert next_sample(source).devices["gpu0"]["temperature_c"] == 52
    assert source.pid != first


def test_a_source_survives_a_library_that_crashes_its_process(
    fake_gpus: FakeGpus, open_source: Callable[..., TelemetrySource]
) -> None:
    source = open_source()
    next_sample(source)
    fake_gpus.set({"crash.nvmlDeviceGetTemperatureV": 1})
    wait_until(lambda: source.poll() is None and "exit status -6" in (source.problem or ""), "the crash is noticed")
    fake_gpus.set({"gpu0.temp": 53})
    assert next_sample(source).devices["gpu0"]["temperature_c"] == 53


def test_a_child_that_never_says_anything_is_replaced_with_growing_pauses(
    open_source: Callable[..., TelemetrySource], tmp_path: Path
) -> None:
    log = tmp_path / "starts"
    source = open_source(command=["sh", "-c", f"date +%s.%N >> {log}; exec sleep 600"], first_sample_s=0.1)
    wait_until(lambda: source.poll() is None and log.exists() and log.read_text().count("\n") >= 3, "three starts")
    first, second, third = (float(line) for line in log.read_text().splitlines()[:3])
    assert third - second > second - first > 0.9


def test_a_source_whose_program_is_missing_says_so(open_source: Callable[..., TelemetrySource]) -> None:
    source = open_source(command=["/no/such/program"])
    assert source.poll() is None
    assert "cannot be started" in (source.problem or "")
    assert source.pid is None


def test_a_closed_source_leaves_no_process(open_source: Callable[..., TelemetrySource]) -> None:
    source = open_source()
    next_sample(source)
    pid = source.pid
    assert pid is not None
    source.close()
    assert not _runs(pid)
    assert source.poll() is None
    assert source.pid is None


@pytest.mark.parametrize("line", [b"", b"cuInit: hello\n", b"[]", b"{}", b'{"time": "x", "devices": {}}', b"\xff\xfe"])
def test_a_line_that_is_no_sample_is_passed_over(line: bytes) -> None:
    assert parse(line) is None
