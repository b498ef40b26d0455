"""python -m tuiftune.telemetry: GPU and host samples, one JSON line each; a process of its own.

Real drivers hang inside NVML and a lost GPU can crash the caller, so NVML never runs in a process that
matters. `tuiftune.run.telemetry_source` starts this one, reads it and replaces it.

    {"time": 1700000000.0, "devices": {"gpu0": {"temperature_c": 61, ...}, "host": {"cpu_percent": 12.5, ...}}}

What cannot be had is null. `host.gpu_status` is "ok", or a sentence on why a GPU cannot be read.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import select
import shutil
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

from tuiftune.text import one_line

Fields = dict[str, float | str | None]

RETRY_S = 30.0
"""A driver that could not be used, or lost a GPU, is asked anew this often: nvmlInit can take a second."""

GPU_FIELDS = (
    "uuid",
    "name",
    "temperature_c",
    "memory_used_bytes",
    "memory_reserved_bytes",
    "memory_total_bytes",
    "utilization_percent",
    "memory_utilization_percent",
    "power_w",
    "power_limit_w",
    "fan_percent",
    "sm_clock_mhz",
    "memory_clock_mhz",
    "throttle",
    "slowdown_c",
    "processes",
    "process_pids",
    "process_bytes",
    "error",
)
"""Every device has all of them. `throttle`: reasons in words, "" for none; `error`: why it cannot be read."""

THROTTLE = (
    (0x004, "power limit"),
    (0x020, "heat"),
    (0x040, "heat, by hardware"),
    (0x080, "power brake"),
    (0x200, "board limit"),
    (0x400, "reliability"),
)
"""Bits of nvmlClocksEventReasons that slow training; idle and clocks a person has set do not."""
HARDWARE_SLOWDOWN = 0x008
"""Set together with a reason of the above that says more; told alone where there is none."""

PROBLEMS = {
    4: "the NVIDIA driver does not let this user look at it",
    9: "the NVIDIA driver is installed but not loaded (nvidia-smi says more)",
    12: "no NVIDIA driver: libnvidia-ml.so.1 is not installed",
    15: "the GPU is lost: it no longer answers; the machine needs a restart",
    16: "the GPU needs a reset, or a restart of the machine",
    18: "the NVIDIA driver was updated while it was loaded: restart the machine",
}
"""NVML's codes for what ends all reading, in words."""
ENDS_READING = (1, 15, 16)
"""Not initialised (any more), lost, to be reset: no other field of that device can be asked for."""


class Gpus:
    """NVML as it is at each look: asked anew after a loss, quiet about what a card does not have."""

    def __init__(self, retry_s: float = RETRY_S) -> None:
        self._retry_s = retry_s
        self._nvml: Any = None
        self._problem: str | None = None
        """Why nothing can be read; None when it can."""
        self._begin_at = 0.0
        self._seen: dict[str, Fields] = {}
        """What each device is, by 'gpu0'. A lost GPU moves the indices of the others; their names here stay."""

    def sample(self) -> tuple[str, dict[str, Fields]]:
        """(status, fields by device). The status is "ok" or a sentence."""
        if time.monotonic() >= self._begin_at:
            self._begin()
        if self._problem is None:
            try:
                return self._look(self._nvml)
            except self._nvml.NVMLError as error:
                self._problem = problem_text(error)
                self._begin_at = time.monotonic() + self._retry_s
        return self._problem, {key: self._unreadable(key, self._problem) for key in self._seen}

    def _begin(self) -> None:
        """Initialise NVML, again where it was."""
        self._begin_at = time.monotonic() + self._retry_s
        try:
            import pynvml
        except ImportError as error:
            self._problem = f"GPUs cannot be read: {error}. Install nvidia-ml-py"
            return
        if self._nvml is not None:
            with contextlib.suppress(pynvml.NVMLError):  # it was not initialised, or is lost
                pynvml.nvmlShutdown()
        self._nvml = pynvml
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError as error:
            self._problem = problem_text(error)
        else:
            self._problem, self._begin_at = None, math.inf

    def _look(self, nvml: ModuleType) -> tuple[str, dict[str, Fields]]:
        devices: dict[str, Fields] = {}
        for index in range(nvml.nvmlDeviceGetCount()):
            key, fields = self._device(nvml, index)
            devices.setdefault(key, fields)
        for key in self._seen:
            devices.setdefault(key, self._unreadable(key, "the driver no longer lists this GPU"))
        if not devices:
            return "no GPU: the NVIDIA driver is loaded and lists none", {}
        problems = [f"{key}: {fields['error']}" for key, fields in sorted(devices.items()) if fields["error"]]
        if problems:  # handles go stale after a loss
            self._begin_at = min(self._begin_at, time.monotonic() + self._retry_s)
        return "; ".join(problems) or "ok", devices

    def _device(self, nvml: ModuleType, index: int) -> tuple[str, Fields]:
        """The key and the fields of the device at NVML's index."""
        key = f"gpu{index}"
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            device = Device(nvml, handle)
            identity: Fields = {"uuid": device.text("nvmlDeviceGetUUID"), "name": device.text("nvmlDeviceGetName")}
            key = self._key(index, identity)
            self._seen[key] = identity
            return key, {**dict.fromkeys(GPU_FIELDS), **identity, **device.read()}
        except nvml.NVMLError as error:
            return key, self._unreadable(key, problem_text(error))

    def _key(self, index: int, identity: Fields) -> str:
        """The name a device was first seen under; a new one is named for its index where that is free."""
        if identity["uuid"] is not None:
            for key, known in self._seen.items():
                if known["uuid"] == identity["uuid"]:
                    return key
        free = index
        while self._seen.get(f"gpu{free}", identity) != identity:
            free += 1
        return f"gpu{free}"

    def _unreadable(self, key: str, problem: str) -> Fields:
        return {**dict.fromkeys(GPU_FIELDS), **self._seen.get(key, {}), "error": problem}


class Device:
    """One GPU. Each figure has ways to ask, newer and older; None where the card or the driver has none."""

    def __init__(self, nvml: ModuleType, handle: Any) -> None:
        self._nvml, self._handle = nvml, handle

    def read(self) -> Fields:
        """All figures but the identity. Raises NVMLError where the device is lost."""
        use = self.ask("nvmlDeviceGetUtilizationRates")
        power = self.ask("nvmlDeviceGetPowerUsage")
        limit = self.ask("nvmlDeviceGetEnforcedPowerLimit") or self.ask("nvmlDeviceGetPowerManagementLimit")
        return {
            **self._memory(),
            "temperature_c": self._temperature(),
            "utilization_percent": use.gpu if use else None,
            "memory_utilization_percent": use.memory if use else None,
            "power_w": None if power is None else power / 1000,
            "power_limit_w": None if limit is None else limit / 1000,
            "fan_percent": self._first(("nvmlDeviceGetFanSpeed",), ("nvmlDeviceGetFanSpeed_v2", 0)),
            "sm_clock_mhz": self.ask("nvmlDeviceGetClockInfo", self._nvml.NVML_CLOCK_SM),
            "memory_clock_mhz": self.ask("nvmlDeviceGetClockInfo", self._nvml.NVML_CLOCK_MEM),
            "throttle": self._throttle(),
            "slowdown_c": self.ask("nvmlDeviceGetTemperatureThreshold", self._nvml.NVML_TEMPERATURE_THRESHOLD_SLOWDOWN),
            **self._processes(),
        }

    def text(self, name: str) -> str | None:
        """A string of the driver, which may hold any bytes: pynvml's own decoding raises on some."""
        raw = self.ask(name, undecoded=True)
        return None if raw is None else one_line(raw.decode("utf-8", "replace"), 100)

    def ask(self, name: str, *arguments: Any, undecoded: bool = False) -> Any:
        """Call a function of pynvml on the device; None where pynvml, the driver or the card has it not."""
        function = getattr(self._nvml, name, None)
        if function is None:
            return None
        if undecoded:
            function = getattr(function, "__wrapped__", function)
        try:
            return function(self._handle, *arguments)
        except self._nvml.NVMLError as error:
            if error.value in ENDS_READING:
                raise
            return None

    def _memory(self) -> Fields:
        """In the older way the driver's own reserve counts as used (hundreds of MiB)."""
        memory = self.ask("nvmlDeviceGetMemoryInfo", getattr(self._nvml, "nvmlMemory_v2", 0x02000028))
        reserved = None if memory is None else memory.reserved
        memory = memory or self.ask("nvmlDeviceGetMemoryInfo")
        return {
            "memory_used_bytes": memory.used if memory else None,
            "memory_reserved_bytes": reserved,
            "memory_total_bytes": memory.total if memory else None,
        }

    def _temperature(self) -> float | None:
        sensor = self._nvml.NVML_TEMPERATURE_GPU
        found: float | None = self._first(("nvmlDeviceGetTemperatureV", sensor), ("nvmlDeviceGetTemperature", sensor))
        return found

    def _throttle(self) -> str | None:
        bits = self._first(("nvmlDeviceGetCurrentClocksEventReasons",), ("nvmlDeviceGetCurrentClocksThrottleReasons",))
        return None if bits is None else throttle_text(bits)

    def _processes(self) -> Fields:
        """How many compute on it; with blanks between their pids, and the VRAM of each ("-" where the driver does not
        tell, as for another user's). Of a container the pids may be the host's."""
        found = self._first(("nvmlDeviceGetComputeRunningProcesses_v3",), ("nvmlDeviceGetComputeRunningProcesses_v2",))
        if found is None:
            return {"processes": None, "process_pids": None, "process_bytes": None}
        return {
            "processes": len(found),
            "process_pids": " ".join(str(one.pid) for one in found),
            "process_bytes": " ".join(str(one.usedGpuMemory or "-") for one in found),
        }

    def _first(self, *ways: tuple[Any, ...]) -> Any:
        for name, *arguments in ways:
            found = self.ask(name, *arguments)
            if found is not None:
                return found
        return None


def throttle_text(bits: int) -> str:
    """Why the clocks are held down, in words; "" when they are not."""
    reasons = [words for bit, words in THROTTLE if bits & bit]
    if bits & HARDWARE_SLOWDOWN and not reasons:
        reasons = ["slowed by hardware"]
    return ", ".join(reasons)


def problem_text(error: Any) -> str:
    """An NVMLError as a sentence."""
    return PROBLEMS.get(error.value) or one_line(f"NVML: {error} (code {error.value})", 200)


def host(disk: Path) -> Fields:
    """CPU since the last call, RAM, shared memory and the file system of `disk`."""
    import psutil

    memory = psutil.virtual_memory()
    shm, space = _space(Path("/dev/shm")), _space(disk)  # noqa: S108 (looked at, not written to)
    return {
        "cpu_percent": psutil.cpu_percent(),
        "ram_used_bytes": memory.total - memory.available,
        "ram_total_bytes": memory.total,
        "shm_used_bytes": shm.used if shm else None,
        "shm_total_bytes": shm.total if shm else None,
        "disk_free_bytes": space.free if space else None,
        "disk_total_bytes": space.total if space else None,
    }


def _space(path: Path) -> Any:
    """None where there is no such folder: a container without /dev/shm, a disk that was taken away."""
    try:
        return shutil.disk_usage(path)
    except OSError:
        return None


def main(arguments: list[str]) -> int:
    """Print a sample every interval until nobody reads them."""
    parser = argparse.ArgumentParser(prog="python -m tuiftune.telemetry", description="GPU and host samples as JSON")
    parser.add_argument("--interval", type=float, default=1.0, help="seconds between samples")
    parser.add_argument("--disk", type=Path, default=Path(), help="a path on the file system to watch")
    parser.add_argument("--retry", type=float, default=RETRY_S, help="seconds before a failed driver is asked anew")
    options = parser.parse_args(arguments)
    os.nice(10)  # training comes first where cores are few
    try:
        _print_samples(options.interval, options.disk, Gpus(options.retry))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing to flush at exit
    return 0


def _print_samples(interval_s: float, disk: Path, gpus: Gpus) -> None:
    import psutil

    psutil.cpu_percent(interval=0.1)  # the first figure is one too: of 0.1 s
    parent = os.getppid()
    due = time.monotonic()
    while os.getppid() == parent:
        status, devices = gpus.sample()
        sample = {"time": time.time(), "devices": {**devices, "host": {**host(disk), "gpu_status": status}}}
        print(json.dumps(sample), flush=True)
        due = max(due + interval_s, time.monotonic())  # a driver that took long is not caught up with
        if _reader_gone(max(0.0, due - time.monotonic())):
            return


def _reader_gone(wait_s: float) -> bool:
    """Wait; True as soon as the other end of standard output is closed."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)  # errors only, which are always told
    return any(events & (select.POLLERR | select.POLLHUP) for _, events in poll.poll(wait_s * 1000))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
