"""`dataset.streaming`: documents are tokenised on the way to the trainer, chunk by chunk, and none of them is kept."""

from __future__ import annotations

import hashlib
import itertools
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from tuiftune.errors import RunStopped, StageError
from tuiftune.rows import BATCH_BYTES
from tuiftune.run.data import Document, documents_in, held_out, splits_of, train_split, write_documents
from tuiftune.stage import Context, DatasetLoader, Preprocessor, Signals, Stage

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

__all__ = ["Position", "TokenStream", "load_head"]

CHUNK_DOCUMENTS = 10_000
CHUNK_BYTES = BATCH_BYTES
"""A chunk ends with whichever of the two comes first; its rows are shuffled among themselves."""
COLUMNS = {"input_ids": "int32", "loss_mask": "bool", "lengths": "int32"}
"""What a trainer reads of a row, and as what; those that the preprocess stages leave."""

Row = dict[str, Any]
"""`input_ids` (int32 array) and, where the data has them, `loss_mask` (bool array) and `lengths` (int32 array)."""


class Position(TypedDict):
    """A place between two rows of a stream, as JSON takes it."""

    pass_number: int
    """How often the documents were read to their end before."""
    chunk: int
    """Of the pass, from 0."""
    row: int
    """Rows of the chunk that come before."""
    documents: int
    """Documents of the source before the chunk, those held out included."""
    source: Any
    """The source's own state before the chunk (its `state_dict()`), or None where it has none."""
    digest: str | None
    """Of the chunk's documents, to see whether they are found again; None at the begin of a pass."""


def load_head(stage: DatasetLoader, ctx: Context, validation: int | str) -> DatasetDict:
    """The first chunk of a stage's documents as `train`, and all of `validation`, on disk in `ctx.dir`.

    `validation` is a number of documents from the head of the stream, which are left out of `train`; the name of a
    split; or a file. Columns as of `load_documents`. Raises StageError where there are too few documents.
    """
    import datasets

    splits = splits_of(stage.run(ctx))
    name = train_split(splits)
    documents = documents_in(splits.pop(name), ctx)
    if isinstance(validation, str):
        others, said = held_out(stage, ctx, validation, splits, name)
        validating = documents_in(others, ctx)
    else:
        validating, said = itertools.islice(documents, validation), "the first of the stream, never trained on"
    found = {"validation": write_documents("validation", validating, ctx.dir)}
    found["train"] = write_documents("train", iter(_take_chunk(documents)), ctx.dir)
    if not len(found["validation"]):
        raise StageError(f"the validation split holds no document ({said})")
    if not len(found["train"]):
        raise StageError(
            f"no document is left to train on: the stream has {len(found['validation']):,}, and dataset.validation "
            f"holds out {validation:,}"
            if isinstance(validation, int)
            else f"the stream holds no document ({name})"
        )
    count = sum(map(len, found.values()))
    ctx.progress(count, count, "documents")
    ctx.log(f"streaming; validation: {len(found['validation']):,} documents, {said}")
    ctx.log(f"what is said of train from here on is said of its first {len(found['train']):,} documents")
    return datasets.DatasetDict(found)


class TokenStream:
    """The rows of documents that are read and tokenised while they are trained on, over and over.

    A chunk is some 4 MiB of documents; the profile's preprocess stages run on each by itself, and its rows come in
    an order drawn from (seed, pass, chunk): the same on every machine, and another in every pass. At most the chunk
    that is given out and the one after it are in memory.
    """

    def __init__(
        self,
        loader: Stage,
        ctx: Context,
        preprocess: Sequence[tuple[Stage, Context]],
        held_out: int = 0,
        fingerprint: str = "",
    ) -> None:
        """`ctx` is the loader's. The context of each preprocess stage has the validation split it is handed as
        `input["validation"]`. The first `held_out` documents are no part of the stream."""
        self._loader, self._ctx, self._preprocess = loader, ctx, list(preprocess)
        self._held_out = held_out
        self._closed = False
        self._reading: list[Signals] = []
        self.fingerprint = fingerprint
        """Of what the documents come from; another one means that a Position would mean nothing."""

    @property
    def longest_row(self) -> int | None:
        """The most tokens a row may have, as the last stage with `max_length` or `block_size` says; None without."""
        options = [stage.options for stage, _ in self._preprocess]
        limits = [getattr(each, name, None) for each in options for name in ("max_length", "block_size")]
        found = [limit for limit in limits if isinstance(limit, int)]
        return found[-1] if found else None

    def rows(self, position: Position | None = None) -> Iterator[tuple[Row, Position]]:
        """Every row from `position` on (from the begin when left out) with the position after it, without an end.

        From a position that was saved come exactly the rows that came after it: the chunk it lies in is tokenised
        again, and a source without `state_dict` / `load_state_dict` (as of datasets.IterableDataset) is read up to
        it. The chunk after the one that is given out is made ahead in a thread. One iteration at a time; `close`
        ends it from any thread. Raises StageError where a pass gives no row or the documents of `position` are not
        found again, and whatever the stages raise.
        """
        if self._closed:
            return
        signals = Signals()
        self._reading.append(signals)
        with ThreadPoolExecutor(1, "stream") as ahead:
            chunks = self._chunks(position or self._begin(0), signals)
            try:
                coming = ahead.submit(next, chunks)
                while True:
                    chunk = coming.result()
                    coming = ahead.submit(next, chunks)
                    for number in range(chunk.start["row"], len(chunk.rows)):
                        if signals.stopping:
                            return
                        yield chunk.rows[number], {**chunk.start, "row": number + 1}
            except RunStopped:
                if not signals.stopping:
                    raise
            finally:
                signals.stopping = True  # for the chunk that is being made
                self._reading = [other for other in self._reading if other is not signals]

    def close(self) -> None:
        """End the iteration that is under way, and any to come."""
        self._closed = True
        for signals in list(self._reading):
            signals.stopping = True

    def _begin(self, pass_number: int) -> Position:
        return Position(pass_number=pass_number, chunk=0, row=0, documents=self._held_out, source=None, digest=None)

    def _chunks(self, at: Position, signals: Signals) -> Iterator[_Chunk]:
        """Chunk after chunk from the one that `at` lies in, pass after pass."""
        said = _Said(self._ctx)
        while True:
            begun, rows_of_pass = at["chunk"] == 0, 0
            for start, documents in self._documents(at, signals):
                if signals.stopping:
                    raise RunStopped(0)
                rows = self._prepared(documents, signals)
                rows_of_pass += len(rows)
                said.chunk(len(documents), rows)
                yield _Chunk(start, _shuffled(rows, [self._ctx.seed % 2**32, start["pass_number"], start["chunk"]]))
                at = {**start, "documents": start["documents"] + len(documents)}
            count = at["documents"] - self._held_out
            if begun and not rows_of_pass:
                what = f"no row is left of all {count:,} documents after the preprocess stages"
                raise StageError(what if count else "the stream holds no document to train on")
            at = self._begin(at["pass_number"] + 1)
            self._ctx.log(f"stream: all {count:,} documents were read; pass {at['pass_number'] + 1} over them begins")

    def _documents(self, at: Position, signals: Signals) -> Iterator[tuple[Position, list[Document]]]:
        """The documents of each chunk to the end of the pass, and where it starts.

        Those `at` was saved with must be found again. Where the source's own state does not lead to them (that of
        IterableDataset.shuffle leaves out what was in its buffer), they are read up to from the begin.
        """
        documents, state = self._opened(at, signals)
        taken = _take_chunk(documents)
        if at["source"] is not None and at["digest"] != _digest(taken):
            documents, state = self._opened({**at, "source": None}, signals)
            taken = _take_chunk(documents)
        if at["digest"] not in (None, _digest(taken)):
            raise StageError(
                f"the documents from number {at['documents'] + 1:,} on are no longer those this run was trained on, so "
                "it cannot go on where it was. Put the data back as it was, or start another run"
            )
        while taken:
            at = {**at, "digest": _digest(taken)}
            after = state()
            yield at, taken
            count = at["documents"] + len(taken)
            at = {**at, "chunk": at["chunk"] + 1, "row": 0, "documents": count, "source": after}
            taken = _take_chunk(documents)

    def _opened(self, at: Position, signals: Signals) -> tuple[Iterator[Document], Callable[[], Any]]:
        """The documents from those of a chunk on, and what tells the source's state after each."""
        import datasets

        ctx = replace(self._ctx, recorder=_Silent(), signals=signals, files_read=[])
        splits = splits_of(self._loader.run(ctx))
        source: Any = splits[train_split(splits)]
        count = at["documents"]
        seeks = hasattr(source, "state_dict") and hasattr(source, "load_state_dict")
        if isinstance(source, datasets.Dataset):
            items = iter(source.skip(count))
        elif seeks and at["source"] is not None:
            source.load_state_dict(at["source"])
            items = iter(source)
        else:
            items = iter(source)
            if at["chunk"]:
                self._ctx.log(f"stream: reading past {count:,} documents, to where training was")
            for _ in itertools.islice(items, count):
                if signals.stopping:
                    raise RunStopped(0)
        return documents_in(items, ctx, count), lambda: _json_state(source) if seeks else None

    def _prepared(self, documents: list[Document], signals: Signals) -> list[Row]:
        """The rows that the preprocess stages make of a chunk, in their order."""
        import datasets

        with tempfile.TemporaryDirectory(prefix="tuiftune-") as folder:
            train = write_documents("documents", iter(documents), Path(folder))
            for number, (stage, ctx) in enumerate(self._preprocess):
                given = {"train": train}
                if not isinstance(stage, Preprocessor) or stage.needs_validation:
                    assert ctx.input is not None  # noqa: S101 - see __init__
                    given["validation"] = ctx.input["validation"]
                place = Path(folder, f"{number}-{stage.name}")
                place.mkdir()
                own = {"dir": place, "input": datasets.DatasetDict(given), "files_read": []}
                train = stage.run(replace(ctx, recorder=_Silent(), signals=signals, **own))["train"]
                if not len(train):
                    return []
            return _in_memory(train)


@dataclass(frozen=True)
class _Chunk:
    start: Position
    """Where giving out begins: `row` is not 0 where training goes on inside."""
    rows: list[Row]


@dataclass
class _Said:
    """What is logged of the chunks: after 1, 2, 4, 8, ... of them, so that it is a few lines however many come."""

    ctx: Context
    chunks: int = 0
    documents: int = 0
    rows: int = 0
    tokens: int = 0

    def chunk(self, documents: int, rows: list[Row]) -> None:
        self.chunks, self.documents, self.rows = self.chunks + 1, self.documents + documents, self.rows + len(rows)
        self.tokens += sum(len(row["input_ids"]) for row in rows)
        if self.chunks & (self.chunks - 1) == 0:
            chunks = f"{self.chunks:,} chunk{'s' if self.chunks > 1 else ''}"
            self.ctx.log(
                f"stream: {chunks} prepared since it was opened: {self.documents:,} documents, {self.rows:,} rows of "
                f"{self.tokens:,} tokens"
            )


class _Silent:
    """A recorder for chunks: what stages said of the first one was heard when the run began."""

    def metric(self, step: int, values: Mapping[str, float]) -> None: ...
    def progress(self, stage: int, done: int, total: int | None, unit: str) -> None: ...
    def event(self, kind: str, data: Mapping[str, Any]) -> None: ...
    def sample(self, step: int, prompt: str, text: str, model: str) -> None: ...
    def fact(self, values: Mapping[str, Any]) -> None: ...
    def log(self, text: str) -> None: ...


def _take_chunk(documents: Iterable[Document]) -> list[Document]:
    """The documents of the next chunk, and none ahead; empty at the end."""
    taken: list[Document] = []
    size = 0
    for document in documents:
        taken.append(document)
        size += len(document["text"])
        if len(taken) >= CHUNK_DOCUMENTS or size >= CHUNK_BYTES:
            break
    return taken


def _digest(documents: list[Document]) -> str:
    return hashlib.sha256(json.dumps(documents).encode()).hexdigest()[:16]


def _json_state(source: Any) -> Any:
    """A source's state as a checkpoint keeps it; None for one that JSON does not take: it is read up to instead."""
    try:
        return json.loads(json.dumps(source.state_dict()))
    except TypeError:
        return None


def _shuffled(rows: list[Row], seed: list[int]) -> list[Row]:
    import numpy as np

    # RandomState, not default_rng: NumPy promises that its stream never changes (NEP 19).
    return [rows[number] for number in np.random.RandomState(seed).permutation(len(rows))]


def _in_memory(dataset: Dataset) -> list[Row]:
    """The rows as numpy arrays. Raises StageError where they are no tokens."""
    import numpy as np
    import pyarrow.compute as pc

    if "input_ids" not in dataset.column_names:
        raise StageError(
            f"the data has no tokens, only the columns {dataset.column_names}. Add a preprocess stage: 'tokenize'"
        )
    names = [name for name in COLUMNS if name in dataset.column_names]
    table = dataset.select_columns(names).with_format("arrow")[:]
    columns = []
    for name in names:
        ends = np.cumsum(pc.list_value_length(table[name]).to_numpy())
        values = pc.list_flatten(table[name]).to_numpy().astype(COLUMNS[name])
        columns.append(np.split(values, ends[:-1]))
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]
