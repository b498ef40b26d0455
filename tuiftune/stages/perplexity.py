"""The evaluator: loss, perplexity and bits per byte over the whole validation split."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import tuiftune
from tuiftune import Field
from tuiftune.errors import RunStopped, StageError


class Perplexity(tuiftune.Evaluator):
    """Loss and perplexity over all tokens of the validation split, the same at any batch size."""

    name = "perplexity"
    cadence = "eval"

    class Options(tuiftune.Options):
        batch_tokens: int = Field(
            2048, ge=1, description="padded tokens that go through the model at once; changes memory and speed only"
        )

    def evaluate(self, ctx: tuiftune.Context, model: Any, tokenizer: Any, step: int) -> Mapping[str, float]:  # noqa: ARG002
        """`loss` (nats a token), `perplexity`, `tokens` (predicted ones) and, where the data tells the size of
        its texts, `bits_per_byte`. Raises RunStopped as soon as a stop is asked for."""
        import numpy as np

        from tuiftune.training.batches import (
            batches_by_length,
            check_fits,
            collate,
            column_sum,
            row_lengths,
            token_rows,
        )
        from tuiftune.training.loss import NextTokenLoss, counted_tokens

        if ctx.input is None or "validation" not in ctx.input or len(ctx.input["validation"]) == 0:
            raise StageError(
                "there is no held-out text to measure on: the validation split is empty. "
                "Raise dataset.validation or add data"
            )
        data = ctx.input["validation"]
        rows, lengths = token_rows(data), row_lengths(data)
        check_fits(model.config, {"validation": lengths})
        loss = NextTokenLoss(model)
        nll, tokens, done = 0.0, 0, 0
        for numbers in batches_by_length(np.maximum(lengths - 1, 0), self.options.batch_tokens):
            if ctx.stopping:
                raise RunStopped(step)
            batch = {name: value.to(model.device) for name, value in collate([rows[i] for i in numbers]).items()}
            tokens += int(counted_tokens(batch["targets"]))
            nll += loss.exact_sum(model, batch)
            done += len(numbers)
            ctx.progress(done, len(rows), "samples")
        if tokens == 0:
            raise StageError("no sample of the validation split has two tokens, so there is nothing to predict")
        figures = {"loss": nll / tokens, "perplexity": _exp(nll / tokens), "tokens": float(tokens)}
        # With a loss_mask the loss is of a part of the text, and its bytes are not known apart.
        if "n_bytes" in data.column_names and "loss_mask" not in data.column_names:
            figures["bits_per_byte"] = nll / math.log(2) / column_sum(data, "n_bytes")
        return figures


def _exp(loss: float) -> float:
    """exp, infinite where a float ends."""
    try:
        return math.exp(loss)
    except OverflowError:
        return math.inf


@tuiftune.hookimpl
def register_stages() -> list[type[tuiftune.Evaluator]]:
    return [Perplexity]
