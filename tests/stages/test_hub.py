"""Stage `hub`: folders written by save_to_disk, and the sentence where the hub cannot be reached."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tuiftune.errors import StageError
from tuiftune.stages.hub import Hub

ROWS = {"question": ["1 + 1?", "2 + 2?", "3 + 3?", None], "answer": ["2", "4", "6", "8"]}


@pytest.fixture
def saved(workspace: Path) -> Path:
    """A DatasetDict on disk."""
    import datasets

    whole = datasets.Dataset.from_dict(ROWS)
    datasets.DatasetDict(train=whole, test=whole.select([0])).save_to_disk(str(workspace / "sums"))
    return workspace / "sums"


def run(context: Callable[..., Any], **options: Any) -> dict[str, list[str]]:
    returned = Hub(Hub.Options(**options)).run(context(Hub))
    return {name: list(documents) for name, documents in returned.items()}


def test_a_saved_folder_is_read_split_by_split(saved: Path, context: Callable[..., Any], heard: Any) -> None:
    assert run(context, path="sums", text="{question} {answer}") == {
        "train": ["1 + 1? 2", "2 + 2? 4", "3 + 3? 6"],
        "test": ["1 + 1? 2"],
    }
    assert heard.lines == ["train: rows without a value for '{question} {answer}': 1 of 4, left out"]


def test_another_split_can_be_trained_on(saved: Path, context: Callable[..., Any]) -> None:
    assert run(context, path="sums", text="answer", split="test")["train"] == ["2"]


def test_a_part_of_a_split_can_be_asked_for(saved: Path, context: Callable[..., Any]) -> None:
    assert run(context, path="sums", text="answer", split="train[:50%]")["train"] == ["2", "4"]
    assert run(context, path="sums", text="answer", split="train[1:3]")["train"] == ["4", "6"]


def test_a_dataset_without_splits_is_read(workspace: Path, context: Callable[..., Any]) -> None:
    import datasets

    datasets.Dataset.from_dict({"text": ["a", "b"]}).save_to_disk(str(workspace / "plain"))
    assert run(context, path="plain") == {"train": ["a", "b"]}


def test_the_content_of_the_folder_is_what_the_cache_goes_by(saved: Path, context: Callable[..., Any]) -> None:
    ctx = context(Hub)
    Hub(Hub.Options(path="sums")).run(ctx)
    assert ctx.files_read == [saved]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"path": "sums"},
            "sums: no column 'text'; there are 'question', 'answer'. Choose with: --set dataset.text=COLUMN",
        ),
        (
            {"path": "sums", "split": "dev"},
            "sums: no split 'dev'; there are 'train', 'test'. Choose with: --set dataset.split=NAME",
        ),
        (
            {"path": "./none"},
            "./none: no such folder (looked for {workspace}/none). Set it with: --set dataset.path=FOLDER",
        ),
        (
            {"path": "profiles"},
            "profiles: not a folder written by save_to_disk (no dataset_dict.json, no dataset_info.json). "
            'Files of text are read with stage = "text", CSV, JSON Lines and Parquet with stage = "table"',
        ),
    ],
)
def test_what_cannot_be_used_is_one_sentence(
    saved: Path, workspace: Path, context: Callable[..., Any], options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(StageError) as caught:
        run(context, **options)
    assert str(caught.value) == sentence.replace("{workspace}", str(workspace))


def test_a_part_that_cannot_be_read_is_one_sentence(saved: Path, context: Callable[..., Any]) -> None:
    with pytest.raises(StageError, match=r"^dataset\.split: 'train\[half\]' cannot be read: .*'train\[:10%\]'$"):
        run(context, path="sums", split="train[half]")


@pytest.mark.long
def test_without_a_network_it_says_what_to_do(context: Callable[..., Any]) -> None:
    with pytest.raises(StageError) as caught:
        run(context, path="owner/name")
    assert str(caught.value) == (
        "'owner/name' is not a folder of the workspace, not in this machine's cache, and the Hugging Face hub cannot "
        "be reached (HF_HUB_OFFLINE set, or no network). Where there is a network: "
        "datasets.load_dataset('owner/name').save_to_disk('FOLDER'), then: --set dataset.path=FOLDER"
    )


# Streaming


@pytest.fixture
def on_the_hub(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A hub whose every data set is 2,500 rows of Parquet in two files; returns what was asked of it last."""
    import datasets

    for number in range(2):
        rows = {"text": [f"{number}-{row}" if row % 5 else None for row in range(1250)], "other": [b"x"] * 1250}
        datasets.Dataset.from_dict(rows).to_parquet(workspace / f"{number}.parquet")
    asked: dict[str, Any] = {}
    load = datasets.load_dataset

    def from_hub(name: str, config: str | None = None, **more: Any) -> Any:
        asked.update(more, name=name, config=config)
        files = {"train": [str(workspace / "0.parquet"), str(workspace / "1.parquet")]}
        return load("parquet", data_files=files, streaming=more["streaming"])

    monkeypatch.setattr(datasets, "load_dataset", from_hub)
    return asked


def test_a_stream_of_the_hub_is_not_downloaded_first_and_goes_on_from_a_state(
    on_the_hub: dict[str, Any], context: Callable[..., Any]
) -> None:
    ctx = context(Hub, streaming=True)
    stage = Hub(Hub.Options(path="owner/name", revision="v2", config_name="en"))
    first = stage.run(ctx)["train"]
    assert on_the_hub == {"name": "owner/name", "config": "en", "revision": "v2", "streaming": True}
    whole = list(stage.run(ctx)["train"])
    assert len(whole) == 2000
    documents = iter(first)
    begin = [next(documents) for _ in range(1234)]
    again = stage.run(ctx)["train"]
    again.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert [*begin, *again] == whole


def test_a_part_of_a_stream_is_asked_for_in_rows(on_the_hub: dict[str, Any], context: Callable[..., Any]) -> None:
    def part(split: str) -> list[str]:
        stage = Hub(Hub.Options(path="owner/name", split=split))
        return list(stage.run(context(Hub, streaming=True))["train"])

    assert part("train[1248:1252]") == ["0-1248", "0-1249", "1-1"]
    assert part("train[2498:]") == ["1-1248", "1-1249"]
    for split in ("train[:10%]", "train[-5:]"):
        with pytest.raises(
            StageError, match=r"nobody knows how long a stream is\. A part is written 'train\[:5000\]'$"
        ):
            part(split)


def test_a_saved_folder_is_streamed_too(saved: Path, context: Callable[..., Any]) -> None:
    stage = Hub(Hub.Options(path="sums", text="answer", split="train[:50%]"))
    documents = stage.run(context(Hub, streaming=True))["train"]
    assert next(iter(documents)) == "2"
    documents.load_state_dict(documents.state_dict())
    assert list(documents) == ["4"]


def test_a_column_that_a_stream_lacks_is_one_sentence(on_the_hub: dict[str, Any], context: Callable[..., Any]) -> None:
    stage = Hub(Hub.Options(path="owner/name", text="txet"))
    with pytest.raises(
        StageError, match=r"^owner/name: no column 'txet'; there are 'text', 'other'. Did you mean 'text'"
    ):
        next(iter(stage.run(context(Hub, streaming=True))["train"]))
