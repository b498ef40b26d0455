"""The figures of the data, against a plain count of the same rows."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tuiftune.errors import StageError
from tuiftune.options import ModelOptions
from tuiftune.paths import assets
from tuiftune.stages.tokenize import Tokenize
from tuiftune.testing import run_stage
from tuiftune.training.report import EXCERPT, histogram, measure, unknown_token

LONG = "word by word it went on and on and on until the very end of a long day."
TRAIN = ["The cat sat.", LONG, "A dog ran.", "The cat sat.", "", "A dog ran.", "The cat sat.", "No \u4e2d\u6587 here."]
VALIDATION = ["Another one.", "A dog ran.", LONG + " ", "A dog ran."]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(assets() / "babyllama-105"))


def split_of(values: list[Any]) -> Any:
    import datasets

    return datasets.Dataset.from_list([value if isinstance(value, dict) else {"text": value} for value in values])


@pytest.fixture
def measured(tmp_path: Path, tokenizer: Any) -> Callable[..., Any]:
    """The report on these documents after `tokenize`, and what that left: (report, DatasetDict)."""
    import datasets

    def run(train: list[Any], validation: list[Any], **options: Any) -> tuple[dict[str, Any], Any]:
        documents = datasets.DatasetDict(train=split_of(train), validation=split_of(validation))
        model = ModelOptions(name="tuiftune:babyllama-105")
        done = run_stage(Tokenize, tmp_path, documents, model=model, **{"max_length": 32, **options})
        return measure(done.value, documents, tokenizer, done.facts), done.value

    return run


def ids_of(tokenizer: Any, text: str) -> list[int]:
    return [*tokenizer(text).input_ids, tokenizer.eos_token_id]


def test_counts_are_those_of_the_rows(measured: Callable[..., Any], tokenizer: Any) -> None:
    report, data = measured(TRAIN, VALIDATION)
    for split, texts in (("train", TRAIN), ("validation", VALIDATION)):
        found, rows = report["splits"][split], data[split]["input_ids"]
        documents = [ids_of(tokenizer, text) for text in texts if text]
        assert found["documents"] == len(documents)
        assert found["rows"] == len(rows) > len(documents)
        assert found["tokens"] == sum(map(len, documents)) == sum(map(len, rows))
        assert found["mean_length"] == pytest.approx(sum(map(len, rows)) / len(rows))
        assert found["longest_length"] == 32
        assert found["tokens_with_loss"] == sum(len(row) - 1 for row in rows)
        assert found["unknown_tokens"] == sum(ids.count(tokenizer.unk_token_id) for ids in documents)
        lengths = sorted(map(len, documents), reverse=True)
        assert [sample["tokens"] for sample in found["longest"]] == lengths[:3]
        assert LONG.startswith(found["longest"][0]["text"].removeprefix(tokenizer.bos_token).strip().removesuffix("…"))
        assert sum(bar[split] for bar in report["lengths"]) == len(rows)
        for bar in report["lengths"]:
            assert bar[split] == sum(bar["from"] <= len(row) <= bar["to"] for row in rows)
    assert report["splits"]["train"]["unknown_tokens"] == 2


def test_repeats_and_leaks_are_of_documents_whatever_their_rows(measured: Callable[..., Any]) -> None:
    report, _ = measured(TRAIN, VALIDATION)
    assert report["splits"]["train"]["repeats"] == {
        "unit": "documents",
        "count": 3,
        "share": pytest.approx(3 / 7),
        "most_frequent": {"times": 3, "text": "The cat sat."},
    }
    assert report["splits"]["validation"]["repeats"]["count"] == 1
    assert report["leaks"] == {
        "unit": "documents",
        "count": 2,
        "share_of_validation": pytest.approx(2 / 4),
        "example": "A dog ran.",
    }


def test_without_the_text_rows_are_compared(tokenised: Callable[..., Any], tokenizer: Any) -> None:
    cat, dog = ids_of(tokenizer, "The cat"), ids_of(tokenizer, "A dog")
    report = measure(tokenised([cat, dog, cat], [dog, cat[:-1]]), None, tokenizer)
    assert report["splits"]["train"]["repeats"]["count"] == 1
    assert "The cat</s>" in report["splits"]["train"]["repeats"]["most_frequent"]["text"]
    assert (report["leaks"]["unit"], report["leaks"]["count"]) == ("rows", 1)
    assert "A dog</s>" in report["leaks"]["example"]
    assert report["splits"]["train"]["cut"] is None
    assert report["splits"]["train"]["documents"] is None


@pytest.mark.parametrize("overflow", ["split", "truncate"])
def test_what_max_length_did_is_told(measured: Callable[..., Any], tokenizer: Any, overflow: str) -> None:
    report, _ = measured(TRAIN, VALIDATION, overflow=overflow)
    long = len(ids_of(tokenizer, LONG))
    read = sum(len(ids_of(tokenizer, text)) for text in TRAIN if text)
    thrown_away = long - 32 if overflow == "truncate" else 0
    assert report["splits"]["train"]["cut"] == {
        "max_length": 32,
        "documents": 1,
        "documents_share": pytest.approx(1 / 7),
        "longest_document": long,
        "tokens_thrown_away": thrown_away,
        "share_thrown_away": pytest.approx(thrown_away / read),
    }


def test_tokens_with_loss_are_those_of_segments_with_loss(measured: Callable[..., Any]) -> None:
    chat = {
        "text": "Q: why? A: so.",
        "segments": [{"text": "Q: why? A:", "loss": False}, {"text": " so.", "loss": True}],
    }
    plain = {"text": "Just text.", "segments": None}
    report, data = measured([chat, plain], [chat])
    for split in ("train", "validation"):
        with_loss = sum(sum(mask[1:]) for mask in data[split]["loss_mask"])
        assert report["splits"][split]["tokens_with_loss"] == with_loss
        assert report["splits"][split]["share_with_loss"] == pytest.approx(
            with_loss / sum(map(len, data[split]["input_ids"]))
        )
    assert report["splits"]["validation"]["share_with_loss"] < 0.5


def test_data_without_tokens_is_a_sentence(tokenizer: Any) -> None:
    import datasets

    data = datasets.DatasetDict(train=split_of(["a"]), validation=split_of(["b"]))
    with pytest.raises(StageError, match="no tokens"):
        measure(data, data, tokenizer)


def test_a_tokenizer_of_bytes_has_no_unknown(tokenizer: Any) -> None:
    from tokenizers import Tokenizer, decoders, models
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.BPE(vocab={"a": 0}, merges=[]))
    made.decoder = decoders.ByteLevel()
    of_bytes = PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<end>", unk_token="<end>")  # noqa: S106
    assert unknown_token(of_bytes) == {"id": None, "text": None, "bytes": True}
    assert unknown_token(tokenizer) == {"id": tokenizer.unk_token_id, "text": "<unk>", "bytes": False}


@pytest.mark.parametrize("lengths", [[1], [512], [1, 512], [8, 9, 10], [500, 501, 505, 1_200_000], [0, 3]])
def test_every_row_is_in_one_bar(lengths: list[int]) -> None:
    import numpy as np

    bars = histogram({"train": np.array(lengths)})
    assert sum(bar["train"] for bar in bars) == len(lengths)
    assert len(bars) <= 13
    assert bars[0]["train"]
    assert bars[-1]["to"] == max(lengths)
    assert all(after["from"] == before["to"] + 1 for before, after in itertools.pairwise(bars))


def test_a_long_text_is_shown_by_its_beginning(measured: Callable[..., Any]) -> None:
    report, _ = measured([LONG * 20, LONG * 20], [LONG])
    for text in (
        report["splits"]["train"]["repeats"]["most_frequent"]["text"],
        report["splits"]["train"]["longest"][0]["text"],
    ):
        assert text.endswith("…")
        assert len(text) <= EXCERPT


def test_in_blocks_of_documents_kept_apart_the_first_token_of_each_is_not_counted(tokenised, tokenizer):
    from tuiftune.training.batches import token_rows
    from tuiftune.training.first_step import loss_flags
    from tuiftune.training.report import count_tokens

    data = tokenised([[5, 6, 7, 8, 9], [5, 6, 7]], lengths=[[2, 3], [3]])["train"]
    rows = token_rows(data)
    flags = [loss_flags(rows[number]) for number in range(2)]
    assert flags == [[False, True, False, True, True], [False, True, True]]
    assert count_tokens(data, None) == (None, sum(map(sum, flags)))
