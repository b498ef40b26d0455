"""Perplexity is that of all tokens of the split, at any batch size."""

from __future__ import annotations

import math
import random
from pathlib import Path

import pytest
import torch

from tuiftune.errors import RunStopped, StageError
from tuiftune.paths import assets
from tuiftune.stages.perplexity import Perplexity, _exp
from tuiftune.training.model import load_folder

EOS = 2
TEXTS = [
    "Once upon a time, there was a little girl named Lily.",
    "She loved to play outside in the sunshine. One day, she went to the park with her mommy and daddy.",
    "The end.",
    "A",
    "Tom saw a big dog. The dog was sad. Tom gave it a ball and they played all day long in the garden.",
    "It was hot.",
]


def by_definition(model, rows: list[list[int]], counted) -> tuple[float, int]:
    """Summed NLL and the number of predicted tokens, one row at a time, without padding."""
    total, tokens = 0.0, 0
    for index, row in enumerate(rows):
        with torch.no_grad():
            odds = torch.log_softmax(model(torch.tensor([row])).logits[0].double(), dim=-1)
        for position in range(1, len(row)):
            if counted(index, position):
                total -= float(odds[position - 1, row[position]])
                tokens += 1
    return total, tokens


@pytest.fixture
def measure(context_for, tokenised):
    """The figures of a model on rows, `batch_tokens` at once."""

    def run(folder: Path, rows, batch_tokens: int = 2048, **columns):
        ctx = context_for("evaluate", input=tokenised([[1, 2]], rows, **columns), outputs={"train": folder})
        return dict(Perplexity(Perplexity.Options(batch_tokens=batch_tokens)).run(ctx))

    return run


def rows_of(tokenizer) -> list[list[int]]:
    return [[*tokenizer(text).input_ids, EOS] for text in TEXTS]


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_the_figures_are_the_same_at_any_batch_size_and_as_defined(measure, tiny_gpt2, kind):
    """GPT-2's pad is its EOS, which ends every row and counts."""
    folder = tiny_gpt2(n_positions=256) if kind == "gpt2" else assets() / "babyllama-105"
    model, tokenizer = load_folder(folder)
    rows = rows_of(tokenizer)
    nll, tokens = by_definition(model, rows, lambda _row, _position: True)
    n_bytes = [len(text.encode()) for text in TEXTS]
    longest = max(map(len, rows))
    for at_once in (1, 4, 16):
        figures = measure(folder, rows, at_once * longest, n_bytes=n_bytes)
        assert figures["tokens"] == tokens == sum(len(row) - 1 for row in rows)
        assert figures["loss"] == pytest.approx(nll / tokens, rel=1e-5)
        assert figures["perplexity"] == pytest.approx(math.exp(nll / tokens), rel=1e-4)
        assert figures["bits_per_byte"] == pytest.approx(nll / math.log(2) / sum(n_bytes), rel=1e-5)


def test_where_memory_ran_out_before_fewer_tokens_go_through_at_once(context_for, tokenised, tiny_gpt2, monkeypatch):
    from tuiftune.training import loss

    seen, real = [], loss.NextTokenLoss.exact_sum

    def noted(self, batch):
        seen.append(batch["input_ids"].numel())
        return real(self, batch)

    monkeypatch.setattr(loss.NextTokenLoss, "exact_sum", noted)
    figures = []
    for most in (None, 16):
        ctx = context_for(
            "evaluate",
            input=tokenised([[1, 2]], [[5, 6, 7, 8, 9]] * 12),
            outputs={"train": tiny_gpt2()},
            most_tokens=most,
        )
        figures.append(dict(Perplexity(Perplexity.Options(batch_tokens=1024)).run(ctx)))
    assert max(seen[1:]) <= 16 < seen[0]
    assert figures[0] == pytest.approx(figures[1], rel=1e-6)


def test_tokens_without_loss_are_context_only(measure):
    folder = assets() / "babyllama-105"
    model, tokenizer = load_folder(folder)
    rows = rows_of(tokenizer)
    draw = random.Random(0)  # noqa: S311
    masks = [[draw.randrange(2) for _ in row] for row in rows]
    nll, tokens = by_definition(model, rows, lambda row, position: masks[row][position])
    figures = measure(folder, rows, 300, loss_mask=masks, n_bytes=[len(text) for text in TEXTS])
    assert figures["tokens"] == tokens
    assert figures["loss"] == pytest.approx(nll / tokens, rel=1e-5)
    assert "bits_per_byte" not in figures  # the bytes of the counted part are not known


def test_data_that_does_not_tell_its_bytes_has_no_bits_per_byte(measure):
    assert set(measure(assets() / "babyllama-105", [[5, 6, EOS]])) == {"loss", "perplexity", "tokens"}


def test_a_loss_that_is_no_number_stays_so_and_one_too_large_is_infinite(measure, tiny_gpt2):
    from safetensors.torch import load_file, save_file

    folder = tiny_gpt2()
    weights = load_file(folder / "model.safetensors")
    weights["transformer.ln_f.weight"][0] = math.nan
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    figures = measure(folder, [[5, 6, EOS]])
    assert math.isnan(figures["loss"])
    assert math.isnan(figures["perplexity"])
    assert _exp(1000.0) == math.inf
    assert _exp(math.inf) == math.inf


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([], "there is no held-out text to measure on: the validation split is empty. Raise dataset.validation"),
        ([[EOS], [EOS]], "no sample of the validation split has two tokens, so there is nothing to predict"),
        ([[5] * 300], "the longest row of validation has 300 tokens, but the model takes 256."),
    ],
)
def test_data_that_cannot_be_measured_is_said(measure, rows, sentence):
    with pytest.raises(StageError) as caught:
        measure(assets() / "babyllama-105", rows)
    assert str(caught.value).startswith(sentence)


def test_a_stop_does_not_wait_for_the_measuring_to_end(context_for, tokenised, tiny_gpt2):
    ctx = context_for("evaluate", input=tokenised([[1, 2]], [[5, 6, EOS]] * 8), outputs={"train": tiny_gpt2()})
    ctx.signals.stopping = True
    with pytest.raises(RunStopped):
        Perplexity().run(ctx)


def test_the_strided_figure_is_that_of_one_window_after_another(context_for, tokenised, tiny_gpt2):
    """Two documents, of 50 and 7 tokens, in rows of at most 16; windows of 16 that move by 5."""
    draw = random.Random(5)  # noqa: S311
    long, short = [[draw.randrange(3, 105) for _ in range(count - 1)] + [EOS] for count in (50, 7)]
    parts = [long[start : start + 16] for start in range(0, 50, 16)]
    rows = tokenised([[1, 2]], [*parts, short], document=[1, 1, 1, 1, 2])
    folder = tiny_gpt2()
    model, _ = load_folder(folder)
    total, count = 0.0, 0
    for ids in (long, short):
        seen = 1
        for start in range(0, len(ids), 5):
            window = torch.tensor([ids[start : start + 16]])
            with torch.no_grad():
                odds = torch.log_softmax(model(window).logits[0].double(), dim=-1)
            for position in range(seen, min(start + 16, len(ids))):
                total -= float(odds[position - start - 1, ids[position]])
                count += 1
            seen = min(start + 16, len(ids))
            if seen == len(ids):
                break
    assert count == 49 + 6

    def measure(**options):
        ctx = context_for("evaluate", input=rows, outputs={"train": folder})
        return dict(Perplexity(Perplexity.Options(**options)).run(ctx))

    found = measure(stride=5)
    assert found["strided_loss"] == pytest.approx(total / count, rel=1e-5)
    assert found["strided_perplexity"] == pytest.approx(math.exp(total / count), rel=1e-5)
    assert measure(stride=5, batch_tokens=20) == pytest.approx(found, rel=1e-5)
    assert measure(stride=16)["strided_loss"] != pytest.approx(found["strided_loss"], rel=1e-3)
    assert "strided_loss" not in measure()


def test_a_stride_needs_rows_that_know_their_document(context_for, tokenised, tiny_gpt2):
    ctx = context_for("evaluate", input=tokenised([[1, 2]], [[5, 6, EOS]]), outputs={"train": tiny_gpt2()})
    with pytest.raises(StageError, match=r"perplexity.stride puts documents together again"):
        Perplexity(Perplexity.Options(stride=4)).run(ctx)
