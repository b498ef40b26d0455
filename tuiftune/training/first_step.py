"""What goes through the model: the steps of the first epoch, what they cost, and the first one token by token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tuiftune.training.batches import IGNORED, cut_step, labels, token_rows

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

    from tuiftune.training.batches import IntArray
    from tuiftune.training.plan import Plan

MEASURED_STEPS = 50_000
"""Of an epoch, its first: a minute at most. More samples than these hold tell no more about the mean."""
PENDING_TOKENS = 8
"""Tokens that may wait for the rest of a character, which has at most 4 bytes."""


@dataclass(frozen=True)
class Steps:
    """The optimizer steps of the first epoch, as the trainer takes them."""

    order: IntArray
    """The numbers of the samples."""
    bounds: IntArray
    """[steps + 1] places in `order` where a step begins and ends."""
    slots: int
    """Padded tokens of a micro-batch at most."""
    processes: int = 1
    """That share a step."""

    @classmethod
    def of(cls, plan: Plan, seed: int, lengths: IntArray, processes: int = 1) -> Steps:
        """Of the first epoch of a training on rows of so many tokens."""
        return cls(*plan.epoch_order(0, seed, lengths), plan.slots, processes)

    def samples(self, step: int) -> IntArray:
        """The numbers of the samples of a step, from 0."""
        return self.order[self.bounds[step] : self.bounds[step + 1]]

    def micro_batches(self, lengths: IntArray) -> list[IntArray]:
        """The places of a step's samples, of so many tokens, by micro-batch; those of each process in turn."""
        return [
            batch for rank in range(self.processes) for batch in cut_step(lengths, self.slots, rank, self.processes)
        ]


def padding(lengths: IntArray, steps: Steps, padded_to: int) -> dict[str, Any]:
    """What padding every row to `padded_to` tokens would cost, against the slots that the trainer computes.

    `share`: padding among all those slots. `speed_up_estimate`: padded slots / computed slots over whole steps,
    from token counts alone: a slot is taken to cost the same wherever it is, and a step nothing beside them.
    """
    padded_to = max(padded_to, int(lengths.max()))
    measured = min(len(steps.bounds) - 1, MEASURED_STEPS)
    computed = 0
    for step in range(measured):
        of_step = lengths[steps.samples(step)]
        computed += sum(_slots(of_step[batch]) for batch in steps.micro_batches(of_step))
    padded = int(steps.bounds[measured]) * padded_to
    return {
        "padded_to": padded_to,
        "share": 1 - int(lengths.sum()) / (len(lengths) * padded_to),
        "padded_slots": padded,
        "computed_slots": computed,
        "speed_up_estimate": padded / computed,
        "steps_measured": measured,
        "steps_per_epoch": len(steps.bounds) - 1,
    }


def first_step(train: Dataset, steps: Steps, tokenizer: PreTrainedTokenizerBase, shown: int | None) -> dict[str, Any]:
    """Optimizer step 1: its micro-batches with their rows, in the trainer's order.

    A row has its number in the split (`sample`, from 0), `ids`, `pieces` (text, adding up to that of the row) and
    `loss` (whether a token is counted), one of each a token. Rows beyond the first `shown` have only their number
    and `tokens`. Samples that predict nothing are `left_out`.
    """
    data, numbers = token_rows(train), steps.samples(0)
    rows = [data[int(number)] for number in numbers]
    lengths = np.array([len(row["input_ids"]) for row in rows], dtype=np.int64)
    batches = steps.micro_batches(lengths)
    flags = [loss_flags(row) for row in rows]
    told = 0
    found = []
    for batch in batches:
        described = []
        for place in batch:
            row: dict[str, Any] = {"sample": int(numbers[place]), "tokens": int(lengths[place])}
            if shown is None or told < shown:
                ids = rows[place]["input_ids"].tolist()
                row |= {"ids": ids, "pieces": pieces(tokenizer, ids), "loss": flags[place]}
            described.append(row)
            told += 1
        found.append({"rows": described, "slots": _slots(lengths[batch])})
    return {
        "samples": len(rows),
        "left_out": len(rows) - sum(map(len, batches)),
        "tokens": int(lengths.sum()),
        "tokens_with_loss": sum(map(sum, flags)),
        "slots": sum(batch["slots"] for batch in found),
        "micro_batches": found,
    }


def loss_flags(row: dict[str, Any]) -> list[bool]:
    """For each token of a row whether its loss is counted, by the labels that training computes it from."""
    return [False, *(labels(row) != IGNORED).tolist()][: len(row["input_ids"])]


def pieces(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> list[str]:
    """The text that each token adds; "" for one that only begins a character. Special tokens give their name.

    Each is decoded with the tokens before it, since many tokenizers drop a blank at the start.
    """
    special = set(tokenizer.all_special_ids)
    found: list[str] = []
    context = begin = 0  # the tokens of [context, begin) are told; those from begin on wait for a whole character
    for place, token in enumerate(ids):
        if token in special:
            if begin < place:
                found[-1] = _added(tokenizer, ids[context:begin], ids[begin:place])
            found.append(str(tokenizer.convert_ids_to_tokens(token)))
            context, begin = place, place + 1
            continue
        text = _added(tokenizer, ids[context:begin], ids[begin : place + 1])
        last = place + 1 == len(ids) or place + 1 - begin >= PENDING_TOKENS
        if (not text or text.endswith("\ufffd")) and not last:
            found.append("")
            continue
        found.append(text)
        context, begin = begin, place + 1
    return found


def _added(tokenizer: PreTrainedTokenizerBase, before: Sequence[int], new: Sequence[int]) -> str:
    """The text of `new`, read after `before`."""
    head, whole = _decoded(tokenizer, before), _decoded(tokenizer, [*before, *new])
    return whole[len(head) :] if whole.startswith(head) else _decoded(tokenizer, new)


def _decoded(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    return str(tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)) if ids else ""


def _slots(lengths: IntArray) -> int:
    """Slots of a micro-batch of rows of so many tokens: the last token of a row is not fed."""
    return len(lengths) * max(1, int(lengths.max()) - 1)
