"""Dataset stage `text`: plain text, a line, a paragraph or a whole file a document."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import tuiftune
from tuiftune.rows import MAX_DOCUMENT_BYTES
from tuiftune.stages._encoding import find_encoding, read_lines


class Text(tuiftune.DatasetLoader):
    """A text file, or a folder of .txt files: a line, a paragraph or a whole file a document."""

    name = "text"
    required_files = ("path",)

    class Options(tuiftune.Options):
        path: str = tuiftune.Field(
            description="text file, or folder whose .txt files are read in the order of their names"
        )
        unit: Literal["line", "paragraph", "file"] = tuiftune.Field(
            "line",
            description="what is one document: a line, the lines between blank lines, or a whole file; "
            "blank ones are left out",
        )
        encoding: str = tuiftune.Field(
            "auto",
            description="'utf-8', 'latin-1', 'cp1252', 'utf-16', ...; 'auto' finds it out and says so",
        )

    def run(self, ctx: tuiftune.Context) -> Iterator[str]:
        """Documents, one after the other. Raises StageError with file and line where there is no text."""
        found = False
        for path, name in self._files(ctx):
            for document in self._documents(path, name, ctx):
                found = True
                yield document
        if not found:
            raise tuiftune.StageError(
                f"{self.options.path}: only blank lines. Name a file with text: --set dataset.path=FILE"
            )

    def _files(self, ctx: tuiftune.Context) -> list[tuple[Path, str]]:
        """(file, what the user calls it)."""
        path = ctx.path(self.options.path)
        if not path.is_dir():
            return [(path, self.options.path)]
        files = sorted(file for file in path.rglob("*.txt") if file.is_file())
        filled = [file for file in files if file.stat().st_size]
        if not filled:
            what = "only empty .txt files" if files else "no .txt file"
            raise tuiftune.StageError(
                f"{self.options.path}: {what} in this folder. Name a file: --set dataset.path=FILE"
            )
        return [(file, str(Path(self.options.path) / file.relative_to(path))) for file in filled]

    def _documents(self, path: Path, name: str, ctx: tuiftune.Context) -> Iterator[str]:
        codec = find_encoding(path, name, self.options.encoding, ctx)
        with path.open(encoding=codec) as file:
            if self.options.unit == "line":
                yield from (line for _number, line in read_lines(file, name) if line.strip())
            elif self.options.unit == "paragraph":
                yield from _paragraphs(file, name)
            else:
                yield from _whole(file, name)


def _paragraphs(file: io.TextIOBase, name: str) -> Iterator[str]:
    """The lines between blank lines, joined by their line breaks."""
    lines: list[str] = []
    size = 0
    for number, line in read_lines(file, name):
        if line.strip():
            lines.append(line)
            size += len(line)
        elif lines:
            yield "\n".join(lines)
            lines, size = [], 0
        if size > MAX_DOCUMENT_BYTES:
            raise tuiftune.StageError(
                f"{name}:{number}: no blank line in more than {MAX_DOCUMENT_BYTES >> 20} MiB, too long for one "
                "document. Use: --set dataset.unit=line"
            )
    if lines:
        yield "\n".join(lines)


def _whole(file: io.TextIOBase, name: str) -> Iterator[str]:
    text = file.read(MAX_DOCUMENT_BYTES + 1)
    if len(text) > MAX_DOCUMENT_BYTES:
        raise tuiftune.StageError(
            f"{name}: more than {MAX_DOCUMENT_BYTES >> 20} MiB, too long for one document. "
            "Use: --set dataset.unit=paragraph"
        )
    if text.strip():
        yield text.rstrip("\n")


@tuiftune.hookimpl
def register_stages() -> list[type[tuiftune.Stage]]:
    return [Text]
