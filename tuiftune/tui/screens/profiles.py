"""The menu: choose a profile to run, or a run to open."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal
from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from tuiftune.catalog import Catalog, ProfileInfo
from tuiftune.run.folder import ACTIVE
from tuiftune.run.summary import RunSummary
from tuiftune.text import one_line, plain
from tuiftune.tui.messages import PlanKnown
from tuiftune.tui.places import PLACES
from tuiftune.tui.plans import PlanFiller
from tuiftune.tui.screens.place import Place
from tuiftune.tui.screens.problems import ProblemsScreen
from tuiftune.tui.widgets.filter import Filter
from tuiftune.tui.widgets.profile_card import ProfileCard, card, problem_line, run_card
from tuiftune.tui.widgets.profile_list import BASES, ProfileList, group_of
from tuiftune.tui.widgets.run_list import RunList

RECENT = 50
"""So many ended runs are listed, the newest."""
TRAINS = ("starting", "running", "healing", "stopping", "pausing")
"""A run in one of these states needs the machine for itself."""
AGAIN_S = 3.0
READING = "reading profiles..."
NO_PROFILES = "no profiles here. Make a workspace with some: tuiftune init"


@dataclass
class ProfileChosen(Message):
    """Enter was pressed on a profile that can be run, or could once its problems are mended."""

    name: str
    overrides: Sequence[str] = ()


@dataclass
class ProfilesMarked(Message):
    """Enter was pressed while profiles are marked: they are to run one after the other."""

    names: Sequence[str]


@dataclass
class EditingAsked(Message):
    """A profile is to be edited, or with `duplicate` another made that extends it."""

    name: str
    duplicate: bool


@dataclass
class RunOpened(Message):
    """Enter was pressed on a run."""

    run_id: str


class ProfilesScreen(Place):
    """Profiles at the left (or above), the highlighted one at the right (or below), runs under both."""

    TITLE = "profiles"
    help_text: ClassVar[str] = (
        "Choose a profile with the arrow keys and run it with Enter; it runs in the background, whatever happens "
        "to this window. Type to filter, after / where a letter has another meaning here: every word must be in the "
        "name, the description or the pipeline; an arrow key ends the typing, escape clears the filter, and pressed "
        "twice leaves. Space marks several for the queue, in the order of their marks; Enter queues them. "
        "e edits the highlighted profile, d makes another one of it. "
        "Tab goes to the runs: any of them, ended ones too, opens with Enter."
    )
    AUTO_FOCUS = "#profiles"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-wide")]
    VERTICAL_BREAKPOINTS = [(0, "-tiny"), (16, "-low"), (34, "-high")]
    BINDINGS = [
        *(Binding(place.key, f"app.go({place.name!r})", show=False) for place in PLACES),  # before what is typed
        Binding("space", "mark", "Mark"),
        Binding("d", "edit(True)", "Duplicate"),
        Binding("e", "edit(False)", "Edit"),
        Binding("slash", "type('')", "Filter", key_display="/"),
        Binding("escape", "clear_filter", "Clear"),
        Binding("exclamation_mark", "problems", "Problems", key_display="!"),
        Binding("escape", "leave", "Leave"),
        Binding("q", "leave_after_all", "Leave"),
        Binding("q", "type('q')", show=False),  # not the app's: `quickstart` must be possible to type
    ]
    CSS = """
    ProfilesScreen {
        & > #typed { height: 1; padding: 0 1; margin: 0 0 1 0; }
        & > #body { height: 1fr; }
        & > #runs { max-height: 4; display: none; }
        & > #runs:focus { max-height: 10; }
        &.-runs > #runs { display: block; }
        & > #plugins {
            height: 1; padding: 0 1; color: $text-warning; display: none;
            text-wrap: nowrap; text-overflow: ellipsis;
        }
        &.-plugins > #plugins { display: block; }

        &.-high > #runs { max-height: 9; }
        &.-high > #runs:focus { max-height: 19; }
        &.-high > #plugins { margin: 1 0 0 0; }
        &.-narrow > #body { layout: vertical; }
        &.-narrow #card { height: 7; border-top: solid $foreground 20%; }
        &.-narrow.-high #card { height: 14; }
        &.-narrow.-tiny #card { display: none; }
        &.-tiny > #typed { margin: 0; }
        &.-tiny > #runs { max-height: 2; }
        &.-tiny > #runs:focus { max-height: 6; }
        &.-wide > #body { layout: horizontal; }
        &.-wide #profiles { width: 5fr; max-width: 84; }
        &.-wide #card { width: 6fr; border-left: solid $foreground 20%; padding: 0 2; }
    }
    """

    def __init__(self, workspace: Path | None = None) -> None:
        super().__init__(workspace)
        self._typing = False
        """Whether letters go into the filter; else those with a meaning here have it."""
        self._catalog: Catalog | None = None
        self._results: dict[str, list[RunSummary]] = {}
        """Profile -> its runs, the newest first."""
        self._error: str | None = None
        self._runs: Sequence[RunSummary] = ()
        self._plans: dict[str, PlanKnown] = {}
        """Profile -> what is known about whether it fits and how long it takes."""
        self._filler = PlanFiller(self.workspace, self.post_message)
        self._keys: tuple[object, ...] = ()
        self._leaves_until = -math.inf
        """Until then another escape leaves."""

    def body(self) -> ComposeResult:
        with Horizontal(id="typed"):
            yield Filter(id="filter")
        with Horizontal(id="body"):
            yield ProfileList(id="profiles")
            yield ProfileCard(id="card")
        yield RunList(id="runs")
        yield Static(id="plugins")

    def on_mount(self) -> None:
        self._draw()

    def on_unmount(self) -> None:
        self._filler.stop()

    def on_screen_resume(self) -> None:
        self._want_plan()

    def left(self) -> None:
        self._filler.want(None)

    def on_resize(self) -> None:
        self.call_after_refresh(self._draw_card)

    # ------------------------------------------------------------------------------------ what is shown

    def show_catalog(self, catalog: Catalog | None, error: str | None) -> None:
        """Show these profiles, each with its newest run and its best result."""
        self._catalog, self._error = catalog, error
        self._draw()

    def show_runs(self, runs: Sequence[RunSummary]) -> None:
        """Show the active runs, then the newest of those that have ended."""
        active = [run for run in runs if run.state in ACTIVE]
        ended = [run for run in runs if run.state not in ACTIVE]
        self._runs = [*active, *ended[:RECENT]]
        self._results = {}
        for run in runs:
            self._results.setdefault(run.profile, []).append(run)
        self._draw()

    @property
    def _active(self) -> set[str]:
        """Profiles with an active run."""
        return {run.profile for run in self._runs if run.state in ACTIVE}

    def _draw(self) -> None:
        if not (self.is_mounted and self.query("#plugins")):  # not there yet, or being taken down
            return
        self._want_plan()
        self.query_one(RunList).show(self._runs)
        self.set_class(bool(self._runs), "-runs")
        self._draw_plugins()
        self._draw_profiles()
        self._refresh_keys()

    def _draw_profiles(self) -> None:
        profiles = self._catalog.profiles if self._catalog else []
        query = self.query_one(Filter).value
        self.query_one(ProfileList).show(profiles, active=self._active, query=query, message=self._nothing(query))
        self._draw_card()

    def _nothing(self, query: str) -> str:
        """What stands in the list where there is no profile to show."""
        if self._error is not None:
            return "profiles could not be read"
        if self._catalog is None:
            return READING
        if self._catalog.profiles:
            return f"no profile matches {one_line(query)!r}; escape clears"
        return NO_PROFILES

    def _draw_card(self) -> None:
        profile, pane = self._profile, self.query_one(ProfileCard)
        run = self.query_one(RunList).run if isinstance(self.focused, RunList) else None
        if run is not None:
            text = run_card(run, pane.room)
        elif profile is not None and self._catalog is not None:
            text = card(
                profile,
                self._results.get(profile.name, []),
                self._catalog.stages,
                active=profile.name in self._active,
                width=pane.room,
                dense=not self.has_class("-high"),
                plan=self._plans.get(profile.name),
            )
        else:
            text = Content.styled(plain(self._error), "$text-error") if self._error else Content()
        pane.show(text)

    def _want_plan(self) -> None:
        """Have the highlighted profile planned, if it can be; nothing while another place is shown."""
        profile = self._profile if self.app.screen is self else None
        wanted = profile.name if profile is not None and profile.runnable and not profile.problems else None
        self._filler.want(wanted, training=any(run.state in TRAINS for run in self._runs))

    def on_plan_known(self, message: PlanKnown) -> None:
        self._plans[message.profile] = message
        profile = self._profile
        if profile is not None and profile.name == message.profile:
            self._draw_card()

    def _draw_plugins(self) -> None:
        problems = self._plugin_problems()
        self.set_class(bool(problems), "-plugins")
        line = self.query_one("#plugins", Static)
        count = f"{len(problems)} plugin{'s' if len(problems) > 1 else ''}"
        text = one_line(f"! {count} could not be loaded: {problems[0]}") if problems else ""
        if str(line.content) != text:
            line.update(Content(text), layout=False)

    def _refresh_keys(self) -> None:
        """Have the keys drawn anew where others are in force."""
        query = self.query_one(Filter).value
        typed = query if query in ("", "q") else "more"
        keys = (bool(self._runs), self._has_problems(), typed, self._typing, self.query_one(ProfileList).marked)
        if keys != self._keys:
            self._keys = keys
            self.refresh_bindings()

    def _has_problems(self) -> bool:
        profile = self._profile
        return bool(self._plugin_problems() or (profile and profile.problems))

    @property
    def _profile(self) -> ProfileInfo | None:
        return self.query_one(ProfileList).profile

    def _plugin_problems(self) -> list[str]:
        return [plugin.problem for plugin in self._catalog.plugins if plugin.problem] if self._catalog else []

    # ---------------------------------------------------------------------------------------- what is done

    async def on_key(self, event: events.Key) -> None:
        """What is typed goes into the filter, here and not through bindings: those come later, out of order."""
        field, letter = self.query_one(Filter), event.character or ""
        if event.key == "backspace":
            field.value = field.value[:-1]
        elif not event.is_printable:
            if event.key == "escape" and self._is_one_too_many():
                event.stop()
            self._set_typing(False)
            return
        elif letter == "q" and field.value == "q":
            await self.action_leave_after_all()
        elif not self._typing and letter == "/":
            self.action_type("")
        elif not self._typing and event.key in self.active_bindings and letter != "q":
            return
        else:
            self.action_type(letter)
        event.stop()

    def _is_one_too_many(self) -> bool:
        """The first of two escapes that leave: on the way out of windows and places one too many must not end it."""
        now = time.monotonic()
        if self._typing or self.query_one(Filter).value or now < self._leaves_until:
            return False
        self._leaves_until = now + AGAIN_S
        self.notify("esc again leaves; runs go on without this window", timeout=AGAIN_S)
        return True

    def on_paste(self, event: events.Paste) -> None:
        self.action_type(event.text.partition("\n")[0])
        event.stop()

    def action_type(self, text: str) -> None:
        """Go on with the filter."""
        self._set_typing(True)
        self.query_one(Filter).value += text
        self.query_one(ProfileList).focus()

    def _set_typing(self, typing: bool) -> None:
        if typing != self._typing:
            self._typing = typing
            self.query_one(Filter).writing = typing
            self._refresh_keys()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if not self.is_mounted:
            return True
        if action == "clear_filter":
            return bool(self.query_one(Filter).value) or self._typing
        if action == "leave":
            return not self.query_one(Filter).value and not self._typing
        if action in ("mark", "edit", "type") and parameters in ((), ("",), (True,), (False,)):
            return not self._typing and not isinstance(self.focused, RunList)
        if action == "leave_after_all":  # whose fingers know q on the run's screen presses it again here
            return self.query_one(Filter).value == "q"
        if action == "focus_runs":
            return bool(self._runs)
        if action == "problems":
            return self._has_problems()
        return True

    def action_clear_filter(self) -> None:
        """Empty the filter and go back to the list."""
        self._set_typing(False)
        self.query_one(Filter).value = ""
        self.query_one(ProfileList).focus()

    def action_edit(self, duplicate: bool) -> None:
        """The highlighted profile in the form, or another one that extends it."""
        if self._profile is not None:
            self.post_message(EditingAsked(self._profile.name, duplicate))

    def action_mark(self) -> None:
        """Mark the highlighted profile for the queue, or take its mark away; then the next one."""
        profile, listed = self._profile, self.query_one(ProfileList)
        if profile is None or group_of(profile) == BASES:
            return
        listed.toggle_mark(profile.name)
        self._refresh_keys()
        listed.action_cursor_down()

    async def action_leave(self) -> None:
        await self.run_action("app.leave")

    async def action_leave_after_all(self) -> None:
        await self.run_action("app.leave")

    def action_focus_runs(self) -> None:
        self.query_one(RunList).focus()

    def action_focus_profiles(self) -> None:
        self.query_one(ProfileList).focus()

    def action_problems(self) -> None:
        """Everything wrong with the highlighted profile, then with plugins."""
        profile = self._profile
        lines = [problem_line(problem) for problem in profile.problems] if profile else []
        self.app.push_screen(ProblemsScreen("Problems", [*lines, *self._plugin_problems()]))

    @on(Filter.Changed)
    def _filtered(self) -> None:
        self._draw_profiles()
        self._refresh_keys()

    @on(ProfileList.OptionSelected, "#profiles")
    def _chosen(self) -> None:
        profile, marked = self._profile, self.query_one(ProfileList).take_marks()
        if marked:
            self._refresh_keys()
            self.post_message(ProfilesMarked(marked))
            return
        if profile is None:
            return
        if group_of(profile) == BASES:
            name = one_line(profile.name)
            words = f'Other profiles build on it with extends = "{name}".'
            self.notify(words, title=f"{name} is not run by itself", markup=False)
            return
        self.post_message(ProfileChosen(profile.name))

    @on(ProfileList.OptionHighlighted, "#profiles")
    def _highlighted(self) -> None:
        self._want_plan()
        self._draw_card()
        self._refresh_keys()

    @on(RunList.OptionHighlighted, "#runs")
    @on(events.DescendantFocus)
    def _looked_at(self) -> None:
        self._draw_card()

    @on(RunList.OptionSelected, "#runs")
    def _opened(self) -> None:
        run_id = self.query_one(RunList).run_id
        if run_id is not None:
            self.post_message(RunOpened(run_id))
