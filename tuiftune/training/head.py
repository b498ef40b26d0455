"""The last layer of a model and the cross-entropy after it, a chunk of positions at a time.

Of GPT-2's 50,257 logits for each of 8,192 tokens there would be 1.6 GB, and as much again for their gradient. Here
they are made in one buffer, turned into their own gradient in place, and used up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CHUNK_BYTES = 2**24
"""Of float32 logits at a time on a CPU: 83 positions of GPT-2's. 333 took 10% less time a position than 130."""
GPU_CHUNK_BYTES = 2**28
"""The same on a GPU, which small products leave idle: 1,335 positions of GPT-2's. Not measured."""
CPU_COLUMNS = 2048
"""Of the vocabulary in one product on a CPU, so that what is read again stays in its cache: for GPT-2's 50,257 and
widths of 256 and 768 the head took 7 to 14% less time than with products in one piece."""


HALF_POSITIONS = 1024
HALF_SLOPE = 2.0**-4
"""In float16 a product over so many positions, with slopes of at most so much, ends (at 65,504) where hidden states
are above 1,000; probabilities are lost below a millionth."""


class Head:
    """A linear layer from hidden states to logits, whose gradients are formed together with the loss.

    `F.linear_cross_entropy` of torch 2.13 is exact too, and in float32 on a CPU it was 6 to 60 times slower.
    """

    def __init__(self, layer: torch.nn.Linear) -> None:
        self.layer = layer
        self._outdated = True

    def begin(self) -> None:
        """A new step: the gradient of the weight is written over, in the memory it has. Allocated
        anew, each of its pages (154 MB for GPT-2) would be a page fault."""
        self._outdated = True

    def end(self) -> None:
        """Where no position of the step counted, nothing was written over."""
        if self._outdated and self.layer.weight.grad is not None:
            self.layer.weight.grad.zero_()
        self._outdated = False

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def add_gradients(
        self, hidden: torch.Tensor, targets: torch.Tensor, scale: float, dtype: torch.dtype
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The summed NLL of `targets` [n] (a float32 scalar) and the gradient of `scale` times it with respect to
        `hidden` [n, width]; that of the layer's weight and bias is added to their `grad`.

        Matrix products in `dtype`. Softmax minus one-hot is the gradient of the cross-entropy.
        """
        weight, bias = self.layer.weight, self.layer.bias
        cast_weight = weight.to(dtype)
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        hidden_grad = torch.empty(hidden.shape, dtype=dtype, device=hidden.device)
        # Slopes of 1e-5 over a step of 20,000 tokens are nothing in float16: there the products are scaled instead.
        before, after = (HALF_SLOPE, scale / HALF_SLOPE) if dtype == torch.float16 else (scale, 1.0)
        buffer = self._buffer(len(hidden))
        for start, stop in self._chunks(len(hidden), HALF_POSITIONS if dtype == torch.float16 else None):
            inputs, wanted = hidden[start:stop].to(dtype), targets[start:stop, None]
            logits = self._logits_of(inputs, cast_weight, buffer)
            logits -= logits.amax(dim=1, keepdim=True)
            odds = logits.gather(1, wanted)  # of the target, before they are raised
            mass = logits.exp_().sum(dim=1, keepdim=True)
            total += (mass.log() - odds).sum()
            logits *= before / mass
            logits.scatter_add_(1, wanted, torch.full_like(odds, -before))
            self._add_chunk(inputs, logits, cast_weight, hidden_grad[start:stop], after)
            if bias is not None and bias.requires_grad:
                bias.grad = logits.sum(dim=0) * after if bias.grad is None else bias.grad + logits.sum(dim=0) * after
        return total, hidden_grad if after == 1.0 else hidden_grad.float().mul_(after)

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def nll(self, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """The NLL of `targets` [n], float32 [n]; no gradient."""
        found = torch.empty(len(hidden), dtype=torch.float32, device=hidden.device)
        buffer = self._buffer(len(hidden))
        for start, stop in self._chunks(len(hidden)):
            logits = self._logits_of(hidden[start:stop].to(self.layer.weight.dtype), self.layer.weight, buffer)
            found[start:stop] = F.cross_entropy(logits, targets[start:stop], reduction="none")
        return found

    def _chunks(self, positions: int, at_most: int | None = None) -> Iterator[tuple[int, int]]:
        rows = chunk_rows(self.layer.out_features, self.layer.weight.device.type)
        rows = rows if at_most is None else min(rows, at_most)
        return ((start, min(start + rows, positions)) for start in range(0, positions, rows))

    def _columns(self) -> Iterator[slice]:
        """Parts of the vocabulary for one product each."""
        vocabulary = self.layer.out_features
        size = CPU_COLUMNS if self.layer.weight.device.type == "cpu" else vocabulary
        return (slice(start, start + size) for start in range(0, vocabulary, size))

    def _buffer(self, positions: int) -> torch.Tensor:
        """For the logits of a chunk: new ones for each would be new pages for each, a tenth of the head's time."""
        rows = min(positions, chunk_rows(self.layer.out_features, self.layer.weight.device.type))
        return torch.empty((rows, self.layer.out_features), dtype=torch.float32, device=self.layer.weight.device)

    def _logits_of(self, inputs: torch.Tensor, weight: torch.Tensor, buffer: torch.Tensor) -> torch.Tensor:
        """float32 logits, in the buffer."""
        logits = buffer[: len(inputs)]
        if inputs.dtype == torch.float32:
            for part in self._columns():
                torch.mm(inputs, weight[part].t(), out=logits[:, part])
        else:
            logits.copy_(F.linear(inputs, weight))
        return logits if self.layer.bias is None else logits.add_(self.layer.bias)

    def _add_chunk(
        self, inputs: torch.Tensor, slopes: torch.Tensor, weight: torch.Tensor, hidden_grad: torch.Tensor, factor: float
    ) -> None:
        """`slopes` [n, vocabulary] times the weight into `hidden_grad`, and times `inputs` onto the weight's `grad`."""
        held, slopes = self.layer.weight, slopes.to(weight.dtype)
        for number, part in enumerate(self._columns()):
            if number == 0:
                torch.mm(slopes[:, part], weight[part], out=hidden_grad)
            else:
                hidden_grad.addmm_(slopes[:, part], weight[part])
        if not held.requires_grad:
            return
        fresh = self._outdated
        if held.grad is None:
            held.grad, fresh = torch.empty_like(held), True
        self._outdated = False
        for part in self._columns():
            grad = held.grad[part]
            if weight.dtype != held.dtype:
                added = (slopes[:, part].t() @ inputs).to(held.dtype)
                torch.mul(added, factor, out=grad) if fresh else grad.add_(added, alpha=factor)
            elif fresh:
                torch.mm(slopes[:, part].t(), inputs, out=grad)
            else:
                grad.addmm_(slopes[:, part].t(), inputs)


def chunk_rows(vocabulary: int, device_type: str = "cpu") -> int:
    """How many positions' logits are made at a time."""
    return max(64, (CHUNK_BYTES if device_type == "cpu" else GPU_CHUNK_BYTES) // (4 * vocabulary))


def find_head(model: PreTrainedModel) -> Head | None:
    """The model's last layer, where the logits are that layer's output of `model.base_model`'s hidden states and
    nothing more; else None.

    Found out by a trial, whatever the architecture: some scale their logits after the layer, or cap them, which
    shows only where they are large.
    """
    layer = model.get_output_embeddings()
    if type(layer) is not torch.nn.Linear or model.base_model is model:
        return None
    ids = torch.zeros((1, 2), dtype=torch.long, device=layer.weight.device)
    large = torch.linspace(-100, 100, layer.out_features, device=layer.weight.device, dtype=layer.weight.dtype)
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            with _replaced(layer, lambda hidden: large.expand(*hidden.shape[:-1], -1)):
                logits = model(input_ids=ids, use_cache=False).logits
            with _replaced(layer, lambda hidden: hidden):
                given = model(input_ids=ids, use_cache=False).logits
            hidden = model.base_model(input_ids=ids, use_cache=False)[0]
    finally:
        model.train(training)
    is_plain = logits.shape == (1, 2, layer.out_features) and _same(logits, large)
    is_theirs = given.shape == hidden.shape and (_has_no_content(given) or _same(given, hidden))
    return Head(layer) if is_plain and is_theirs else None


def _same(found: torch.Tensor, given: torch.Tensor) -> bool:
    """Whether a tensor came through as it was; of one without content, whether it is still the same memory."""
    if _has_no_content(found):
        return bool(found.untyped_storage()._cdata == given.untyped_storage()._cdata)
    return bool((found.nan_to_num() == given.nan_to_num()).all())  # a broken model is taken apart like any other


def _has_no_content(tensor: torch.Tensor) -> bool:
    """A tensor that only shows what memory would be taken."""
    return isinstance(tensor, torch._subclasses.FakeTensor)


@contextmanager
def _replaced(layer: torch.nn.Module, forward: Callable[[torch.Tensor], torch.Tensor]) -> Iterator[None]:
    """Inside, the layer does something else."""
    layer.forward = forward
    try:
        yield
    finally:
        del layer.forward
