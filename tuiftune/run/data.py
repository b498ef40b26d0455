"""Turn what a dataset stage returns into documents on disk, split into train and validation."""

from __future__ import annotations

import difflib
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuiftune.errors import RunStopped, StageError
from tuiftune.rows import MAX_DOCUMENT_BYTES, RowWriter, read_tables
from tuiftune.stage import Context, DatasetLoader

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset, DatasetDict

__all__ = ["Document", "documents_in", "held_out", "load_documents", "splits_of", "train_split", "write_documents"]

VALIDATION_SPLITS = ("validation", "valid", "val", "dev")
"""Names a data set's own validation split goes by; `test` is only taken when it is asked for by name."""
PROGRESS_S = 0.25

Document = dict[str, Any]
"""{"text": str, "segments": [{"text": str, "loss": bool}, ...] or None}"""


def load_documents(stage: DatasetLoader, ctx: Context, validation: float | str) -> DatasetDict:
    """Run a dataset stage: its documents as `train` and `validation`, on disk in `ctx.dir`.

    Columns: `text` (str) and, where any document has them, `segments` (a list of {"text", "loss"}, or None).
    `validation` is a fraction in (0, 1), used where the data has no validation split of its own; the name of a
    split; or a file, which the same stage reads. The same seed and data give the same split on every machine.
    Raises StageError where the documents are not such, or too few; RunStopped when a stop was asked for.
    """
    import datasets

    splits = splits_of(stage.run(ctx))
    train_name = train_split(splits)
    train_source = splits.pop(train_name)
    if not isinstance(validation, str):
        own = next((name for name in VALIDATION_SPLITS if name in splits), None)
        if own is None:
            return _fraction(_write("documents", train_source, ctx), float(validation), ctx)
        validation = own
    others, said = held_out(stage, ctx, validation, splits, train_name)
    found = {"train": _write("train", train_source, ctx), "validation": _write("validation", others, ctx)}
    for split, dataset in found.items():
        if not len(dataset):
            raise StageError(f"the {split} split holds no document ({said if split == 'validation' else train_name})")
    ctx.log(f"{len(found['train']):,} documents to train on; validation: {len(found['validation']):,}, {said}")
    return datasets.DatasetDict(found)


def splits_of(returned: Any) -> dict[str, Iterable[Any]]:
    """What a stage returned, by split; one without splits is `train`."""
    if isinstance(returned, str | bytes) or not isinstance(returned, Iterable):
        raise StageError(
            f"what it returned is {_kind(returned)}. A dataset stage returns or yields documents: "
            'str, {"text": str} or {"segments": [...]}'
        )
    if isinstance(returned, Mapping):
        if not returned:
            raise StageError("it returned no split at all")
        return dict(returned)
    return {"train": returned}


def train_split(splits: Mapping[str, Any]) -> str:
    if "train" in splits:
        return "train"
    if len(splits) == 1:
        return next(iter(splits))
    raise StageError(f"no split named 'train'; there are {_listed(splits)}")


def held_out(
    stage: DatasetLoader, ctx: Context, validation: str, splits: Mapping[str, Iterable[Any]], train_name: str
) -> tuple[Iterable[Any], str]:
    """The documents of the split or file that `validation` names, and what to call it. `splits` are the others."""
    if validation in splits:
        return splits[validation], f"the data's own split {validation!r}"
    return _other_file(stage, ctx, validation, [train_name, *splits]), f"file {validation}"


def _other_file(stage: DatasetLoader, ctx: Context, validation: str, names: list[str]) -> Iterable[Any]:
    """The documents of the file that `dataset.validation` names, read by the same stage."""
    from tuiftune.paths import resolve_path

    if "path" not in type(stage.options).model_fields or not resolve_path(validation, ctx.workspace).exists():
        near = difflib.get_close_matches(validation, names, n=1)
        hint = f"Did you mean {near[0]!r}?" if near else "Give a fraction such as 0.1, a file, or a split's name"
        raise StageError(
            f"dataset.validation: {validation!r} is neither a file nor a split of the data; "
            f"there {'is' if len(names) == 1 else 'are'} {_listed(names)}. {hint}"
        )
    again = type(stage)(stage.options.model_copy(update={"path": validation}))
    splits = splits_of(again.run(ctx))
    return splits[train_split(splits)]


def _fraction(documents: Dataset, fraction: float, ctx: Context) -> DatasetDict:
    """A seeded, shuffled part of the documents as validation; both parts keep the order of the data.

    Memory: some 6 bytes a document.
    """
    import numpy as np

    if not 0 < fraction < 1:
        raise StageError(f"dataset.validation: {fraction} is no part of the data. Give a fraction such as 0.1")
    count = len(documents)
    if count < 2:
        what = "there is only 1 document" if count else "there is no document"
        raise StageError(
            f"{what}, and training needs at least one, validation another. Cut the data into more, as stage text does "
            "with dataset.unit=line (a paragraph is ended by an empty line), or name a file for it with "
            "dataset.validation=FILE"
        )
    size = min(max(round(count * fraction), 1), count - 1)
    ctx.log(f"{count:,} documents: {count - size:,} to train on, {size:,} for validation (shuffled, seed {ctx.seed})")
    # RandomState, not default_rng: NumPy promises that its stream never changes (NEP 19).
    order = np.arange(count, dtype=np.uint32 if count < 1 << 32 else np.uint64)
    np.random.RandomState(ctx.seed % 2**32).shuffle(order)
    held_out = np.zeros(count, dtype=np.bool_)
    held_out[order[:size]] = True
    return _divided(documents, held_out, ctx)


def _divided(documents: Dataset, held_out: np.ndarray[Any, np.dtype[np.bool_]], ctx: Context) -> DatasetDict:
    """Each part in a file of its own: an index of rows would take memory, and ten times as long to read by."""
    import datasets
    import numpy as np

    columns = documents.column_names
    parts = {"train": ~held_out, "validation": held_out}
    with ExitStack() as files:
        writers = {name: files.enter_context(RowWriter(ctx.dir / f"{name}.arrow", columns)) for name in parts}
        start = 0
        for table in read_tables(documents, columns, "text"):
            end = start + table.num_rows
            for name, chosen in parts.items():
                rows = table.take(np.flatnonzero(chosen[start:end]))
                writers[name].add_batch({column: rows.column(column).combine_chunks() for column in columns})
            start = end
        found = {name: writer.finish() for name, writer in writers.items()}
    for file in documents.cache_files:
        Path(file["filename"]).unlink()
    return datasets.DatasetDict(found)


def _write(name: str, items: Iterable[Any], ctx: Context) -> Dataset:
    return write_documents(name, documents_in(items, ctx), ctx.dir)


def write_documents(name: str, documents: Iterator[Document], folder: Path) -> Dataset:
    """An Arrow file of them in `folder`; the `segments` column is there where a document has some."""
    plain, mixed = folder / f"{name}.arrow", folder / f"{name}-segments.arrow"
    first_with_segments: Document | None = None
    with RowWriter(plain, ["text"]) as writer:
        for document in documents:
            if document["segments"] is not None:
                first_with_segments = document
                break
            writer.add(document, len(document["text"]))
        dataset = writer.finish()
    if first_with_segments is None:
        return dataset
    with RowWriter(mixed, ["text", "segments"]) as writer:
        for document in _chained(dataset, first_with_segments, documents):
            writer.add(document, 2 * len(document["text"]))
        dataset = writer.finish()
    plain.unlink()
    return dataset


def _chained(before: Dataset, first: Document, rest: Iterator[Document]) -> Iterator[Document]:
    yield from ({"text": row["text"], "segments": None} for row in before)
    yield first
    yield from rest


def documents_in(items: Iterable[Any], ctx: Context, before: int = 0) -> Iterator[Document]:
    """Each item as a document, counted for the progress bar; what no UTF-8 can hold is replaced and counted.

    `before` documents were taken already. One item is taken for each document, none ahead. Raises StageError where
    an item is no document; RunStopped when a stop was asked for.
    """
    mended, count = 0, before
    told = time.monotonic()
    for count, item in enumerate(items, start=before + 1):
        document = _document(item, count)
        if len(document["text"]) > MAX_DOCUMENT_BYTES:
            raise StageError(
                f"document {count} has more than {MAX_DOCUMENT_BYTES >> 20} MiB of text, too long for one document"
            )
        mended += _mend(document)
        if time.monotonic() - told > PROGRESS_S:
            told = time.monotonic()
            ctx.progress(count, None, "documents")
            if ctx.stopping:
                raise RunStopped(0)
        yield document
    ctx.progress(count, count, "documents")
    if mended:
        ctx.log(f"documents with half of a surrogate pair, which is no character: {mended:,}; replaced by U+FFFD")


def _document(item: Any, number: int) -> Document:
    """Raises StageError where `item`, the `number`th from 1, is no document."""
    if isinstance(item, str):
        return {"text": item, "segments": None}
    if not isinstance(item, Mapping):
        raise StageError(
            f"document {number} is {_kind(item)}. A document is a str, "
            '{"text": str} or {"segments": [{"text": str, "loss": bool}, ...]}'
        )
    if item.get("segments") is not None:
        segments = _segments(item["segments"], number)
        return {"text": "".join(segment["text"] for segment in segments), "segments": segments}
    if "text" not in item:
        near = difflib.get_close_matches("text", map(str, item), n=1)
        hint = f". Did you mean 'text' by {near[0]!r}?" if near else ""
        raise StageError(f"document {number} has neither 'text' nor 'segments', but {_listed(item) or 'nothing'}{hint}")
    if not isinstance(item["text"], str):
        raise StageError(f"document {number}: 'text' is {_kind(item['text'])}, not a str")
    return {"text": item["text"], "segments": None}


def _segments(segments: Any, number: int) -> list[dict[str, Any]]:
    if isinstance(segments, str) or not isinstance(segments, Iterable):
        raise StageError(f"document {number}: 'segments' is {_kind(segments)}, not a list")
    found = []
    for place, segment in enumerate(segments, start=1):
        where = f"document {number}, segment {place}"
        if not isinstance(segment, Mapping):
            raise StageError(f'{where} is {_kind(segment)}, not {{"text": str, "loss": bool}}')
        if not isinstance(segment.get("text"), str):
            raise StageError(f"{where}: 'text' is {_kind(segment.get('text'))}, not a str")
        if not isinstance(segment.get("loss"), bool):
            raise StageError(f"{where}: 'loss' is {_kind(segment.get('loss'))}, not a bool")
        found.append({"text": segment["text"], "loss": segment["loss"]})
    return found


def _mend(document: Document) -> bool:
    """Replace lone surrogates, as JSON's "\\ud800" gives them: neither Arrow nor a tokenizer takes them."""
    if document["text"].isascii():
        return False
    try:
        document["text"].encode()
    except UnicodeEncodeError:
        document["text"] = _without_surrogates(document["text"])
        for segment in document["segments"] or ():
            segment["text"] = _without_surrogates(segment["text"])
        return True
    return False


def _without_surrogates(text: str) -> str:
    """Halves that stand side by side become their character, others U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _kind(value: Any) -> str:
    return "nothing (None)" if value is None else f"of type {type(value).__name__!r}"


def _listed(names: Iterable[Any]) -> str:
    return ", ".join(repr(str(name)) for name in names)


def written_files(dataset: DatasetDict, folder: Path) -> list[Path]:
    """The Arrow files under `folder` that a dataset is made of."""
    files = {Path(file["filename"]) for split in dataset.values() for file in split.cache_files}
    return sorted(file for file in files if folder in file.parents)
