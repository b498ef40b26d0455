"""What a person writes on a run: its name, and a note of a line. Both can be changed later, by its owner alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuiftune.errors import WorkspaceError
from tuiftune.run.files import read_json, write_json
from tuiftune.run.folder import Run
from tuiftune.text import one_line

NAME_LENGTH = 60
NOTE_LENGTH = 2000


@dataclass(frozen=True)
class Notes:
    """The fields of notes.json; a run without that file has the name it was started with, and no note."""

    name: str | None = None
    note: str | None = None


def notes_file(run: Run) -> Path:
    """Beside origin.json, which is written once: what was said at the start stays on record there."""
    return run.path / "notes.json"


def read_notes(run: Run, origin: dict[str, Any] | None = None) -> Notes:
    """What is written on a run; of a damaged file what origin.json tells. `origin`: where it was read already."""
    try:
        data = read_json(notes_file(run))
    except (OSError, ValueError):
        data = None
    if isinstance(data, dict):
        return Notes(_text(data.get("name"), NAME_LENGTH), _text(data.get("note"), NOTE_LENGTH))
    return Notes(_text((run.origin() if origin is None else origin).get("name"), NAME_LENGTH))


def rename(run: Run, name: str) -> str | None:
    """Give a run another name; an empty one takes it away. Returns what it is called then. Raises WorkspaceError."""
    return _write(run, Notes(_text(name, NAME_LENGTH), read_notes(run).note)).name


def annotate(run: Run, note: str) -> str | None:
    """Write another note on a run; an empty one takes it away. Returns the note then. Raises WorkspaceError."""
    return _write(run, Notes(read_notes(run).name, _text(note, NOTE_LENGTH))).note


def _text(value: Any, limit: int) -> str | None:
    """One line of it that no terminal is steered by; None where nothing is left."""
    return one_line(value, limit).strip() or None if isinstance(value, str) else None


def _write(run: Run, notes: Notes) -> Notes:
    try:
        write_json(notes_file(run), {"name": notes.name, "note": notes.note})
    except OSError as error:
        raise WorkspaceError(f"{notes_file(run)}: cannot be written: {error.strerror}") from error
    return notes
