"""Name and note of a run, written by a person at any time."""

from __future__ import annotations

import stat
from collections.abc import Callable

from tuiftune.run import notes
from tuiftune.run.files import write_json
from tuiftune.run.folder import Run
from tuiftune.run.summary import summarize


def test_name_and_note_are_written_apart_from_the_record_of_the_start(new_run: Callable[..., Run]) -> None:
    run = new_run()
    write_json(run.origin_file, {"profile": "test", "name": "first"})
    assert notes.read_notes(run) == notes.Notes("first", None)
    assert notes.annotate(run, "look at\nstep 300 \x1b[31m") == "look at step 300"
    assert notes.rename(run, "second") == "second"
    assert (summarize(run).name, summarize(run).note) == ("second", "look at step 300")
    assert notes.rename(run, " ") is None, "an empty name takes it away"
    assert notes.read_notes(run) == notes.Notes(None, "look at step 300")
    assert run.origin()["name"] == "first"
    assert stat.S_IMODE(notes.notes_file(run).stat().st_mode) == 0o600


def test_of_a_damaged_file_the_name_of_the_start_is_left(new_run: Callable[..., Run]) -> None:
    run = new_run()
    write_json(run.origin_file, {"profile": "test", "name": "first"})
    notes.notes_file(run).write_text("{'name': ")
    assert notes.read_notes(run) == notes.Notes("first", None)
    notes.notes_file(run).write_text('{"name": 7, "note": ["x"]}')
    assert notes.read_notes(run) == notes.Notes(None, None)
