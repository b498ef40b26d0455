"""What a row of a table becomes: the text of one column, or of a template such as "{question}\\n{answer}"."""

from __future__ import annotations

import difflib
import json
import string
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tuiftune.errors import StageError


@dataclass(frozen=True)
class TextTemplate:
    """`dataset.text` in parts: literal text before each column, and what stands after the last one."""

    source: str
    parts: tuple[tuple[str, str | None], ...]

    @classmethod
    def parse(cls, source: str) -> TextTemplate:
        """A column's name, or a template with columns in braces. Raises StageError where it cannot be read."""
        if "{" not in source:
            return cls(source, (("", source),))
        try:
            parsed = list(string.Formatter().parse(source))
        except ValueError as error:
            raise StageError(
                f"dataset.text: {source!r} is not a template: {error}. A column is written {{name}}, a brace {{{{"
            ) from error
        for _literal, column, spec, conversion in parsed:
            if column == "" or spec or conversion:
                raise StageError(
                    f"dataset.text: {source!r}: between braces stands the name of a column and nothing else"
                )
        if all(column is None for _literal, column, _spec, _conversion in parsed):
            raise StageError(f"dataset.text: {source!r} names no column; write one as {{name}}")
        return cls(source, tuple((literal, column) for literal, column, _spec, _conversion in parsed))

    @property
    def columns(self) -> list[str]:
        """The columns it reads, each once."""
        return list(dict.fromkeys(column for _literal, column in self.parts if column is not None))

    def render(self, row: Mapping[str, Any]) -> str | None:
        """The text of a row; None where a value is missing, or nothing but blanks would come of its values.

        In a template a blank value is let pass: many tables leave a part of a prompt empty on purpose.
        Raises TypeError at a value that is a list, a table or bytes.
        """
        values = {column: cell_text(row.get(column)) for column in self.columns}
        if any(value is None for value in values.values()) or not any(map(str.strip, map(str, values.values()))):
            return None
        return "".join(literal + (values[column] or "" if column else "") for literal, column in self.parts)

    def check(self, columns: Iterable[str], name: str, hint: str = "") -> None:
        """Raise StageError where a column is not among `columns` of the table called `name`."""
        there = [str(column) for column in columns]
        for column in self.columns:
            if column not in there:
                near = difflib.get_close_matches(column, there, n=1)
                meant = f" Did you mean {near[0]!r}?" if near else ""
                listed = ", ".join(repr(column) for column in there) or "none"
                raise StageError(
                    f"{name}: no column {column!r}; there are {listed}.{meant}"
                    f"{hint or ' Choose with: --set dataset.text=COLUMN'}"
                )


def cell_text(value: Any) -> str | None:
    """A cell as text, numbers and booleans as JSON writes them; None where there is none.

    Raises TypeError for what has no plain text.
    """
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, float) and value != value:  # NaN is how tables say "none"
        return None
    if isinstance(value, (bool, int, float)):
        return json.dumps(value)
    if isinstance(value, (bytes, list, tuple, dict)):
        raise TypeError(type(value).__name__)
    return str(value)  # dates, decimals
