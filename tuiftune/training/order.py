"""The order of an epoch's samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    IntArray = np.ndarray[Any, np.dtype[np.int64]]


def epoch_order(samples: int, seed: int, epoch: int) -> IntArray:
    """The numbers of all samples in the order of an epoch, from 0: that of `transformers.Trainer` with the same
    seed. Made anew from seed and epoch, so a run that goes on has no state of it to keep."""
    generator = torch.Generator().manual_seed(seed + epoch)
    order: IntArray = torch.randperm(samples, generator=generator).numpy()
    return order
