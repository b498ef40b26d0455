"""The rows of the form of a profile, and which of them are left by a filter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tuiftune.editing.form import Field, Section
from tuiftune.toml_lines import KeyPath


@dataclass(frozen=True)
class Line:
    """A row of the form: a section's own (`field` is None), an option, or a blank."""

    section: Section | None = None
    field: Field | None = None

    @property
    def path(self) -> KeyPath:
        if self.field is not None:
            return self.field.path
        return self.section.path if self.section else ()

    @property
    def can_be_chosen(self) -> bool:
        return self.field is not None or (self.section is not None and self.section.is_stage)


def lines_of(sections: Sequence[Section], words: str = "", set_only: bool = False) -> list[Line]:
    """The rows: with `words` only the options that have all of them in their name, with `set_only` those somebody
    has set."""
    found: list[Line] = []
    for section in sections:
        fields = [field for field in section.fields if _matches(section, field, words)]
        if set_only:
            fields = [field for field in fields if field.is_written]
        whole = not words or (not fields and _has(section.title + " " + (section.stage or ""), words))
        if not fields and not (whole and (section.is_stage or section.fields)):
            continue
        if set_only and not fields and not section.is_stage:
            continue
        found += [*([Line()] if found else []), Line(section), *(Line(section, field) for field in fields)]
    return found


def _matches(section: Section, field: Field, words: str) -> bool:
    return _has(f"{section.title} {section.stage or ''} {field.label}", words)


def _has(text: str, words: str) -> bool:
    return all(word in text.lower() for word in words.lower().split())
