"""Stage `table`: documents of CSV, TSV, JSON Lines and Parquet, and the sentence where a table is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tuiftune.errors import StageError
from tuiftune.stages.table import Table

CSV = b'text,label\n"good, and ""fun""",1\n"two\nlines",0\n'


def test_csv_cells_may_hold_commas_quotes_and_line_breaks(read: Callable[..., Any]) -> None:
    assert read(Table, CSV, "data.csv") == ['good, and "fun"', "two\nlines"]


def test_tsv_is_cut_at_tabs(read: Callable[..., Any]) -> None:
    assert read(Table, b"id\ttext\n1\ta, b\n", "data.tsv") == ["a, b"]


def test_another_delimiter_can_be_named(read: Callable[..., Any]) -> None:
    assert read(Table, b"id;text\n1;a, b\n", "data.csv", delimiter=";") == ["a, b"]


def test_a_template_joins_columns(read: Callable[..., Any]) -> None:
    rows = b'{"question": "1 + 1?", "answer": "2"}\n{"question": "Why {x}?", "answer": ""}\n'
    found = read(Table, rows, "data.jsonl", text="Q: {question}\nA: {answer} {{end}}")
    assert found == ["Q: 1 + 1?\nA: 2 {end}", "Q: Why {x}?\nA:  {end}"]


def test_numbers_and_booleans_become_text(read: Callable[..., Any]) -> None:
    rows = b'{"text": 1945}\n{"text": 0.5}\n{"text": true}\n'
    assert read(Table, rows, "data.jsonl") == ["1945", "0.5", "true"]


def test_rows_without_a_value_are_left_out_and_counted(read: Callable[..., Any], heard: Any) -> None:
    rows = b'{"text": "a"}\n{"text": null}\n\n{"other": 1}\n{"text": "  "}\n{"text": NaN}\n'
    assert read(Table, rows, "data.jsonl") == ["a"]
    assert heard.lines == ["rows without a value for 'text': 4 of 5, left out"]


def test_a_short_csv_row_has_no_value_at_its_end(read: Callable[..., Any], heard: Any) -> None:
    assert read(Table, b"id,text\n1,one\n2\n\n3,three\n", "data.csv") == ["one", "three"]
    assert heard.lines == ["rows without a value for 'text': 1 of 3, left out"]


def test_a_latin_1_table_is_found_out(read: Callable[..., Any], heard: Any) -> None:
    assert read(Table, "text\ncafé crème\n".encode("latin-1"), "data.csv") == ["café crème"]
    assert "data.csv is not UTF-8 (byte 0xE9 in line 2): read as latin-1" in heard.lines[0]


def test_a_cell_longer_than_the_csv_modules_limit_is_read(read: Callable[..., Any]) -> None:
    assert read(Table, b"text\n" + b"x" * 200_000 + b"\n", "data.csv") == ["x" * 200_000]


def test_parquet_is_read_by_column(workspace: Path, context: Callable[..., Any], heard: Any) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({"year": [1945, 1946, None], "text": ["a", "b\nc", "d"]})
    pq.write_table(table, workspace / "data.parquet")
    stage = Table(Table.Options(path="data.parquet", text="{year}: {text}"))
    assert list(stage.run(context(Table))) == ["1945: a", "1946: b\nc"]
    assert heard.lines == ["rows without a value for '{year}: {text}': 1 of 3, left out"]


FAULTS: list[tuple[str, str, bytes, dict[str, Any], str]] = [
    (
        "no such column in csv",
        "data.csv",
        b"txt,label\na,1\n",
        {},
        "data.csv: no column 'text'; there are 'txt', 'label'. Did you mean 'txt'? "
        "Choose with: --set dataset.text=COLUMN",
    ),
    (
        "no such column in jsonl",
        "data.jsonl",
        b'{"question": "a"}\n{"answer": "b"}\n',
        {"text": "{question}{anser}"},
        "data.jsonl: no column 'anser'; there are 'question', 'answer'. Did you mean 'answer'? "
        "Choose with: --set dataset.text=COLUMN",
    ),
    (
        "semicolons",
        "data.csv",
        b"id;text\n1;a\n",
        {},
        "data.csv: no column 'text'; there are 'id;text'. Did you mean 'id;text'? "
        "Its cells look separated by ';': --set \"dataset.delimiter=;\"",
    ),
    (
        "bad json",
        "data.jsonl",
        b'{"text": "a"}\n{"text": "b',
        {},
        "data.jsonl:2: not a JSON object a line: Unterminated string starting at. Mend that line",
    ),
    (
        "a list a line",
        "data.jsonl",
        b'{"text": "a"}\n["b"]\n',
        {},
        "data.jsonl:2: a JSON object is needed on each line, this is a list",
    ),
    (
        "a json array",
        "data.json",
        b'[{"text": "a"}]',
        {},
        "data.json:1: a JSON array. Make it one object a line with: jq -c '.[]' data.json",
    ),
    (
        "a list in a column",
        "data.jsonl",
        b'{"text": "a"}\n{"text": ["b"]}\n',
        {},
        "data.jsonl:2: a value of 'text' is a list, not text. Choose another column with: --set dataset.text=COLUMN",
    ),
    (
        "too many cells",
        "data.csv",
        b"label,text\n1,one\n2,two, too\n",
        {},
        "data.csv:3: 3 cells, but 2 columns. A cell that holds ',' has to stand in double quotes",
    ),
    (
        "open quote",
        "data.csv",
        b'text\none\n"two\nthree\n',
        {},
        "data.csv:3: not CSV: unexpected end of data. A double quote inside a quoted cell is written twice",
    ),
    ("only a header", "data.csv", b"text\n", {}, "data.csv: no rows. Name a table with text: --set dataset.path=FILE"),
    ("empty", "data.csv", b"", {}, "data.csv: the file is empty. Name one with text: --set dataset.path=FILE"),
    (
        "nothing in the column",
        "data.csv",
        b"id,text\n1,\n2,\n",
        {},
        "data.csv: none of its 2 rows has a value for 'text'. Name a table with text: --set dataset.path=FILE",
    ),
    (
        "unknown ending",
        "data.dat",
        b"text\na\n",
        {},
        "data.dat: its ending does not say what it is. Say so with: --set dataset.format=csv (or tsv, jsonl, parquet)",
    ),
    (
        "not parquet",
        "data.parquet",
        b"text\na\n",
        {},
        "data.parquet: cannot be read as Parquet: Parquet file size is 7 bytes, smaller than the minimum file footer "
        "(8 bytes)",
    ),
    (
        "half a template",
        "data.csv",
        b"text\na\n",
        {"text": "{text"},
        "dataset.text: '{text' is not a template: expected '}' before end of string. A column is written {name}, "
        "a brace {{",
    ),
    (
        "a format in a template",
        "data.csv",
        b"text\na\n",
        {"text": "{text:>10}"},
        "dataset.text: '{text:>10}': between braces stands the name of a column and nothing else",
    ),
]


@pytest.mark.parametrize(
    ("name", "content", "options", "sentence"), [f[1:] for f in FAULTS], ids=[f[0] for f in FAULTS]
)
def test_a_table_that_cannot_be_read_is_one_sentence(
    read: Callable[..., Any], name: str, content: bytes, options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(StageError) as caught:
        read(Table, content, name, **options)
    assert str(caught.value) == sentence


def test_json_nested_too_deep_is_a_sentence(read: Callable[..., Any]) -> None:
    with pytest.raises(StageError, match=r"^data\.jsonl:2: not a JSON object a line"):
        read(Table, b'{"text": "a"}\n{"text": ' + b"[" * 200_000 + b"\n", "data.jsonl")


def test_rows_go_through_one_at_a_time(workspace: Path, context: Callable[..., Any]) -> None:
    """The second row is not read before the first is asked for: a torn end shows when it is reached."""
    (workspace / "data.jsonl").write_bytes(json.dumps({"text": "a"}).encode() + b"\n{torn")
    documents = Table(Table.Options(path="data.jsonl")).run(context(Table))
    assert next(documents) == "a"
    with pytest.raises(StageError, match=r"^data\.jsonl:2: "):
        next(documents)
