"""The one definition of loss: negative log-likelihood summed over the tokens that count."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name

from tuiftune.errors import StageError
from tuiftune.training.batches import IGNORED
from tuiftune.training.head import find_head
from tuiftune.training.precision import float32_products

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class NextTokenLoss:
    """The loss of a model on micro-batches of `input_ids` and `targets`, both [rows, length], and where documents
    lie in one row `position_ids` that start again with each.

    Computed here and not by the model: only where there is a label, and transformers' own divides GPT-2's by a
    count that is too large.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        self.head = find_head(model)
        self._body: Any = model if self.head is None else model.base_model
        self._apart: bool | None = None
        """Whether the model keeps documents apart; None before a row has several."""

    @property
    def is_chunked(self) -> bool:
        """Whether the head could be taken apart; otherwise the model computes all its logits."""
        return self.head is not None

    def compile(self) -> None:
        """Compile what comes before the loss. Micro-batches have many shapes: one program for all of them."""
        self._body = torch.compile(self._body, dynamic=True)

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def keeps_documents_apart(self) -> bool:
        """Whether `position_ids` that start again keep a document from seeing the one before it in its row. Found
        out by a trial: some models know no positions, or take them without keeping anything apart."""
        device = next(self.model.parameters()).device
        ids = torch.arange(8, device=device) % self.model.get_input_embeddings().num_embeddings
        apart = torch.arange(4, device=device).repeat(1, 2)
        training = self.model.training
        self.model.eval()
        try:
            with float32_products(tf32=False), torch.autocast(device.type, enabled=False):
                together = self.model(input_ids=ids[None], position_ids=apart, use_cache=False).logits
                alone = self.model(input_ids=ids.view(2, 4), use_cache=False).logits.view(together.shape)
        except TypeError:  # no such argument
            return False
        finally:
            self.model.train(training)
        return bool((together - alone).abs().max() <= 1e-4 * alone.abs().max())

    def add_gradients(
        self, batch: Mapping[str, torch.Tensor], scale: float, dtype: torch.dtype = torch.float32
    ) -> torch.Tensor:
        """Summed NLL of a micro-batch, a float32 scalar; the gradient of `scale` times it is added to every
        parameter's `grad`. Matrix products in `dtype`, by autocast."""
        device = batch["input_ids"].device.type
        with torch.autocast(device, dtype=dtype, enabled=dtype != torch.float32):
            kept, targets = self._at_labels(batch)
        if self.head is None:
            total = F.cross_entropy(kept.float(), targets, reduction="sum")
            (total * scale).backward()
            return total.detach()
        nll, hidden_grad = self.head.add_gradients(kept.detach(), targets, scale, dtype)
        if kept.requires_grad:  # else the head alone is trained
            kept.backward(hidden_grad.to(kept.dtype))
        return nll

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def exact_sum(self, batch: Mapping[str, torch.Tensor]) -> float:
        """Summed NLL, added up in float64; no gradient."""
        kept, targets = self._at_labels(batch)
        if self.head is None:
            nll = F.cross_entropy(kept.float(), targets, reduction="none")
        else:
            nll = self.head.nll(kept, targets)
        return float(nll.double().sum())

    def _must_keep_apart(self) -> None:
        self._apart = self.keeps_documents_apart() if self._apart is None else self._apart
        if not self._apart:
            raise StageError(
                "pack.documents = 'apart': this model lets documents in one row see each other whatever it is told. "
                "Use 'joined', or leave the stage 'pack' out"
            )

    def _at_labels(self, batch: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """What the head is given (or, where it cannot be left out, the logits), and the targets, at the
        positions that have one: [counted, width] and [counted].

        No attention mask: real positions do not see padding on their right. `use_cache` is off, for with a cache
        `position_ids` that start again no longer keep documents apart.
        """
        targets = batch["targets"].flatten()
        more = {}
        if "position_ids" in batch:
            self._must_keep_apart()
            more = {"position_ids": batch["position_ids"]}
        found = self._body(input_ids=batch["input_ids"], use_cache=False, **more)[0].flatten(0, 1)
        counts = targets.ne(IGNORED)
        return found[counts], targets[counts]
