"""Stage `text`: what comes of a text file, and the sentence where nothing can."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tuiftune.errors import StageError
from tuiftune.stages import text as text_module
from tuiftune.stages.text import Text

FRENCH = "Au commencement, Dieu créa les cieux et la terre.\nLa terre était informe et vide.\n"
RUSSIAN = "\u0432 \u043d\u0430\u0447\u0430\u043b\u0435 \u0441\u043e\u0442\u0432\u043e\u0440\u0438\u043b"
SPEECHES = b"ROMEO:\nBut soft!\n\n\nJULIET:\nAy me!\n"


def test_a_line_is_a_document_and_blank_lines_are_left_out(read: Callable[..., Any]) -> None:
    assert read(Text, SPEECHES) == ["ROMEO:", "But soft!", "JULIET:", "Ay me!"]


def test_a_paragraph_is_what_stands_between_blank_lines(read: Callable[..., Any]) -> None:
    assert read(Text, SPEECHES, unit="paragraph") == ["ROMEO:\nBut soft!", "JULIET:\nAy me!"]


def test_a_whole_file_is_a_document(read: Callable[..., Any]) -> None:
    assert read(Text, SPEECHES, unit="file") == [SPEECHES.decode().rstrip("\n")]


def test_a_folder_is_read_file_by_file_in_the_order_of_names(workspace: Path, context: Callable[..., Any]) -> None:
    for name, content in (("b.txt", "second\n"), ("a.txt", "first\n"), ("empty.txt", ""), ("notes.md", "no\n")):
        path = workspace / "books" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
    stage = Text(Text.Options(path="books"))
    ctx = context(Text)
    assert list(stage.run(ctx)) == ["first", "second"]
    assert ctx.files_read == [workspace / "books"], "a file that is added must be seen by the cache"


def test_line_ends_of_windows_and_old_macs_are_line_ends(read: Callable[..., Any]) -> None:
    assert read(Text, b"one\r\ntwo\rthree\n") == ["one", "two", "three"]


def test_other_unicode_separators_do_not_end_a_line(read: Callable[..., Any]) -> None:
    assert read(Text, "one\u2028still one\ntwo\n".encode()) == ["one\u2028still one", "two"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_unicode_is_read_by_its_byte_order_mark(read: Callable[..., Any], heard: Any, encoding: str) -> None:
    assert read(Text, FRENCH.encode(encoding)) == FRENCH.splitlines()
    assert heard.lines == []


def test_latin_1_is_found_out_and_said(read: Callable[..., Any], heard: Any) -> None:
    assert read(Text, FRENCH.encode("latin-1")) == FRENCH.splitlines()
    assert heard.lines == [
        "data.txt is not UTF-8 (byte 0xE9 in line 1): read as latin-1. If letters look wrong, set dataset.encoding"
    ]


def test_cp1252_is_found_out_by_its_quotes(read: Callable[..., Any], heard: Any) -> None:
    line = "He said \u201cgood\u201d \u2013 and left"
    assert read(Text, line.encode("cp1252")) == [line]
    assert "read as cp1252" in heard.lines[0]


def test_an_old_encoding_can_be_named(read: Callable[..., Any], heard: Any) -> None:
    assert read(Text, RUSSIAN.encode("koi8-r"), encoding="koi8-r") == [RUSSIAN]
    assert heard.lines == []


FAULTS: list[tuple[str, bytes, dict[str, Any], str]] = [
    ("empty", b"", {}, "data.txt: the file is empty. Name one with text: --set dataset.path=FILE"),
    ("blank", b"\n \n\t\n", {}, "data.txt: only blank lines. Name a file with text: --set dataset.path=FILE"),
    (
        "binary",
        b"some\nbytes\0here",
        {},
        "data.txt:2: a NUL byte: this is binary data, not text. Name a text file",
    ),
    ("gzip", b"\x1f\x8b\x08\0\0\0", {}, "data.txt: not text but compressed with gzip. Unpack it first, with: gunzip"),
    (
        "utf-16 without a mark",
        FRENCH.encode("utf-16-le"),
        {},
        "data.txt: looks like utf-16-le. Read it with: --set dataset.encoding=utf-16-le",
    ),
    (
        "damaged utf-8",
        FRENCH.encode() + b"et \xff fin\n",
        {},
        "data.txt:3: byte 0xFF is not UTF-8, though the rest of the file is. Mend that line",
    ),
    (
        "cyrillic",
        b"first\n" + RUSSIAN.encode("koi8-r"),
        {},
        "data.txt:2: byte 0xD7 is not UTF-8, and it is no Western European text either. Say what it is, with: "
        "--set dataset.encoding=cp1251 (or gb18030, shift_jis, latin-1, ...)",
    ),
    (
        "wrong encoding given",
        b"one\ntwo\r\n" + FRENCH.encode("latin-1"),
        {"encoding": "utf-8"},
        "data.txt:3: byte 0xE9 is not utf-8. Let it be found out with: --set dataset.encoding=auto",
    ),
    (
        "unknown encoding",
        b"one\n",
        {"encoding": "latin_11"},
        "dataset.encoding: 'latin_11' is not a text encoding. Did you mean 'latin_1'?",
    ),
    (
        "no text encoding",
        b"one\n",
        {"encoding": "hex"},
        "dataset.encoding: 'hex' is not a text encoding. Known are e.g. 'utf-8', 'latin-1', 'cp1252', 'utf-16'",
    ),
]


@pytest.mark.parametrize(("content", "options", "sentence"), [f[1:] for f in FAULTS], ids=[f[0] for f in FAULTS])
def test_a_file_that_cannot_be_read_is_one_sentence(
    read: Callable[..., Any], content: bytes, options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(StageError) as caught:
        read(Text, content, **options)
    assert str(caught.value) == sentence


def test_the_line_of_a_bad_byte_is_right_beyond_the_first_megabyte(read: Callable[..., Any]) -> None:
    lines = "é\n".encode() * 700_000  # 2.1 MB, several chunks
    with pytest.raises(StageError, match=r"^data\.txt:700001: byte 0xFE is not UTF-8"):
        read(Text, lines + b"\xfe\n")


def test_a_missing_file_says_where_it_was_looked_for(context: Callable[..., Any]) -> None:
    with pytest.raises(StageError, match=r"^no/such\.txt: no such file or folder .*--set dataset\.path=FILE"):
        list(Text(Text.Options(path="no/such.txt")).run(context(Text)))


def test_a_folder_without_text_says_so(workspace: Path, context: Callable[..., Any]) -> None:
    (workspace / "books").mkdir()
    with pytest.raises(StageError, match=r"^books: no \.txt file in this folder"):
        list(Text(Text.Options(path="books")).run(context(Text)))


@pytest.mark.parametrize(
    ("unit", "content", "sentence"),
    [
        ("line", b"short\n" + b"x" * 3000, "data.txt:2: a line of more than"),
        ("paragraph", b"one line\n" * 500, "data.txt:113: no blank line in more than"),
        ("file", b"one line\n" * 500, "data.txt: more than"),
    ],
)
def test_a_document_too_long_for_memory_is_refused(
    read: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, unit: str, content: bytes, sentence: str
) -> None:
    monkeypatch.setattr(text_module, "MAX_DOCUMENT_BYTES", 900)
    monkeypatch.setattr("tuiftune.stages._encoding.MAX_DOCUMENT_BYTES", 900)
    with pytest.raises(StageError) as caught:
        read(Text, content, unit=unit)
    assert str(caught.value).startswith(sentence)


def test_a_big_file_goes_through_a_line_at_a_time(workspace: Path, context: Callable[..., Any]) -> None:
    """64 MiB of text take no more memory than a line."""
    import tracemalloc

    with (workspace / "big.txt").open("wb") as file:
        for _ in range(64):
            file.write(b"All work and no play makes Jack a dull boy.\n" * 23_832)
    documents = Text(Text.Options(path="big.txt")).run(context(Text))
    tracemalloc.start()
    count = sum(1 for _ in documents)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 64 * 23_832
    assert peak < 8 << 20


def test_a_file_that_cannot_be_read_says_why(workspace: Path, context: Callable[..., Any]) -> None:
    (workspace / "data.txt").symlink_to("/proc/self/mem")  # opens, and fails at the first byte, for root too
    with pytest.raises(StageError, match=r"^data\.txt: cannot be read: Input/output error$"):
        list(Text(Text.Options(path="data.txt")).run(context(Text)))
