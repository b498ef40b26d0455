"""How many steps a training has, where its epochs end, and how much goes through the model at once."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tuiftune.errors import StageError
from tuiftune.training.order import epoch_order, step_bounds

if TYPE_CHECKING:
    import torch

    from tuiftune.stages.causal_lm import CausalLM
    from tuiftune.training.order import IntArray

CPU_SLOTS = 1024
"""Tokens at once. Measured on 2 cores: 2,048 are no faster and take 200 MB more, 512 are 10% slower."""
GPU_SLOTS = 2048
"""Fewer leave a GPU idle."""


@dataclass(frozen=True)
class Plan:
    """How many steps there are and where the epochs end."""

    samples: int | None
    """Of an epoch; None where they come from a stream."""
    samples_per_step: int | None
    """Of all processes together; None where tokens_per_step says how long a step is."""
    steps_per_epoch: int
    total_steps: int
    warmup_steps: int
    slots: int
    """Padded tokens that go through the model of one process at once."""

    @classmethod
    def of(cls, options: CausalLM.Options, lengths: IntArray, device: torch.device) -> Plan:
        """Of rows with so many tokens each. Raises StageError where a step could not hold the longest."""
        longest = int(lengths.max())
        if options.tokens_per_step is None:
            steps_per_epoch = math.ceil(len(lengths) / samples_of(options))
        elif options.tokens_per_step < longest:
            raise StageError(
                f"train.tokens_per_step: {options.tokens_per_step:,}, but the longest sample has {longest:,} tokens. "
                f"Set at least {longest}"
            )
        else:
            steps_per_epoch = max(1, int(lengths.sum()) // options.tokens_per_step)
        total = options.max_steps or math.ceil(options.epochs * steps_per_epoch)
        return cls(
            samples=len(lengths),
            samples_per_step=None if options.tokens_per_step else samples_of(options),
            steps_per_epoch=steps_per_epoch,
            total_steps=total,
            warmup_steps=_warmup(options, total),
            slots=_slots(options, longest, device),
        )

    @classmethod
    def of_stream(cls, options: CausalLM.Options, longest: int, device: torch.device) -> Plan:
        """Of rows that come one after another, of at most `longest` tokens; a stream has no epochs to count."""
        if options.max_steps is None:
            raise StageError("a stream has no end: set train.max_steps")
        return cls(
            samples=None,
            samples_per_step=None if options.tokens_per_step else samples_of(options),
            steps_per_epoch=options.max_steps,
            total_steps=options.max_steps,
            warmup_steps=_warmup(options, options.max_steps),
            slots=_slots(options, longest, device),
        )

    def epoch_order(self, epoch: int, seed: int, lengths: IntArray) -> tuple[IntArray, IntArray]:
        """The numbers of an epoch's samples in their order, and the [steps_per_epoch + 1] places where its steps
        begin and end in it."""
        assert self.samples is not None  # noqa: S101 - a stream has an order of its own
        order = epoch_order(self.samples, seed, epoch)
        if self.samples_per_step is None:
            return order, step_bounds(lengths[order], self.steps_per_epoch)
        return order, np.minimum(np.arange(self.steps_per_epoch + 1) * self.samples_per_step, self.samples)

    def epoch_of(self, step: int) -> float | None:
        """Passes over the data up to a step (the last of an epoch may be short); None of a stream."""
        if self.samples is None:
            return None
        whole, more = divmod(step, self.steps_per_epoch)
        if self.samples_per_step is None:
            return step / self.steps_per_epoch
        return whole + more * self.samples_per_step / self.samples

    def is_due(self, step: int, every: int) -> bool:
        """Whether what happens `every` steps (0: each epoch) happens now; at the very end it always does."""
        return step == self.total_steps or step % (every or self.steps_per_epoch) == 0


def samples_of(options: CausalLM.Options) -> int:
    """Samples of a step, of all processes together."""
    return options.batch_size * options.grad_accum * options.processes


def _warmup(options: CausalLM.Options, total: int) -> int:
    return int(options.warmup_steps) if options.warmup_steps >= 1 else math.ceil(options.warmup_steps * total)


def _slots(options: CausalLM.Options, longest: int, device: torch.device) -> int:
    if isinstance(options.batch_tokens, int):
        return options.batch_tokens
    return CPU_SLOTS if device.type == "cpu" else max(GPU_SLOTS, options.batch_size * longest)
