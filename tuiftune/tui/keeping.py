"""What a person does to runs from their table: name them, delete them and have them back, export them, ask why."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from textual.message import Message

from tuiftune import units
from tuiftune.errors import TuiftuneError
from tuiftune.run import notes, trash, why
from tuiftune.run.export import export
from tuiftune.run.folder import Run
from tuiftune.run.summary import RunSummary
from tuiftune.tui.messages import ActionDone, ActionFailed
from tuiftune.tui.screens.run_windows import DeleteScreen, ExportScreen, ExportWanted, TextScreen, text_width

if TYPE_CHECKING:
    from textual.screen import Screen

TELL_S = 0.5
"""What takes a while tells how far it is so often."""


@dataclass
class WhyFound(Message):
    """The post-mortem of a run, as text."""

    run_id: str
    text: str


@dataclass
class Trashed(Message):
    """Runs were moved to the trash; `failed` says why others were not."""

    deleted: Sequence[trash.Deleted]
    failed: Sequence[str]


@dataclass
class ExportTold(Message):
    """How far an export is; an empty text once it is done."""

    run_id: str
    text: str


class Keeper:
    """Asks, and then does it in a thread; what came of it is a message to the screen or the app."""

    def __init__(self, screen: Screen[None]) -> None:
        self._screen = screen
        self._deleted: Sequence[trash.Deleted] = ()
        """Those that were deleted last."""

    def _in_a_thread(self, do: Callable[[], None]) -> None:
        self._screen.run_worker(do, thread=True, exit_on_error=False, group="keeping")

    def _done(self, title: str, sentence: str) -> None:
        self._screen.post_message(ActionDone(title, sentence))

    def _failed(self, title: str, error: TuiftuneError) -> None:
        self._screen.post_message(ActionFailed(title, str(error).splitlines()))

    # Why.

    def tell_why(self, run: Run) -> None:
        width = text_width(self._screen.app.size.width)

        def find() -> None:
            try:
                self._screen.post_message(WhyFound(run.id, why.text(why.look(run), width)))
            except TuiftuneError as error:
                self._failed(f"{run.id} cannot be read", error)

        self._in_a_thread(find)

    # Name and note.

    def name(self, summary: RunSummary) -> None:
        words = "Its id stays; an empty line takes the name away."
        self._edit(summary, "name", summary.name, words, notes.rename)

    def note(self, summary: RunSummary) -> None:
        words = "A line on it for later; an empty one takes it away."
        self._edit(summary, "note", summary.note, words, notes.annotate)

    def _edit(
        self, summary: RunSummary, what: str, before: str | None, words: str, write: Callable[[Run, str], str | None]
    ) -> None:
        run = Run(Path(summary.path))

        def written(text: str) -> None:
            try:
                found = write(run, text)
            except TuiftuneError as error:
                self._failed(f"The {what} was not written", error)
            else:
                self._done(f"{what.capitalize()} of {run.id}", found or f"it has no {what} now")

        def answered(text: str | None) -> None:
            if text is not None:
                self._in_a_thread(lambda: written(text))

        title = f"The {what} of {run.id}"
        self._screen.app.push_screen(TextScreen(title, [words], before or "", what.upper(), "write"), answered)

    # The trash.

    @property
    def can_undo(self) -> bool:
        return bool(self._deleted)

    def delete(self, found: Sequence[RunSummary], sizes: Sequence[int | None]) -> None:
        """`sizes`: bytes on the disk, where they are known."""
        known = [size for size in sizes if size is not None]
        told = f" ({units.size(sum(known))})" if len(known) == len(found) else ""
        runs = [Run(Path(run.path)) for run in found]

        def delete() -> None:
            deleted, failed = [], []
            for run in runs:
                try:
                    deleted.append(trash.delete(run))
                except TuiftuneError as error:
                    failed.append(str(error))
            self._screen.post_message(Trashed(tuple(deleted), tuple(failed)))

        def answered(yes: bool | None) -> None:
            if yes:
                self._in_a_thread(delete)

        self._screen.app.push_screen(DeleteScreen([run.id for run in runs], told), answered)

    def trashed(self, message: Trashed) -> None:
        if message.deleted:
            self._deleted = message.deleted
            many = f"{len(message.deleted)} runs" if len(message.deleted) > 1 else message.deleted[0].id
            self._done(f"Deleted {many}", "in the trash; u undoes it")
        if message.failed:
            self._screen.post_message(ActionFailed("Not everything was deleted", message.failed))

    def undo(self) -> None:
        """Put back what was deleted last."""
        deleted, self._deleted = self._deleted, ()

        def restore() -> None:
            try:
                back = [trash.restore(one) for one in deleted]
            except TuiftuneError as error:
                self._failed("Not everything was put back", error)
            else:
                self._done("Put back", ", ".join(run.id for run in back))

        self._in_a_thread(restore)

    # Exports.

    def export(self, found: Sequence[RunSummary]) -> None:
        runs = [Run(Path(run.path)) for run in found]
        to = runs[0].id if len(runs) == 1 else "."

        def answered(wanted: ExportWanted | None) -> None:
            if wanted is not None:
                self._in_a_thread(lambda: self._export(runs, wanted))

        self._screen.app.push_screen(ExportScreen([run.id for run in runs], to), answered)

    def _export(self, runs: Sequence[Run], wanted: ExportWanted) -> None:
        for run in runs:
            try:
                made = export(run, wanted.to, wanted.what, self._teller(run))
            except TuiftuneError as error:
                self._failed(f"{run.id} was not exported", error)
            else:
                self._done(
                    f"Exported {run.id}", "; ".join([f"{made.place}, {units.size(made.size_bytes)}", *made.left_out])
                )
            finally:
                self._screen.post_message(ExportTold(run.id, ""))

    def _teller(self, run: Run) -> Callable[[int, int], None]:
        """Says now and then how far an export is."""
        told = time.monotonic()

        def tell(done: int, total: int) -> None:
            nonlocal told
            if time.monotonic() - told > TELL_S:
                told = time.monotonic()
                self._screen.post_message(ExportTold(run.id, f"exported {units.size(done)} of {units.size(total)}"))

        return tell
