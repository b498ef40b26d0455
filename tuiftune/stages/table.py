"""Dataset stage `table`: rows of CSV, TSV, JSON Lines or Parquet, by a column or a template over columns."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import tuiftune
from tuiftune.rows import MAX_DOCUMENT_BYTES
from tuiftune.stages._encoding import open_text, read_lines, refuse_what_is_no_text
from tuiftune.stages._template import TextTemplate

ENDINGS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
}

Row = tuple[int, Mapping[str, Any]]
"""(line, or row of a Parquet file, from 1; cells by column)"""


class Table(tuiftune.DatasetLoader):
    """Rows of a CSV, TSV, JSON Lines or Parquet file: a column, or a template over columns."""

    name = "table"
    required_files = ("path",)

    class Options(tuiftune.Options):
        path: str = tuiftune.Field(description="the file; its ending says what it is")
        text: str = tuiftune.Field(
            "text",
            description="the column that holds the text, or a template over columns such as "
            r'"{question}\n{answer}"; rows without a value are left out and counted',
        )
        format: Literal["auto", "csv", "tsv", "jsonl", "parquet"] = tuiftune.Field(
            "auto", description="what the file is, where its ending does not say"
        )
        delimiter: str | None = tuiftune.Field(
            None,
            min_length=1,
            max_length=1,
            description="character between the cells of a CSV file; a comma, or a tab for TSV, when left out",
        )
        encoding: str = tuiftune.Field(
            "auto",
            description="'utf-8', 'latin-1', 'cp1252', 'utf-16', ...; 'auto' finds it out and says so",
        )

    def run(self, ctx: tuiftune.Context) -> Iterator[str]:
        """A document a row. Raises StageError with file and line."""
        path, name = ctx.path(self.options.path), self.options.path
        if path.is_dir():
            raise tuiftune.StageError(f"{name}: a folder. Name one file: --set dataset.path=FILE")
        template = TextTemplate.parse(self.options.text)
        documents = skipped = 0
        for number, row in self._rows(path, name, template, ctx):
            text = _rendered(template, row, f"{name}:{number}")
            if text is None:
                skipped += 1
            else:
                documents += 1
                yield text
        if not documents:
            what = f"none of its {skipped:,} rows has a value for {template.source!r}" if skipped else "no rows"
            raise tuiftune.StageError(f"{name}: {what}. Name a table with text: --set dataset.path=FILE")
        if skipped:
            ctx.log(f"rows without a value for {template.source!r}: {skipped:,} of {documents + skipped:,}, left out")

    def _rows(self, path: Path, name: str, template: TextTemplate, ctx: tuiftune.Context) -> Iterator[Row]:
        kind = self.options.format
        if kind == "auto":
            kind = ENDINGS.get(path.suffix.lower())
        if kind is None:
            refuse_what_is_no_text(path, name)  # a .csv.gz, and the like
            raise tuiftune.StageError(
                f"{name}: its ending does not say what it is. Say so with: --set dataset.format=csv "
                "(or tsv, jsonl, parquet)"
            )
        if kind == "parquet":
            return _parquet_rows(path, name, template)
        if kind == "jsonl":
            return _json_rows(path, name, self.options.encoding, template, ctx)
        delimiter = self.options.delimiter or ("\t" if kind == "tsv" else ",")
        return _csv_rows(path, name, self.options.encoding, delimiter, template, ctx)


def _rendered(template: TextTemplate, row: Mapping[str, Any], where: str) -> str | None:
    try:
        text = template.render(row)
    except TypeError as error:
        raise tuiftune.StageError(
            f"{where}: a value of {template.source!r} is a {error}, not text. Choose another column with: "
            "--set dataset.text=COLUMN"
        ) from error
    if text is not None and len(text) > MAX_DOCUMENT_BYTES:
        raise tuiftune.StageError(
            f"{where}: more than {MAX_DOCUMENT_BYTES >> 20} MiB of text in one row, too long for one document"
        )
    return text


def _csv_rows(
    path: Path, name: str, encoding: str, delimiter: str, template: TextTemplate, ctx: tuiftune.Context
) -> Iterator[Row]:
    csv.field_size_limit(MAX_DOCUMENT_BYTES)  # 128 KiB otherwise, which long documents pass
    with open_text(path, name, encoding, ctx) as file:
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        line = 1
        try:
            header = next(reader, None) or []
            template.check(header, name, _other_delimiter(header, delimiter))
            while True:
                line = reader.line_num + 1
                cells = next(reader, None)
                if cells is None:
                    return
                if len(cells) > len(header):
                    raise tuiftune.StageError(
                        f"{name}:{line}: {len(cells)} cells, but {len(header)} columns. A cell that holds "
                        f"{delimiter!r} has to stand in double quotes"
                    )
                if cells:
                    yield line, dict(zip(header, cells, strict=False))
        except csv.Error as error:
            raise tuiftune.StageError(
                f"{name}:{line}: not CSV: {error}. A double quote inside a quoted cell is written twice"
            ) from error


def _other_delimiter(header: list[str], delimiter: str) -> str:
    """A hint where the header was not cut because another character stands between its cells."""
    if len(header) != 1:
        return ""
    for other, change in ((";", '"dataset.delimiter=;"'), ("\t", "dataset.format=tsv"), ("|", '"dataset.delimiter=|"')):
        if other != delimiter and other in header[0]:
            return f" Its cells look separated by {other!r}: --set {change}"
    return ""


def _json_rows(path: Path, name: str, encoding: str, template: TextTemplate, ctx: tuiftune.Context) -> Iterator[Row]:
    keys: dict[str, None] = {}  # as an ordered set: of the first objects, for the sentence
    unseen = set(template.columns)
    with open_text(path, name, encoding, ctx) as file:
        for number, line in read_lines(file, name):
            if not line.strip():
                continue
            row = _json_object(line, number, name)
            if len(keys) < 100:
                keys.update(dict.fromkeys(row))
            unseen.difference_update(row)
            yield number, row
    if unseen and keys:
        template.check(keys, name)


def _json_object(line: str, number: int, name: str) -> dict[str, Any]:
    if number == 1 and line.lstrip().startswith("["):
        raise tuiftune.StageError(f"{name}:1: a JSON array. Make it one object a line with: jq -c '.[]' {name}")
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        reason = getattr(error, "msg", None) or str(error)
        raise tuiftune.StageError(f"{name}:{number}: not a JSON object a line: {reason}. Mend that line") from error
    if not isinstance(row, dict):
        raise tuiftune.StageError(
            f"{name}:{number}: a JSON object is needed on each line, this is a {type(row).__name__}"
        )
    return row


def _parquet_rows(path: Path, name: str, template: TextTemplate) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            template.check(file.schema_arrow.names, name)
            number = 0
            for batch in file.iter_batches(batch_size=256, columns=template.columns):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except (pa.ArrowException, OSError) as error:
        raise tuiftune.StageError(f"{name}: cannot be read as Parquet: {' '.join(str(error).split())}") from error


@tuiftune.hookimpl
def register_stages() -> list[type[tuiftune.Stage]]:
    return [Table]
