"""All runs: the table, the queue, the highlighted one, and what is done to them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Container
from textual.message import Message

from tuiftune.errors import TuiftuneError
from tuiftune.run import compare, queue
from tuiftune.run.folder import ACTIVE, RESUMABLE, Run
from tuiftune.run.size import Sizes
from tuiftune.run.summary import RunSummary
from tuiftune.tui.keeping import TELL_S, ExportTold, Keeper, Trashed, WhyFound
from tuiftune.tui.messages import ActionFailed, Glance, GoTo, RerunAsked
from tuiftune.tui.panes.queue import QueuePane
from tuiftune.tui.panes.run_details import RunDetails
from tuiftune.tui.screens.compare import CompareScreen
from tuiftune.tui.screens.place import Place
from tuiftune.tui.screens.run import Asked
from tuiftune.tui.screens.run_windows import TextWindow
from tuiftune.tui.widgets.run_table import RunTable


@dataclass
class Looked(Message):
    """What a thread found out for the table."""

    sizes: Mapping[str, int] | None = None
    """Run id -> bytes on the disk, of all that were looked up so far."""
    waiting: Sequence[str] | None = None
    """Ids of the queued runs, the next one first."""
    settings: tuple[str, Mapping[str, Any]] | None = None
    """A run's id and what it was set to."""


class RunsScreen(Place):
    """The table at the left or above, the highlighted run beside or below it, the queue above both."""

    TITLE = "runs"
    help_text: ClassVar[str] = (
        "All runs of this workspace. c puts 2 to 6 marked ones side by side: their curves over one another, their "
        "results, and only the settings that differ. R runs the highlighted one again with changes, from the profile "
        "it ran with. D moves runs to the trash, u has them back; tuiftune trash --empty frees the disk."
    )
    AUTO_FOCUS = "RunTable"
    BINDINGS = [
        Binding("u", "undo", "Undo delete"),
        Binding("c", "compare", "Compare"),
        Binding("left_square_bracket", "queue('up')", "Sooner", key_display="["),
        Binding("right_square_bracket", "queue('down')", "Later", key_display="]"),
        Binding("K", "queue('up')", "Sooner", show=False),
        Binding("J", "queue('down')", "Later", show=False),
        Binding("slash", "filter", "Filter", key_display="/"),
        Binding("o", "sort", "Sort"),
        Binding("O", "turn_round", "Turn round", show=False),
        Binding("w", "why", "Why"),
        Binding("r", "resume", "Resume"),
        Binding("s", "stop", "Stop"),
        Binding("R", "rerun", "Again"),
        Binding("n", "name", "Name"),
        Binding("t", "note", "Note"),
        Binding("e", "export", "Export"),
        Binding("D", "delete", "Delete"),
        Binding("escape", "clear", "Clear"),
    ]
    CSS = """
    RunsScreen {
        & #runs-body { height: 1fr; }
        & RunTable { height: 1fr; }
        & RunDetails { height: 7; padding: 0 1; border-top: solid $foreground 20%; }
        &.-flat RunDetails, &.-flat QueuePane { display: none; }
        &.-tall RunDetails { height: 9; }
        &.-high RunDetails { height: 12; }
        &.-wide #runs-body { layout: horizontal; }
        &.-wide RunDetails { width: 56; height: 1fr; border-top: none; padding: 0 1 0 2; }
        &.-tall RunTable, &.-high RunTable, &.-wide.-tall RunDetails, &.-wide.-high RunDetails { margin-top: 1; }
        &.-tall QueuePane, &.-high QueuePane { margin: 1 0 0 0; }
    }
    """

    def __init__(self, workspace: Path | None = None) -> None:
        super().__init__(workspace)
        self.table = RunTable()
        self.details = RunDetails()
        self.queue = QueuePane()
        self.keeper = Keeper(self)
        self._runs: Sequence[RunSummary] = ()
        self._sizes: Mapping[str, int] = {}
        self._waiting: Sequence[str] = ()
        self._settings: dict[str, Mapping[str, Any]] = {}
        self._asked: set[str] = set()
        """Runs whose settings are being read, or were."""
        self._doing: dict[str, str] = {}
        self._measuring = Sizes()
        self._typing, self._query = False, ""
        self._compared: CompareScreen | None = None
        self._glance = Glance()
        self._keys: tuple[object, ...] = ()

    def body(self) -> ComposeResult:
        yield self.queue
        with Container(id="runs-body"):
            yield self.table
            yield self.details

    # ------------------------------------------------------------------------------------ what is shown

    def show_runs(self, runs: Sequence[RunSummary]) -> None:
        """All runs, the newest first."""
        self._runs = runs
        if self.is_current:
            self._draw()

    def on_screen_resume(self) -> None:
        self._draw()

    def glance(self, glance: Glance) -> None:
        super().glance(glance)
        self._glance = glance
        if self._compared is not None:
            self._compared.glance(glance)

    def about(self, subject: str | None) -> None:
        """The table itself, whatever lay over it; `subject`: the id of a run to highlight."""
        if self._compared is not None and self.app.screen is self._compared:
            self._compared.dismiss()
        if subject is not None:
            self.table.select(subject)

    def _draw(self) -> None:
        self.table.show(self._runs, self._sizes, self._waiting)
        self._draw_queue()
        self._draw_details()
        self._look()

    def _draw_queue(self) -> None:
        by_id = {run.id: run for run in self._runs if run.state == "queued"}
        ordered = [by_id[name] for name in self._waiting if name in by_id]
        missing = [run for name, run in by_id.items() if name not in self._waiting]
        here = self.table.run
        self.queue.show([*ordered, *missing[::-1]], here.id if here else None)

    def _draw_details(self) -> None:
        run = self.table.run
        settings = self._settings.get(run.id) if run else None
        size = self._sizes.get(run.id) if run else None
        self.details.show(run, settings, size, self._doing.get(run.id, "") if run else "")
        if run is not None and settings is None and run.id not in self._asked:
            self._asked.add(run.id)
            self._in_a_thread(lambda: self._read_settings(Run(Path(run.path))), "settings")
        self._refresh_keys()

    def _refresh_keys(self) -> None:
        run = self.table.run
        keys = (run and run.id, run and run.state, len(self.table.marked), self._typing, bool(self._query))
        if keys != self._keys:
            self._keys = keys
            self.refresh_bindings()

    @on(RunTable.Highlighted)
    @on(RunTable.MarksChanged)
    def _highlighted(self) -> None:
        self._draw_queue()
        self._draw_details()

    def on_looked(self, message: Looked) -> None:
        if message.sizes is not None:
            self._sizes = message.sizes
        if message.waiting is not None:
            self._waiting = message.waiting
        if message.settings is not None:
            self._settings[message.settings[0]] = message.settings[1]
        if message.sizes is not None:
            self.table.show_sizes(message.sizes)
        if message.waiting is not None:
            self.table.show(self._runs, self._sizes, self._waiting)
            self._draw_queue()
        self._draw_details()

    # --------------------------------------------------------------------------- what threads look up

    def _in_a_thread(self, do: Callable[[], None], group: str) -> None:
        self.run_worker(do, thread=True, exit_on_error=False, group=group)

    def _look(self) -> None:
        """What takes a look at every folder: sizes, and the order of the queue."""
        runs = tuple(self._runs)
        if not any(worker.group == "sizes" and worker.is_running for worker in self.workers):
            self._in_a_thread(lambda: self._measure(runs), "sizes")
        if self._waiting or any(run.state == "queued" for run in runs):
            self._in_a_thread(self._read_queue, "queue")

    def _measure(self, runs: Sequence[RunSummary]) -> None:
        """Some 0.2 ms a run that has not been looked at; told now and then."""
        found: dict[str, int] = {}
        told, before = time.monotonic(), self._sizes
        for run in runs:
            if not self.is_attached:
                return
            found[run.id] = self._measuring.of(Path(run.path), run.ended, run.state not in ACTIVE)
            if time.monotonic() - told > TELL_S:
                told = time.monotonic()
                self.post_message(Looked(sizes={**before, **found}))
        if found != before:
            self.post_message(Looked(sizes=found))

    def _read_queue(self) -> None:
        found = tuple(one.run.id for one in queue.waiting(self.workspace))
        if found != tuple(self._waiting):
            self.post_message(Looked(waiting=found))

    def _read_settings(self, run: Run) -> None:
        self.post_message(Looked(settings=(run.id, compare.settings_of(run))))

    # -------------------------------------------------------------------------------------- the filter

    def on_key(self, event: events.Key) -> None:
        """What is typed goes into the filter, here and not through bindings: those come later, out of order."""
        letter = event.character or ""
        if not self._typing:
            if letter != "/":
                return
            self._set_filter(typing=True)
        elif event.key == "enter":
            self._set_filter(typing=False)
        elif event.key == "escape":
            self._set_filter("", typing=False)
        elif event.key == "backspace":
            self._set_filter(self._query[:-1])
        elif event.is_printable:
            self._set_filter(self._query + letter)
        else:
            self._set_filter(typing=False)
            return
        event.stop()

    def on_paste(self, event: events.Paste) -> None:
        self._set_filter(self._query + event.text.partition("\n")[0], typing=True)
        event.stop()

    def _set_filter(self, query: str | None = None, typing: bool | None = None) -> None:
        self._query = self._query if query is None else query
        self._typing = self._typing if typing is None else typing
        self.table.filter(self._query, self._typing)
        self._draw_details()

    def action_filter(self) -> None:
        self._set_filter(typing=True)

    def action_clear(self) -> None:
        """The filter, then the marks; once there are none, escape leads back (the app's)."""
        if self._query or self._typing:
            self._set_filter("", typing=False)
        else:
            self.table.clear_marks()

    # ------------------------------------------------------------------------------------ what is done

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys that can do nothing now are not in the footer."""
        run = self.table.run
        if self._typing and action not in ("clear", "back"):
            return False
        if action in ("why", "name", "note", "rerun", "export"):
            return run is not None
        if action == "resume":
            return run is not None and run.state in (*RESUMABLE, "paused", "pausing")
        if action == "stop":
            return run is not None and run.state in ACTIVE
        if action == "delete":
            return any(run.state not in ACTIVE for run in self._chosen())
        if action == "queue":
            return run is not None and run.state == "queued"
        if action == "compare":
            return len(self._to_compare()) > 1
        if action == "undo":
            return self.keeper.can_undo
        if action == "clear":
            return bool(self._query or self._typing or self.table.marked)
        return super().check_action(action, parameters)

    def _chosen(self) -> list[RunSummary]:
        """The marked runs, else the highlighted one."""
        return self.table.marked or [run for run in (self.table.run,) if run is not None]

    def _to_compare(self) -> list[RunSummary]:
        """The marked ones; with one of them the highlighted one."""
        found, here = self.table.marked, self.table.run
        return [*found, here] if len(found) == 1 and here is not None and here.id != found[0].id else found

    @on(RunTable.Opened)
    def _opened(self) -> None:
        if self.table.run is not None:
            self.post_message(GoTo("run", self.table.run.id))

    def action_sort(self) -> None:
        self.table.sort_by_next()

    def action_turn_round(self) -> None:
        self.table.turn_round()

    def action_compare(self) -> None:
        found = self._to_compare()
        if len(found) > len(compare.LETTERS):
            words = f"{len(found)} are marked; up to {len(compare.LETTERS)} can be told apart"
            self.notify(words, title="Too many to compare", severity="warning", markup=False)
            return
        screen = self._compared = CompareScreen(self.workspace, [Run(Path(run.path)) for run in found])
        screen.glance(self._glance)

        def closed(_: None) -> None:
            self._compared = None

        self.app.push_screen(screen, closed)

    def action_resume(self) -> None:
        if self.table.run is not None:
            self.post_message(Asked(Run(Path(self.table.run.path)), "resume"))

    def action_stop(self) -> None:
        if self.table.run is not None:
            self.post_message(Asked(Run(Path(self.table.run.path)), "stop"))

    def action_queue(self, where: str) -> None:
        run = self.table.run
        if run is not None:
            self._in_a_thread(lambda: self._move(Run(Path(run.path)), where), "move")

    def _move(self, run: Run, where: str) -> None:
        try:
            queue.move(run, where)
        except TuiftuneError as error:
            self.post_message(ActionFailed(f"{run.id} was not moved", str(error).splitlines()))
        self._read_queue()

    def action_why(self) -> None:
        if self.table.run is not None:
            self.keeper.tell_why(Run(Path(self.table.run.path)))

    def action_rerun(self) -> None:
        if self.table.run is not None:
            self.post_message(RerunAsked(Run(Path(self.table.run.path))))

    def action_name(self) -> None:
        if self.table.run is not None:
            self.keeper.name(self.table.run)

    def action_note(self) -> None:
        if self.table.run is not None:
            self.keeper.note(self.table.run)

    def action_delete(self) -> None:
        found = [run for run in self._chosen() if run.state not in ACTIVE]
        if found:
            self.keeper.delete(found, [self._sizes.get(run.id) for run in found])

    def action_undo(self) -> None:
        self.keeper.undo()
        self.refresh_bindings()

    def action_export(self) -> None:
        if self._chosen():
            self.keeper.export(self._chosen())

    def on_trashed(self, message: Trashed) -> None:
        self.keeper.trashed(message)
        self.refresh_bindings()

    def on_why_found(self, message: WhyFound) -> None:
        self.app.push_screen(TextWindow(f"Why {message.run_id}", message.text))

    def on_export_told(self, message: ExportTold) -> None:
        self._doing[message.run_id] = message.text
        self._draw_details()
