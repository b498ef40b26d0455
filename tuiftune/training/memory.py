"""How much memory training a model takes, and how many tokens can go through it at once in what there is.

Found by tracing a step without content (memory_trace.py), else by a formula; `MemoryEstimate.method` says which.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import torch

from tuiftune.errors import StageError
from tuiftune.text import brief

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

OPTIMIZER_BYTES = {"adamw": 8.0, "adamw_8bit": 2.03}
"""A parameter's: two averages in float32; or in 8 bits, with a float32 scale a block of 256 (Dettmers et al. 2022)."""

CUDA_CONTEXT_BYTES = 2**29
CUBLAS_WORKSPACE_BYTES = 2**25
GPU_SLACK = 0.1
HOST_SLACK = 0.5
"""Of activations and logits: what lies free between blocks in use. On a CPU glibc's malloc keeps it: measured after
some steps were 0.33 to 0.72, for GPT-2 of 4 and 12 layers and a Llama of 6 in float32."""
MOST_ROWS = 4096


@dataclass(frozen=True)
class Overhead:
    """Memory that is no tensor's."""

    name: str
    bytes: int
    source: str
    """Where the figure comes from; 'assumed' where nobody has measured it."""


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes at the moment when a training step takes the most."""

    weights_bytes: int
    """float32, and their copies in the precision of the matrix products."""
    gradients_bytes: int
    optimizer_bytes: int
    activations_bytes: int
    logits_bytes: int
    method: str
    """'traced', or 'formula' and why."""
    overheads: tuple[Overhead, ...] = ()

    @property
    def peak_bytes(self) -> int:
        """Of all tensors together."""
        return sum(getattr(self, each.name) for each in fields(self) if each.name.endswith("_bytes"))

    @property
    def total_bytes(self) -> int:
        """Of the process on the device: the tensors' and the overheads'."""
        return self.peak_bytes + sum(each.bytes for each in self.overheads)


def estimate(
    model: PretrainedConfig | PreTrainedModel,
    row_tokens: int,
    rows: int,
    precision: str,
    gradient_checkpointing: bool,
    device_type: str,
    *,
    optimizer: str = "adamw",
) -> MemoryEstimate:
    """Of training on micro-batches of `rows` rows of `row_tokens` tokens, on 'cuda' or 'cpu'.

    `model` is a config, or a model on the meta device with float32 weights. Neither the device is needed nor its
    memory. Raises StageError where a model cannot be traced and its config does not say what the formula needs.
    """
    on_meta = as_meta_model(model)
    length = max(1, row_tokens - 1)  # the last token of a row predicts nothing and is not fed
    parts, method = _parts(on_meta, rows, length, precision, gradient_checkpointing, device_type)
    trained = sum(parameter.numel() for parameter in on_meta.parameters() if parameter.requires_grad)
    kept = parts
    if gradient_checkpointing and device_type == "cpu":
        # What malloc leaves unused was measured to be as much as without.
        kept, _ = _parts(on_meta, rows, length, precision, False, device_type)
    return MemoryEstimate(
        weights_bytes=parts["weights"],
        gradients_bytes=parts["gradients"],
        optimizer_bytes=int(OPTIMIZER_BYTES[optimizer] * trained),
        activations_bytes=parts["activations"],
        logits_bytes=parts["logits"],
        method=method,
        overheads=_overheads(kept["activations"] + kept["logits"], device_type),
    )


def estimate_budget(
    model: PretrainedConfig | PreTrainedModel, row_tokens: int, budget: int, *how: Any, **more: Any
) -> MemoryEstimate:
    """Of micro-batches of at most `budget` padded tokens, or one row: the largest of full rows, and of one more row
    where shorter ones fill what is left. `how` and `more` are what `estimate` takes after its rows."""
    length = max(1, row_tokens - 1)
    full = max(1, budget // length)
    found = [estimate(model, row_tokens, full, *how, **more)]
    if budget % length and budget > length:
        found.append(estimate(model, budget // (full + 1) + 1, full + 1, *how, **more))
    return max(found, key=lambda each: each.total_bytes)


def largest_budget(
    model: PretrainedConfig | PreTrainedModel,
    row_tokens: int,
    precision: str,
    gradient_checkpointing: bool,
    device_type: str,
    available_bytes: int,
    *,
    optimizer: str = "adamw",
) -> int | None:
    """The most padded tokens that can go through the model at once (`train.batch_tokens`) where the process may
    take `available_bytes`, the CUDA context among them: full rows of `row_tokens`; None where one does not fit.

    At most MOST_ROWS rows.
    """
    on_meta = as_meta_model(model)

    def total(rows: int) -> int:
        how = (precision, gradient_checkpointing, device_type)
        return estimate(on_meta, row_tokens, rows, *how, optimizer=optimizer).total_bytes

    known = {1: total(1)}
    if known[1] > available_bytes:
        return None
    fits, too_many, guess = 1, MOST_ROWS + 1, 8
    while too_many - fits > 1:
        rows = min(max(guess, fits + 1), too_many - 1)
        known[rows] = total(rows)
        if known[rows] <= available_bytes:
            fits = rows
        else:
            too_many = rows
        # In a straight line with the rows, once they are enough for a chunk of logits; halved now and then, should
        # it be none.
        other = too_many if too_many in known else 1
        slope = (known[fits] - known[other]) / (fits - other) if fits != other else 1.0
        guess = fits + int((available_bytes - known[fits]) / slope) if slope > 0 else too_many
        if len(known) % 4 == 0 and too_many in known:
            guess = (fits + too_many) // 2
    return fits * max(1, row_tokens - 1)


def available_bytes(device: torch.device) -> tuple[int, str]:
    """What training may take of a device as it is now, the CUDA context among it; and what that is."""
    if device.type == "cuda":
        free, _total = torch.cuda.mem_get_info(device)
        return free + CUDA_CONTEXT_BYTES, "free VRAM"  # this process has a context of its own
    import psutil

    return psutil.virtual_memory().available, "available RAM; no GPU is seen"


def as_meta_model(model: PretrainedConfig | PreTrainedModel) -> PreTrainedModel:
    """A model of the config, without weights. Raises StageError where its values do not go together."""
    from transformers import AutoModelForCausalLM, PreTrainedModel

    if isinstance(model, PreTrainedModel):
        return model
    try:
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(model, dtype=torch.float32)
    except (ValueError, ZeroDivisionError, AssertionError) as error:
        raise StageError(f"model.config: no model can be made of these values: {brief(error)}") from error


def _parts(
    model: PreTrainedModel, rows: int, length: int, precision: str, checkpointing: bool, device_type: str
) -> tuple[dict[str, int], str]:
    from tuiftune.training.memory_trace import trace
    from tuiftune.training.steps import DTYPES

    dtype = DTYPES[precision]
    try:
        return trace(model, rows, length, dtype, checkpointing, device_type), "traced"
    except Exception as error:  # of a model's own code, where it looks at the content of a tensor
        reason = f"formula, since the step cannot be traced ({type(error).__name__}: {brief(error)})"
        return _by_formula(model, rows, length, dtype, checkpointing, device_type), reason


def _by_formula(
    model: PreTrainedModel, rows: int, length: int, dtype: torch.dtype, checkpointing: bool, device_type: str
) -> dict[str, int]:
    """Activations after Korthikanti et al. 2022 (equation 2): 34 bytes a token, layer and unit of width in half
    precision, twice that in float32, and on a CPU 5 more for each head and position of the scores; with
    checkpointing a layer's input each, and one whole layer."""
    from tuiftune.training.head import chunk_rows

    config = model.config.get_text_config(decoder=True)
    try:
        width, layers, heads = config.hidden_size, config.num_hidden_layers, config.num_attention_heads
    except AttributeError as error:
        raise StageError(f"the memory of a {model.config.model_type!r} cannot be told: {brief(error)}") from error
    tokens, size = rows * length, dtype.itemsize
    layer = tokens * width * 17 * size
    if device_type == "cpu":
        layer += 5 * size // 2 * heads * rows * length**2
    count = sum(parameter.numel() for parameter in model.parameters())
    positions = min(tokens, chunk_rows(config.vocab_size, device_type))
    return {
        "weights": count * (4 + (size if size < 4 else 0)),
        "gradients": count * 4,
        "optimizer": 0,
        "activations": layers * tokens * width * size + layer if checkpointing else layers * layer,
        "logits": 2 * 4 * positions * config.vocab_size,
    }


def _overheads(transient_bytes: int, device_type: str) -> tuple[Overhead, ...]:
    if device_type == "cpu":
        return (
            Overhead("Python, torch and libraries", _resident_bytes(), "measured in this process"),
            Overhead("unused between blocks", int(HOST_SLACK * transient_bytes), f"assumed: {HOST_SLACK:.0%}, glibc"),
        )
    return (
        Overhead("CUDA context", CUDA_CONTEXT_BYTES, "assumed"),
        Overhead("cuBLAS workspace", CUBLAS_WORKSPACE_BYTES, "torch's for the newest GPUs; 8 MiB on others"),
        Overhead("unused between blocks", int(GPU_SLACK * transient_bytes), f"assumed: {GPU_SLACK:.0%}"),
    )


def _resident_bytes() -> int:
    import psutil

    return math.ceil(psutil.Process().memory_info().rss)
