"""Preprocess stage `tokenize`: documents become token ids, each ended by the end-of-text token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import tuiftune
from tuiftune.errors import RunStopped
from tuiftune.rows import RowWriter, lists, made_ahead, read_tables
from tuiftune.stages._encoder import Encoder, Tokens, on_all_cores
from tuiftune.stages._positions import check_length

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

    from tuiftune.options import ModelOptions

TOKENIZED_ROWS = 4_096
"""Documents encoded at once at most: 1,000 lines of a play are too few to keep every core busy."""
TOKENIZED_BYTES = 1 << 20
"""Text encoded at once: what the tokenizer gives back takes some 100 bytes a token, and there are two batches of it.
More is no faster: 4 MiB took as long, and 200 MiB more memory."""
UNKNOWN_SHARE = 0.01
"""Of the tokens; from here on it is said that the tokenizer does not know the text's characters."""


class Tokenize(tuiftune.Preprocessor):
    """Documents as token ids, each ended by the end-of-text token; too long ones are split, or cut."""

    name = "tokenize"
    needs_validation = False
    _kept: tuple[ModelOptions, Any] | None = None
    """The tokenizer and whose it is: a stream asks for it with every chunk."""

    class Options(tuiftune.Options):
        max_length: int = tuiftune.Field(
            512,
            ge=8,
            json_schema_extra={"unit": "tokens"},
            description="tokens in a row at most, the end-of-text token included",
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

        assert ctx.input is not None  # noqa: S101 - preprocess stages come after the dataset
        for split, dataset in ctx.input.items():
            if "text" not in dataset.column_names:
                there = ", ".join(map(repr, dataset.column_names))
                raise tuiftune.StageError(f"no 'text' in {split} but {there}: is it tokenized already?")
        tokenizer = self._tokenizer(ctx)
        splits = [split for split in ("train", "validation") if split in ctx.input]
        found = {split: self._tokenize(split, ctx.input[split], tokenizer, ctx) for split in splits}
        whole = [split for split in splits if not (ctx.streaming and split == "train")]
        for split in whole:
            ctx.fact(**{f"{split}_{name}": value for name, value in vars(found[split][1]).items()})
        return datasets.DatasetDict({split: dataset for split, (dataset, _report) in found.items()})

    def _tokenizer(self, ctx: tuiftune.Context) -> Any:
        from tuiftune.training.model import load_tokenizer

        if self._kept is None or self._kept[0] != ctx.model:
            tokenizer = load_tokenizer(ctx.model, ctx.workspace)
            check_length("tokenize.max_length", self.options.max_length, ctx, tokenizer)
            self._kept = (ctx.model, tokenizer)
        return self._kept[1]

    def _tokenize(self, split: str, dataset: Dataset, tokenizer: Any, ctx: tuiftune.Context) -> tuple[Dataset, Report]:
        with_mask = "segments" in dataset.column_names
        columns = ["text", "segments"] if with_mask else ["text"]
        encoder = Encoder(
            tokenizer, self.options.special_tokens, with_mask, self.options.max_length, self._cuts_of_a_document
        )
        report = Report(max_length=self.options.max_length)
        written = ["input_ids", "n_bytes", "document", *(["loss_mask"] if with_mask else [])]
        done = 0
        with on_all_cores(), RowWriter(ctx.dir / f"{split}.arrow", written) as writer:
            tables = read_tables(dataset, columns, "text", TOKENIZED_ROWS, TOKENIZED_BYTES)
            for batch in made_ahead(encoder.encode(table) for table in tables):
                writer.add_batch(self._rows(encoder.tokens(batch), encoder.unknown_id, report))
                done += batch.documents
                ctx.progress(done, len(dataset), f"documents of {split}")
                if ctx.stopping:
                    raise RunStopped(0)
            tokenized = writer.finish()
        report.say(split, len(dataset), self.options.overflow, with_mask, tokenizer, ctx)
        return tokenized, report

    def _cuts_of_a_document(self, length: int) -> list[int]:
        limit = self.options.max_length
        return [limit] if self.options.overflow == "truncate" else cut_points(length, limit)[1:-1]

    def _rows(self, tokens: Tokens, unknown_id: int | None, report: Report) -> dict[str, Any]:
        """The rows of a batch, by column; parts of a split document have no end-of-text token but the last."""
        import numpy as np

        document_ends, byte_ends = np.cumsum(tokens.lengths), np.cumsum(tokens.n_bytes)
        ends, end_bytes = [document_ends], [byte_ends]  # of the rows, in tokens and bytes from the start of the batch
        for number, (cuts, bytes_before) in tokens.cuts.items():
            ends.append(document_ends[number] - tokens.lengths[number] + np.array(cuts))
            end_bytes.append(byte_ends[number] - tokens.n_bytes[number] + np.array(bytes_before))
        row_ends = np.concatenate(ends)
        order = np.argsort(row_ends)
        row_ends = row_ends[order]
        n_bytes = np.diff(np.concatenate(end_bytes)[order], prepend=0)
        document = np.searchsorted(document_ends, row_ends)
        ids, mask, lengths = tokens.ids, tokens.mask, np.diff(row_ends, prepend=0)
        first = report.documents + 1
        report.add(tokens, unknown_id)
        if self.options.overflow == "truncate" and tokens.cuts:  # the row after a cut is thrown away
            cut = np.isin(document, list(tokens.cuts)) & (row_ends == document_ends[document])
            kept = np.repeat(~cut, lengths)
            ids, mask = ids[kept], mask[kept] if mask is not None else None
            lengths, n_bytes, document = lengths[~cut], n_bytes[~cut], document[~cut]
        report.tokens += len(ids)
        report.rows += len(lengths)
        return {
            "input_ids": lists(ids, lengths),
            "n_bytes": n_bytes,
            "document": first + document,  # the parts of one are neighbours and have the same number
            "loss_mask": lists(mask, lengths) if mask is not None else None,
        }


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

    def add(self, tokens: Tokens, unknown_id: int | None) -> None:
        """The documents of a batch."""
        self.documents += len(tokens.lengths)
        self.tokens_read += len(tokens.ids)
        self.longest = max(self.longest, int(tokens.lengths.max(initial=0)))
        self.long_documents += len(tokens.cuts)
        self.unknown += int((tokens.ids == unknown_id).sum()) if unknown_id is not None else 0
        self.tokens_with_loss += int(tokens.mask.sum()) if tokens.mask is not None else len(tokens.ids)

    def say(
        self, split: str, given: int, overflow: str, with_mask: bool, tokenizer: Any, ctx: tuiftune.Context
    ) -> None:
        """A line about the split, and one about each thing to look at. Raises StageError where nothing can be
        learnt from it."""
        if not self.tokens_with_loss and ctx.streaming and split == "train":
            ctx.log(f"{split}: nothing to learn from in {given:,} documents")
            return
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


def cut_points(length: int, limit: int) -> list[int]:
    """Where to cut `length` tokens into parts of `limit`: [0, limit, 2 * limit, ..., length].

    A last part of one token would carry no loss, for nothing stands before it: it gets one of its neighbour's.
    """
    cuts = [*range(0, length, limit), length]
    if len(cuts) > 2 and cuts[-1] - cuts[-2] == 1:
        cuts[-2] -= 1
    return cuts


@tuiftune.hookimpl
def register_stages() -> list[type[tuiftune.Stage]]:
    return [Tokenize]
