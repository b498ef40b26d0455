"""The installed torch, against the driver and the GPUs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tuiftune.doctor.finding import BAD, GOOD, WARNING, Finding
from tuiftune.doctor.probes import Answer
from tuiftune.text import one_line

FLASH_FROM = (8, 0)
"""Compute capability from which torch's own flash attention runs."""
INSTALL = "install a torch for CUDA: see pytorch.org/get-started"


def findings(answer: Answer, driver: Mapping[str, Any]) -> Iterator[Finding]:
    """What torch says of itself. `driver`: what NVML said, empty where there is none."""
    problem = answer.problem or answer.facts.get("problem")
    if problem:
        yield Finding("torch", "torch", BAD, one_line(f"torch: {problem}", 300), "reinstall it: pip install torch")
        return
    facts, has_gpu = answer.facts, bool(driver.get("gpus"))
    yield _build(facts, driver, has_gpu)
    if not facts["available"]:
        if has_gpu and facts["cuda"]:
            remedy = "is CUDA_VISIBLE_DEVICES set, or /dev/nvidia* missing in this container?"
            yield Finding("torch", "GPUs", BAD, "torch sees none of the driver's GPUs", remedy)
        else:
            yield Finding("torch", "CPU", GOOD, f"{facts['threads']} threads")
        return
    for index, gpu in enumerate(facts["gpus"]):
        yield from _gpu(f"GPU {index}", gpu, facts)


def _build(facts: Mapping[str, Any], driver: Mapping[str, Any], has_gpu: bool) -> Finding:
    version = one_line(str(facts["version"]), 40)
    if facts["hip"]:
        return Finding(
            "torch", "build", WARNING, f"{version}, for AMD's ROCm", "runs are tried on NVIDIA and CPUs only"
        )
    if not facts["cuda"]:
        level = BAD if has_gpu else GOOD
        return Finding("torch", "build", level, f"{version}, for the CPU alone", INSTALL if has_gpu else "")
    fact = f"{version}, for CUDA {facts['cuda']}"
    served = driver.get("cuda")
    if served and int(str(facts["cuda"]).partition(".")[0]) > served[0]:  # within a major version all minor ones run
        remedy = f"update the driver, or install a torch for CUDA {served[0]}"
        return Finding("torch", "build", BAD, f"{fact}; the driver serves up to {served[0]}.{served[1]}", remedy)
    return Finding("torch", "build", GOOD, fact)


def _gpu(name: str, gpu: Mapping[str, Any], facts: Mapping[str, Any]) -> Iterator[Finding]:
    major, minor = gpu["capability"]
    if not runs_on((major, minor), facts["built_for"]):
        fact = f"this torch has no kernels for compute capability {major}.{minor}"
        yield Finding("torch", f"{name} kernels", BAD, fact, f"{INSTALL}; it has {', '.join(facts['built_for'])}")
    else:
        yield Finding("torch", f"{name} kernels", GOOD, f"for compute capability {major}.{minor}")
    if gpu["bf16"]:
        yield Finding("torch", f"{name} bf16", GOOD, "has it: precision auto uses it")
    else:
        fact = "none: precision auto uses fp16 with loss scaling"
        yield Finding("torch", f"{name} bf16", WARNING, fact, 'should a loss become NaN: train.precision = "fp32"')
    flash = facts["flash"] and (major, minor) >= FLASH_FROM
    if flash:
        yield Finding("torch", f"{name} flash attention", GOOD, "runs: long rows take little memory")
    else:
        why = "needs compute capability 8.0" if facts["flash"] else "this torch was built without it"
        remedy = "other kernels are used; keep max_length short where memory is"
        yield Finding("torch", f"{name} flash attention", WARNING, why, remedy)


def runs_on(capability: tuple[int, int], built_for: Sequence[str]) -> bool:
    """Whether kernels for one of 'sm_80', 'compute_90' run there: binaries within a major version, PTX from it on.

    CUDA C++ Programming Guide, "Binary Compatibility" and "PTX Compatibility".
    """
    for name in built_for:
        kind, _, digits = name.partition("_")
        number = digits.rstrip("af")
        if not number.isdigit():
            continue
        built = (int(number[:-1]), int(number[-1]))
        if built <= capability and (kind == "compute" or built[0] == capability[0]):
            return True
    return False
