"""Choose the device and the precision that it can do natively."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import torch

from tuiftune.errors import StageError

Precision = Literal["bf16", "fp16", "tf32", "fp32"]

CPUINFO = Path("/proc/cpuinfo")
CPU_BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16"})
"""Without one of these a bf16 matmul is 130 times slower than float32, not faster."""


def choose_device(processes: int = 1, rank: int = 0) -> torch.device:
    """The GPU of this process, among those that CUDA shows: the first is the first one's; else the CPU.

    Raises StageError where there are more processes than GPUs.
    """
    if not torch.cuda.is_available():
        return torch.device("cpu")
    there = torch.cuda.device_count()
    if processes > there:
        raise StageError(
            f"train.processes: {processes} processes need a GPU each, and {there} are seen. "
            "Lower it, or let the run see more with run.devices"
        )
    device = torch.device("cuda", rank)
    torch.cuda.set_device(device)  # random numbers, page-locked memory and NCCL go by it
    return device


def device_name(device: torch.device) -> str:
    """As the maker calls it: 'NVIDIA GeForce RTX 4070 Ti', 'AMD EPYC 7763 64-Core Processor'."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return _cpuinfo("model name") or platform.machine()


def choose_precision(asked: Literal["auto", "bf16", "fp16", "tf32", "fp32"], device: torch.device) -> Precision:
    """What the matmuls of training are done in; the weights stay float32.

    `auto` takes bf16 where a GPU has it, else fp16 on a GPU, else fp32.
    Raises StageError where the device cannot do what was asked.
    """
    if device.type == "cuda":
        native_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
        if asked == "auto":
            return "bf16" if native_bf16 else "fp16"
        if asked == "bf16" and not native_bf16:
            raise StageError(f"train.precision: {device_name(device)} has no bf16. Use 'auto' or 'fp16'")
        if asked == "tf32" and torch.cuda.get_device_capability(device) < (8, 0):
            raise StageError(f"train.precision: {device_name(device)} has no TF32. Use 'auto' or 'fp32'")
        return asked
    if asked in ("fp16", "tf32"):
        raise StageError(f"train.precision: {asked} needs a GPU, and none is seen here. Use 'auto' or 'fp32'")
    if asked == "bf16" and not CPU_BF16_FLAGS & set(_cpuinfo("flags").split()):
        raise StageError(f"train.precision: {device_name(device)} has no bf16 instructions. Use 'auto' or 'fp32'")
    return "fp32" if asked == "auto" else asked


def _cpuinfo(key: str) -> str:
    """The first value of `key` in /proc/cpuinfo; empty when there is none."""
    try:
        lines = CPUINFO.read_text().splitlines()
    except OSError:
        return ""
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return ""


@contextmanager
def float32_products(tf32: bool) -> Iterator[None]:
    """Inside, float32 matrix products of a GPU are done in TF32 (10 bits of mantissa, several times as fast) or
    exactly."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
