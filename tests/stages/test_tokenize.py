"""Stage `tokenize`: ids, ends, splits, bytes and masks, with the tokenizer that ships."""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tuiftune.errors import StageError
from tuiftune.options import ModelOptions
from tuiftune.paths import assets
from tuiftune.stages.tokenize import Tokenize, cut_points

STORY = "Once upon a time there was a caf\u00e9. \u201cHi!\u201d she said."
EOS = 2


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(assets() / "babyllama-105"))


@pytest.fixture(scope="module")
def byte_level(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A byte-level tokenizer like GPT-2's, without merges: a token a byte; its end-of-text is its unknown too."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE(vocab={letter: index for index, letter in enumerate(letters)}, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    folder = tmp_path_factory.mktemp("byte-level")
    end = "<|endoftext|>"
    PreTrainedTokenizerFast(tokenizer_object=made, eos_token=end, unk_token=end).save_pretrained(str(folder))
    return folder


@pytest.fixture
def tokenize(context: Callable[..., Any], documents: Callable[..., Any]) -> Callable[..., Any]:
    """Runs the stage on two lists of documents."""

    def run(train: list[Any], validation: list[Any], *, model: Any = None, **options: Any) -> Any:
        more = {"model": model} if model else {}
        return Tokenize(Tokenize.Options(**{"max_length": 256, **options})).run(
            context(Tokenize, input=documents(train, validation), **more)
        )

    return run


def test_a_document_is_what_the_tokenizer_makes_of_it_and_then_the_end(
    tokenize: Callable[..., Any], tokenizer: Any, heard: Any
) -> None:
    data = tokenize([STORY, "Hi"], ["Bye"])
    assert data["train"]["input_ids"][:] == [[*tokenizer(text).input_ids, EOS] for text in (STORY, "Hi")]
    assert data["train"].features["input_ids"].feature.dtype == "int32"
    assert data["train"]["n_bytes"][:] == [len(STORY.encode()), 2]
    counts = {split: sum(map(len, rows["input_ids"])) for split, rows in data.items()}
    assert heard.lines == [
        f"train: 2 documents, {counts['train']} tokens, longest {len(data['train'][0]['input_ids'])}",
        f"validation: 1 documents, {counts['validation']} tokens, longest 6",
    ]
    for split, tokens in counts.items():
        assert heard.facts[f"{split}_tokens"] == heard.facts[f"{split}_tokens_read"] == tokens
    assert heard.progress_seen == [(2, 2), (1, 1)]


@pytest.mark.parametrize("length", [1, 29, 30, 31, 61, 62, 200])
def test_a_long_document_is_split_and_nothing_of_it_is_lost(
    tokenize: Callable[..., Any], tokenizer: Any, length: int
) -> None:
    text = (STORY * 10)[:length]
    data = tokenize([text, "Hi"], ["Bye"], max_length=32)
    rows = data["train"]["input_ids"][:-1]
    assert [token for row in rows for token in row] == [*tokenizer(text).input_ids, EOS]
    assert all(2 <= len(row) <= 32 for row in rows)
    assert all(EOS not in row for row in rows[:-1]), "only the end of the document is its end"
    assert sum(data["train"]["n_bytes"][:-1]) == len(text.encode())


def test_the_bytes_of_a_part_are_those_of_its_text(tokenize: Callable[..., Any], tokenizer: Any) -> None:
    data = tokenize([STORY], ["Bye"], max_length=32)
    first = tokenizer.decode(data["train"][0]["input_ids"], skip_special_tokens=True).lstrip()
    assert data["train"]["n_bytes"][0] == len(first.encode())


def test_a_character_of_several_tokens_counts_its_bytes_once(tokenize: Callable[..., Any], byte_level: Path) -> None:
    text = "\U0001f600" * 5  # 20 bytes, a token each
    data = tokenize([text], ["b"], model=ModelOptions(tokenizer=str(byte_level)), max_length=10)
    assert [len(row) for row in data["train"]["input_ids"]] == [10, 9, 2]
    assert sum(data["train"]["n_bytes"]) == 20


def drawn_texts(count: int) -> list[str]:
    """Some short, some long, some of no letter at all, in no order."""
    draw = random.Random(5)  # noqa: S311
    words = [*STORY.split(), "\U0001f600", "\u6771\u4eac", "a\u0301", "</s>"]
    return [" ".join(draw.choices(words, k=draw.choice([0, 1, 2, 5, 9, 60, 200]))) for _ in range(count)]


@pytest.mark.parametrize("overflow", ["split", "truncate"])
@pytest.mark.parametrize("special_tokens", [False, True])
@pytest.mark.parametrize("kind", ["shipped", "bytes"])
def test_batches_give_what_the_tokenizer_gives_document_by_document(
    tokenize: Callable[..., Any], tokenizer: Any, byte_level: Path, monkeypatch: pytest.MonkeyPatch,
    overflow: str, special_tokens: bool, kind: str,
) -> None:  # fmt: skip
    """Many batches, of short documents, of long ones and of both; what is right is found in the plainest of ways."""
    from transformers import AutoTokenizer

    monkeypatch.setattr("tuiftune.stages.tokenize.TOKENIZED_ROWS", 16)
    monkeypatch.setattr("tuiftune.stages.tokenize.TOKENIZED_BYTES", 1_000)

    model = ModelOptions(tokenizer=str(byte_level)) if kind == "bytes" else None
    plain = AutoTokenizer.from_pretrained(str(byte_level)) if kind == "bytes" else tokenizer
    texts = drawn_texts(600)
    data = tokenize(texts, ["b"], model=model, max_length=32, overflow=overflow, special_tokens=special_tokens)
    expected: dict[str, list[Any]] = {"input_ids": [], "n_bytes": [], "document": []}
    for number, text in enumerate(filter(None, texts), start=1):
        found = plain(text, return_offsets_mapping=True, split_special_tokens=not special_tokens)
        ids, starts = found["input_ids"], [start for start, _end in found["offset_mapping"]]
        if ids[-1] != plain.eos_token_id:
            ids, starts = [*ids, plain.eos_token_id], [*starts, len(text)]
        cuts = cut_points(len(ids), 32) if overflow == "split" else [0, min(32, len(ids))]
        for start, end in itertools.pairwise(cuts):
            first, last = (starts[at] if at < len(ids) else len(text) for at in (start, end))
            expected["input_ids"].append(ids[start:end])
            expected["n_bytes"].append(len(text[0 if not start else first : last].encode()))
            expected["document"].append(number)
    assert {name: data["train"][name][:] for name in expected} == expected


def test_a_tokenizer_that_does_something_to_the_text_itself_is_asked_itself(
    tokenize: Callable[..., Any], tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = type(tokenizer)

    class Lower(kind):  # type: ignore[misc, valid-type]
        def __call__(self, text: Any, **more: Any) -> Any:
            lower = [one.lower() for one in text] if isinstance(text, list) else text.lower()
            return super().__call__(lower, **more)

    own = Lower.from_pretrained(str(assets() / "babyllama-105"))
    monkeypatch.setattr("tuiftune.training.model.load_tokenizer", lambda *_: own)
    upper = tokenize([STORY.upper() * 3, "HI"], ["B"], max_length=32)
    monkeypatch.undo()
    lower = tokenize([STORY.lower() * 3, "hi"], ["b"], max_length=32)
    assert upper["train"][:] == lower["train"][:]
    assert upper["train"].num_rows > 3


def test_a_tokenizer_in_python_works_and_shares_bytes_out_by_its_tokens(
    tokenize: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import ByT5Tokenizer

    slow = ByT5Tokenizer()
    assert not slow.is_fast
    monkeypatch.setattr("tuiftune.training.model.load_tokenizer", lambda *_: slow)
    data = tokenize([STORY, "", "Hi"], ["Bye"], max_length=32)["train"]
    ids = [slow(text).input_ids for text in (STORY, "Hi")]
    assert [token for row in data["input_ids"] for token in row] == [*ids[0], *ids[1]]
    assert data["n_bytes"][:-1] == [len(STORY.encode()) * 32 // len(ids[0]), sum(data["n_bytes"][1:-1])]
    assert sum(data["n_bytes"]) == len(STORY.encode()) + 2


@pytest.mark.parametrize("before", ["false", None])
def test_every_core_encodes_and_the_environment_is_left_as_it_was(
    tokenize: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, before: str | None
) -> None:
    from tuiftune.stages._encoder import Encoder

    if before is None:
        monkeypatch.delenv("TOKENIZERS_PARALLELISM")
    seen, encode = [], Encoder.encode

    def looked(self: Encoder, table: Any) -> Any:
        seen.append(os.environ.get("TOKENIZERS_PARALLELISM"))
        return encode(self, table)

    monkeypatch.setattr(Encoder, "encode", looked)
    tokenize(["a"], ["b"])
    assert seen == ["true", "true"]
    assert os.environ.get("TOKENIZERS_PARALLELISM") == before


def test_splitting_is_said(tokenize: Callable[..., Any], heard: Any) -> None:
    tokenize(["a" * 100, "b"], ["c"], max_length=32)
    assert heard.lines[1] == "train: longer than 32 tokens: 1 documents (50.0%), split; 5 rows in all"


def test_a_long_document_can_be_cut_which_is_said(tokenize: Callable[..., Any], tokenizer: Any, heard: Any) -> None:
    data = tokenize([STORY, "Hi"], ["Bye"], max_length=32, overflow="truncate")
    whole = tokenizer(STORY).input_ids
    assert data["train"]["input_ids"][0] == whole[:32], "its end was cut away, and its end-of-text with it"
    kept = tokenizer.decode(whole[:32], skip_special_tokens=True).lstrip()
    assert data["train"]["n_bytes"][0] == len(kept.encode())
    lost = (len(whole) + 1 - 32) / (len(whole) + 1 + 5)
    assert heard.lines[1] == (
        f"train: longer than 32 tokens: 1 documents (50.0%), cut; that throws away {lost:.1%} of all tokens"
    )


def test_names_of_special_tokens_in_the_text_are_text(tokenize: Callable[..., Any], tokenizer: Any) -> None:
    data = tokenize(["a</s>b"], ["c"])
    ids = data["train"]["input_ids"][0]
    assert ids.count(EOS) == 1
    assert tokenizer.decode(ids[1:-1]).strip() == "a</s>b"


def test_special_tokens_are_read_where_the_profile_asks(tokenize: Callable[..., Any]) -> None:
    data = tokenize(["a</s>b</s>"], ["c"], special_tokens=True)
    ids = data["train"]["input_ids"][0]
    assert ids.count(EOS) == 2, "the one it ends with is not doubled"
    assert ids[-1] == EOS


def test_a_text_the_tokenizer_does_not_know_is_said(tokenize: Callable[..., Any], heard: Any) -> None:
    tokenize(["\u6771\u4eac " * 5], ["a"])
    assert any(line.startswith("train: 55.6% of the tokens are <unk>: this tokenizer") for line in heard.lines)
    assert not any(line.startswith("validation") and "<unk>" in line for line in heard.lines)


def test_an_end_of_text_that_is_called_unknown_too_is_no_unknown(
    tokenize: Callable[..., Any], byte_level: Path, heard: Any
) -> None:
    data = tokenize(["\u6771"], ["a"], model=ModelOptions(tokenizer=str(byte_level)))
    assert len(data["train"]["input_ids"][0]) == 4
    assert not any("of the tokens are" in line for line in heard.lines)


CHAT = [{"text": "Hi?", "loss": False}, {"text": " Hello!", "loss": True}]


def chat(segments: list[dict[str, Any]] | None, text: str = "") -> dict[str, Any]:
    return {"text": text or "".join(part["text"] for part in segments or []), "segments": segments}


def test_only_segments_with_loss_are_counted(tokenize: Callable[..., Any], tokenizer: Any, heard: Any) -> None:
    data = tokenize([chat(CHAT), chat(None, "plain")], [chat(CHAT)])
    ids, mask = data["train"][0]["input_ids"], data["train"][0]["loss_mask"]
    assert ids == [*tokenizer("Hi? Hello!").input_ids, EOS]
    counted = tokenizer.decode([token for token, flag in zip(ids, mask, strict=True) if flag])
    assert counted.strip() == "Hello!</s>"
    assert data["train"][1]["loss_mask"] == [True] * len(data["train"][1]["input_ids"])
    assert "of them carry loss" in heard.lines[0]


def test_the_end_carries_loss_as_the_last_segment_does(tokenize: Callable[..., Any]) -> None:
    data = tokenize([chat(CHAT[::-1]), chat(CHAT)], [chat(CHAT)])
    assert [row["loss_mask"][-1] for row in data["train"]] == [False, True]


def test_the_mask_is_split_with_its_tokens(tokenize: Callable[..., Any]) -> None:
    long = [{"text": "a" * 40, "loss": False}, {"text": "b" * 40, "loss": True}]
    data = tokenize([chat(long)], [chat(CHAT)], max_length=32)
    assert [len(row["input_ids"]) for row in data["train"]] == [len(row["loss_mask"]) for row in data["train"]]
    assert sum(sum(row["loss_mask"]) for row in data["train"]) == 41


def test_no_loss_at_all_is_a_sentence(tokenize: Callable[..., Any]) -> None:
    with pytest.raises(StageError, match=r"^no segment of train carries loss, so nothing could be learnt"):
        tokenize([chat(CHAT[:1])], [chat(CHAT)])


def test_documents_without_text_are_left_out(tokenize: Callable[..., Any], heard: Any) -> None:
    assert len(tokenize(["a", "", "b"], ["c"])["train"]) == 2
    assert heard.lines[0] == "train: 2 documents, 8 tokens, longest 4; 1 without any text left out"
    with pytest.raises(StageError, match=r"^none of the 1 documents of validation holds any text$"):
        tokenize(["a"], [""])


def test_rows_longer_than_the_model_takes_are_refused_with_both_numbers(tokenize: Callable[..., Any]) -> None:
    with pytest.raises(StageError) as caught:
        tokenize(["a"], ["b"], max_length=512)
    assert str(caught.value) == (
        "tokenize.max_length is 512, but the model takes at most 256 tokens. Set it with: --set tokenize.max_length=256"
    )


def test_a_model_from_scratch_has_the_positions_of_its_config(tokenize: Callable[..., Any]) -> None:
    model = ModelOptions(
        tokenizer="tuiftune:babyllama-105", init="scratch", config={"model_type": "gpt2", "n_positions": 128}
    )
    assert len(tokenize(["a"], ["b"], model=model, max_length=128)["train"]) == 1
    with pytest.raises(StageError, match=r"^tokenize\.max_length is 129, but the model takes at most 128 tokens"):
        tokenize(["a"], ["b"], model=model, max_length=129)


def test_a_tokenizer_without_an_end_of_text_is_a_sentence(tokenize: Callable[..., Any], workspace: Path) -> None:
    shutil.copytree(assets() / "babyllama-105", workspace / "endless")
    settings = workspace / "endless" / "tokenizer_config.json"
    told = json.loads(settings.read_text())
    del told["eos_token"], told["pad_token"]
    settings.write_text(json.dumps(told))
    with pytest.raises(StageError, match=r"the tokenizer of 'endless' has no end-of-text token"):
        tokenize(["a"], ["b"], model=ModelOptions(name="endless"))


def test_what_is_tokenized_already_is_told(context: Callable[..., Any], documents: Callable[..., Any]) -> None:
    data = documents([{"input_ids": [1, 2]}], [{"input_ids": [1, 2]}])
    with pytest.raises(StageError, match=r"^no 'text' in train but 'input_ids': is it tokenized already\?$"):
        Tokenize().run(context(Tokenize, input=data))


@pytest.mark.parametrize("length", range(9, 40))
def test_no_part_of_a_cut_is_too_short_to_carry_loss(length: int) -> None:
    cuts = cut_points(length, 8)
    sizes = [end - start for start, end in itertools.pairwise(cuts)]
    assert sum(sizes) == length
    assert all(2 <= size <= 8 for size in sizes)
