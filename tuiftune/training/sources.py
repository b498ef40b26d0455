"""Load a model to write with: a run's, the one that it started from, or a folder's; on the GPU where it has room."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from tuiftune import units
from tuiftune.errors import NoMemory, StageError
from tuiftune.options import ModelOptions
from tuiftune.run.checkpoints import flaw, is_sealed
from tuiftune.run.failure import OOM, kind_of
from tuiftune.run.models import Source, profile_of
from tuiftune.text import brief
from tuiftune.training.model import load_model, load_tokenizer, read_folder
from tuiftune.training.state import STATE

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Device = Literal["auto", "cpu", "cuda"]

ROOM_BYTES = 2**30
"""Beside the weights, for the text so far (keys and values) and CUDA's own: with less left a GPU that trains could run
out of memory because somebody looks at a checkpoint."""


def load(source: Source) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model, float32, in eval mode and on the CPU, and its tokenizer.

    Raises StageError where there is none, or a checkpoint is not as it was sealed.
    """
    options, seed = _of_profile(source.run) if source.run else (ModelOptions(), 0)
    if source.folder is not None:
        if is_sealed(source.folder) and (reason := flaw(source.folder, unread=(STATE,))):
            raise StageError(f"{reason}. Choose another checkpoint")
        return read_folder(source.folder, options.trust_remote_code)
    assert source.run is not None  # noqa: S101 - a source is one of both
    workspace = source.run.parents[1]
    tokenizer = load_tokenizer(options, workspace)
    torch.manual_seed(seed)  # random weights are those that the run began with
    return load_model(options, workspace, torch.float32, tokenizer).eval(), tokenizer


def _of_profile(run: Path) -> tuple[ModelOptions, int]:
    """The model that a run started from, and its seed."""
    profile = profile_of(run)
    return ModelOptions.model_validate(profile.get("model") or {}), int(profile.get("seed") or 0)


def put(model: PreTrainedModel, wanted: Device) -> str | None:
    """Move a model to a device; `auto` is the GPU where one has room for it, else the CPU, and then says why.

    Raises NoMemory where `cuda` has no room, StageError where there is no GPU.
    """
    if wanted == "cpu":
        return None
    if not torch.cuda.is_available():
        if wanted == "cuda":
            raise StageError("device: no GPU is seen here that torch can use. Choose 'auto' or 'cpu'")
        return None
    needed = sum(tensor.numel() * tensor.element_size() for tensor in [*model.parameters(), *model.buffers()])
    try:
        free, _ = torch.cuda.mem_get_info(0)
        if wanted == "auto" and free < needed + ROOM_BYTES:
            return f"on the CPU: the GPU has {units.size(free)} free, and {units.size(needed + ROOM_BYTES)} are wanted"
        model.to(torch.device("cuda", 0))
    except RuntimeError as error:
        model.to("cpu")
        if wanted == "auto":
            return f"on the CPU: the GPU could not be used: {brief(error)}"
        if kind_of(error) == OOM:
            raise no_memory() from error
        raise StageError(f"device: the GPU cannot be used: {brief(error)}. Choose 'cpu'") from error
    return None


def no_memory() -> NoMemory:
    """What to say where a device's memory ran out."""
    return NoMemory(
        "the GPU has no room for this model or text beside what else it does. "
        "Choose device 'cpu', fewer tokens, or wait until it is free"
    )


def where(model: Any) -> str:
    """'cpu', 'cuda'."""
    return str(model.device.type)
