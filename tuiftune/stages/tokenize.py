"""Preprocess stage `tokenize`: documents become token ids, each ended by the end-of-text token."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import tuiftune
from tuiftune.errors import RunStopped
from tuiftune.rows import RowWriter, read_batches
from tuiftune.stages._positions import check_length

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

UNKNOWN_SHARE = 0.01
"""Of the tokens; from here on it is said that the tokenizer does not know the text's characters."""


class Tokenize(tuiftune.Preprocessor):
    """Documents as token ids, each ended by the end-of-text token; too long ones are split, or cut."""

    name = "tokenize"

    class Options(tuiftune.Options):
        max_length: int = tuiftune.Field(
            512, ge=8, description="tokens in a row at most, the end-of-text token included"
        )
        overflow: Literal["split", "truncate"] = tuiftune.Field(
            "split",
            description="longer documents are split into rows of max_length tokens, or cut after so many; "
            "what is cut is thrown away",
        )
        special_tokens: bool = tuiftune.Field(
            False,
            description="read names of special tokens in the text, such as <|im_start|>, as those tokens; "
            "otherwise they are text like any other, so that data cannot end a document or pose as a speaker",
        )

    def run(self, ctx: tuiftune.Context) -> DatasetDict:
        """Columns: `input_ids` (int32), `n_bytes` (UTF-8 bytes of the text a row carries; they add up to those of
        the documents) and, where documents have segments, `loss_mask` (False where a token carries no loss).

        Raises StageError where the tokenizer cannot be had or the rows do not fit the model.
        """
        import datasets

        from tuiftune.training.model import load_tokenizer

        assert ctx.input is not None  # noqa: S101 - preprocess stages come after the dataset
        for split, dataset in ctx.input.items():
            if "text" not in dataset.column_names:
                there = ", ".join(map(repr, dataset.column_names))
                raise tuiftune.StageError(f"no 'text' in {split} but {there}: is it tokenized already?")
        tokenizer = load_tokenizer(ctx.model, ctx.workspace)
        check_length("tokenize.max_length", self.options.max_length, ctx, tokenizer)
        found = {split: self._tokenize(split, ctx.input[split], tokenizer, ctx) for split in ("train", "validation")}
        for split, (_dataset, report) in found.items():
            ctx.fact(**{f"{split}_{name}": value for name, value in vars(report).items()})
        return datasets.DatasetDict({split: dataset for split, (dataset, _report) in found.items()})

    def _tokenize(self, split: str, dataset: Dataset, tokenizer: Any, ctx: tuiftune.Context) -> tuple[Dataset, Report]:
        with_mask = "segments" in dataset.column_names
        columns = ["text", "segments"] if with_mask else ["text"]
        encoder = _Encoder(tokenizer, self.options.special_tokens, with_mask)
        report = Report(max_length=self.options.max_length)
        written = ["input_ids", "n_bytes", "document", *(["loss_mask"] if with_mask else [])]
        done = 0
        with RowWriter(ctx.dir / f"{split}.arrow", written) as writer:
            for batch in read_batches(dataset, columns, "text"):
                rows: dict[str, list[Any]] = {name: [] for name in written}
                for document in encoder.encode(batch["text"], batch.get("segments")):
                    for row in self._rows(document, encoder, report):
                        for name in written:
                            rows[name].append(row[name])
                writer.add_batch(rows)
                done += len(batch["text"])
                ctx.progress(done, len(dataset), f"documents of {split}")
                if ctx.stopping:
                    raise RunStopped(0)
            tokenized = writer.finish()
        report.say(split, len(dataset), self.options.overflow, with_mask, tokenizer, ctx)
        return tokenized, report

    def _rows(self, document: Document, encoder: _Encoder, report: Report) -> Iterator[dict[str, Any]]:
        """The rows of one document; parts of a split one have no end-of-text token but the last."""
        length, limit = len(document.ids), self.options.max_length
        report.add(document, encoder.unknown_id)
        if length <= limit:
            cuts, ends = [0, length], [0, len(document.text.encode())]
        else:
            cuts = [0, limit] if self.options.overflow == "truncate" else cut_points(length, limit)
            ends = encoder.bytes_before(document, cuts)
            report.long_documents += 1
        for number in range(len(cuts) - 1):
            start, end = cuts[number], cuts[number + 1]
            report.tokens += end - start
            report.rows += 1
            yield {
                "input_ids": document.ids[start:end],
                "n_bytes": ends[number + 1] - ends[number],
                "document": report.documents,  # the parts of one are neighbours and have the same number
                "loss_mask": document.mask[start:end] if document.mask is not None else None,
            }


@dataclass(frozen=True)
class Document:
    """One document as tokens, its end-of-text token included."""

    text: str
    ids: list[int]
    mask: list[bool] | None
    """For each token whether it carries loss; None where no document of the data has segments."""


@dataclass
class Report:
    """What is said of a split."""

    max_length: int
    documents: int = 0
    rows: int = 0
    tokens: int = 0
    """In the rows."""
    tokens_read: int = 0
    """Of the documents, before any was cut."""
    unknown: int = 0
    longest: int = 0
    long_documents: int = 0
    tokens_with_loss: int = 0

    def add(self, document: Document, unknown_id: int | None) -> None:
        self.documents += 1
        self.tokens_read += len(document.ids)
        self.longest = max(self.longest, len(document.ids))
        self.unknown += document.ids.count(unknown_id) if unknown_id is not None else 0
        self.tokens_with_loss += sum(document.mask) if document.mask is not None else len(document.ids)

    def say(
        self, split: str, given: int, overflow: str, with_mask: bool, tokenizer: Any, ctx: tuiftune.Context
    ) -> None:
        """A line about the split, and one about each thing to look at. Raises StageError where nothing can be
        learnt from it."""
        if not self.documents:
            raise tuiftune.StageError(f"none of the {given:,} documents of {split} holds any text")
        if not self.tokens_with_loss:
            raise tuiftune.StageError(
                f"no segment of {split} carries loss, so nothing could be learnt from it or measured on it. "
                'Give some segments "loss": true'
            )
        line = f"{split}: {self.documents:,} documents, {self.tokens_read:,} tokens, longest {self.longest:,}"
        if with_mask:
            line += f"; {self.tokens_with_loss / self.tokens_read:.1%} of them carry loss"
        if given > self.documents:
            line += f"; {given - self.documents:,} without any text left out"
        ctx.log(line)
        if self.long_documents:
            share = self.long_documents / self.documents
            line = f"{split}: longer than {self.max_length:,} tokens: {self.long_documents:,} documents ({share:.1%})"
            if overflow == "split":
                ctx.log(f"{line}, split; {self.rows:,} rows in all")
            else:
                ctx.log(f"{line}, cut; that throws away {1 - self.tokens / self.tokens_read:.1%} of all tokens")
        if self.unknown > UNKNOWN_SHARE * self.tokens_read:
            ctx.log(
                f"{split}: {self.unknown / self.tokens_read:.1%} of the tokens are {tokenizer.unk_token}: this "
                "tokenizer does not know their characters"
            )


class _Encoder:
    """A tokenizer, asked for just what is needed."""

    def __init__(self, tokenizer: Any, special_tokens: bool, with_mask: bool) -> None:
        if with_mask and not tokenizer.is_fast:
            raise tuiftune.StageError(
                "documents with segments need a fast tokenizer (one with a tokenizer.json), which this model lacks"
            )
        self._tokenizer, self._with_mask = tokenizer, with_mask
        self._arguments = {
            "split_special_tokens": not special_tokens,
            "return_attention_mask": False,
            "return_token_type_ids": False,
            "verbose": False,  # no warning about long documents: they are cut here
        }
        self._eos: int = tokenizer.eos_token_id
        unknown: int | None = tokenizer.unk_token_id
        self.unknown_id = unknown if unknown != self._eos else None
        """None for GPT-2 and its like, which know every byte and name their end-of-text token here."""

    def encode(self, texts: list[str], segments: list[Any] | None) -> Iterator[Document]:
        """Documents of a batch that hold any token."""
        found = self._tokenizer(texts, return_offsets_mapping=self._with_mask, **self._arguments)
        for index, ids in enumerate(found["input_ids"]):
            if not texts[index] or not ids:
                continue
            mask = None
            if self._with_mask:
                mask = _loss_mask(segments[index] if segments else None, found["offset_mapping"][index])
            if ids[-1] != self._eos:  # some tokenizers end a text themselves
                ids.append(self._eos)
                if mask is not None:
                    mask.append(True)
            if mask is not None and segments and segments[index]:
                mask[-1] = bool(segments[index][-1]["loss"])
            yield Document(texts[index], ids, mask)

    def bytes_before(self, document: Document, cuts: Sequence[int]) -> list[int]:
        """UTF-8 bytes of the text before each of the tokens at `cuts`; all of them before the end."""
        text, total = document.text, len(document.text.encode())
        if not self._tokenizer.is_fast:  # tells no positions: in proportion to the tokens
            return [total * cut // len(document.ids) for cut in cuts]
        offsets = self._tokenizer(text, return_offsets_mapping=True, **self._arguments)["offset_mapping"]
        ends, character = [0], 0
        for cut in cuts[1:]:
            before = character
            character = max(before, offsets[cut][0]) if cut < len(offsets) else len(text)
            ends.append(ends[-1] + len(text[before:character].encode()))
        return ends


def cut_points(length: int, limit: int) -> list[int]:
    """Where to cut `length` tokens into parts of `limit`: [0, limit, 2 * limit, ..., length].

    A last part of one token would carry no loss, for nothing stands before it: it gets one of its neighbour's.
    """
    cuts = [*range(0, length, limit), length]
    if len(cuts) > 2 and cuts[-1] - cuts[-2] == 1:
        cuts[-2] -= 1
    return cuts


def _loss_mask(segments: list[dict[str, Any]] | None, offsets: list[tuple[int, int]]) -> list[bool]:
    """For each token whether some character of it lies in a segment with loss."""
    import numpy as np

    if segments is None:
        return [True] * len(offsets)
    flags = np.repeat([segment["loss"] for segment in segments], [len(segment["text"]) for segment in segments])
    before = np.concatenate([[0], np.cumsum(flags)])  # characters with loss before each character
    spans = np.asarray(offsets, dtype=np.int64).reshape(-1, 2)
    starts = np.minimum(spans[:, 0], len(flags) - 1)
    ends = np.maximum(spans[:, 1], starts + 1)  # a token of no character, such as BOS, goes with the one that follows
    mask: list[bool] = (before[ends] > before[starts]).tolist()
    return mask


@tuiftune.hookimpl
def register_stages() -> list[type[tuiftune.Stage]]:
    return [Tokenize]
