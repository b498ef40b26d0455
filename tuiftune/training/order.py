"""The order of an epoch's samples, and the part of it that is one optimizer step."""

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


def step_bounds(lengths: IntArray, steps: int) -> IntArray:
    """Where to cut samples of so many tokens, in their order, into `steps` of like many tokens: [steps + 1] places
    from 0 to their number.

    A sample belongs to the step in whose share of the tokens it ends. No step is empty where a share is as long
    as the longest sample.
    """
    ends = np.cumsum(lengths)
    shares = ends[-1] * np.arange(steps + 1) // steps  # whole numbers: the same on every machine
    bounds: IntArray = np.searchsorted(ends, shares, side="right")
    bounds[0], bounds[-1] = 0, len(lengths)
    return bounds
