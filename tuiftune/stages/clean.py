"""Preprocess stage `clean`: whitespace, empty documents, duplicates, and training documents that validation holds."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import TYPE_CHECKING, Any, Literal

import tuiftune
from tuiftune.errors import RunStopped
from tuiftune.rows import RowWriter, read_batches

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict


class Clean(tuiftune.Preprocessor):
    """Tidy whitespace; drop empty documents, exact duplicates and what validation holds too from train.

    In a stream, duplicates are found within a chunk.
    """

    name = "clean"

    class Options(tuiftune.Options):
        whitespace: Literal["strip", "collapse", "keep"] = tuiftune.Field(
            "strip",
            description="'strip' takes blanks from both ends of a document, 'collapse' also makes every run of "
            "blanks and line breaks one blank; documents with segments are left as they are",
        )
        min_chars: int = tuiftune.Field(
            1, ge=0, description="documents with fewer characters are dropped; 1 drops the empty ones"
        )
        duplicates: bool = tuiftune.Field(
            True, description="of equal documents in train keep the first; validation is left as it is"
        )
        leaks: bool = tuiftune.Field(
            True,
            description="drop documents from train that validation holds too, so that the figures are of unseen text",
        )

    def run(self, ctx: tuiftune.Context) -> DatasetDict:
        """Validation first: its documents are what train must not hold.

        Memory: a hash a document, some 100 bytes. Raises StageError where a split is left empty.
        """
        import datasets

        assert ctx.input is not None  # noqa: S101 - preprocess stages come after the dataset
        held_out: set[bytes] = set()
        found = {
            "validation": self._clean("validation", ctx.input["validation"], held_out, ctx),
            "train": self._clean("train", ctx.input["train"], held_out, ctx),
        }
        return datasets.DatasetDict(train=found["train"], validation=found["validation"])

    def _clean(self, split: str, dataset: Dataset, held_out: set[bytes], ctx: tuiftune.Context) -> Dataset:
        columns = [name for name in ("text", "segments") if name in dataset.column_names]
        dropped: Counter[str] = Counter()
        seen: set[bytes] = set()
        done = 0
        with RowWriter(ctx.dir / f"{split}.arrow", columns) as writer:
            for batch in read_batches(dataset, columns, "text"):
                for row in (dict(zip(columns, values, strict=True)) for values in zip(*batch.values(), strict=True)):
                    row["text"] = self._tidied(row)
                    reason = self._reason_to_drop(split, row["text"], seen, held_out)
                    if reason:
                        dropped[reason] += 1
                    else:
                        writer.add(row, len(row["text"]))
                done += len(batch["text"])
                ctx.progress(done, len(dataset), f"documents of {split}")
                if ctx.stopping:
                    raise RunStopped(0)
            cleaned = writer.finish()
        _say(split, len(dataset), dropped, ctx)
        return cleaned

    def _tidied(self, row: dict[str, Any]) -> str:
        """The text with its whitespace as asked; that of segments must stay what they spell together."""
        text: str = row["text"]
        if row.get("segments") is not None:
            return text if text.strip() else ""
        if self.options.whitespace == "collapse":
            return " ".join(text.split())
        return text.strip() if self.options.whitespace == "strip" else text

    def _reason_to_drop(self, split: str, text: str, seen: set[bytes], held_out: set[bytes]) -> str | None:
        if len(text) < self.options.min_chars or (self.options.min_chars and not text.strip()):
            return "too_short"
        digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
        if split == "validation":
            held_out.add(digest)
            return None
        if self.options.leaks and digest in held_out:
            return "leak"
        if self.options.duplicates and digest in seen:
            return "duplicate"
        seen.add(digest)
        return None


def _say(split: str, total: int, dropped: Counter[str], ctx: tuiftune.Context) -> None:
    """One line about a split. Raises StageError where nothing is left of it."""
    words = {
        "too_short": "empty or too short",
        "duplicate": "exact duplicates",
        "leak": "that validation holds too",
    }
    reasons = ", ".join(f"{dropped[reason]:,} {text}" for reason, text in words.items() if dropped[reason])
    left = total - dropped.total()
    if not left and not (ctx.streaming and split == "train"):
        raise tuiftune.StageError(
            f"nothing is left of the {total:,} documents of {split}: {reasons}. "
            "Relax clean.min_chars, clean.duplicates or clean.leaks, or bring more text"
        )
    ctx.log(f"{split}: {left:,} of {total:,} documents kept" + (f"; dropped {reasons}" if reasons else ""))


@tuiftune.hookimpl
def register_stages() -> list[type[tuiftune.Stage]]:
    return [Clean]
