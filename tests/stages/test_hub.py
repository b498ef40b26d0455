"""Stage `hub`: folders written by save_to_disk, and the sentence where the hub cannot be reached."""

from __future__ import annotations

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


def test_without_a_network_it_says_what_to_do(context: Callable[..., Any]) -> None:
    with pytest.raises(StageError) as caught:
        run(context, path="owner/name")
    assert str(caught.value) == (
        "'owner/name' is not a folder of the workspace, not in this machine's cache, and the Hugging Face hub cannot "
        "be reached (HF_HUB_OFFLINE set, or no network). Where there is a network: "
        "datasets.load_dataset('owner/name').save_to_disk('FOLDER'), then: --set dataset.path=FOLDER"
    )
