"""Dataset stage `hub`: a data set of the Hugging Face hub, or a folder written by `save_to_disk`."""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tuiftune
from tuiftune.paths import resolve_path
from tuiftune.stages._template import TextTemplate
from tuiftune.text import brief

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset

HUB_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")
SAVED = ("dataset_dict.json", "dataset_info.json")
"""What `save_to_disk` leaves in a folder, of a DatasetDict or a Dataset."""


class Hub(tuiftune.DatasetLoader):
    """A data set of the Hugging Face hub by its id, or a local folder written by save_to_disk."""

    name = "hub"

    class Options(tuiftune.Options):
        path: str = tuiftune.Field(description="hub id such as 'owner/name', or a folder written by save_to_disk")
        config_name: str | None = tuiftune.Field(None, description="which configuration of a hub data set")
        split: str = tuiftune.Field(
            "train", description="the split to train on; a part of it is written 'train[:10%]' or 'train[:5000]'"
        )
        text: str = tuiftune.Field(
            "text",
            description="the column that holds the text, or a template over columns such as "
            r'"{question}\n{answer}"; rows without a value are left out and counted',
        )
        revision: str | None = tuiftune.Field(None, description="branch, tag or commit of a hub data set")

    def run(self, ctx: tuiftune.Context) -> dict[str, Iterable[str]]:
        """Documents by split: the one asked for as `train`, the others under their own names.

        With `ctx.streaming` nothing is downloaded before it is read, and each can go on from a `state_dict()`.
        """
        template = TextTemplate.parse(self.options.text)
        splits = self._splits(ctx)
        base = self.options.split.split("[")[0].strip()
        if base not in splits:
            there = ", ".join(map(repr, splits))
            raise tuiftune.StageError(
                f"{self.options.path}: no split {base!r}; there are {there}. Choose with: --set dataset.split=NAME"
            )
        train = self._part(splits.pop(base))
        asked_for = {**splits, "train": train}  # where another is trained on, a split of that name gives way
        return {name: self._split(name, rows, template, ctx) for name, rows in asked_for.items()}

    def _split(
        self, name: str, rows: Dataset | IterableDataset, template: TextTemplate, ctx: tuiftune.Context
    ) -> Iterable[str]:
        import datasets

        documents = functools.partial(self._documents, name, template, ctx)
        if not ctx.streaming:
            return documents(rows)
        streamed = rows.to_iterable_dataset() if isinstance(rows, datasets.Dataset) else rows
        return _Streamed(streamed, template.columns, documents)

    def _splits(self, ctx: tuiftune.Context) -> dict[str, Dataset | IterableDataset]:
        folder = resolve_path(self.options.path, ctx.workspace)
        if folder.exists():
            return self._saved(ctx.path(self.options.path))
        if not HUB_ID.fullmatch(self.options.path):
            raise tuiftune.StageError(
                f"{self.options.path}: no such folder (looked for {folder}). Set it with: --set dataset.path=FOLDER"
            )
        return self._downloaded(ctx.streaming)

    def _saved(self, folder: Path) -> dict[str, Dataset]:
        import datasets

        if not any((folder / file).is_file() for file in SAVED):
            raise tuiftune.StageError(
                f"{self.options.path}: not a folder written by save_to_disk (no {SAVED[0]}, no {SAVED[1]}). "
                'Files of text are read with stage = "text", CSV, JSON Lines and Parquet with stage = "table"'
            )
        try:
            found = datasets.load_from_disk(str(folder), keep_in_memory=False)
        except (OSError, ValueError) as error:
            raise tuiftune.StageError(f"{self.options.path}: cannot be read: {brief(error)}") from error
        return dict(found) if isinstance(found, datasets.DatasetDict) else {self._only_split: found}

    @property
    def _only_split(self) -> str:
        """A lone Dataset has no split name: it is whatever was asked for."""
        return str(self.options.split).split("[")[0].strip()

    def _downloaded(self, streaming: bool) -> dict[str, Dataset | IterableDataset]:
        import datasets

        name = self.options.path
        datasets.disable_progress_bars()  # they would fill the run's log
        try:
            return dict(
                datasets.load_dataset(
                    name, self.options.config_name, revision=self.options.revision, streaming=streaming
                )
            )
        except datasets.exceptions.DatasetNotFoundError as error:
            raise tuiftune.StageError(
                f"{name!r} is neither a folder of the workspace nor a data set on the Hugging Face hub "
                "(or a private one: log in with: hf auth login)"
            ) from error
        except (OSError, ValueError, RuntimeError) as error:
            if _unreachable(error):
                raise tuiftune.StageError(
                    f"{name!r} is not a folder of the workspace, not in this machine's cache, and the Hugging Face "
                    "hub cannot be reached (HF_HUB_OFFLINE set, or no network). Where there is a network: "
                    f"datasets.load_dataset({name!r}).save_to_disk('FOLDER'), then: --set dataset.path=FOLDER"
                ) from error
            raise tuiftune.StageError(f"{name!r} cannot be loaded: {brief(error)}") from error

    def _part(self, rows: Dataset | IterableDataset) -> Dataset | IterableDataset:
        """The rows that brackets after the split's name ask for; of a stream in numbers from its begin alone."""
        import datasets

        spec = self.options.split
        if "[" not in spec:
            return rows
        sized = isinstance(rows, datasets.Dataset)
        if not sized and ("%" in spec or "-" in spec.partition("[")[2]):
            raise tuiftune.StageError(
                f"dataset.split: {spec!r}: nobody knows how long a stream is. A part is written 'train[:5000]'"
            )
        length = len(rows) if sized else sys.maxsize
        try:
            (part,) = datasets.ReadInstruction.from_spec(spec).to_absolute({self._only_split: length})
        except (ValueError, AssertionError) as error:
            raise tuiftune.StageError(
                f"dataset.split: {spec!r} cannot be read: {brief(error)}. A part is written 'train[:10%]'"
            ) from error
        start, end = part.from_ or 0, length if part.to is None else part.to
        return rows.select(range(start, end)) if sized else rows.skip(start).take(end - start)

    def _documents(
        self, split: str, template: TextTemplate, ctx: tuiftune.Context, rows: Dataset | IterableDataset
    ) -> Iterator[str]:
        import datasets

        if rows.column_names is not None:  # else a stream that tells them with its rows
            template.check(rows.column_names, self.options.path)
        skipped = number = 0
        selected = rows.select_columns(template.columns) if isinstance(rows, datasets.Dataset) else rows
        for number, row in enumerate(selected, start=1):
            if number == 1:
                template.check(row, self.options.path)
            text = self._rendered(template, row, split, number)
            if text is None:
                skipped += 1
            else:
                yield text
        if skipped:
            ctx.log(f"{split}: rows without a value for {template.source!r}: {skipped:,} of {number:,}, left out")

    def _rendered(self, template: TextTemplate, row: dict[str, Any], split: str, number: int) -> str | None:
        try:
            return template.render(row)
        except TypeError as error:
            raise tuiftune.StageError(
                f"{self.options.path}: row {number} of {split!r}: a value of {template.source!r} is a {error}, not "
                "text. Choose another column with: --set dataset.text=COLUMN"
            ) from error


class _Streamed:
    """The documents of rows that are streamed; where they are is told and set as of the rows themselves."""

    def __init__(self, rows: IterableDataset, columns: list[str], documents: Callable[[Any], Iterator[str]]) -> None:
        if set(columns) <= set(rows.column_names or ()):
            rows = rows.select_columns(columns)  # of Parquet the others are not even downloaded
        self._documents = functools.partial(documents, rows)
        self.state_dict, self.load_state_dict = rows.state_dict, rows.load_state_dict

    def __iter__(self) -> Iterator[str]:
        return self._documents()


def _unreachable(error: BaseException | None) -> bool:
    """Whether the network was the reason, somewhere in the chain of causes."""
    while error is not None:
        words = f"{type(error).__name__} {error}"
        if isinstance(error, ConnectionError) or re.search(r"Offline|Couldn't reach|Connection|Max retries", words):
            return True
        error = error.__cause__ or error.__context__
    return False


@tuiftune.hookimpl
def register_stages() -> list[type[tuiftune.Stage]]:
    return [Hub]
