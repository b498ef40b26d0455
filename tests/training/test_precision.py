"""The precision is what the device does natively, or a sentence."""

from __future__ import annotations

import pytest
import torch

from tuiftune.errors import StageError
from tuiftune.training import precision
from tuiftune.training.precision import choose_device, choose_precision, device_name

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


@pytest.fixture
def cpu_with(tmp_path, monkeypatch):
    """Make this machine's CPU one with the given flags."""

    def make(flags: str) -> None:
        file = tmp_path / "cpuinfo"
        file.write_text(f"processor\t: 0\nmodel name\t: Some CPU\nflags\t\t: {flags}\n")
        monkeypatch.setattr(precision, "CPUINFO", file)

    return make


@pytest.fixture
def gpu_with(monkeypatch):
    """Make CUDA show one GPU that has native bf16 or not; only the GPU is faked."""

    def make(bf16: bool) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(
            torch.cuda, "is_bf16_supported", lambda including_emulation=True: bf16 or including_emulation
        )
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
        monkeypatch.setattr(torch.cuda, "set_device", lambda _device: None)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: (8 if bf16 else 7, 0))
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda _device: "Some GPU")

    return make


def test_auto_on_a_cpu_is_fp32_even_where_it_has_bf16(cpu_with):
    cpu_with("avx2 avx512_bf16 amx_bf16")
    assert choose_precision("auto", CPU) == "fp32"
    assert choose_precision("bf16", CPU) == "bf16"
    assert device_name(CPU) == "Some CPU"


def test_bf16_on_a_cpu_without_it_is_refused_in_a_sentence(cpu_with):
    cpu_with("avx2 fma")
    with pytest.raises(StageError, match=r"train.precision: Some CPU has no bf16 instructions. Use 'auto' or 'fp32'"):
        choose_precision("bf16", CPU)


def test_fp16_needs_a_gpu():
    with pytest.raises(StageError, match="fp16 needs a GPU, and none is seen here"):
        choose_precision("fp16", CPU)


def test_auto_on_a_gpu_is_bf16_where_it_is_native_else_fp16(gpu_with):
    gpu_with(bf16=True)
    assert choose_device() == GPU
    assert choose_precision("auto", GPU) == "bf16"
    gpu_with(bf16=False)
    assert choose_precision("auto", GPU) == "fp16"
    assert choose_precision("fp32", GPU) == "fp32"
    with pytest.raises(StageError, match=r"Some GPU has no bf16. Use 'auto' or 'fp16'"):
        choose_precision("bf16", GPU)


def test_more_processes_than_gpus_are_refused_and_tf32_where_there_is_none(gpu_with):
    gpu_with(bf16=False)
    with pytest.raises(StageError, match=r"train.processes: 2 processes need a GPU each, and 1 are seen"):
        choose_device(processes=2)
    with pytest.raises(StageError, match=r"train.precision: Some GPU has no TF32"):
        choose_precision("tf32", GPU)
    gpu_with(bf16=True)
    assert choose_precision("tf32", GPU) == "tf32"
    with pytest.raises(StageError, match="tf32 needs a GPU, and none is seen here"):
        choose_precision("tf32", CPU)
