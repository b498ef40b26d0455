"""What will be trained on, measured before training: lengths, repeats, leaks, unknown tokens, tokens with loss.

Rows are read from Arrow in batches; what is kept of each is a few numbers, so that data larger than memory can be
measured.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from tuiftune.errors import StageError
from tuiftune.training.batches import row_lengths, token_rows
from tuiftune.training.first_step import pieces
from tuiftune.training.repeats import EMPTY, find_repeats, find_shared, row_digests, text_digests

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict
    from transformers import PreTrainedTokenizerBase

    from tuiftune.training.batches import IntArray

SPLITS = ("train", "validation")
BINS = 12
"""Of the histogram at most."""
LONGEST = 3
"""Samples that are shown."""
EXCERPT = 200
"""Characters of a text that is shown."""
EXCERPT_TOKENS = 100
READ_ROWS = 1_000


def measure(
    dataset: DatasetDict,
    documents: DatasetDict | None,
    tokenizer: PreTrainedTokenizerBase,
    counted: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The figures of both splits, as they can be written as JSON.

    `dataset` is what is trained on, `documents` the same before it was tokenized, where that is at hand; `counted`
    what the stage `tokenize` counted, as `train_tokens_read`: what it threw away can be known from nothing else.
    Repeats and leaks are of documents, by their text, else of rows, by their token ids; a row of tokens that were
    laid end to end is hardly ever found twice. Raises StageError where the data is not tokenized.
    """
    counted = counted or {}
    lengths = {split: row_lengths(token_rows(dataset[split])) for split in SPLITS}
    for split, found in lengths.items():
        if not int(found.sum()):
            raise StageError(f"{split} has no tokens. Are the documents empty?")
    unknown = unknown_token(tokenizer)
    splits = {
        split: _split(dataset[split], lengths[split], tokenizer, unknown["id"], counted.get(f"{split}_documents"))
        | _cut(split, counted)
        for split in SPLITS
    }
    repeats, leaks = _compared(dataset, documents, tokenizer)
    return {
        "vocabulary": len(tokenizer),
        "unknown_token": unknown,
        "splits": {split: splits[split] | {"repeats": repeats[split]} for split in SPLITS},
        "leaks": leaks,
        "lengths": histogram(lengths),
    }


def _split(
    dataset: Dataset,
    lengths: IntArray,
    tokenizer: PreTrainedTokenizerBase,
    unknown_id: int | None,
    documents: int | None,
) -> dict[str, Any]:
    """`documents`: how many there were, for rows that do not know their document any more."""
    tokens = int(lengths.sum())
    unknown, with_loss = count_tokens(dataset, unknown_id)
    firsts = _first_rows(dataset)
    of_documents = np.add.reduceat(lengths, firsts)
    longest = np.argsort(-of_documents, kind="stable")[:LONGEST]
    return {
        "documents": len(firsts) if "document" in dataset.column_names else documents,
        "rows": len(lengths),
        "tokens": tokens,
        "mean_length": tokens / len(lengths),
        "longest_length": int(lengths.max()),
        "tokens_with_loss": with_loss,
        "share_with_loss": with_loss / tokens,
        "unknown_tokens": unknown,
        "unknown_share": None if unknown is None else unknown / tokens,
        "longest": [
            {"tokens": tokens, "text": row_excerpt(dataset, row, tokenizer, tokens)}
            for tokens, row in zip(of_documents[longest].tolist(), firsts[longest].tolist(), strict=True)
        ],
    }


def _cut(split: str, counted: Mapping[str, Any]) -> dict[str, Any]:
    """What max_length did, by the count of the stage that did it; None where no such stage ran."""
    names = ("max_length", "documents", "long_documents", "longest", "tokens_read", "tokens")
    known: dict[str, int] = {name: counted[f"{split}_{name}"] for name in names if f"{split}_{name}" in counted}
    if len(known) < len(names):
        return {"cut": None}
    return {
        "cut": {
            "max_length": known["max_length"],
            "documents": known["long_documents"],
            "documents_share": known["long_documents"] / known["documents"],
            "longest_document": known["longest"],
            "tokens_thrown_away": known["tokens_read"] - known["tokens"],
            "share_thrown_away": 1 - known["tokens"] / known["tokens_read"],
        }
    }


def _first_rows(dataset: Dataset) -> IntArray:
    """The number of the first row of each document; all rows, where they do not know their document."""
    if "document" not in dataset.column_names:
        return np.arange(len(dataset))
    tables = dataset.select_columns(["document"]).with_format("arrow").iter(batch_size=10_000)
    numbers = np.concatenate([table.column("document").to_numpy() for table in tables])
    return np.flatnonzero(np.diff(numbers, prepend=numbers[0] - 1))


def count_tokens(dataset: Dataset, unknown_id: int | None) -> tuple[int | None, int]:
    """(tokens that are the unknown one, or None where there is none; tokens whose loss is counted).

    Counted are all but the first of a row (or of a document in it, where they are kept apart), which nothing
    predicts, and those whose loss_mask is 0.
    """
    unknown = with_loss = 0
    columns = [name for name in ("input_ids", "loss_mask", "lengths") if name in dataset.column_names]
    for table in dataset.select_columns(columns).with_format("arrow").iter(batch_size=READ_ROWS):
        lists = table.column("input_ids").combine_chunks()
        if unknown_id is not None:
            unknown += int(np.count_nonzero(lists.flatten().to_numpy() == unknown_id))
        lengths = lists.value_lengths().to_numpy()
        counted = np.ones(int(lengths.sum()), dtype=np.bool_)
        if "loss_mask" in columns:
            masks = table.column("loss_mask").combine_chunks()
            counted &= masks.flatten().to_numpy(zero_copy_only=False)
        counted[(np.cumsum(lengths) - lengths)[lengths > 0]] = False
        if "lengths" in columns:
            pieces_of_rows = table.column("lengths").combine_chunks().flatten().to_numpy()
            counted[np.cumsum(pieces_of_rows) - pieces_of_rows] = False
        with_loss += int(counted.sum())
    return (None if unknown_id is None else unknown), with_loss


def unknown_token(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """`id` and `text` of the token for what a tokenizer does not know; both None where there is none.

    `bytes`: every text can be written, byte by byte if need be, so that none is ever needed.
    """
    unknown = tokenizer.unk_token_id
    if unknown is None or unknown == tokenizer.eos_token_id:  # GPT-2 and its like name their end-of-text token here
        found: dict[str, Any] = {"id": None, "text": None}
    else:
        found = {"id": int(unknown), "text": str(tokenizer.unk_token)}
    return found | {"bytes": _knows_bytes(tokenizer)}


def _knows_bytes(tokenizer: PreTrainedTokenizerBase) -> bool:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return False
    described = json.loads(backend.to_str())
    return bool(described["model"].get("byte_fallback")) or '"ByteLevel"' in json.dumps(described["decoder"])


def _compared(
    dataset: DatasetDict, documents: DatasetDict | None, tokenizer: PreTrainedTokenizerBase
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Repeats by split, and what validation shares with train."""
    if documents is not None:
        unit, compared, digests_of = "documents", documents, text_digests
    else:
        unit, compared, digests_of = "rows", dataset, row_digests
    digests = {split: digests_of(compared[split]) for split in SPLITS}

    def shown(split: str, number: int) -> str:
        if documents is not None:
            return excerpt(documents[split][number]["text"])
        return row_excerpt(dataset[split], number, tokenizer)

    repeats = {}
    for split in SPLITS:
        found = find_repeats(digests[split])
        most = None
        if found.most_frequent is not None:
            most = {"times": found.times, "text": shown(split, found.most_frequent)}
        share = found.repeated / max(1, found.compared)
        repeats[split] = {"unit": unit, "count": found.repeated, "share": share, "most_frequent": most}
    shared = find_shared(digests["train"], digests["validation"])
    compared_with = int(np.count_nonzero(digests["validation"] != EMPTY))
    leaks = {
        "unit": unit,
        "count": len(shared),
        "share_of_validation": len(shared) / max(1, compared_with),
        "example": shown("validation", int(shared[0])) if len(shared) else None,
    }
    return repeats, leaks


def histogram(lengths: Mapping[str, IntArray]) -> list[dict[str, int]]:
    """Rows by length: {"from", "to" (both included), and the number of rows of each split}, some 12 of them, from
    the shortest row to the longest."""
    shortest = min(int(found.min()) for found in lengths.values())
    longest = max(int(found.max()) for found in lengths.values())
    width = _round_width((longest - shortest + 1) / BINS)
    start = max(0, shortest - 1) // width * width + 1
    edges = np.arange(start, longest + width + 1, width)
    counts = {split: np.histogram(np.maximum(found, 1), edges)[0] for split, found in lengths.items()}
    return [
        {"from": int(edges[place]), "to": min(longest, int(edges[place + 1]) - 1)}
        | {split: int(found[place]) for split, found in counts.items()}
        for place in range(len(edges) - 1)
    ]


def _round_width(least: float) -> int:
    """The next of 1, 2, 4, 5, 10, 20, 40, 50, 100, ..."""
    power: int = 10 ** math.floor(math.log10(max(1, least)))
    return next(power * factor for factor in (1, 2, 4, 5, 10) if power * factor >= least)


def row_excerpt(dataset: Dataset, number: int, tokenizer: PreTrainedTokenizerBase, tokens: int = 0) -> str:
    """The beginning of a row's text; of a document of `tokens`, where the row is only its first."""
    ids = token_rows(dataset)[number]["input_ids"].tolist()
    shown = ids[:EXCERPT_TOKENS]
    return excerpt("".join(pieces(tokenizer, shown)), goes_on=max(tokens, len(ids)) > len(shown))


def excerpt(text: str, goes_on: bool = False) -> str:
    """The beginning of a text, with an ellipsis where it goes on."""
    return text[: EXCERPT - 1].rstrip() + "…" if goes_on or len(text) > EXCERPT else text
