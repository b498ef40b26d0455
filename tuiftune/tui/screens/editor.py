"""The editor of a profile: a form made from the options of its stages, checked while it is changed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import ClassVar

from textual import events, on
from textual.actions import SkipAction
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal
from textual.screen import Screen
from textual.timer import Timer

from tuiftune.catalog import Catalog, ResolvedProfile
from tuiftune.editing.files import Opened
from tuiftune.editing.form import Section, differences, place_of, sections
from tuiftune.errors import Problem
from tuiftune.output import effective_lines
from tuiftune.text import one_line
from tuiftune.toml_lines import KeyPath
from tuiftune.tui import drafting
from tuiftune.tui.changing import Changing
from tuiftune.tui.drafting import DraftChecked, DraftNotSaved, DraftOpened, DraftSaved, DraftUnreadable
from tuiftune.tui.panes.editor_head import EditorHead
from tuiftune.tui.panes.findings import CHECKING, CLEAN, FindingsPane
from tuiftune.tui.panes.form import FormPane
from tuiftune.tui.panes.keys import KeysPane
from tuiftune.tui.panes.option_help import OptionHelp
from tuiftune.tui.panes.profile_text import VIEWS, ProfileText
from tuiftune.tui.panes.top import TopPane
from tuiftune.tui.saving import Saving
from tuiftune.tui.screens.place import Place, set_size_classes
from tuiftune.tui.screens.problems import ProblemsScreen
from tuiftune.tui.widgets.glyphs import short_path

SETTLED_S = 0.25
"""So long nothing is changed before it is checked: a key that repeats is one change."""
GLANCE_S = 5.0
NOTICE_S = 4.0
TALL = 30
"""Rows from which on there is room for more about an option."""
READING = "reading the profile..."


class EditorScreen(Screen["str | None"]):
    """Gives the name of the profile that was saved, or None."""

    TITLE = "profile editor"
    AUTO_FOCUS = "FormPane"
    help_text: ClassVar[str] = (
        "A profile of yours, made of one that it extends and of what you say differently: its file holds nothing else. "
        "Change an option with enter; backspace takes back what you say, u the last change. w saves. "
        "Of a stage's own line, enter chooses another; a adds one, x removes it, J and K move it. v shows the "
        "text: every value as it will run, the difference to the parent, and the file."
    )
    BINDINGS = [
        Binding("escape", "close", "Back"),
        Binding("w", "save", "Save"),
        Binding("ctrl+s", "save", "Save", show=False),  # some terminals keep it for themselves
        Binding("v", "view", "Text"),
        Binding("u", "undo", "Undo"),
        Binding("ctrl+r", "redo", "Redo", show=False, id="more.redo"),
        Binding("U", "redo", show=False),
        Binding("a", "add", "Add a stage"),
        Binding("x", "remove", "Remove the stage", show=False, id="more.remove"),
        Binding("J", "shift(1)", "Stage down", show=False, id="more.down"),
        Binding("K", "shift(-1)", "Stage up", show=False, id="more.up"),
        Binding("shift+down", "shift(1)", show=False),
        Binding("shift+up", "shift(-1)", show=False),
        Binding("exclamation_mark", "problem", "Problem", key_display="!"),
        Binding("q", "close", "Back", show=False),
    ]
    CSS = """
    EditorScreen {
        & > TopPane { height: 1; }
        & > EditorHead { margin: 0 0 1 0; }
        & > #beside { height: 1fr; }
        & ProfileText { display: none; }
        &.-text ProfileText { display: block; }
        &.-text FormPane { display: none; }
        &.-flat > TopPane, &.-tiny > TopPane, &.-flat > OptionHelp { display: none; }
        &.-flat > EditorHead { margin: 0; }
        &.-medium FormPane, &.-wide FormPane { display: block; width: 5fr; }
        &.-medium ProfileText, &.-wide ProfileText {
            display: block; width: 4fr; border-left: solid $foreground 20%;
        }
    }
    """

    def __init__(
        self, workspace: Path, profile_name: str, catalog: Catalog | None = None, *, duplicate: bool = False
    ) -> None:
        """A profile that the editor wrote is changed in place; any other, or with `duplicate`, is extended by another.

        `catalog`: what there is to choose from, where that is known already.
        """
        super().__init__()
        self.workspace, self._profile = workspace, profile_name
        self._catalog, self._duplicate = catalog, duplicate
        self._opened: Opened | None = None
        self._saved: str | None = None
        """The name it was saved under last."""
        self._number = 0
        """Of the state of the draft, counted up with each change."""
        self._changing: Changing | None = None
        self._saving = Saving(self, workspace, profile_name)
        self._checking = False
        self._settling: Timer | None = None
        self._problems: list[Problem] = []
        self._absent: list[Problem] = []
        self.top, self.head, self.form = TopPane(), EditorHead(), FormPane()
        self.text, self.about, self.findings = ProfileText(), OptionHelp(), FindingsPane()

    def compose(self) -> ComposeResult:
        yield self.top
        yield self.head
        with Horizontal(id="beside"):
            yield self.form
            yield self.text
        yield self.about
        yield self.findings
        yield KeysPane()

    def on_mount(self) -> None:
        set_size_classes(self)
        self.form.message = READING
        self._look_over()
        self.set_interval(GLANCE_S, self._look_over)
        self._in_a_thread(
            partial(
                drafting.open_draft, self.workspace, self._profile, self._catalog, self._duplicate, self.post_message
            )
        )

    def on_resize(self, event: events.Resize) -> None:
        rows = event.size.height
        self.findings.fit_in(max(1, rows // 8))
        self.about.fit_in(5 if rows < TALL else 7, rows // 3)

    def _look_over(self) -> None:
        """The machine, for the top row, from the place that this lies over."""
        below = [screen for screen in self.app.screen_stack if isinstance(screen, Place)]
        if below:
            self.top.show(below[-1].top.glance)

    def _in_a_thread(self, do: Callable[[], None]) -> None:
        self.run_worker(do, thread=True, exit_on_error=False)

    # ------------------------------------------------------------------------------------ what is shown

    @on(DraftOpened)
    def _draft_opened(self, message: DraftOpened) -> None:
        self._opened, self._catalog = message.opened, message.catalog
        self._saving.suggested = message.suggested
        self._changing = Changing(self.app, message.opened.draft, message.catalog, self._changed)
        self._changed()

    @on(DraftUnreadable)
    def _draft_unreadable(self, message: DraftUnreadable) -> None:
        def read(_: None) -> None:
            self.dismiss(None)

        self.app.push_screen(ProblemsScreen(f"{self._profile} cannot be edited", message.lines), read)

    def _changed(self, path: KeyPath | None = None) -> None:
        """Draw the draft anew, the cursor on `path`, and have it checked soon."""
        self._number += 1
        self._draw(path)
        if self._settling is not None:
            self._settling.stop()
        self._settling = self.set_timer(SETTLED_S, self._check)

    def _draw(self, path: KeyPath | None = None) -> None:
        if self._opened is None or self._catalog is None:
            return
        opened, draft = self._opened, self._opened.draft
        shown = sections(draft, self._catalog)
        self.form.show(shown, path)
        changes = differences(draft, shown)
        self.head.show(opened.name, opened.extends, len(changes), draft.unsaved or opened.is_new)
        self.text.show_draft(changes, opened.to_text(), opened.extends or "")

    @on(FormPane.Moved)
    def _moved(self) -> None:
        line = self.form.line
        if line is None:
            self.about.show(None, None)
            return
        said = [problem for problem in (*self._problems, *self._absent) if self._place_of(problem) == line.path]
        self.about.show(line.section, line.field, said)
        self.text.follow(line.path if line.field else (*line.path, "stage"))

    def _check(self) -> None:
        if self._opened is None or self._checking:  # its answer starts the next one
            return
        self._checking = True
        if not (self._problems or self._absent):
            self.findings.show([], [], CHECKING)
        opened = self._opened
        self._in_a_thread(
            partial(
                drafting.check_draft, self.workspace, opened.path, opened.to_text(), self._number, self.post_message
            )
        )

    @on(DraftChecked)
    def _draft_checked(self, message: DraftChecked) -> None:
        self._checking = False
        if message.number != self._number:
            self._check()
            return
        resolved = message.resolved
        self._problems = resolved.problems if resolved else []
        self._absent = resolved.absent if resolved else []
        self.findings.show(self._problems, self._absent, CLEAN if resolved else message.error)
        signs = {place: "?" for problem in self._absent if (place := self._place_of(problem))}
        signs |= {place: "!" for problem in self._problems if (place := self._place_of(problem))}
        self.form.mark(signs)
        self._show_effective(resolved, message.error)
        self._moved()

    def _show_effective(self, resolved: ResolvedProfile | None, error: str) -> None:
        if resolved is None or resolved.problems:
            why = error or "once its problems are mended, every value that the run is started with stands here"
            self.text.show_effective([], why)
            return
        lines = []
        for key, text, origin in effective_lines(resolved):
            *more, last = text.split("\n")
            lines += [(key, one_line(part), "") for part in more] + [(key, one_line(last), one_line(origin))]
        self.text.show_effective(lines)

    def _place_of(self, problem: Problem) -> KeyPath | None:
        merged = self._opened.draft.merged if self._opened else {}
        return place_of(problem, [line.path for line in self.form.lines if line.can_be_chosen], merged)

    # ---------------------------------------------------------------------------------------- what is done

    @property
    def changing(self) -> Changing:
        """For keys: there is one once the profile was read, and before it no option that they could be meant for."""
        if self._changing is None:
            raise SkipAction
        return self._changing

    @on(FormPane.Given)
    def _given(self, message: FormPane.Given) -> None:
        self.changing.give(message.field, message.text)

    @on(FormPane.Stepped)
    def _stepped(self, message: FormPane.Stepped) -> None:
        self.changing.step(message.field, message.by)

    @on(FormPane.ResetWanted)
    def _reset(self, message: FormPane.ResetWanted) -> None:
        self.changing.reset(message.path)

    @on(FormPane.ChoiceWanted)
    def _choice_wanted(self, message: FormPane.ChoiceWanted) -> None:
        self.changing.choose(message.section, message.field)

    def action_add(self) -> None:
        self.changing.add(self._section)

    def action_remove(self) -> None:
        self.changing.remove(self._section)

    def action_shift(self, by: int) -> None:
        self.changing.shift(self._section, by)

    def action_undo(self) -> None:
        self.changing.undo()

    def action_redo(self) -> None:
        self.changing.redo()

    @property
    def _section(self) -> Section | None:
        return self.form.line.section if self.form.line else None

    def action_view(self) -> None:
        """The next view of the text. Where it has no room beside the form it takes its place, and gives it back after
        the last."""
        if self.has_class("-medium") or self.has_class("-wide"):
            self.text.next_view()
        elif not self.has_class("-text"):
            self.set_class(True, "-text")
            self.text.focus()
        elif self.text.view == VIEWS[-1]:
            self.text.next_view()
            self._form_again()
        else:
            self.text.next_view()
        self._moved()

    def _form_again(self) -> None:
        self.set_class(False, "-text")
        self.form.focus()

    def action_problem(self) -> None:
        """To the next option that a problem names, in the order of the form; in a window where none is named."""
        self.form.clear_filter()
        places = {place for problem in (*self._problems, *self._absent) if (place := self._place_of(problem))}
        numbers = [number for number, line in enumerate(self.form.lines) if line.can_be_chosen and line.path in places]
        if numbers:
            self.form.move_to(next((number for number in numbers if number > self.form.at), numbers[0]))
        elif self._problems or self._absent:
            lines = [str(problem) for problem in (*self._problems, *self._absent)]
            self.app.push_screen(ProblemsScreen("Problems", lines))
        else:
            self.notify("there are no problems", timeout=NOTICE_S)

    # ----------------------------------------------------------------------------------- saved, and left

    def action_save(self) -> None:
        """With what is being typed."""
        given = self.form.take()
        if given is not None:
            self.changing.give(given.field, given.text)
        if self._opened is not None:
            self._saving.save(self._opened)

    @on(DraftSaved)
    def _draft_saved(self, message: DraftSaved) -> None:
        self._opened, self._saved = message.opened, message.opened.name
        self._draw()
        count = len(self._problems)
        left = f", with {count} problem{'s' if count > 1 else ''}" if count else ""
        words = f"{short_path(str(message.opened.path))}{left}"
        self.notify(words, title=f"{self._saved} is saved", timeout=NOTICE_S, markup=False)
        if self._saving.done():
            self.dismiss(self._saved)

    @on(DraftNotSaved)
    def _draft_not_saved(self, message: DraftNotSaved) -> None:
        if self._opened is not None:
            self._saving.failed(self._opened, message)

    def action_close(self) -> None:
        """One thing after the other: what lies over the form, the filter, then the screen, with a question where
        something would be lost."""
        if self.has_class("-text") and not self.form.display:
            self._form_again()
        elif self.form.is_filtered:
            self.form.clear_filter()
        elif self._opened is None or not self._opened.draft.unsaved:
            self.dismiss(self._saved)
        else:
            self._saving.ask_before_leaving(self.action_save, lambda: self.dismiss(self._saved))
