"""The one definition of loss: negative log-likelihood summed over the tokens that count."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - its usual name

from tuiftune.training.batches import IGNORED

CHUNK = 1024
"""Rows of logits turned to float32 at a time where no gradient is needed: 1,024 x 50,257 x 4 = 206 MB."""


def counted_tokens(labels: torch.Tensor) -> torch.Tensor:
    """How many tokens of `labels` [rows, length] are predicted and count; the first of a row has no prediction."""
    return labels[:, 1:].ne(IGNORED).sum()


def sum_nll(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Summed negative log-likelihood of `labels` [rows, length], in float32 and with its gradient.

    Computed here and not by the model: transformers' own divides GPT-2's by a count that is too large.
    """
    return F.cross_entropy(logits.flatten(0, 1).float(), _next_tokens(labels), ignore_index=IGNORED, reduction="sum")


def sum_nll_exact(logits: torch.Tensor, labels: torch.Tensor) -> float:
    """The same for where no gradient is kept: added up in float64, a chunk of rows at a time."""
    rows, targets = logits.flatten(0, 1), _next_tokens(labels)
    total = torch.zeros((), dtype=torch.float64, device=logits.device)
    for start in range(0, len(rows), CHUNK):
        each = F.cross_entropy(
            rows[start : start + CHUNK].float(),
            targets[start : start + CHUNK],
            ignore_index=IGNORED,
            reduction="none",
        )
        total += each.double().sum()
    return float(total)


def _next_tokens(labels: torch.Tensor) -> torch.Tensor:
    """What each position predicts, flat; the last of a row predicts nothing."""
    targets = torch.full_like(labels, IGNORED)
    targets[:, :-1] = labels[:, 1:]
    return targets.flatten()
