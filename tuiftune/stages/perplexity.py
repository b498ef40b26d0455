"""The evaluator: loss, perplexity and bits per byte over the whole validation split."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import tuiftune
from tuiftune import Field
from tuiftune.errors import RunStopped, StageError

if TYPE_CHECKING:
    from datasets import Dataset

Row = Mapping[str, Any]


class Perplexity(tuiftune.Evaluator):
    """Loss and perplexity over all tokens of the validation split, the same at any batch size."""

    name = "perplexity"
    cadence = "eval"

    class Options(tuiftune.Options):
        batch_tokens: int = Field(
            2048,
            ge=1,
            json_schema_extra={"unit": "tokens"},
            description="padded tokens that go through the model at once; changes memory and speed only",
        )
        stride: int | None = Field(
            None,
            ge=1,
            json_schema_extra={"unit": "tokens"},
            description="also measure documents that were split in windows that move by so many tokens, each "
            "predicting only what the one before did not: `strided_loss` and `strided_perplexity`; window / stride "
            "times the work",
        )

    def evaluate(self, ctx: tuiftune.Context, model: Any, tokenizer: Any, step: int) -> Mapping[str, float]:  # noqa: ARG002
        """`loss` (nats a token), `perplexity`, `tokens` (predicted ones) and, where the data tells the size of
        its texts, `bits_per_byte`. Raises RunStopped as soon as a stop is asked for."""
        from tuiftune.training.batches import check_fits, column_sum, row_lengths

        if ctx.input is None or "validation" not in ctx.input or len(ctx.input["validation"]) == 0:
            raise StageError(
                "there is no held-out text to measure on: the validation split is empty. "
                "Raise dataset.validation or add data"
            )
        data = ctx.input["validation"]
        check_fits(model.config, {"validation": row_lengths(data)})
        at_once = min(self.options.batch_tokens, ctx.most_tokens or self.options.batch_tokens)
        nll, tokens = self._measure(self._batches(data, at_once), len(data), ctx, model, step)
        if tokens == 0:
            raise StageError("no sample of the validation split has two tokens, so there is nothing to predict")
        figures = {"loss": nll / tokens, "perplexity": _exp(nll / tokens), "tokens": float(tokens)}
        # With a loss_mask the loss is of a part of the text, and its bytes are not known apart.
        if "n_bytes" in data.column_names and "loss_mask" not in data.column_names:
            figures["bits_per_byte"] = nll / math.log(2) / column_sum(data, "n_bytes")
        if self.options.stride is not None:
            nll, tokens = self._measure(self._strided(data, at_once), None, ctx, model, step)
            figures |= {"strided_loss": nll / tokens, "strided_perplexity": _exp(nll / tokens)}
        return figures

    def _measure(
        self, batches: Iterable[Sequence[Row]], total: int | None, ctx: tuiftune.Context, model: Any, step: int
    ) -> tuple[float, int]:
        """Summed NLL and the number of counted tokens of rows in batches."""
        import torch

        from tuiftune.training.batches import IGNORED, collate
        from tuiftune.training.loss import NextTokenLoss

        loss = NextTokenLoss(model)
        nll, tokens, done = 0.0, 0, 0
        with torch.no_grad():
            for rows in batches:
                if ctx.stopping:
                    raise RunStopped(step)
                batch = collate(rows)
                tokens += int(batch["targets"].ne(IGNORED).sum())
                nll += loss.exact_sum({name: value.to(model.device) for name, value in batch.items()})
                done += len(rows)
                ctx.progress(done, total, "samples" if total else "windows")
        return nll, tokens

    def _batches(self, data: Dataset, at_once: int) -> Iterator[list[Row]]:
        """The rows of a split, those of like length together."""
        import numpy as np

        from tuiftune.training.batches import batches_by_length, row_lengths, token_rows

        rows = token_rows(data)
        for numbers in batches_by_length(np.maximum(row_lengths(data) - 1, 0), at_once):
            yield [rows[number] for number in numbers]

    def _strided(self, data: Dataset, at_once: int) -> Iterator[list[Row]]:
        """The windows of every document, some hundred of like length together."""
        import numpy as np

        from tuiftune.training.batches import batches_by_length, row_lengths

        if "document" not in data.column_names:
            raise StageError(
                "perplexity.stride puts documents together again, and these rows do not tell of which they are. "
                "Leave it out, or let 'tokenize' be the last preprocess stage of the validation split"
            )
        width = int(row_lengths(data).max())
        windows = (
            window for document in documents_of(data) for window in strided(document, width, self.options.stride)
        )
        while waiting := list(itertools.islice(windows, 256)):
            lengths = np.array([len(window["input_ids"]) - 1 for window in waiting])
            for numbers in batches_by_length(np.maximum(lengths, 0), at_once):
                yield [waiting[number] for number in numbers]


def documents_of(data: Dataset) -> Iterator[Row]:
    """Rows with the same `document` joined again: `input_ids` and, where there is one, `loss_mask`."""
    import numpy as np

    columns = [name for name in ("input_ids", "loss_mask") if name in data.column_names]
    rows = data.select_columns([*columns, "document"]).with_format("numpy")
    for _, parts in itertools.groupby(rows, key=lambda row: int(row["document"])):
        found = list(parts)
        yield {name: np.concatenate([part[name] for part in found]) for name in columns}


def strided(document: Row, width: int, stride: int) -> Iterator[Row]:
    """Windows of `width` tokens, each `stride` further on; counted in each is what no earlier one had.

    As in Hugging Face's "Perplexity of fixed-length models".
    """
    import numpy as np

    length, counted_to = len(document["input_ids"]), 0
    mask = document.get("loss_mask", np.ones(length, dtype=bool))
    for start in range(0, length, min(stride, width)):
        end = min(start + width, length)
        counted = np.array(mask[start:end], dtype=bool)
        counted[: counted_to - start] = False
        yield {"input_ids": document["input_ids"][start:end], "loss_mask": counted}
        counted_to = end
        if end == length:
            return


def _exp(loss: float) -> float:
    """exp, infinite where a float ends."""
    try:
        return math.exp(loss)
    except OverflowError:
        return math.inf


@tuiftune.hookimpl
def register_stages() -> list[type[tuiftune.Evaluator]]:
    return [Perplexity]
