"""A tokenizer, asked for just what `tokenize` needs: a batch of documents at a time, on all cores."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, Protocol

import tuiftune

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    IntArray = np.ndarray[Any, np.dtype[np.int64]]

LIKELY = 0.8
"""From this part of the length that is cut on, a document is encoded with the places of its tokens at once: that takes
a third longer than without, asking again takes more than twice as long."""


class Encoding(Protocol):
    """What is used of a `tokenizers.Encoding`."""

    @property
    def ids(self) -> list[int]: ...
    @property
    def offsets(self) -> list[tuple[int, int]]: ...
    def token_to_chars(self, token_index: int) -> tuple[int, int] | None: ...
    def __len__(self) -> int: ...


@dataclass(frozen=True)
class Encoded:
    """A batch as the tokenizer gave it back."""

    documents: int
    """Of the batch, those without text too."""
    texts: list[str]
    """Those that hold any text."""
    n_bytes: IntArray
    """UTF-8 bytes of each of them."""
    segments: list[Any] | None
    encodings: Sequence[Encoding]
    placed: frozenset[int] | None
    """Numbers of the encodings that know the places of their tokens; None where all do."""


@dataclass(frozen=True)
class Tokens:
    """The documents of a batch that hold any token, end to end, each ended by the end-of-text token."""

    ids: np.ndarray[Any, np.dtype[np.int32]]
    lengths: IntArray
    """Tokens of each document."""
    n_bytes: IntArray
    """UTF-8 bytes of each document."""
    mask: np.ndarray[Any, np.dtype[np.bool_]] | None
    """For each token whether it carries loss; None where no document of the data has segments."""
    cuts: dict[int, tuple[list[int], list[int]]]
    """Of each document that is too long, by its number in the batch: after how many of its tokens it is cut, and the
    UTF-8 bytes before each cut; its ends are not among them."""


@contextmanager
def on_all_cores() -> Iterator[None]:
    """The tokenizers library encodes a batch on every core, which runs have switched off for their forked data
    workers' sake; it looks at the environment for each batch."""
    name = "TOKENIZERS_PARALLELISM"
    before = os.environ.get(name)
    os.environ[name] = "true"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


class Encoder:
    """Encodes documents; `cut_at` gives, for a document of so many tokens, after how many of them it is cut."""

    def __init__(
        self, tokenizer: Any, special_tokens: bool, with_mask: bool, max_length: int, cut_at: Callable[[int], list[int]]
    ) -> None:
        if with_mask and not tokenizer.is_fast:
            raise tuiftune.StageError(
                "documents with segments need a fast tokenizer (one with a tokenizer.json), which this model lacks"
            )
        self._tokenizer, self._with_mask = tokenizer, with_mask
        self._max_length, self._cut_at = max_length, cut_at
        self._arguments = {
            "split_special_tokens": not special_tokens,
            "return_attention_mask": False,
            "return_token_type_ids": False,
            "verbose": False,  # no warning about long documents: they are cut here
        }
        self._backend = self._rust_backend()
        self._characters = self._tokens = 1  # so far; before any is seen, a character may be a token
        self._eos: int = tokenizer.eos_token_id
        unknown: int | None = tokenizer.unk_token_id
        self.unknown_id = unknown if unknown != self._eos else None
        """None for GPT-2 and its like, which know every byte and name their end-of-text token here."""

    def _rust_backend(self) -> Any:
        """What a plain fast tokenizer hands all its work to: asked directly, short documents take half the time.
        None where the tokenizer does something to the text itself."""
        from transformers.tokenization_utils_base import PreTrainedTokenizerBase
        from transformers.tokenization_utils_tokenizers import TokenizersBackend

        kind = type(self._tokenizer)
        plain = (
            issubclass(kind, TokenizersBackend)
            and kind.__call__ is PreTrainedTokenizerBase.__call__
            and kind._encode_plus is TokenizersBackend._encode_plus
        )
        if not plain:
            return None
        self._tokenizer("a", **self._arguments)  # sets the backend up: no padding, no truncation, special tokens or not
        return self._tokenizer.backend_tokenizer

    def encode(self, table: pa.Table) -> Encoded:
        """The column `text` as the tokenizer gives it back, and `segments` where there are such.

        Other threads run meanwhile; only one at a time may be in here.
        """
        import pyarrow.compute as pc

        filled = table.filter(pc.greater(pc.binary_length(table.column("text")), 0))
        texts: list[str] = filled.column("text").to_pylist()
        n_bytes = pc.binary_length(filled.column("text")).to_numpy().astype("int64")
        segments: list[Any] | None = filled.column("segments").to_pylist() if self._with_mask else None
        encodings, placed = self._encoded(texts)
        self._characters += sum(map(len, texts))
        self._tokens += sum(map(len, encodings))
        return Encoded(table.num_rows, texts, n_bytes, segments, encodings, placed)

    def _encoded(self, texts: list[str]) -> tuple[Sequence[Encoding], frozenset[int] | None]:
        if not texts:
            return [], None
        if self._backend is None:
            return self._by_the_tokenizer(texts), None
        if self._with_mask:
            return self._backend.encode_batch(texts), None
        enough = LIKELY * self._max_length * self._characters / self._tokens
        long = [number for number, text in enumerate(texts) if len(text) > enough]
        if not long:
            return self._backend.encode_batch_fast(texts), frozenset()
        if len(long) == len(texts):
            return self._backend.encode_batch(texts), None
        placed = frozenset(long)
        with_places = iter(self._backend.encode_batch([texts[number] for number in long]))
        others = [text for number, text in enumerate(texts) if number not in placed]
        without = iter(self._backend.encode_batch_fast(others))
        return [next(with_places if number in placed else without) for number in range(len(texts))], placed

    def _by_the_tokenizer(self, texts: list[str]) -> Sequence[Encoding]:
        fast = self._tokenizer.is_fast
        found = self._tokenizer(texts, return_offsets_mapping=fast, **self._arguments)
        places = found["offset_mapping"] if fast else [[]] * len(texts)
        return [_Encoding(ids, offsets) for ids, offsets in zip(found["input_ids"], places, strict=True)]

    def tokens(self, batch: Encoded) -> Tokens:
        """What `encode` gave, as arrays. Documents that no token is left of are left out."""
        import numpy as np

        lengths = np.fromiter(map(len, batch.encodings), dtype=np.int64, count=len(batch.encodings))
        numbers: list[int] = np.flatnonzero(lengths).tolist()
        lengths = lengths[numbers]
        found = [batch.encodings[number] for number in numbers]
        ids = np.fromiter(chain.from_iterable(one.ids for one in found), dtype=np.int32, count=int(lengths.sum()))
        mask = self._mask(batch, numbers)
        ends = np.cumsum(lengths)
        unended = ids[ends - 1] != self._eos  # some tokenizers end a text themselves
        ids = np.insert(ids, ends[unended], self._eos)
        lengths = lengths + unended
        if mask is not None:
            mask = np.insert(mask, ends[unended], True)
            self._mask_ends(mask, np.cumsum(lengths), batch, numbers)
        n_bytes = batch.n_bytes[numbers]
        cuts = {}
        for place in np.flatnonzero(lengths > self._max_length).tolist():
            at = self._cut_at(int(lengths[place]))
            cuts[place] = at, self._bytes_before(batch, numbers[place], int(lengths[place]), at)
        return Tokens(ids, lengths, n_bytes, mask, cuts)

    def _mask(self, batch: Encoded, numbers: list[int]) -> np.ndarray[Any, np.dtype[np.bool_]] | None:
        import numpy as np

        if batch.segments is None:
            return None
        found = [loss_mask(batch.segments[number], batch.encodings[number].offsets) for number in numbers]
        return np.concatenate(found) if found else np.zeros(0, dtype=np.bool_)

    @staticmethod
    def _mask_ends(
        mask: np.ndarray[Any, np.dtype[np.bool_]], ends: IntArray, batch: Encoded, numbers: list[int]
    ) -> None:
        """The end-of-text token carries loss where the last segment does."""
        assert batch.segments is not None  # noqa: S101 - there is a mask
        for end, number in zip(ends.tolist(), numbers, strict=True):
            if batch.segments[number]:
                mask[end - 1] = bool(batch.segments[number][-1]["loss"])

    def _bytes_before(self, batch: Encoded, number: int, length: int, cuts: list[int]) -> list[int]:
        """UTF-8 bytes of a document's text before each of the tokens at `cuts`."""
        text, encoding = batch.texts[number], batch.encodings[number]
        if not self._tokenizer.is_fast:  # tells no places: in proportion to the tokens
            return [int(batch.n_bytes[number]) * cut // length for cut in cuts]
        if batch.placed is not None and number not in batch.placed:
            (encoding,) = self._backend.encode_batch([text])
        found, character, n_bytes = [], 0, 0
        for cut in cuts:
            before, character = character, len(text)  # where it is cut before the end-of-text token
            if cut < len(encoding):
                character = max(before, (encoding.token_to_chars(cut) or (0, 0))[0])
            n_bytes += len(text[before:character].encode())
            found.append(n_bytes)
        return found


@dataclass(frozen=True)
class _Encoding:
    """An Encoding from what a tokenizer of another kind gives."""

    ids: list[int]
    offsets: list[tuple[int, int]]

    def token_to_chars(self, token_index: int) -> tuple[int, int] | None:
        return self.offsets[token_index]

    def __len__(self) -> int:
        return len(self.ids)


def loss_mask(
    segments: list[dict[str, Any]] | None, offsets: list[tuple[int, int]]
) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """For each token whether some character of it lies in a segment with loss."""
    import numpy as np

    if segments is None:
        return np.ones(len(offsets), dtype=np.bool_)
    flags = np.repeat([segment["loss"] for segment in segments], [len(segment["text"]) for segment in segments])
    before = np.concatenate([[0], np.cumsum(flags)])  # characters with loss before each character
    spans = np.asarray(offsets, dtype=np.int64).reshape(-1, 2)
    starts = np.minimum(spans[:, 0], len(flags) - 1)
    ends = np.maximum(spans[:, 1], starts + 1)  # a token of no character, such as BOS, goes with the one that follows
    mask: np.ndarray[Any, np.dtype[np.bool_]] = before[ends] > before[starts]
    return mask
