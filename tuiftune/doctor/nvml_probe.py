"""python -m tuiftune.doctor.nvml_probe: the driver and its GPUs as JSON; a process of its own, since drivers hang."""

from __future__ import annotations

import json
from typing import Any

from tuiftune.telemetry import Device, problem_text


def look() -> dict[str, Any]:
    """{"problem"} where nothing can be read, else {"driver", "cuda", "gpus"}: cuda as (major, minor)."""
    try:
        import pynvml
    except ImportError as error:
        return {"problem": f"{error}. Install nvidia-ml-py"}
    try:
        pynvml.nvmlInit()
        driver, cuda = pynvml.nvmlSystemGetDriverVersion(), pynvml.nvmlSystemGetCudaDriverVersion_v2()
        gpus = [_gpu(pynvml, index) for index in range(pynvml.nvmlDeviceGetCount())]
    except pynvml.NVMLError as error:
        return {"problem": problem_text(error)}
    return {"driver": driver, "cuda": [cuda // 1000, cuda % 1000 // 10], "gpus": gpus}


def _gpu(nvml: Any, index: int) -> dict[str, Any]:
    """What one GPU is; what it does not tell is None."""
    try:
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        device = Device(nvml, handle)
        figures = device.read()
        capability = device.ask("nvmlDeviceGetCudaComputeCapability")
        default = device.ask("nvmlDeviceGetPowerManagementDefaultLimit")
        running = device.ask("nvmlDeviceGetComputeRunningProcesses_v3") or []
        return {
            "name": device.text("nvmlDeviceGetName"),
            "memory_total_bytes": figures["memory_total_bytes"],
            "temperature_c": figures["temperature_c"],
            "slowdown_c": figures["slowdown_c"],
            "capability": list(capability) if capability else None,
            "persistence": device.ask("nvmlDeviceGetPersistenceMode"),
            "power_limit_w": figures["power_limit_w"],
            "power_default_w": None if default is None else default / 1000,
            "processes": [{"pid": one.pid, "memory_bytes": one.usedGpuMemory} for one in running],
        }
    except nvml.NVMLError as error:
        return {"problem": problem_text(error)}


if __name__ == "__main__":
    print(json.dumps(look()))
