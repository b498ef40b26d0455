"""Rows of a stream: their order, where it can go on, and how little of it is ever held."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tuiftune.errors import ResumeRefused, StageError
from tuiftune.plugins import load_registry
from tuiftune.profile import build
from tuiftune.run import stream as stream_module
from tuiftune.run.cache import content_key
from tuiftune.run.pipeline import PipelineRun
from tuiftune.run.stream import Position, TokenStream
from tuiftune.stage import Context, DatasetLoader, Preprocessor
from tuiftune.testing import ListRecorder

CHUNK = 8
Rows = Iterator[tuple[dict[str, Any], Position]]


class Given(DatasetLoader):
    """Returns what it is given, made anew each time."""

    name = "given"

    def __init__(self, make: Callable[[], Any]) -> None:
        super().__init__()
        self.make = make

    def run(self, ctx: Context) -> Any:
        return self.make()


class Words(Preprocessor):
    """A row of two tokens for a document "<number>": the number and 1."""

    name = "words"
    needs_validation = False
    runs = 0

    def run(self, ctx: Context) -> Any:
        import datasets

        assert ctx.input is not None
        self.runs += 1
        ctx.log("something that is said of every chunk")
        ctx.fact(train_tokens=2)
        rows = [[int(text), 1] for text in ctx.input["train"]["text"]]
        return datasets.DatasetDict(train=datasets.Dataset.from_dict({"input_ids": rows}))


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "CHUNK_DOCUMENTS", CHUNK)


@pytest.fixture
def open_stream(context_for: Callable[..., Any]) -> Callable[..., TokenStream]:
    """Make the stream of what a function returns, the first `held_out` documents left out."""

    def make(source: Callable[[], Any], held_out: int = 0, stage: Any = None, **values: Any) -> TokenStream:
        ctx = context_for("dataset", streaming=True, **values)
        return TokenStream(Given(source), ctx, [(stage or Words(), ctx)], held_out)

    return make


def numbers(count: int) -> Callable[[], Iterator[str]]:
    return lambda: (str(number) for number in range(count))


def table(count: int) -> Any:
    import datasets

    return datasets.Dataset.from_dict({"text": [str(number) for number in range(count)]})


def firsts(rows: Rows, count: int) -> list[int]:
    """The first token of each of the next `count` rows: the number of its document."""
    return [int(row["input_ids"][0]) for row, _ in itertools.islice(rows, count)]


SOURCES: dict[str, Callable[[], Any]] = {
    "generator": numbers(20),
    "list": lambda: [str(number) for number in range(20)],
    "Dataset": lambda: table(20),
    "IterableDataset": lambda: table(20).to_iterable_dataset(num_shards=3),
    "shuffled IterableDataset": lambda: table(20).to_iterable_dataset(num_shards=3).shuffle(seed=3, buffer_size=6),
}


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_from_every_position_come_exactly_the_rows_that_came_after_it(
    source: Callable[[], Any], open_stream: Callable[..., TokenStream]
) -> None:
    found = list(itertools.islice(open_stream(source, held_out=3).rows(), 40))
    order = [int(row["input_ids"][0]) for row, _ in found]
    for number, (_, position) in enumerate(found[:35]):
        saved = json.loads(json.dumps(position))
        assert firsts(open_stream(source, held_out=3).rows(saved), 5) == order[number + 1 : number + 6], position


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_every_pass_has_all_rows_in_an_order_of_its_own(
    source: Callable[[], Any], open_stream: Callable[..., TokenStream]
) -> None:
    order = firsts(open_stream(source, held_out=3).rows(), 51)
    passes = [order[start : start + 17] for start in (0, 17, 34)]
    assert len({tuple(found) for found in passes}) == 3
    assert all(sorted(found) == sorted(passes[0]) for found in passes)
    assert len(set(passes[0])) == 17


def test_the_order_is_that_of_the_seed(open_stream: Callable[..., TokenStream]) -> None:
    orders = [firsts(open_stream(numbers(20), seed=seed).rows(), 60) for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]


def test_the_order_is_the_same_on_every_machine(open_stream: Callable[..., TokenStream]) -> None:
    assert firsts(open_stream(numbers(12), seed=42).rows(), 16) == [5, 6, 4, 0, 3, 1, 7, 2, 9, 10, 11, 8, 7, 3, 1, 2]


def test_rows_are_arrays_of_the_columns_that_training_reads(open_stream: Callable[..., TokenStream]) -> None:
    import datasets
    import numpy as np

    class Masked(Preprocessor):
        name = "masked"

        def run(self, ctx: Context) -> Any:
            columns = {"input_ids": [[5, 6], [7]], "loss_mask": [[False, True], [True]], "lengths": [[1, 1], [1]]}
            return datasets.DatasetDict(train=datasets.Dataset.from_dict({**columns, "n_bytes": [2, 1]}))

    validation = datasets.DatasetDict(validation=table(1))
    rows = open_stream(numbers(3), stage=Masked(), input=validation).rows()
    found = sorted((row for row, _ in itertools.islice(rows, 2)), key=lambda row: int(row["input_ids"][0]))
    assert [{name: values.tolist() for name, values in row.items()} for row in found] == [
        {"input_ids": [5, 6], "loss_mask": [False, True], "lengths": [1, 1]},
        {"input_ids": [7], "loss_mask": [True], "lengths": [1]},
    ]
    assert {name: values.dtype for name, values in found[0].items()} == {
        "input_ids": np.int32,
        "loss_mask": np.bool_,
        "lengths": np.int32,
    }


def test_no_more_is_read_than_two_chunks_ahead(open_stream: Callable[..., TokenStream]) -> None:
    taken: list[int] = []

    def endless() -> Iterator[str]:
        for number in itertools.count():
            taken.append(number)
            yield str(number)

    stream = open_stream(endless)
    rows = stream.rows()
    assert not taken
    for given in range(1, 10 * CHUNK):
        next(rows)
        assert len(taken) <= given + 2 * CHUNK
    stream.close()
    assert list(rows) == []


def test_long_documents_make_chunks_of_fewer(
    open_stream: Callable[..., TokenStream], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_module, "CHUNK_BYTES", 30)
    rows = open_stream(lambda: (f"{number:010}" for number in range(10))).rows()
    assert [position["chunk"] for _, position in itertools.islice(rows, 10)] == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3]


def test_only_the_chunk_it_stood_in_is_tokenised_again(open_stream: Callable[..., TokenStream]) -> None:
    _, position = next(itertools.islice(open_stream(numbers(100)).rows(), 50, None))
    words = Words()
    stream = open_stream(numbers(100), stage=words)
    assert firsts(stream.rows(position), 1)
    stream.close()
    assert words.runs <= 2  # its own, and the one that is made ahead
    assert "stream: reading past 48 documents, to where training was" in stream._ctx.recorder.lines


def test_a_source_that_can_seek_is_not_read_from_the_begin(open_stream: Callable[..., TokenStream]) -> None:
    read: list[int] = []

    class Seekable:
        def __init__(self) -> None:
            self.at = 0

        def __iter__(self) -> Iterator[str]:
            while self.at < 100:
                read.append(self.at)
                self.at += 1
                yield str(self.at - 1)

        def state_dict(self) -> dict[str, int]:
            return {"at": self.at}

        def load_state_dict(self, state: dict[str, int]) -> None:
            self.at = state["at"]

    _, position = next(itertools.islice(open_stream(Seekable).rows(), 50, None))
    read.clear()
    assert firsts(open_stream(Seekable).rows(position), 3)
    assert min(read) == 48


def test_data_that_is_no_longer_the_same_is_not_gone_on_with(open_stream: Callable[..., TokenStream]) -> None:
    _, position = next(itertools.islice(open_stream(numbers(40)).rows(), 20, None))
    others = open_stream(lambda: (str(number + 1) for number in range(40)))
    with pytest.raises(StageError, match=r"^the documents from number 17 on are no longer those this run was trained"):
        next(others.rows(position))


def test_what_a_source_or_a_stage_raises_reaches_the_reader_after_the_rows_before_it(
    open_stream: Callable[..., TokenStream],
) -> None:
    def broken() -> Iterator[str]:
        yield from numbers(10)()
        raise ZeroDivisionError("of the source")

    rows = open_stream(broken).rows()
    assert sorted(firsts(rows, CHUNK)) == list(range(CHUNK))
    with pytest.raises(ZeroDivisionError, match="of the source"):
        next(rows)
    rows = open_stream(lambda: [*map(str, range(8)), "no number"]).rows()
    firsts(rows, CHUNK)
    with pytest.raises(ValueError, match="no number"):
        next(rows)
    with pytest.raises(StageError, match=r"^document 2 is of type 'int'"):
        next(open_stream(lambda: ["1", 2]).rows())


@pytest.mark.parametrize(
    ("count", "held_out", "stage", "sentence"),
    [
        (0, 0, None, "the stream holds no document to train on"),
        (3, 3, None, "the stream holds no document to train on"),
        (20, 3, "empty", "no row is left of all 17 documents after the preprocess stages"),
        (20, 3, "text", r"the data has no tokens, only the columns \['text'\]. Add a preprocess stage: 'tokenize'"),
    ],
)
def test_a_stream_without_rows_is_one_sentence(
    count: int, held_out: int, stage: str | None, sentence: str, open_stream: Callable[..., TokenStream]
) -> None:
    class Kept(Preprocessor):
        name = "kept"
        needs_validation = False

        def run(self, ctx: Context) -> Any:
            assert ctx.input is not None
            return {"train": ctx.input["train"].select([] if stage == "empty" else [0])}

    with pytest.raises(StageError, match=f"^{sentence}$"):
        next(open_stream(numbers(count), held_out, Kept() if stage else None).rows())


def test_close_ends_a_reader_in_another_thread(open_stream: Callable[..., TokenStream]) -> None:
    stream = open_stream(lambda: map(str, itertools.count()))
    read = threading.Event()

    def reader() -> None:
        for _ in stream.rows():
            read.set()

    thread = threading.Thread(target=reader, daemon=True)
    thread.start()
    assert read.wait(30)
    stream.close()
    thread.join(30)
    assert not thread.is_alive()
    assert list(stream.rows()) == []


def test_what_stages_say_of_every_chunk_is_not_repeated(open_stream: Callable[..., TokenStream]) -> None:
    stream = open_stream(numbers(1000))
    firsts(stream.rows(), 1000)
    recorder = stream._ctx.recorder
    assert not recorder.facts
    assert 5 < len(recorder.lines) < 12
    assert recorder.lines[3] == "stream: 8 chunks prepared since it was opened: 64 documents, 64 rows of 128 tokens"


# Through the whole pipeline


PIPELINE: dict[str, Any] = {
    "model": {"name": "tuiftune:babyllama-105"},
    "dataset": {"stage": "text", "path": "a.txt", "streaming": True, "validation": 5},
    "preprocess": [{"stage": "clean"}, {"stage": "tokenize", "max_length": 16}],
    "train": {"stage": "causal_lm", "max_steps": 10},
}


@pytest.fixture
def prepare(workspace: Path, tmp_path: Path) -> Callable[..., tuple[Any, ListRecorder]]:
    """The data of a run of PIPELINE with these dataset options and preprocess stages, and what was said."""
    (workspace / "a.txt").write_text("".join(f"this is line {number}, of many\n" for number in range(30)))

    def make(preprocess: list[dict[str, Any]] | None = None, **dataset: Any) -> tuple[Any, ListRecorder]:
        table = {**PIPELINE, "dataset": PIPELINE["dataset"] | dataset}
        if preprocess is not None:
            table["preprocess"] = preprocess
        registry = load_registry(workspace)
        recorder = ListRecorder()
        run_dir = tmp_path / f"run-{len(list(tmp_path.glob('run-*')))}"
        return PipelineRun(workspace, run_dir, build(table, registry), registry, recorder).prepare_data(), recorder

    return make


def texts(rows: Any) -> list[str]:
    from transformers import AutoTokenizer

    from tuiftune.paths import assets

    tokenizer = AutoTokenizer.from_pretrained(assets() / "babyllama-105")
    return [tokenizer.decode(row["input_ids"], skip_special_tokens=True) for row in rows]


def test_documents_held_out_from_the_head_are_never_trained_on(prepare: Callable[..., Any]) -> None:
    data, recorder = prepare([{"stage": "tokenize", "max_length": 64}])
    held_out = texts(data["validation"])
    assert held_out == [f"this is line {number}, of many" for number in range(5)]
    trained_on = texts(row for row, _ in itertools.islice(data["train"].rows(), 50))
    assert set(trained_on) == {f"this is line {number}, of many" for number in range(5, 30)}
    assert recorder.lines[:2] == [
        "streaming; validation: 5 documents, the first of the stream, never trained on",
        "what is said of train from here on is said of its first 8 documents",
    ]
    assert recorder.facts["validation_tokens"] == sum(map(len, data["validation"]["input_ids"]))
    assert not any(name.startswith("train_") for name in recorder.facts)


def test_chunks_are_cleaned_of_what_validation_holds(prepare: Callable[..., Any], workspace: Path) -> None:
    lines = [f"line {number % 10}" for number in range(40)]
    (workspace / "a.txt").write_text("\n".join(lines))
    data, _ = prepare()
    trained_on = texts(row for row, _ in itertools.islice(data["train"].rows(), 20))
    assert set(trained_on) == {f"line {number}" for number in range(5, 10)}


def test_rows_of_a_stream_are_packed_chunk_by_chunk(prepare: Callable[..., Any]) -> None:
    plain, _ = prepare([{"stage": "tokenize", "max_length": 64}])
    packed, _ = prepare([{"stage": "tokenize", "max_length": 64}, {"stage": "pack", "block_size": 48}])
    count = sum(len(row["input_ids"]) for row, _ in itertools.islice(plain["train"].rows(), 25))
    found = list(itertools.takewhile(lambda pair: pair[1]["pass_number"] == 0, packed["train"].rows()))
    assert sum(len(row["input_ids"]) for row, _ in found) == count
    assert max(len(row["input_ids"]) for row, _ in found) == 48
    assert (plain["train"].longest_row, packed["train"].longest_row) == (64, 48)


def test_a_chunk_that_the_stages_leave_nothing_of_is_passed_over(prepare: Callable[..., Any], workspace: Path) -> None:
    short = [f"line {number}" if number < 13 or number > 28 else str(number) for number in range(40)]
    (workspace / "a.txt").write_text("\n".join(short))
    data, _ = prepare([{"stage": "clean", "min_chars": 5}, {"stage": "tokenize", "max_length": 64}])
    assert len(set(texts(row for row, _ in itertools.islice(data["train"].rows(), 19)))) == 19


def test_a_file_can_be_held_out_of_a_stream(prepare: Callable[..., Any], workspace: Path) -> None:
    (workspace / "b.txt").write_text("held out\n")
    data, _ = prepare([{"stage": "tokenize", "max_length": 64}], validation="b.txt")
    assert texts(data["validation"]) == ["held out"]
    trained_on = texts(row for row, _ in itertools.islice(data["train"].rows(), 30))
    assert sorted(trained_on) == sorted((workspace / "a.txt").read_text().splitlines())


@pytest.mark.parametrize(
    ("validation", "sentence"),
    [
        (30, "no document is left to train on: the stream has 30, and dataset.validation holds out 30"),
        (31, "no document is left to train on: the stream has 30, and dataset.validation holds out 31"),
        ("a.csv", "dataset.validation: 'a.csv' is neither a file nor a split of the data; there is 'train'. Give"),
    ],
)
def test_a_stream_too_short_for_its_validation_is_one_sentence(
    prepare: Callable[..., Any], validation: Any, sentence: str
) -> None:
    with pytest.raises(StageError, match=f"^{sentence}"):
        prepare(validation=validation)


def test_the_held_out_set_comes_from_the_cache_and_the_stream_is_the_same(prepare: Callable[..., Any]) -> None:
    first, _ = prepare()
    second, recorder = prepare()
    assert [data["cached"] for kind, data in recorder.events if kind == "stage_finished"] == [True] * 3
    orders = [texts(row for row, _ in itertools.islice(data["train"].rows(), 60)) for data in (first, second)]
    assert orders[0] == orders[1]
    assert content_key(first) == content_key(second)


def test_a_run_on_a_stream_is_resumed_on_the_same_files_alone(workspace: Path, tmp_path: Path) -> None:
    (workspace / "a.txt").write_text("".join(f"this is line {number}\n" for number in range(30)))
    registry = load_registry(workspace)
    pipeline = build({**PIPELINE, "train": {"stage": "demo", "steps": 2, "seconds_per_step": 0}}, registry)
    PipelineRun(workspace, tmp_path / "run", pipeline, registry, ListRecorder()).run()
    checkpoint = tmp_path / "run" / "checkpoints" / "step-000002"
    PipelineRun(workspace, tmp_path / "run", pipeline, registry, ListRecorder(), resume_from=checkpoint).run()
    with (workspace / "a.txt").open("a") as file:
        file.write("one more\n")
    with pytest.raises(ResumeRefused, match=r"^the data is no longer what this run began with"):
        PipelineRun(workspace, tmp_path / "run", pipeline, registry, ListRecorder(), resume_from=checkpoint).run()


def test_a_model_is_measured_on_what_is_held_out_of_a_stream(workspace: Path) -> None:
    from tuiftune.paths import assets
    from tuiftune.run.evaluate import evaluate

    (workspace / "a.txt").write_text("".join(f"this is line {number}\n" for number in range(30)))
    figures = evaluate(workspace, {**PIPELINE, "evaluate": [{"stage": "perplexity"}]}, assets() / "babyllama-105", None)
    assert figures["perplexity"]["tokens"] > 0


def test_a_stream_is_known_by_all_of_its_files(prepare: Callable[..., Any], workspace: Path) -> None:
    first, _ = prepare()
    with (workspace / "a.txt").open("a") as file:
        file.write("one more\n")
    second, _ = prepare()
    assert content_key(first) != content_key(second)
