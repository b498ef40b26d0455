"""What a dataset stage returns becomes documents on disk, in two splits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tuiftune.errors import RunStopped, StageError
from tuiftune.options import ModelOptions, Options
from tuiftune.run.data import load_documents
from tuiftune.stage import Context, DatasetLoader, Signals


@dataclass
class Heard:
    """What was said."""

    lines: list[str] = field(default_factory=list)

    def metric(self, step: int, values: Mapping[str, float]) -> None: ...
    def progress(self, stage: int, done: int, total: int | None, unit: str) -> None: ...
    def event(self, kind: str, data: Mapping[str, Any]) -> None: ...
    def sample(self, step: int, prompt: str, text: str, model: str) -> None: ...
    def fact(self, values: Mapping[str, Any]) -> None: ...

    def log(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def context(workspace: Path, heard: Heard) -> Callable[..., Context]:
    def make(name: str = "0-given", **more: Any) -> Context:
        folder = workspace / "runs" / "test" / "stages" / name
        folder.mkdir(parents=True)
        values: dict[str, Any] = {"seed": 7, **more}
        return Context(
            "given", "dataset", 0, workspace, folder, folder.parents[1], model=ModelOptions(), recorder=heard, **values
        )

    return make


class Given(DatasetLoader):
    """Returns what it is given."""

    name = "given"

    def __init__(self, returned: Any) -> None:
        super().__init__()
        self.returned = returned

    def run(self, ctx: Context) -> Any:
        return self.returned() if callable(self.returned) else self.returned


class Lines(DatasetLoader):
    """The lines of a file."""

    name = "lines"

    class Options(Options):
        path: str

    def run(self, ctx: Context) -> Iterable[str]:
        return (line.rstrip() for line in ctx.open(self.options.path))


LETTERS = [f"document {number}" for number in range(10)]


def texts(split: Any) -> list[str]:
    return list(split["text"])


def test_a_generator_of_strings_is_split_by_the_fraction(context: Callable[..., Context], heard: Heard) -> None:
    data = load_documents(Given(lambda: iter(LETTERS)), context(), 0.2)
    assert data["train"].column_names == ["text"]
    assert (len(data["train"]), len(data["validation"])) == (8, 2)
    assert sorted(texts(data["train"]) + texts(data["validation"])) == LETTERS
    assert heard.lines == ["10 documents: 8 to train on, 2 for validation (shuffled, seed 7)"]


def test_the_split_is_the_same_on_every_machine(context: Callable[..., Context]) -> None:
    """The very documents, so that a change of the rule, of NumPy's stream or of the platform shows."""
    found = [
        texts(load_documents(Given(LETTERS), context(str(seed), seed=seed), 0.3)["validation"]) for seed in (1, 42)
    ]
    assert found == [["document 2", "document 6", "document 9"], ["document 1", "document 5", "document 8"]]


@pytest.mark.parametrize(
    ("count", "fraction", "expected"), [(2, 0.001, (1, 1)), (3, 0.99, (1, 2)), (1000, 0.1, (900, 100))]
)
def test_each_side_of_a_split_gets_a_document(
    context: Callable[..., Context], count: int, fraction: float, expected: tuple[int, int]
) -> None:
    data = load_documents(Given([str(number) for number in range(count)]), context(), fraction)
    assert (len(data["train"]), len(data["validation"])) == expected


def test_documents_may_be_of_every_form(context: Callable[..., Context]) -> None:
    chat = {"segments": [{"text": "Hi? ", "loss": False}, {"text": "Hello.", "loss": True}]}
    data = load_documents(Given(["plain", {"text": "in a table", "label": 3}, chat] * 600), context(), 0.5)
    assert data["train"].column_names == ["text", "segments"]
    rows = {row["text"]: row["segments"] for split in data.values() for row in split}
    assert rows == {"plain": None, "in a table": None, "Hi? Hello.": chat["segments"]}
    assert len(data["train"]) + len(data["validation"]) == 1800


def test_a_dataset_is_taken_with_its_own_validation_split(context: Callable[..., Context], heard: Heard) -> None:
    import datasets

    splits = {name: datasets.Dataset.from_dict({"text": [name] * 3}) for name in ("test", "dev", "valid", "train")}
    data = load_documents(Given(datasets.DatasetDict(splits)), context(), 0.1)
    assert (texts(data["train"]), texts(data["validation"])) == (["train"] * 3, ["valid"] * 3)
    assert heard.lines == ["3 documents to train on; validation: 3, the data's own split 'valid'"]


def test_a_test_split_is_only_taken_when_it_is_named(context: Callable[..., Context]) -> None:
    splits = {"train": LETTERS, "test": ["a", "b"]}
    assert len(load_documents(Given(splits), context("first"), 0.1)["validation"]) == 1
    assert texts(load_documents(Given(splits), context("second"), "test")["validation"]) == ["a", "b"]


def test_a_streamed_dataset_is_taken(context: Callable[..., Context]) -> None:
    import datasets

    stream = datasets.Dataset.from_dict({"text": LETTERS, "other": LETTERS}).to_iterable_dataset()
    assert len(load_documents(Given(stream), context(), 0.1)["train"]) == 9


def test_validation_may_be_a_file_that_the_same_stage_reads(
    workspace: Path, context: Callable[..., Context], heard: Heard
) -> None:
    (workspace / "train.txt").write_text("one\ntwo\n")
    (workspace / "held out.txt").write_text("three\n")
    ctx = context()
    data = load_documents(Lines(Lines.Options(path="train.txt")), ctx, "held out.txt")
    assert (texts(data["train"]), texts(data["validation"])) == (["one", "two"], ["three"])
    assert ctx.files_read == [workspace / "train.txt", workspace / "held out.txt"]
    assert heard.lines == ["2 documents to train on; validation: 1, file held out.txt"]


FAULTS: list[tuple[Any, float | str, str]] = [
    ([], 0.1, "there is no document, and training needs at least one, validation another"),
    (["a"], 0.1, "there is only 1 document, and training needs at least one, validation another"),
    (None, 0.1, "what it returned is nothing (None). A dataset stage returns or yields documents"),
    ("some text", 0.1, "what it returned is of type 'str'"),
    (["a", 3], 0.1, "document 2 is of type 'int'. A document is a str"),
    (
        ["a", {"txt": "b"}],
        0.1,
        "document 2 has neither 'text' nor 'segments', but 'txt'. Did you mean 'text' by 'txt'?",
    ),
    ([{"text": None}], 0.1, "document 1: 'text' is nothing (None), not a str"),
    ([{"segments": "a"}], 0.1, "document 1: 'segments' is of type 'str', not a list"),
    ([{"segments": [{"text": "a"}]}], 0.1, "document 1, segment 1: 'loss' is nothing (None), not a bool"),
    ([{"segments": [{"text": 1, "loss": True}]}], 0.1, "document 1, segment 1: 'text' is of type 'int', not a str"),
    ({"a": [], "b": []}, 0.1, "no split named 'train'; there are 'a', 'b'"),
    ({"train": ["a"], "validation": []}, 0.1, "the validation split holds no document"),
    (
        {"train": ["a"], "test": ["b"]},
        "tset",
        "dataset.validation: 'tset' is neither a file nor a split of the data; there are 'train', 'test'. "
        "Did you mean 'test'?",
    ),
    (["a", "b"], 1.5, "dataset.validation: 1.5 is no part of the data. Give a fraction such as 0.1"),
]


@pytest.mark.parametrize(("returned", "validation", "sentence"), FAULTS)
def test_what_is_no_data_is_one_sentence(
    context: Callable[..., Context], returned: Any, validation: float | str, sentence: str
) -> None:
    with pytest.raises(StageError) as caught:
        load_documents(Given(returned), context(), validation)
    assert str(caught.value).startswith(sentence)


def test_half_a_surrogate_pair_is_replaced_and_said(context: Callable[..., Context], heard: Heard) -> None:
    data = load_documents(Given(["half \ud83d", "whole \ud83d\ude00", "plain"]), context(), 0.5)
    assert sorted(texts(data["train"]) + texts(data["validation"])) == ["half \ufffd", "plain", "whole \U0001f600"]
    assert heard.lines[0] == "documents with half of a surrogate pair, which is no character: 2; replaced by U+FFFD"


def test_documents_are_never_all_in_memory(context: Callable[..., Context]) -> None:
    import tracemalloc

    import datasets  # noqa: F401 - its own memory is not counted
    import pyarrow as pa

    before = pa.total_allocated_bytes()
    tracemalloc.start()
    data = load_documents(Given(lambda: (f"{number} " * 1000 for number in range(20_000))), context(), 0.1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(data["train"]) == 18_000
    assert data["train"].num_columns == 1
    assert peak < 30 << 20, "100 MB of text went through"
    assert pa.total_allocated_bytes() - before < 30 << 20


def test_the_two_parts_lie_in_files_of_their_own_in_the_order_of_the_data(context: Callable[..., Context]) -> None:
    ctx = context()
    documents = [str(number) for number in range(3_000)]
    data = load_documents(Given(documents), ctx, 0.1)
    assert sorted(path.name for path in ctx.dir.iterdir()) == ["train.arrow", "validation.arrow"]
    order = {split: [int(text) for text in texts(rows)] for split, rows in data.items()}
    assert all(numbers == sorted(numbers) for numbers in order.values())
    assert sorted([*order["train"], *order["validation"]]) == list(range(3_000))
    assert all(rows._indices is None for rows in data.values()), "an index would take memory a document"


def test_a_stop_is_obeyed_while_documents_are_read(
    context: Callable[..., Context], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tuiftune.run.data.PROGRESS_S", 0.0)
    with pytest.raises(RunStopped):
        load_documents(Given(LETTERS), context(signals=Signals(stopping=True)), 0.1)


def test_a_stages_own_error_is_passed_on_and_leaves_no_file(context: Callable[..., Context]) -> None:
    def documents() -> Iterable[str]:
        yield "a"
        raise StageError("chats.jsonl:2: no 'assistant' key")

    ctx = context()
    with pytest.raises(StageError, match=r"^chats\.jsonl:2: no 'assistant' key$"):
        load_documents(Given(documents), ctx, 0.1)
    assert list(ctx.dir.iterdir()) == []
