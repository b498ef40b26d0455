"""The driver and the GPUs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tuiftune import units
from tuiftune.doctor.finding import BAD, GOOD, WARNING, Finding
from tuiftune.doctor.probes import Answer
from tuiftune.text import one_line

LEAST_DRIVER = 535
"""The oldest branch that NVIDIA still mends, and that the CUDA of today's torch runs on."""
LIMITED = 0.95
"""A power limit below so much of the card's own is somebody's wish."""
Process = Mapping[str, Any]


def findings(answer: Answer, own: Mapping[int, str]) -> Iterator[Finding]:
    """What the driver says. `own`: pid -> id of the processes of tuiftune's runs."""
    problem = answer.problem or answer.facts.get("problem")
    if problem and "is not installed" in problem:
        yield Finding(
            "GPU", "driver", WARNING, "no NVIDIA driver: runs use the CPU", "with an NVIDIA GPU: install its driver"
        )
        return
    if problem:
        yield Finding("GPU", "driver", BAD, one_line(f"NVML {problem}", 300), "see what nvidia-smi says; restart")
        return
    yield _driver(answer.facts)
    gpus = answer.facts["gpus"]
    if not gpus:
        yield Finding("GPU", "GPUs", WARNING, "the driver lists none: runs use the CPU", "see: lspci | grep -i nvidia")
    for index, gpu in enumerate(gpus):
        yield from _gpu(f"GPU {index}", index, gpu, own)


def _driver(facts: Mapping[str, Any]) -> Finding:
    version, cuda = one_line(str(facts["driver"]), 40), ".".join(map(str, facts["cuda"]))
    major = version.partition(".")[0]
    fact = f"{version}, for CUDA up to {cuda}"
    if major.isdigit() and int(major) < LEAST_DRIVER:
        return Finding("GPU", "driver", BAD, fact, f"update the driver to {LEAST_DRIVER} or later")
    return Finding("GPU", "driver", GOOD, fact)


def _gpu(name: str, index: int, gpu: Mapping[str, Any], own: Mapping[int, str]) -> Iterator[Finding]:
    if gpu.get("problem"):
        yield Finding("GPU", name, BAD, one_line(gpu["problem"], 300), "restart the machine; see nvidia-smi")
        return
    total = gpu["memory_total_bytes"]
    capability = f", compute capability {'.'.join(map(str, gpu['capability']))}" if gpu["capability"] else ""
    memory = f", {units.size(total)}" if total else ""
    yield Finding("GPU", name, GOOD, f"{one_line(str(gpu['name'] or 'a GPU'), 60)}{memory}{capability}")
    if gpu["persistence"] is not None:
        yield _persistence(name, index, bool(gpu["persistence"]))
    if gpu["power_limit_w"] and gpu["power_default_w"]:
        yield _power(name, index, gpu["power_limit_w"], gpu["power_default_w"])
    yield _processes(name, gpu["processes"], own)


def _persistence(name: str, index: int, is_on: bool) -> Finding:
    if is_on:
        return Finding("GPU", f"{name} persistence", GOOD, "on: the driver stays awake")
    return Finding(
        "GPU",
        f"{name} persistence",
        WARNING,
        "off: the driver wakes the GPU anew for each run, a second or more",
        f"sudo nvidia-smi -i {index} -pm 1",
    )


def _power(name: str, index: int, limit: float, default: float) -> Finding:
    fact = f"{limit:.0f} W of the card's {default:.0f} W"
    if limit < LIMITED * default:
        remedy = f"if nobody meant it so: sudo nvidia-smi -i {index} -pl {default:.0f}"
        return Finding("GPU", f"{name} power limit", WARNING, fact, remedy)
    return Finding("GPU", f"{name} power limit", GOOD, fact)


def _processes(name: str, processes: Sequence[Process], own: Mapping[int, str]) -> Finding:
    strangers = [one for one in processes if one["pid"] not in own]
    runs = sorted({own[one["pid"]] for one in processes if one["pid"] in own})
    if not strangers:
        return Finding("GPU", f"{name} processes", GOOD, ", ".join(runs) or "none: it is free")
    told = ", ".join(f"pid {one['pid']}{_held(one)}{_called(one['pid'])}" for one in strangers[:4])
    more = f" and {len(strangers) - 4} more" if len(strangers) > 4 else ""
    remedy = "runs share its memory with them: wait for their end, or end them"
    return Finding("GPU", f"{name} processes", WARNING, f"{told}{more}", remedy)


def _held(process: Process) -> str:
    memory = process["memory_bytes"]
    return f" with {units.size(memory)}" if memory else ""


def _called(pid: int) -> str:
    """' (python)'; nothing where the pid is none here, as in a container."""
    try:
        with open(f"/proc/{pid}/comm", errors="replace") as file:
            return f" ({one_line(file.read().strip(), 30)})"
    except OSError:
        return ""
