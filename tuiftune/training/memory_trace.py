"""What memory a training step takes, found by walking through one with tensors that have a shape and no content.

No GPU is needed, nor the memory. Every storage is followed from its making to its end by a weak reference, as
`torch.distributed._tools.mem_tracker` does it.
"""

from __future__ import annotations

import copy
import weakref
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any
from unittest import mock

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from tuiftune.training.steps import ready_to_train

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PARTS = ("weights", "gradients", "optimizer", "activations", "logits")
"""What memory goes to. Weights in the autocast's precision are `weights`, whatever is not of the others is
`activations`."""

GPU_GRAIN_BYTES = 512
"""CUDA's caching allocator gives memory in multiples of it."""

aten = torch.ops.aten


def trace(
    model: PreTrainedModel, rows: int, length: int, dtype: torch.dtype, checkpointing: bool, device_type: str
) -> dict[str, int]:
    """Bytes of each of PARTS (the optimizer's left at 0) when a step of several micro-batches takes the most.

    `model` lies on the meta device, its weights float32, and stays as it is. Gradients are there already: the
    second micro-batch finds those of the first. Raises what torch does where an operation cannot be done without
    content.
    """
    with pretended_device(device_type) as followed:
        fake = _on_device(model, device_type)
        fake.train()
        if checkpointing:
            # What is kept of random numbers is a few kB, and asking a GPU that is not there for them is an error.
            fake.activation_checkpointing_enable({"use_reentrant": False, "preserve_rng_state": False})
        for parameter in fake.parameters():
            followed.add(parameter, "weights")
        followed.vocabulary = fake.get_output_embeddings().weight.shape[0]
        followed.matrices = {tuple(parameter.shape) for parameter in fake.parameters() if parameter.ndim == 2}
        loss, _looked_up = ready_to_train(fake)
        ids = torch.zeros((rows, length), dtype=torch.long, device=device_type)
        batch = {"input_ids": ids, "targets": torch.zeros_like(ids)}
        loss.add_gradients(batch, 1.0, dtype)
        for parameter in fake.parameters():
            if parameter.grad is not None:
                followed.add(parameter.grad, "gradients")
        followed.forget_peak()
        loss.add_gradients(batch, 1.0, dtype)
        return {part: followed.peak[part] for part in PARTS}


class FollowedStorages(TorchDispatchMode):  # type: ignore[misc]
    """Sees every operation, below autograd, and keeps the bytes that are alive by their part, and their peak."""

    def __init__(self, device_type: str) -> None:
        super().__init__()
        self.vocabulary = 0
        """An array whose rows have this length holds logits."""
        self.matrices: set[tuple[int, ...]] = set()
        """Shapes of the weights: what has one of them is a copy of a weight, or a gradient before it is added."""
        self.live: Counter[str] = Counter()
        self.peak: Counter[str] = Counter()
        self._device = torch.device(device_type, 0) if device_type == "cuda" else torch.device(device_type)
        self._grain = GPU_GRAIN_BYTES if device_type == "cuda" else 1
        self._parts: dict[weakref.ref[Any], tuple[str, int]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.prim.device.default:
            # Asked by torch's C++, which would look for a driver; Python's `tensor.device` says what is pretended.
            return torch.device("cpu")
        kwargs = dict(kwargs or {})
        if kwargs.get("device") == torch.device("cpu"):  # asked for by the same C++, for a gradient
            kwargs["device"] = self._device
        out = _all_counted(args) if func is aten.index.Tensor and _is_mask(args[1]) else func(*args, **kwargs)
        for tensor in torch.utils._pytree.tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                self.add(tensor)
        return out

    def add(self, tensor: torch.Tensor, part: str | None = None) -> None:
        """Follow a tensor's memory, as `part` where that is known."""
        storage = tensor.untyped_storage()
        reference = weakref.ref(storage, self._ended)
        before = self._parts.get(reference)
        if before is not None:
            if part is not None:
                self._parts[reference] = (part, before[1])
                self.live[before[0]] -= before[1]
                self.live[part] += before[1]
            return
        size = -(-storage.nbytes() // self._grain) * self._grain
        part = part or self._part_of(tensor)
        self._parts[reference] = (part, size)
        self.live[part] += size
        if self.live.total() > self.peak.total():
            self.peak = self.live.copy()

    def forget_peak(self) -> None:
        self.peak = self.live.copy()

    def _ended(self, reference: weakref.ref[Any]) -> None:
        part, size = self._parts.pop(reference)
        self.live[part] -= size

    def _part_of(self, tensor: torch.Tensor) -> str:
        if tuple(tensor.shape) in self.matrices:
            return "gradients" if tensor.dtype == torch.float32 else "weights"
        return "logits" if tensor.ndim and tensor.shape[-1] == self.vocabulary else "activations"


def _is_mask(indices: Any) -> bool:
    return len(indices) == 1 and indices[0] is not None and indices[0].dtype == torch.bool


def _all_counted(args: Any) -> torch.Tensor:
    """`tensor[mask]`, for the most it can be: every position has a label."""
    tensor, (mask,) = args
    found: torch.Tensor = tensor.new_empty((mask.numel(), *tensor.shape[mask.ndim :]))
    return found


def _dropout(input: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> torch.Tensor:  # noqa: A002, ARG001
    return torch.native_dropout(input, p, True)[0] if training and p else input


def _attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> torch.Tensor:
    """FlashAttention in half precision without a mask, else the memory-efficient kernel: both keep of the scores
    no more than their logarithmic sums (Dao et al. 2022; Rabe and Staats 2021)."""
    if torch.is_autocast_enabled("cuda"):
        query, key, value = (each.to(torch.get_autocast_dtype("cuda")) for each in (query, key, value))
    if enable_gqa and key.shape[1] != query.shape[1]:
        times = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(times, 1), value.repeat_interleave(times, 1)
    if query.dtype != torch.float32 and attn_mask is None and query.shape[-1] <= 256:
        found = aten._scaled_dot_product_flash_attention(query, key, value, dropout_p, is_causal, False, scale=scale)
    else:
        found = aten._scaled_dot_product_efficient_attention(
            query, key, value, attn_mask, True, dropout_p, is_causal, scale=scale
        )
    first: torch.Tensor = found[0]
    return first


@contextmanager
def pretended_device(device_type: str) -> Iterator[FollowedStorages]:
    """Inside, tensors have no content and lie on a device that need not be there."""
    followed = FollowedStorages(device_type)
    with ExitStack() as open_:
        if device_type == "cuda":
            open_.enter_context(_as_on_a_gpu())
        open_.enter_context(FakeTensorMode())
        open_.enter_context(followed)
        yield followed


@contextmanager
def _as_on_a_gpu() -> Iterator[None]:
    """What torch does otherwise where it finds no GPU, or is told that there is none: autocast switched off,
    dropout with a float an element, attention that keeps its scores."""
    found = {
        "torch.cuda.amp.common.amp_definitely_not_available": lambda: False,
        "torch.cuda.is_bf16_supported": lambda *_arguments, **_named: True,
        "torch.nn.functional.dropout": _dropout,
        "torch.nn.functional.scaled_dot_product_attention": _attention,
    }
    with ExitStack() as open_:
        for name, instead in found.items():
            open_.enter_context(mock.patch(name, instead))
        yield


def _on_device(model: PreTrainedModel, device_type: str) -> PreTrainedModel:
    """A copy of the model with tensors of the same shapes on the device; tied weights stay tied."""
    made: dict[int, torch.Tensor] = {}

    def placed(tensor: torch.Tensor) -> torch.Tensor:
        if id(tensor) not in made:
            new = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=device_type)
            is_weight = isinstance(tensor, torch.nn.Parameter)
            made[id(tensor)] = torch.nn.Parameter(new, tensor.requires_grad) if is_weight else new
        return made[id(tensor)]

    tensors = [*model.parameters(), *model.buffers()]
    fake: PreTrainedModel = copy.deepcopy(model, {id(tensor): placed(tensor) for tensor in tensors})
    return fake
