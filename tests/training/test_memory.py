"""What training takes: found without memory, and held against what a process truly took."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from tuiftune.training.device_peaks import peak_flops
from tuiftune.training.memory import MemoryEstimate, as_meta_model, estimate, estimate_budget, largest_budget
from tuiftune.training.memory_trace import trace

GIB = 2**30
SMALL: dict[str, Any] = {"model_type": "gpt2", "n_layer": 4, "n_embd": 256, "n_head": 4}
"""4 layers of 256, with GPT-2's 50,257 tokens."""
TINY = transformers.GPT2Config(n_layer=2, n_embd=64, n_head=2, vocab_size=1000, bos_token_id=1, eos_token_id=2)


@pytest.mark.long
@pytest.mark.parametrize(
    ("environment", "tolerance"),
    [
        pytest.param({}, 0.2, id="as it is"),
        # Every block of 128 KiB or more goes back when it is freed: what is left is the tensors alone.
        pytest.param({"MALLOC_MMAP_THRESHOLD_": "131072"}, 0.1, id="tensors alone"),
    ],
)
def test_the_estimate_is_what_a_step_of_a_process_takes(
    environment: dict[str, str], tolerance: float, interpreter: str
) -> None:
    script = Path(__file__).with_name("step_memory.py")
    done = subprocess.run(
        [interpreter, str(script), json.dumps(SMALL), "4", "511"],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found = estimate(transformers.AutoConfig.for_model(**SMALL), 512, 4, "fp32", False, "cpu")
    unused = next(each.bytes for each in found.overheads if each.name == "unused between blocks")
    expected = found.peak_bytes + (0 if environment else unused)
    assert found.method == "traced"
    assert expected == pytest.approx(int(done.stdout), rel=tolerance)


@pytest.mark.parametrize("device_type", ["cpu", "cuda"])
def test_weights_gradients_and_averages_are_counted_once_each(device_type: str) -> None:
    found = estimate(TINY, 65, 2, "fp32", False, device_type)
    parameters = sum(parameter.numel() for parameter in as_meta_model(TINY).parameters())
    assert found.method == "traced"
    assert found.weights_bytes == pytest.approx(4 * parameters, rel=0.01)
    assert found.optimizer_bytes == 8 * parameters
    assert 4 * parameters <= found.gradients_bytes <= 4 * parameters + 3 * 4 * 1000 * 64


def test_more_rows_take_more_and_the_weights_stay_the_same() -> None:
    few, many = (estimate(TINY, 65, rows, "fp32", False, "cpu") for rows in (4, 8))
    assert many.activations_bytes > 1.8 * few.activations_bytes
    assert many.optimizer_bytes == few.optimizer_bytes


@pytest.mark.parametrize(("device_type", "precision"), [("cpu", "fp32"), ("cuda", "bf16")])
def test_gradient_checkpointing_lowers_the_activations(device_type: str, precision: str) -> None:
    config = transformers.GPT2Config(n_layer=6, n_embd=128, n_head=2)
    plain, recomputed = (estimate(config, 257, 4, precision, wanted, device_type) for wanted in (False, True))
    assert plain.method == recomputed.method == "traced"
    assert recomputed.activations_bytes < 0.6 * plain.activations_bytes
    assert recomputed.total_bytes < plain.total_bytes


def test_half_precision_on_a_gpu_takes_less_for_activations_and_copies_of_the_weights() -> None:
    full, half = (estimate(TINY, 65, 8, precision, False, "cuda") for precision in ("fp32", "bf16"))
    assert half.activations_bytes < full.activations_bytes
    assert half.weights_bytes > full.weights_bytes


def test_attention_on_a_gpu_keeps_no_scores() -> None:
    def growth(device_type: str) -> float:
        short, long = (estimate(TINY, length + 1, 1, "fp32", False, device_type) for length in (256, 1024))
        return (long.activations_bytes - short.activations_bytes) / short.activations_bytes

    assert growth("cuda") < 3.5  # 4 times as long: 4 times as much
    assert growth("cpu") > 6  # with dropout torch has no other way on a CPU


@pytest.mark.long
def test_gpt2_small_is_given_the_largest_budget_that_fits_12_gib() -> None:
    gpt2 = as_meta_model(transformers.GPT2Config())
    budget = largest_budget(gpt2, 512, "bf16", False, "cuda", 12 * GIB)
    assert budget is not None
    assert budget % 511 == 0
    fits, above = (estimate(gpt2, 512, budget // 511 + more, "bf16", False, "cuda") for more in (0, 1))
    assert fits.total_bytes <= 12 * GIB < above.total_bytes
    assert fits == estimate_budget(gpt2, 512, budget, "bf16", False, "cuda")


def test_there_is_no_budget_where_a_single_row_does_not_fit() -> None:
    one_row = estimate(TINY, 65, 1, "bf16", False, "cuda").total_bytes
    assert largest_budget(TINY, 65, "bf16", False, "cuda", one_row - 1) is None
    assert largest_budget(TINY, 65, "bf16", False, "cuda", one_row) == 64


def test_what_short_rows_fill_of_a_budget_counts_too() -> None:
    """600 tokens are one row of 511, or two of 300."""
    one = estimate(TINY, 512, 1, "bf16", False, "cuda")
    found = estimate_budget(TINY, 512, 600, "bf16", False, "cuda")
    assert found.total_bytes > one.total_bytes


def test_a_llama_with_grouped_heads_is_traced_too() -> None:
    config = transformers.LlamaConfig(
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=500,
    )
    for device_type, precision in (("cpu", "fp32"), ("cuda", "bf16"), ("cuda", "fp16")):
        assert estimate(config, 65, 2, precision, False, device_type).method == "traced"


def test_what_cannot_be_traced_is_told_by_a_formula_that_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Content that decides what is done cannot be had without content."""
    model = as_meta_model(TINY)
    plain = type(model.transformer).forward

    def looks(self: Any, input_ids: torch.Tensor, **named: Any) -> Any:
        if int(input_ids.max()) > 5:
            raise AssertionError
        return plain(self, input_ids=input_ids, **named)

    traced = estimate(model, 65, 8, "fp32", False, "cuda")
    monkeypatch.setattr(type(model.transformer), "forward", looks)
    found = estimate(model, 65, 8, "fp32", False, "cuda")
    assert found.method.startswith("formula, since the step cannot be traced (DataDependentOutputException")
    assert found.activations_bytes == pytest.approx(traced.activations_bytes, rel=0.5)
    assert found.gradients_bytes == 4 * sum(parameter.numel() for parameter in model.parameters())


def test_tracing_leaves_the_model_as_it_was() -> None:
    model = as_meta_model(TINY)
    trace(model, 2, 64, torch.bfloat16, True, "cuda")
    assert all(parameter.device.type == "meta" and parameter.grad is None for parameter in model.parameters())
    assert not model.is_activation_checkpointing
    assert trace(model, 2, 64, torch.float32, False, "cpu") == trace(model, 2, 64, torch.float32, False, "cpu")


def test_the_parts_add_up() -> None:
    found = MemoryEstimate(1, 2, 4, 8, 16, "traced")
    assert found.peak_bytes == found.total_bytes == 31


@pytest.mark.parametrize(
    ("name", "tflops"),
    [
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA A100-SXM4-40GB", 312),
        ("NVIDIA L40S", 362),
        ("NVIDIA L4", 121),
        ("Tesla T4", 65),
    ],
)
def test_the_peak_of_a_gpu_is_found_by_its_name(name: str, tflops: int) -> None:
    assert peak_flops(name, "bf16") == tflops * 1e12
    assert peak_flops(name, "fp32") is None


def test_the_peak_of_a_gpu_that_is_not_listed_is_not_known() -> None:
    assert peak_flops("NVIDIA T400 4GB", "bf16") is None
    assert peak_flops("NVIDIA L400", "bf16") is None
