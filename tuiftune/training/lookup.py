"""The gradient of an embedding added where it belongs, and not by way of a matrix that is nearly all zeros.

For a step of 130 tokens autograd makes all 50,257 rows of GPT-2's embedding and adds them: on 2 cores
30 ms, an eighth of the step's CPU time, and as much memory as the embedding itself.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name


def add_where_looked_up(layer: torch.nn.Module) -> bool:
    """Let this embedding add its gradient straight to `weight.grad`, from now on; False where it is not a plain
    one, and left as it is."""
    plain = type(layer) in (torch.nn.Embedding, LookedUp) and layer.max_norm is None and not layer.scale_grad_by_freq
    if not plain or layer.sparse or not layer.weight.requires_grad:
        return False
    layer.__class__ = LookedUp
    return True


class LookedUp(torch.nn.Embedding):  # type: ignore[misc]
    """An embedding whose gradient is not handed to autograd."""

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        if not torch.is_grad_enabled():
            return F.embedding(ids, self.weight)
        found: torch.Tensor = _Lookup.apply(self.weight, ids, self.padding_idx)
        return found


class _Lookup(torch.autograd.Function):  # type: ignore[misc]
    @staticmethod
    def forward(ctx: Any, weight: torch.Tensor, ids: torch.Tensor, padding_idx: int | None) -> torch.Tensor:
        ctx.weight, ctx.padding_idx = weight, padding_idx
        ctx.save_for_backward(ids)
        return F.embedding(ids, weight)

    @staticmethod
    def backward(ctx: Any, *slopes: torch.Tensor) -> tuple[None, None, None]:
        (ids,), weight = ctx.saved_tensors, ctx.weight
        ids, slope = ids.flatten(), slopes[0].flatten(0, -2).to(weight.dtype)
        if ctx.padding_idx is not None:  # its embedding is not trained, as torch has it
            kept = ids.ne(ctx.padding_idx)
            ids, slope = ids[kept], slope[kept]
        if weight.grad is None:
            weight.grad = torch.zeros_like(weight)
        if weight.device.type == "cpu":
            weight.grad.index_add_(0, ids, slope)
        else:  # sorts before it adds, where index_add_ would add in any order on a GPU
            weight.grad.index_put_((ids,), slope, accumulate=True)
        return None, None, None
