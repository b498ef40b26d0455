"""The one definition of loss: negative log-likelihood summed over the tokens that count.

Logits are computed only where there is a label, and a chunk of them at a time: of GPT-2's 50,257 for each of
8,192 tokens there would be 1.6 GB, and as much again for their gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name

from tuiftune.training.batches import IGNORED
from tuiftune.training.randomness import kept_rng

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CHUNK_BYTES = 2**27
"""Of float32 logits at a time: 667 rows of GPT-2's. On a CPU 128 to 2,048 rows are as fast, fewer are slower."""

FP16_BOOST = 1024.0
"""Gradients of logits are at most 1 and often 1e-7, below what float16 holds: they are scaled on their way."""


class NextTokenLoss:
    """The loss of a model on micro-batches of `input_ids` and `targets`, both [rows, length].

    Computed here and not by the model: transformers' own divides GPT-2's by a count that is too large.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self._head = find_head(model)

    @property
    def is_chunked(self) -> bool:
        """Whether the head could be taken apart; otherwise the model computes all its logits."""
        return self._head is not None

    def sum(self, model: Any, batch: Mapping[str, torch.Tensor], dtype: torch.dtype = torch.float32) -> torch.Tensor:
        """Summed NLL in float32, with its gradient; matrix products in `dtype`. `model` may be wrapped."""
        kept, targets = self._at_labels(model, batch)
        if self._head is None:
            return F.cross_entropy(kept.float(), targets, reduction="sum")
        weight, bias = self._head.weight, self._head.bias
        total: torch.Tensor = _ChunkedNLL.apply(kept, weight, bias, targets, dtype)
        return total

    def exact_sum(self, model: Any, batch: Mapping[str, torch.Tensor]) -> float:
        """The same where no gradient is kept, added up in float64."""
        kept, targets = self._at_labels(model, batch)
        total = torch.zeros((), dtype=torch.float64, device=kept.device)
        rows = chunk_rows(kept.shape[-1] if self._head is None else self._head.out_features)
        for start in range(0, len(kept), rows):
            part = slice(start, start + rows)
            logits = kept[part] if self._head is None else self._head(kept[part].to(self._head.weight.dtype))
            total += F.cross_entropy(logits.float(), targets[part], reduction="none").double().sum()
        return float(total.detach())

    def _at_labels(self, model: Any, batch: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """What the head is given (or, where it cannot be left out, the logits), and the targets, at the
        positions that have one: [counted, width] and [counted]."""
        targets = batch["targets"].flatten()
        with without_head(self._head):
            found = model(input_ids=batch["input_ids"], use_cache=False).logits.flatten(0, 1)
        counts = targets.ne(IGNORED)
        return found[counts], targets[counts]


class _ChunkedNLL(torch.autograd.Function):  # type: ignore[misc]
    """sum(cross_entropy(hidden @ weight.T + bias, targets)); the gradient is formed with it, chunk by chunk.

    `F.linear_cross_entropy` of torch 2.13 is exact too, and in float32 on a CPU it was 6 to 60 times slower.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        targets: torch.Tensor,
        dtype: torch.dtype,
    ) -> torch.Tensor:
        with torch.autocast(hidden.device.type, enabled=False):
            cast_weight = weight.to(dtype)
            hidden_grad = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
            weight_grad = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None
            bias_grad = torch.zeros_like(bias) if bias is not None and ctx.needs_input_grad[2] else None
            total = torch.zeros((), dtype=torch.float32, device=hidden.device)
            boost = FP16_BOOST if dtype == torch.float16 else 1.0
            rows = chunk_rows(weight.shape[0])
            for start in range(0, len(hidden), rows):
                part = slice(start, start + rows)
                inputs, wanted = hidden[part].to(dtype), targets[part, None]
                logits = F.linear(inputs, cast_weight).float()
                if bias is not None:
                    logits += bias
                normaliser = logits.logsumexp(dim=1, keepdim=True)
                total += (normaliser - logits.gather(1, wanted)).sum()
                # softmax - one-hot, in the logits' own memory
                slope = logits.sub_(normaliser).exp_()
                slope.scatter_add_(1, wanted, torch.full_like(wanted, -1, dtype=slope.dtype))
                if bias_grad is not None:
                    bias_grad += slope.sum(dim=0)
                slope = slope.mul_(boost).to(dtype)
                if hidden_grad is not None:
                    hidden_grad[part] = (slope @ cast_weight).div_(boost)
                if weight_grad is None:
                    continue
                if dtype == weight.dtype:
                    weight_grad.addmm_(slope.t(), inputs)
                else:
                    weight_grad.add_((slope.t() @ inputs).to(weight.dtype), alpha=1 / boost)
            ctx.save_for_backward(hidden_grad, weight_grad, bias_grad)
        return total

    @staticmethod
    def backward(ctx: Any, *slopes: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        found = tuple(grad if grad is None else grad.mul_(slopes[0]) for grad in ctx.saved_tensors)
        return (*found, None, None)


def chunk_rows(vocabulary: int) -> int:
    """How many positions' logits are made at a time."""
    return max(64, CHUNK_BYTES // (4 * vocabulary))


def counted_tokens(targets: torch.Tensor) -> torch.Tensor:
    """How many tokens of `targets` count; a scalar on their device."""
    return targets.ne(IGNORED).sum()


def find_head(model: PreTrainedModel) -> torch.nn.Linear | None:
    """The model's last layer, where the logits are that layer's output and nothing more; else None.

    Found out by a trial, whatever the architecture: some scale their logits after the layer, or cap them, which
    shows only where they are large.
    """
    head = model.get_output_embeddings()
    if type(head) is not torch.nn.Linear:
        return None
    ids = torch.zeros((1, 2), dtype=torch.long, device=head.weight.device)
    large = torch.linspace(-100, 100, head.out_features, device=head.weight.device, dtype=head.weight.dtype)
    training = model.training
    model.eval()
    try:
        with torch.no_grad(), kept_rng():
            with replaced(head, lambda hidden: large.expand(*hidden.shape[:-1], -1)):
                logits = model(input_ids=ids, use_cache=False).logits
            with without_head(head):
                hidden = model(input_ids=ids, use_cache=False).logits
    finally:
        model.train(training)
    is_plain = logits.shape == (1, 2, head.out_features) and bool((logits == large).all())
    return head if is_plain and hidden.shape == (1, 2, head.in_features) else None


@contextmanager
def replaced(layer: torch.nn.Module, forward: Callable[[torch.Tensor], torch.Tensor]) -> Iterator[None]:
    """Inside, the layer does something else. The model is called as ever, so whatever wraps it (autocast, data
    parallelism, activation checkpointing) works as ever."""
    layer.forward = forward
    try:
        yield
    finally:
        del layer.forward


def without_head(head: torch.nn.Linear | None) -> AbstractContextManager[None]:
    """Inside, the layer hands on what it is given, so that `logits` are the hidden states."""
    return nullcontext() if head is None else replaced(head, lambda hidden: hidden)
