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
from torch._subclasses.fake_tensor import FakeTensor

from tuiftune.training.batches import IGNORED
from tuiftune.training.randomness import kept_rng

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CHUNK_BYTES = 2**26
"""Of float32 logits at a time: 333 positions of GPT-2's. On 2 cores half and double are as fast."""


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

    def sum(
        self,
        model: Any,
        batch: Mapping[str, torch.Tensor],
        scale: torch.Tensor,
        dtype: torch.dtype = torch.float32,
    ) -> torch.Tensor:
        """Summed NLL times `scale` in float32, with its gradient; matrix products in `dtype`. `model` may be
        wrapped."""
        kept, targets = self._at_labels(model, batch)
        if self._head is None:
            return F.cross_entropy(kept.float(), targets, reduction="sum") * scale
        weight, bias = self._head.weight, self._head.bias
        with torch.autocast(kept.device.type, enabled=False):
            total: torch.Tensor = _ChunkedNLL.apply(kept, weight, bias, targets, scale, dtype)
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
    """sum(cross_entropy(hidden @ weight.T + bias, targets)) * scale; its gradient is formed with it, a chunk of
    positions at a time, in the memory of the logits.

    `F.linear_cross_entropy` of torch 2.13 is exact too, and in float32 on a CPU it was 6 to 60 times slower.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        targets: torch.Tensor,
        scale: torch.Tensor,
        dtype: torch.dtype,
    ) -> torch.Tensor:
        cast_weight = weight.to(dtype)
        hidden_grad = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        weight_grad = bias_grad = None
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        # Slopes of 1e-5 over a step of 20,000 tokens are nothing in float16: there the products are scaled instead.
        factor = torch.ones_like(scale) if dtype == torch.float16 else scale
        rows = chunk_rows(weight.shape[0])
        for start in range(0, len(hidden), rows):
            part = slice(start, start + rows)
            inputs, wanted = hidden[part].to(dtype), targets[part, None]
            logits = F.linear(inputs, cast_weight).float()
            if bias is not None:
                logits += bias
            highest = logits.amax(dim=1, keepdim=True)
            odds = logits.sub_(highest)  # of the target, before they are raised
            target_odds = odds.gather(1, wanted)
            mass = odds.exp_().sum(dim=1, keepdim=True)
            total += (mass.log() - target_odds).sum()
            slope = odds.mul_(factor / mass)  # softmax - one-hot
            slope.scatter_add_(1, wanted, (-factor).expand(wanted.shape))
            if bias is not None and ctx.needs_input_grad[2]:
                added = slope.sum(dim=0)
                bias_grad = added if bias_grad is None else bias_grad + added
            slope = slope.to(dtype)
            if hidden_grad is not None:
                hidden_grad[part] = slope @ cast_weight
            if not ctx.needs_input_grad[1]:
                continue
            if weight_grad is None:  # not zeros first: of GPT-2's 154 MB that takes a tenth of the products' time
                weight_grad = (slope.t() @ inputs).to(weight.dtype)
            elif dtype == weight.dtype:
                weight_grad.addmm_(slope.t(), inputs)
            else:
                weight_grad += slope.t() @ inputs
        if dtype == torch.float16:
            for grad in (hidden_grad, weight_grad, bias_grad):
                if grad is not None:
                    grad.mul_(scale)
        ctx.grads = (hidden_grad, weight_grad, bias_grad)
        return total * scale

    @staticmethod
    def backward(ctx: Any, *slopes: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        # Handed over and not kept: autograd adds the embedding's gradient to a tied weight's in place then.
        grads, ctx.grads = ctx.grads, None
        slope = slopes[0]
        known = slope.device.type == "cpu" and not isinstance(slope, FakeTensor)
        if known and float(slope) == 1:  # nothing to scale, which is a pass over the weights
            return (*grads, None, None, None)
        return (*(grad if grad is None else grad.mul_(slope) for grad in grads), None, None, None)


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
    is_plain = logits.shape == (1, 2, head.out_features) and _untouched(logits, large)
    return head if is_plain and hidden.shape == (1, 2, head.in_features) else None


def _untouched(found: torch.Tensor, given: torch.Tensor) -> bool:
    """Whether a tensor came through as it was; of one without content, whether it is still the same memory."""
    if isinstance(found, FakeTensor):
        return bool(found.untyped_storage()._cdata == given.untyped_storage()._cdata)
    return bool((found == given).all())


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
