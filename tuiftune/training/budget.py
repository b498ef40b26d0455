"""`train.batch_tokens = "auto"`: how many tokens go through the model at once, planned, and proved before step 1."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from tuiftune.errors import NoMemory
from tuiftune.run.failure import OOM, kind_of
from tuiftune.training.plan import CPU_SLOTS

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

    from tuiftune.stages.causal_lm import CausalLM
    from tuiftune.training.plan import Plan
    from tuiftune.training.steps import Stepper

SHARE = 0.9
"""Of what memory is free, for what the plan cannot know."""


def planned_slots(
    model: PretrainedConfig | PreTrainedModel,
    options: CausalLM.Options,
    precision: str,
    longest: int,
    device_type: str,
    available_bytes: int,
) -> int:
    """The most padded tokens that fit SHARE of `available_bytes`, by tracing a step; at least one row of `longest`
    tokens, for whether that fits is proved by `rehearsed`. On a CPU more than CPU_SLOTS are no faster."""
    from tuiftune.training.memory import largest_budget

    how = (precision, options.gradient_checkpointing, device_type, int(SHARE * available_bytes))
    found = largest_budget(model, longest, *how, optimizer=options.optimizer) or longest
    return min(found, CPU_SLOTS) if device_type == "cpu" else found


def rehearsed(stepper: Stepper, plan: Plan, longest: int, say: Callable[[str], None]) -> Plan:
    """The plan, once the worst micro-batch it allows has gone through model and optimizer for real; with half the
    tokens, and half again, where there was not the memory.

    The memory of the optimizer is taken when this returns, so that a first evaluation meets the worst too; then
    `stepper.forget_rehearsal()`. Raises NoMemory where a single row does not fit.
    """
    length = max(1, longest - 1)
    while True:
        rows = max(1, plan.slots // length)
        ids = torch.zeros((rows, length), dtype=torch.long)
        batch = {"input_ids": ids, "targets": torch.zeros_like(ids)}
        try:
            stepper.rehearse(batch)
        except (RuntimeError, MemoryError) as error:
            if kind_of(error) != OOM:
                raise
        else:
            say(f"{plan.slots:,} tokens at once were tried: {rows:,} rows of {longest:,}, and the optimizer's step")
            return plan
        stepper.forget_rehearsal()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if rows == 1:
            raise NoMemory(
                f"a single row of {longest:,} tokens does not fit the memory. Set train.gradient_checkpointing = true, "
                "a smaller tokenize.max_length, or a smaller model"
            )
        plan = replace(plan, slots=(rows // 2) * length)
        say(f"out of memory with {rows:,} rows of {longest:,} tokens at once: trying {plan.slots:,} tokens")
