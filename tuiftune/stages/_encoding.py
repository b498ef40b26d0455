"""Text files of any encoding: find out which, say where one is broken, read them line by line."""

from __future__ import annotations

import codecs
import difflib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from encodings.aliases import aliases
from pathlib import Path
from typing import TYPE_CHECKING

from tuiftune.errors import StageError
from tuiftune.rows import MAX_DOCUMENT_BYTES

if TYPE_CHECKING:
    from tuiftune.stage import Context

CHUNK = 1 << 20
MAGIC = {
    b"\x1f\x8b": "compressed with gzip. Unpack it first, with: gunzip",
    b"PK\x03\x04": "a zip archive (or an office document). Unpack it, or save it as plain text",
    b"%PDF": "a PDF. Save it as plain text, with: pdftotext",
    b"PAR1": 'Parquet. Read it with: stage = "table"',
    b"\x28\xb5\x2f\xfd": "compressed with zstd. Unpack it first, with: unzstd",
    b"\xfd7zXZ": "compressed with xz. Unpack it first, with: unxz",
}
BYTE_ORDER_MARKS = {  # UTF-32 before UTF-16: its mark begins with the other's
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
UNDEFINED_IN_CP1252 = frozenset((0x81, 0x8D, 0x8F, 0x90, 0x9D))
LETTERS_8BIT = frozenset(range(0xC0, 0x100)) - {0xD7, 0xF7}
"""Where Latin-1 and cp1252 have their accented letters."""


@dataclass(frozen=True)
class BadByte:
    line: int
    byte: int


def find_encoding(path: Path, name: str, encoding: str, ctx: Context) -> str:
    """The codec to read `path` with: `encoding`, or what "auto" finds out; the whole file is checked.

    `name` is how the user calls the file. Raises StageError with file and line where it cannot be decoded, is
    binary or holds no text.
    """
    refuse_what_is_no_text(path, name)
    if encoding != "auto":
        return _checked(path, name, encoding, "Let it be found out with: --set dataset.encoding=auto")
    with path.open("rb") as file:
        start = file.read(4)
    marked = next((codec for mark, codec in BYTE_ORDER_MARKS.items() if start.startswith(mark)), None)
    if marked:
        return _checked(path, name, marked, "Its first bytes say that it should be: the file is damaged")
    _refuse_nul_bytes(path, name)
    bad = first_bad_byte(path, "utf-8")
    if bad is None:
        return "utf-8-sig"
    found = _old_encoding(path, name, bad)
    ctx.log(
        f"{name} is not UTF-8 (byte 0x{bad.byte:02X} in line {bad.line}): read as {found}. "
        "If letters look wrong, set dataset.encoding"
    )
    return found


@contextmanager
def open_text(path: Path, name: str, encoding: str, ctx: Context) -> Iterator[io.TextIOWrapper]:
    """A text file with its encoding found out and checked; line ends are as they stand (newline="")."""
    codec = find_encoding(path, name, encoding, ctx)
    with path.open(encoding=codec, newline="") as file:
        yield file


def read_lines(file: io.TextIOBase, name: str) -> Iterator[tuple[int, str]]:
    """(number from 1, line without its end). Raises StageError at a line beyond MAX_DOCUMENT_BYTES."""
    number = 0
    while line := file.readline(MAX_DOCUMENT_BYTES):
        number += 1
        if len(line) == MAX_DOCUMENT_BYTES:
            raise StageError(
                f"{name}:{number}: a line of more than {MAX_DOCUMENT_BYTES >> 20} MiB is too long for one document. "
                "Break it into lines"
            )
        yield number, line.rstrip("\r\n")


def first_bad_byte(path: Path, encoding: str) -> BadByte | None:
    """The first byte that cannot be decoded, with its line from 1."""
    decoder = codecs.getincrementaldecoder(encoding)()
    line = 1
    try:
        for chunk in _chunks(path):
            line += _line_breaks(decoder.decode(chunk))
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        before = error.object[: error.start].decode(encoding, "ignore")
        return BadByte(line + _line_breaks(before), error.object[error.start])
    except UnicodeError:  # UTF-16 and UTF-32 without what they must begin with
        return BadByte(line, path.open("rb").read(1)[0])
    return None


def _line_breaks(text: str) -> int:
    return text.count("\n") + text.count("\r") - text.count("\r\n")


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk


def refuse_what_is_no_text(path: Path, name: str) -> None:
    try:
        with path.open("rb") as file:
            start = file.read(8)
    except OSError as error:
        raise StageError(f"{name}: cannot be read: {error.strerror}") from error
    if not start:
        raise StageError(f"{name}: the file is empty. Name one with text: --set dataset.path=FILE")
    for magic, what in MAGIC.items():
        if start.startswith(magic):
            raise StageError(f"{name}: not text but {what}")


def _checked(path: Path, name: str, encoding: str, hint: str) -> str:
    """`encoding` after the whole file was decoded with it."""
    try:
        io.TextIOWrapper(io.BytesIO(), encoding)  # refuses codecs that are not of text, such as hex
        codec = codecs.lookup(encoding).name
    except LookupError as error:
        near = difflib.get_close_matches(encoding.lower(), [*aliases, *aliases.values()], n=1)
        known = "Known are e.g. 'utf-8', 'latin-1', 'cp1252', 'utf-16'"
        if near and near[0] != encoding:
            known = f"Did you mean {near[0]!r}?"
        raise StageError(f"dataset.encoding: {encoding!r} is not a text encoding. {known}") from error
    bad = first_bad_byte(path, codec)
    if bad is not None:
        raise StageError(f"{name}:{bad.line}: byte 0x{bad.byte:02X} is not {encoding}. {hint}")
    return "utf-8-sig" if codec == "utf-8" else codec


def _refuse_nul_bytes(path: Path, name: str) -> None:
    """Binary data, or UTF-16 without a byte order mark."""
    with path.open("rb") as file:
        start = file.read(4096)
    pairs = len(start) // 2 or 1
    for codec, zeros, others in (("utf-16-le", start[1::2], start[::2]), ("utf-16-be", start[::2], start[1::2])):
        if zeros.count(0) > 0.4 * pairs and others.count(0) < 0.05 * pairs:
            raise StageError(f"{name}: looks like {codec}. Read it with: --set dataset.encoding={codec}")
    line = 1
    for chunk in _chunks(path):
        at = chunk.find(b"\0")
        if at >= 0:
            line += chunk.count(b"\n", 0, at)
            raise StageError(f"{name}:{line}: a NUL byte: this is binary data, not text. Name a text file")
        line += chunk.count(b"\n")


def _old_encoding(path: Path, name: str, bad: BadByte) -> str:
    """'latin-1' or 'cp1252' for a file that is not UTF-8, where it reads as Western European text."""
    counts, valid_multibyte = _byte_statistics(path)
    high = sum(counts[0x80:])
    ascii_letters = sum(counts[0x41:0x5B]) + sum(counts[0x61:0x7B])
    letters_8bit = sum(counts[byte] for byte in LETTERS_8BIT)
    controls = sum(counts[byte] for byte in range(0x20) if byte not in b"\t\n\r\f") + counts[0x7F]
    here = f"{name}:{bad.line}: byte 0x{bad.byte:02X} is not UTF-8"
    if valid_multibyte > high - 2 * valid_multibyte:  # any other codec would garble what is good
        raise StageError(f"{here}, though the rest of the file is. Mend that line")
    if controls > 0.01 * sum(counts):
        raise StageError(f"{here}, and this looks like binary data. Name a text file: --set dataset.path=FILE")
    if any(counts[byte] for byte in UNDEFINED_IN_CP1252) or letters_8bit > 0.5 * ascii_letters:
        raise StageError(
            f"{here}, and it is no Western European text either. Say what it is, with: "
            "--set dataset.encoding=cp1251 (or gb18030, shift_jis, latin-1, ...)"
        )
    return "cp1252" if any(counts[0x80:0xA0]) else "latin-1"


def _byte_statistics(path: Path) -> tuple[list[int], int]:
    """How often each byte stands in the file, and how many whole UTF-8 sequences of several bytes do."""
    import numpy as np

    counts = np.zeros(256, dtype=np.int64)
    decoder = codecs.getincrementaldecoder("utf-8")("ignore")
    characters = 0
    for chunk in _chunks(path):
        counts += np.bincount(np.frombuffer(chunk, dtype=np.uint8), minlength=256)
        characters += len(decoder.decode(chunk))
    found = [int(count) for count in counts]
    return found, characters - sum(found[:0x80])
