"""The dashboard: which place is shown, what its keys ask for, and what the threads answer."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

from textual.app import App
from textual.binding import Binding
from textual.driver import Driver
from textual.drivers.linux_driver import LinuxDriver
from textual.notifications import SeverityLevel
from textual.screen import ModalScreen, Screen
from textual.scrollbar import ScrollBar
from textual.theme import Theme
from textual.worker import Worker, WorkerState

from tuiftune.errors import TuiftuneError
from tuiftune.signs import ascii_only
from tuiftune.text import one_line
from tuiftune.tui import guard, themes
from tuiftune.tui.driver import QuietDriver
from tuiftune.tui.garbage import collect_seldom
from tuiftune.tui.messages import (
    ActionDone,
    ActionFailed,
    AlertsSeen,
    CatalogLoaded,
    CurvesWanted,
    DeviceView,
    Glance,
    GoTo,
    GpusWanted,
    MachineRead,
    ProfileResolved,
    RerunAsked,
    RunGone,
    RunsChanged,
    RunSnapshot,
    RunsQueued,
    RunStarted,
)
from tuiftune.tui.opening import Opening
from tuiftune.tui.palette import MORE, KeyedCommands
from tuiftune.tui.places import BY_NAME, PLACES, make
from tuiftune.tui.stylesheet import KeptStylesheet

if TYPE_CHECKING:  # the first frame waits for what is imported here; the rest comes in `_move_in`
    from tuiftune.run.folder import Run
    from tuiftune.run.summary import RunSummary
    from tuiftune.tui.asking import Asker
    from tuiftune.tui.machine_watch import MachineWatch
    from tuiftune.tui.screens.place import Place
    from tuiftune.tui.screens.profiles import EditingAsked, ProfileChosen, ProfilesMarked, ProfilesScreen, RunOpened
    from tuiftune.tui.screens.run import Asked, RunScreen
    from tuiftune.tui.screens.system import SystemScreen
    from tuiftune.tui.starting import Starter
    from tuiftune.tui.watch import Watcher

HELD_S = 0.5
"""So long the first frame waits for the first look at the run: one frame instead of four."""
KEY_NAMES = str.maketrans({"⏎": "enter", "⌫": "backspace", "↑": "up", "↓": "down", "←": "left", "→": "right"})
GLANCE_S = 5.0
"""The machine in the top row is read out so often; what runs at once."""
NOTICE_S = 4.0
FRESH_S = 10.0
"""Readings of a run that are older say nothing of its machine."""


def active_runs(workspace: Path) -> list[Run]:
    """The runs that go on, newest first."""
    from tuiftune.run.folder import list_runs, state_of

    found = []
    for run in list_runs(workspace):
        try:
            if state_of(run).active:
                found.append(run)
        except TuiftuneError:  # deleted or damaged between the listing and now: it does not go on
            continue
    return found


class TuiftuneApp(App[None]):
    """A viewer of one workspace. It may be killed at any time: the runs are other processes."""

    TITLE = "tuiftune"
    CSS_PATH = "app.tcss"
    COMMANDS = {KeyedCommands}  # Textual's own have other words for leaving and help
    HORIZONTAL_BREAKPOINTS = [(0, "-tiny"), (60, "-narrow"), (100, "-medium"), (160, "-wide")]
    VERTICAL_BREAKPOINTS = [(0, "-flat"), (16, "-short"), (30, "-tall"), (50, "-high")]
    BINDINGS = [
        *(Binding(place.key, f"go({place.name!r})", place.title, show=False) for place in PLACES),
        Binding("p", "go('profiles')", "Profiles", show=False),
        Binding("escape", "back", "Back", show=False),
        Binding("question_mark", "help", "Help", key_display="?"),
        Binding("q", "leave", "Leave"),
        Binding("ctrl+l", "redraw", "Redraw", show=False, id=f"{MORE}redraw"),
    ]

    def __init__(self, workspace: Path, run: str | None = None) -> None:
        """Raises RunNotFound where `run` names none, TuiftuneError where TUIFTUNE_THEME does."""
        super().__init__(ansi_color=themes.colourless() or None)
        themes.hand_to(self)
        self.stylesheet = KeptStylesheet(variables=self.get_css_variables())
        if ascii_only():
            from tuiftune.tui.widgets.scrollbar import WholeCells

            ScrollBar.renderer = WholeCells
        self._workspace = workspace
        self._runs: list[RunSummary] = []
        self._catalog = CatalogLoaded(None)
        self._held = ExitStack()
        self._resizes = guard.Resizes(self)
        self._glance = Glance(one_line(os.uname().nodename, 30))
        self._glanced = 0.0
        self._before: list[str] = []
        """The places that `back` leads to, the last one first."""
        self.places: dict[str, Place] = {}
        """Those that were visited."""
        for place in PLACES:
            self.add_mode(place.name, cast("Callable[[], Place]", partial(self.place, place.name)))
        self._first: Run | None = None
        if run is not None:
            from tuiftune.run.folder import find_run

            self._first = find_run(workspace, run)

    # What is not needed for the first frame, made when it is first used.

    @cached_property
    def _watcher(self) -> Watcher:
        from tuiftune.tui.watch import Watcher

        return Watcher(self._workspace, self.post_message)

    @cached_property
    def _machine(self) -> MachineWatch:
        from tuiftune.tui.machine_watch import MachineWatch

        return MachineWatch(self._workspace, self.post_message)

    @cached_property
    def _starter(self) -> Starter:
        from tuiftune.tui.starting import Starter

        return Starter(self, self._workspace)

    @cached_property
    def _asker(self) -> Asker:
        from tuiftune.tui.asking import Asker

        return Asker(self)

    def get_key_display(self, binding: Binding) -> str:
        """Keys that Textual has a sign for by their name, where there is no such sign."""
        shown = super().get_key_display(binding)
        return shown.translate(KEY_NAMES) if ascii_only() else shown

    def place(self, name: str) -> Place:
        """The screen of a place; made now if nobody was there."""
        if name not in self.places:
            place = self.places[name] = make(BY_NAME[name], self._workspace)
            place.glance(self._glance)
            place.show_catalog(self._catalog.catalog, self._catalog.error)
            place.show_runs(self._runs)
        return self.places[name]

    @property
    def profiles(self) -> ProfilesScreen:
        return cast("ProfilesScreen", self.place("profiles"))

    @property
    def run_screen(self) -> RunScreen:
        return cast("RunScreen", self.place("run"))

    def get_driver_class(self) -> type[Driver]:
        driver = super().get_driver_class()
        return QuietDriver if driver is LinuxDriver else driver  # a browser has its own

    # How it begins: a first frame, then the place one starts at.

    def get_default_screen(self) -> Screen[None]:
        return Opening(self._move_in)

    async def on_mount(self) -> None:
        guard.install(self)

    async def _move_in(self) -> None:
        """After the first frame: to the run that goes on, else to the profiles, and what was typed with it."""
        opening = self.screen
        if not isinstance(opening, Opening):
            return
        self._held.enter_context(self.batch_update())  # no frames while mounting: 64 kB instead of 116
        if self._first is None:
            self._first = next(iter(active_runs(self._workspace)), None)
        self._watcher.start()
        if self._first is None:
            self._watcher.load_catalog()
            await self.switch_mode("profiles")
            self.screen.call_after_refresh(self._held.close)
        else:
            self.run_screen.open(self._first)
            self._watcher.follow(self._first)
            await self.switch_mode("run")
            self.set_timer(HELD_S, self._held.close)
        self._machine.start()
        opening.place_is_there()
        self.theme_changed_signal.subscribe(self, self._remember_theme)
        collect_seldom(self)

    def on_unmount(self) -> None:
        self._watcher.stop()
        self._machine.stop()

    def on_resize(self) -> None:
        self._resizes.seen()

    def on_app_blur(self) -> None:
        self._watcher.set_quiet(True)

    def on_app_focus(self) -> None:
        self._watcher.set_quiet(False)

    # What the watcher found.

    def on_run_snapshot(self, message: RunSnapshot) -> None:
        self.run_screen.show(message.view)
        view = message.view
        if view.state.active and view.read_at is not None and view.now - view.read_at < FRESH_S:
            self._machine.told_by_run()
            if time.monotonic() - self._glanced >= GLANCE_S:
                self._look_over(view.devices)
        self._held.close()

    def on_machine_read(self, message: MachineRead) -> None:
        self._look_over(message.devices)
        if "system" in self.places:
            cast("SystemScreen", self.places["system"]).read(message)

    def on_curves_wanted(self, message: CurvesWanted) -> None:
        self._watcher.look_at(message.window, message.smoothing)

    def on_gpus_wanted(self, message: GpusWanted) -> None:
        self._watcher.look_at_gpus(message.wanted)

    def on_runs_changed(self, message: RunsChanged) -> None:
        self._runs = list(message.runs)
        self._look_over(self._glance.devices)
        for place in self.places.values():
            place.show_runs(self._runs)

    def _look_over(self, devices: Sequence[DeviceView]) -> None:
        """The top row of every place."""
        self._glanced = time.monotonic()
        active = [run.state for run in self._runs if run.active]
        queued = active.count("queued")
        alerts = sum(run.alerts for run in self._runs if run.active)
        self._glance = Glance(self._glance.host, tuple(devices), len(active) - queued, queued, alerts)
        for place in self.places.values():
            place.glance(self._glance)

    def on_catalog_loaded(self, message: CatalogLoaded) -> None:
        self._catalog = message
        for place in self.places.values():
            place.show_catalog(message.catalog, message.error)

    def on_catalog_wanted(self) -> None:
        """The plugins' place asks for them anew: they may have been edited."""
        self._watcher.load_catalog()

    def on_run_gone(self, message: RunGone) -> None:
        if self.run_screen.run == message.run and self.current_mode == "run":
            self.go("profiles")
        self._tell(f"{message.run.id} cannot be shown", [message.reason])

    # Where to be.

    def action_go(self, name: str) -> None:
        self.go(name)

    def on_go_to(self, message: GoTo) -> None:
        self.go(message.place, message.subject)

    def go(self, name: str, subject: str | None = None) -> None:
        """To another place, whatever lies over this one."""
        if name == "run" and not self._choose_run(subject):
            self.notify("no run yet: choose a profile and press enter", timeout=NOTICE_S)
            return
        if name == "playground" and subject is None and self.current_mode == "run" and self.run_screen.run:
            subject = self.run_screen.run.id  # the one that is looked at, not the one that was asked last
        if self.current_mode in BY_NAME and self.current_mode != name:
            self._before.append(self.current_mode)
            self.places[self.current_mode].left()
        self._switch(name)
        self._machine.set_shown(name == "system")
        if name != "run":
            self._watcher.follow(None)
            self.place(name).about(subject)
        if name == "profiles" or self._catalog.catalog is None:
            self._watcher.load_catalog()  # they may have been edited

    def _choose_run(self, run_id: str | None) -> bool:
        """The run that is wanted, else the one that was shown, else the newest; whether there is any."""
        from tuiftune.paths import runs_folder
        from tuiftune.run.folder import Run

        shown = self.run_screen.run
        if run_id is None and shown is None and self._runs:
            run_id = next((run.id for run in self._runs if run.active), self._runs[0].id)
        run = Run(runs_folder(self._workspace) / run_id) if run_id is not None else shown
        if run is None:
            return False
        self.run_screen.open(run)
        self._watcher.follow(run)
        return True

    async def action_back(self) -> None:
        """Where one was before, else to the profiles."""
        here, name = self.current_mode, "profiles"
        while self._before and (name := self._before.pop()) == here:
            name = "profiles"
        self.go(name)
        self._before = self._before[:-1]  # where one came back from is not where one was before

    def _switch(self, name: str) -> None:
        while isinstance(self.screen, ModalScreen):
            self._starter.give_up()
            self.pop_screen()
        self.switch_mode(name)

    def action_help(self) -> None:
        from tuiftune.tui.screens.help import HelpScreen

        self.push_screen(HelpScreen.of(self.screen))

    def _remember_theme(self, theme: Theme) -> None:
        self.run_worker(partial(themes.remember, theme.name), thread=True, exit_on_error=False)

    def action_redraw(self) -> None:
        """Something else has written on the terminal."""
        guard.repaint(self)

    def action_leave(self) -> None:
        """Only the screen ends: the runs belong to other processes."""
        self.exit()

    # What the user asks for. What blocks runs in a thread; its answer is a message.

    def on_run_opened(self, message: RunOpened) -> None:
        self.go("run", message.run_id)

    def on_profile_chosen(self, message: ProfileChosen) -> None:
        self._starter.start(message.name, message.overrides)

    def on_rerun_asked(self, message: RerunAsked) -> None:
        self._starter.start_again(message.run)

    def on_profiles_marked(self, message: ProfilesMarked) -> None:
        self._starter.queue(message.names)

    def on_editing_asked(self, message: EditingAsked) -> None:
        from tuiftune.tui.edit import duplicate_profile, edit_profile  # the form: nobody waits for it at the start

        def done(name: str | None) -> None:
            if name is not None:
                self._watcher.load_catalog()

        edit = duplicate_profile if message.duplicate else edit_profile
        edit(self, self._workspace, message.name, self._catalog.catalog, done)

    def on_profile_resolved(self, message: ProfileResolved) -> None:
        self._starter.resolved(message)

    def on_run_started(self, message: RunStarted) -> None:
        self._starter.give_up()
        self._watcher.look_now()
        self.go("run", message.run.id)

    def on_runs_queued(self, message: RunsQueued) -> None:
        self._starter.give_up()
        self._watcher.look_now()
        count = len(message.runs)
        words = f"{count} runs, one after the other" if count > 1 else message.runs[0].id
        self.notify(words, title="In the queue", timeout=NOTICE_S, markup=False)

    def on_asked(self, message: Asked) -> None:
        self._asker.ask(message.run, message.kind)

    def on_alerts_seen(self, message: AlertsSeen) -> None:
        self._asker.seen(message.run, message.keys, self._watcher.look_now)

    def on_action_done(self, message: ActionDone) -> None:
        self._watcher.look_now()
        severity: SeverityLevel = "warning" if message.sentence.startswith("refused") else "information"
        self.notify(message.sentence, title=message.title, severity=severity, timeout=NOTICE_S, markup=False)

    def on_action_failed(self, message: ActionFailed) -> None:
        """Every reason, in a window of its own that waits to be read."""
        self._starter.checked()
        self._starter.give_up()
        self.clear_notifications()  # that it is being started
        self._tell(message.title, message.lines)

    def _tell(self, title: str, lines: Sequence[str]) -> None:
        from tuiftune.tui.screens.problems import ProblemsScreen

        self.push_screen(ProblemsScreen(title, lines))

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """What a thread raised that is no sentence for the user is a bug, shown as one."""
        if event.state is WorkerState.ERROR and event.worker.error is not None:
            error = event.worker.error
            if isinstance(error, TuiftuneError):
                self.post_message(ActionFailed("Not done", str(error).splitlines()))
            else:
                self.post_message(ActionFailed("A bug in tuiftune", [f"{type(error).__name__}: {error}"]))


def run_dashboard(workspace: Path, run: str | None = None) -> int:
    """Show the dashboard until the user leaves; then say what goes on. Returns the exit status.

    Call `guard.refuse` and `guard.prepare` before this module is imported. Raises RunNotFound.
    """
    app = TuiftuneApp(workspace, run)
    app.run(mouse=guard.wants_mouse())
    status = app.return_code or 0
    if status == 0:
        for going_on in active_runs(workspace):
            print(f"run {going_on.id} goes on; come back with: tuiftune", file=sys.stderr)
    return status
