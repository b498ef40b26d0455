"""The data report of a profile: what would be trained on, measured before anything is trained."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding

from tuiftune import units
from tuiftune.catalog import Catalog
from tuiftune.errors import Problem
from tuiftune.run.summary import RunSummary
from tuiftune.text import one_line, plain
from tuiftune.tui.data_reading import (
    DataAbsent,
    DataChanged,
    DataFailed,
    DataProgress,
    DataRead,
    DataReader,
    Reports,
    Subject,
)
from tuiftune.tui.palette import MORE
from tuiftune.tui.panes.data import age_words, are_characters, file_words, head_words
from tuiftune.tui.panes.data_body import CHOICE, REPORT, DataBody
from tuiftune.tui.panes.rows import Span
from tuiftune.tui.screens.ask import AskScreen
from tuiftune.tui.screens.place import Place
from tuiftune.tui.screens.profiles import ProfileChosen
from tuiftune.tui.widgets.profile_choice import ProfileChoice

AGE_S = 30.0
PATH = "dataset.path"
NO_PROFILES = "no profile here can be run. Make a workspace with some: tuiftune init"


class DataScreen(Place):
    """A list of profiles; then what is being done, the report, or why there is none."""

    TITLE = "data"
    help_text: ClassVar[str] = (
        "What a profile would train on, through its own stages, before anything is trained: tokens, lengths, what is "
        "there twice or in both splits, what padding would cost, and the first step of the training token by token. "
        "A profile such as gpt2-text is for any file: f says which. What was prepared is kept for the run, "
        "which Enter starts."
    )
    AUTO_FOCUS = ""
    BINDINGS = [
        Binding("enter", "run", "Run it"),
        Binding("n", "row(1)", "Next row"),
        Binding("N", "row(-1)", "Row before", show=False, id=f"{MORE}row-before"),
        Binding("right_square_bracket", "part(1)", "Section", key_display="]"),
        Binding("left_square_bracket", "part(-1)", "Section before", key_display="[", show=False, id=f"{MORE}part"),
        Binding("t", "apart", "Tokens apart, or as the text they are", show=False, id=f"{MORE}apart"),
        Binding("f", "file", "File"),
        Binding("r", "read", "Again"),
        Binding("o", "choose", "Profile"),
        Binding("escape", "give_up", "Give up"),
        Binding("escape", "back", "Back"),
    ]

    CSS = """
    DataScreen {
        &.-medium #step, &.-wide #step { display: block; }
        &.-medium #figures { width: 58; }
        &.-wide #figures { width: 5fr; max-width: 96; }
        &.-wide #step { width: 6fr; }
        &.-flat SubjectPane { height: 1; }
        &.-flat.-tiny SubjectPane { display: none; }
        &.-flat ReportPane { border-top: none; }
    }
    """

    def __init__(self, workspace: Path | None = None) -> None:
        super().__init__(workspace)
        self._reader = DataReader(self.workspace, self.post_message)
        self._reports = Reports()
        self._subject: Subject | None = None
        self._choosing = False
        """Whether the list of profiles is shown, or will be once it is there."""
        self._file_key = PATH
        self._began: float | None = None
        """While data is being read: when that began, on the monotonic clock."""
        self._doing = ""
        self._apart = True
        self._catalog: Catalog | None = None
        self._error: str | None = None
        self._last_used: str | None = None
        self.pane = DataBody()

    def body(self) -> ComposeResult:
        yield self.pane

    def on_mount(self) -> None:
        super().on_mount()
        self._clock = self.set_interval(1.0, self._tick)
        self.set_interval(AGE_S, self._tick)
        if self._subject is None:
            self._choose()
        else:
            self._open(self._subject)

    def on_unmount(self) -> None:
        self._reader.give_up()

    def on_resize(self) -> None:
        self.call_after_refresh(self._draw_report, from_top=False)

    # ------------------------------------------------------------------------------------ what the app hands over

    def about(self, subject: str | None) -> None:
        """The data of this profile; without one what was shown before."""
        if subject is not None and (self._subject is None or subject != self._subject.profile):
            self._subject = Subject(subject)
            if self.is_mounted:
                self._open(self._subject)
        elif self.is_mounted:
            self._look_at_files()
            self._draw_subject()

    def show_catalog(self, catalog: Catalog | None, error: str | None) -> None:
        self._catalog, self._error = catalog, error
        if self._choosing:
            self._choose()

    def show_runs(self, runs: Sequence[RunSummary]) -> None:
        self._last_used = runs[0].profile if runs else None
        if self._choosing:
            self._draw_choice()

    # ------------------------------------------------------------------------------------------- what is shown

    def _choose(self) -> None:
        """Show the list, or why there is none."""
        self._choosing = True
        if self._catalog is None:
            self.pane.subject.show("data")  # the list comes as soon as it is there
            self.pane.tell([(one_line(self._error), "bad") if self._error else ("reading profiles...", "muted")])
            return
        self._draw_choice()
        self.pane.turn_to(CHOICE)

    def _draw_choice(self) -> None:
        profiles = self._catalog.profiles if self._catalog else []
        self.pane.choice.show(profiles, self._last_used)
        any_there = self.pane.choice.option_count > 0
        self.pane.subject.show("data", pipeline="whose data is to be looked at?" if any_there else NO_PROFILES)

    def _open(self, subject: Subject) -> None:
        """Show what is known of it, else read it."""
        self._subject, self._choosing = subject, False
        found = self._reports.get(subject)
        if found is None:
            self._read()
            return
        self._reader.give_up()
        self._began = None
        self._reports.keep(subject, found)
        self._draw_report()
        self._look_at_files()

    def _look_at_files(self) -> None:
        found = self._reports.get(self._subject)
        if self._subject is not None and found is not None and self._began is None:
            self._reader.look_whether_changed(self._subject, found)

    def _read(self) -> None:
        if self._subject is None:
            return
        self._began, self._doing, self._choosing = time.monotonic(), "", False
        self._clock.resume()
        self._reader.read(self._subject)
        self._draw_progress()

    def _tick(self) -> None:
        """Time has passed: while something is being read, and for the age of a report."""
        if self._began is None:
            self._clock.pause()
        if self.app.screen is not self:
            return
        if self._began is not None:
            self._draw_progress()
        else:
            self._draw_subject()

    def _draw_progress(self) -> None:
        assert self._began is not None  # noqa: S101
        elapsed = units.clock(time.monotonic() - self._began)
        self._draw_subject()
        self.pane.tell(
            [
                (f"{elapsed}  {self._doing or 'checking the profile'}", ""),
                ("", ""),
                ("It is prepared as for a run, and kept for it. Escape gives up.", "muted"),
            ]
        )

    def _draw_subject(self) -> None:
        subject = self._subject
        if subject is None or self._choosing:
            return
        found = self._reports.get(subject)
        name, overrides = one_line(subject.profile), "  ".join(map(one_line, subject.overrides))
        if self._began is not None:
            self.pane.subject.show(name, overrides, pipeline="its data is being read")
        elif found is None or self.pane.shown != REPORT:
            self.pane.subject.show(name, overrides)
        else:
            warning = "its files or its profile have changed since; r reads it again"
            self.pane.subject.show(
                name,
                file_words(found.dataset),
                age_words(found.read_at),
                head_words(found.report),
                warning if subject in self._reports.changed else "",
            )

    def _draw_report(self, *, from_top: bool = True) -> None:
        found = self._reports.get(self._subject)
        if found is None or self._began is not None or (self.pane.shown != REPORT and not from_top):
            return
        self.pane.show_report(found.report, self._apart, from_top=from_top)
        self._draw_subject()

    def _tell(self, lines: Sequence[Span]) -> None:
        """Sentences where the report would be."""
        self._began = None
        self.pane.tell(lines)
        self._draw_subject()

    # ------------------------------------------------------------------------------------- what the reader found

    def on_data_progress(self, message: DataProgress) -> None:
        if message.subject == self._subject and self._began is not None:
            self._doing = message.words
            self._tick()

    def on_data_read(self, message: DataRead) -> None:
        self._reports.keep(message.subject, message.found)
        if message.subject == self._subject:
            self._began = None
            self._apart = not are_characters(message.found.report)
            self._file_key = PATH
            self._draw_report()

    def on_data_changed(self, message: DataChanged) -> None:
        self._reports.changed.add(message.subject)
        if message.subject == self._subject:
            self._draw_subject()

    def on_data_failed(self, message: DataFailed) -> None:
        if message.subject == self._subject:
            lines: list[Span] = [("There is no report:", "strong"), ("", "")]
            for line in message.lines:
                lines += [(plain(line, 2000), ""), ("", "")]
            self._tell([*lines, ("r tries again, f names another file, o chooses another profile", "muted")])

    def on_data_absent(self, message: DataAbsent) -> None:
        """A profile such as gpt2-text is for any file: which one is asked."""
        if message.subject != self._subject:
            return
        absent = message.absent[0]
        self._file_key = absent.where or PATH
        words = "f names the file, o chooses another profile"
        self._tell([*((_sentence(problem), "") for problem in message.absent), ("", ""), (words, "muted")])
        if self.app.screen is self:
            self._ask_for_file([_sentence(absent)])

    # ---------------------------------------------------------------------------------------------- what is done

    def _ask_for_file(self, lines: Sequence[str]) -> None:
        subject = self._subject
        if subject is None:
            return

        def answered(file: str | None) -> None:
            if file is not None:
                kept = [one for one in subject.overrides if one.partition("=")[0] != self._file_key]
                self._open(Subject(subject.profile, (*kept, f"{self._file_key}={json.dumps(file)}")))

        title = f"Which file for {subject.profile}?"
        self.app.push_screen(AskScreen(title, [*lines, f"From {Path.cwd()}, or whole:"], "FILE", files=True), answered)

    def action_file(self) -> None:
        """Ask for another file."""
        found = self._reports.get(self._subject)
        now = file_words(found.dataset) if found else ""
        self._ask_for_file([f"now {now}"] if now else [])

    def action_run(self) -> None:
        """Start a run of the profile, with the same file; it is asked about first."""
        if self._subject is not None:
            self.post_message(ProfileChosen(self._subject.profile, self._subject.overrides))

    def action_read(self) -> None:
        """Read it again, whatever is kept."""
        self._read()

    def action_choose(self) -> None:
        """Back to the list."""
        self._choose()

    @on(ProfileChoice.OptionSelected, "#choice")
    def _chosen(self) -> None:
        name = self.pane.choice.name_chosen
        if name is not None:
            self._open(Subject(name))

    def action_give_up(self) -> None:
        """End the reading; what was known before is shown again."""
        self._reader.give_up()
        self._began = None
        if self._reports.get(self._subject) is not None:
            self._draw_report()
        else:
            self._tell([("Given up.", ""), ("", ""), ("r reads it after all, o chooses another profile", "muted")])

    async def action_back(self) -> None:
        """Out of the list to what was shown before it, else to the place before."""
        if self._choosing and self._subject is not None:
            self._open(self._subject)
        else:
            await self.run_action("app.back")

    def action_part(self, direction: int) -> None:
        self.pane.next_part(direction)

    def action_row(self, direction: int) -> None:
        self.pane.next_row(direction)

    def action_apart(self) -> None:
        """Tokens with a sign between them, or as the text they are."""
        self._apart = not self._apart
        self._draw_report(from_top=False)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys that can do nothing now are not in force."""
        reading, report = self._began is not None, self.pane.shown == REPORT
        if action in ("run", "row", "part", "apart"):
            return report
        if action == "give_up":
            return reading
        if action == "back":
            return not reading
        if action in ("file", "read"):
            return self._subject is not None and not reading and not self._choosing
        if action == "choose":
            return not self._choosing
        return super().check_action(action, parameters)


def _sentence(problem: Problem) -> str:
    return one_line(f"{problem.where}: {problem.what}")
