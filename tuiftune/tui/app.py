"""The dashboard: which place is shown, what its keys ask for, and what the threads answer."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import cast

from textual.app import App
from textual.binding import Binding
from textual.notifications import SeverityLevel
from textual.screen import ModalScreen
from textual.worker import Worker, WorkerState

from tuiftune.errors import TuiftuneError
from tuiftune.paths import runs_folder
from tuiftune.run import launch
from tuiftune.run.alerts import mark_seen
from tuiftune.run.folder import ACTIVE, Run, find_run, list_runs, state_of
from tuiftune.run.summary import RunSummary
from tuiftune.text import one_line
from tuiftune.tui import guard
from tuiftune.tui.messages import (
    ActionDone,
    ActionFailed,
    AlertsSeen,
    CatalogLoaded,
    CurvesWanted,
    DeviceView,
    Glance,
    GoTo,
    ProfileResolved,
    RunGone,
    RunsChanged,
    RunSnapshot,
    RunsQueued,
    RunStarted,
)
from tuiftune.tui.palette import KeyedCommands
from tuiftune.tui.places import BY_NAME, PLACES, make
from tuiftune.tui.screens.confirm import ConfirmScreen
from tuiftune.tui.screens.help import HelpScreen
from tuiftune.tui.screens.place import Place
from tuiftune.tui.screens.problems import ProblemsScreen
from tuiftune.tui.screens.profiles import EditingAsked, ProfileChosen, ProfilesMarked, ProfilesScreen, RunOpened
from tuiftune.tui.screens.run import Asked, RunScreen
from tuiftune.tui.starting import NOTICE_S, Starter
from tuiftune.tui.watch import Watcher

HELD_S = 0.5
"""So long the first frame waits for the first look at the run: one frame instead of four."""
GLANCE_S = 5.0
"""The machine in the top row is read out so often; what runs at once."""


def active_runs(workspace: Path) -> list[Run]:
    """The runs that go on, newest first."""
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
    ]

    def __init__(self, workspace: Path, run: str | None = None) -> None:
        """Raises RunNotFound where `run` names none."""
        super().__init__()
        self._workspace = workspace
        self._runs: list[RunSummary] = []
        self._catalog = CatalogLoaded(None)
        self._asking: set[tuple[str, str]] = set()
        """Run and kind of what was asked and is not answered yet: a key pressed twice asks once."""
        self._held = ExitStack()
        self._resizes = guard.Resizes(self)
        self._watcher = Watcher(workspace, self.post_message)
        self._starter = Starter(self, workspace)
        self._glance = Glance(one_line(os.uname().nodename, 30))
        self._glanced = 0.0
        self._before: list[str] = []
        """The places that `back` leads to, the last one first."""
        self.places: dict[str, Place] = {}
        """Those that were visited."""
        for place in PLACES:
            self.add_mode(place.name, cast("Callable[[], Place]", partial(self.place, place.name)))
        self._first = find_run(workspace, run) if run else next(iter(active_runs(workspace)), None)

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

    def on_load(self) -> None:
        self._held.enter_context(self.batch_update())  # no frames while mounting: 64 kB instead of 116

    async def on_mount(self) -> None:
        guard.install(self)
        self._watcher.start()
        if self._first is not None:
            self.run_screen.open(self._first)
            self._watcher.follow(self._first)
            await self.switch_mode("run")
        else:
            self._watcher.load_catalog()
            await self.switch_mode("profiles")

    def on_ready(self) -> None:
        if self._first is None:
            self._held.close()
        else:
            self.set_timer(HELD_S, self._held.close)

    def on_unmount(self) -> None:
        self._watcher.stop()

    def on_resize(self) -> None:
        self._resizes.seen()

    def on_app_blur(self) -> None:
        self._watcher.set_quiet(True)

    def on_app_focus(self) -> None:
        self._watcher.set_quiet(False)

    # What the watcher found.

    def on_run_snapshot(self, message: RunSnapshot) -> None:
        self.run_screen.show(message.view)
        if message.view.state.active and time.monotonic() - self._glanced >= GLANCE_S:
            self._look_over(message.view.devices)
        self._held.close()

    def on_curves_wanted(self, message: CurvesWanted) -> None:
        self._watcher.look_at(message.window, message.smoothing)

    def on_runs_changed(self, message: RunsChanged) -> None:
        self._runs = list(message.runs)
        self._look_over(self._glance.devices)
        for place in self.places.values():
            place.show_runs(self._runs)

    def _look_over(self, devices: Sequence[DeviceView]) -> None:
        """The top row of every place."""
        self._glanced = time.monotonic()
        active = [run.state for run in self._runs if run.state in ACTIVE]
        queued = active.count("queued")
        alerts = sum(run.alerts for run in self._runs if run.state in ACTIVE)
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
        self.push_screen(ProblemsScreen(f"{message.run.id} cannot be shown", [message.reason]))

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
        if self.current_mode in BY_NAME and self.current_mode != name:
            self._before.append(self.current_mode)
            self.places[self.current_mode].left()
        self._switch(name)
        if name != "run":
            self._watcher.follow(None)
            self.place(name).about(subject)
        if name == "profiles" or self._catalog.catalog is None:
            self._watcher.load_catalog()  # they may have been edited

    def _choose_run(self, run_id: str | None) -> bool:
        """The run that is wanted, else the one that was shown, else the newest; whether there is any."""
        shown = self.run_screen.run
        if run_id is None and shown is None and self._runs:
            run_id = next((run.id for run in self._runs if run.state in ACTIVE), self._runs[0].id)
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
        self.push_screen(HelpScreen.of(self.screen))

    def action_leave(self) -> None:
        """Only the screen ends: the runs belong to other processes."""
        self.exit()

    # What the user asks for. What blocks runs in a thread; its answer is a message.

    def on_run_opened(self, message: RunOpened) -> None:
        self.go("run", message.run_id)

    def on_profile_chosen(self, message: ProfileChosen) -> None:
        self._starter.start(message.name, message.overrides)

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
        ask = {"stop": self._stop, "resume": self._resume}.get(message.kind)
        if ask is None:
            self._ask(message.run, message.kind)
        else:
            ask(message.run)

    def _stop(self, run: Run) -> None:

        def answered(yes: bool | None) -> None:
            if yes:
                self._ask(run, "stop")

        lines = [
            "It writes a checkpoint first and can be resumed from there.",
            f"To end it at once, without a checkpoint: tuiftune stop {run.id} --now",
        ]
        self.push_screen(ConfirmScreen(f"Stop {run.id}?", lines, "stop the run"), answered)

    def _resume(self, run: Run) -> None:
        def resume() -> None:
            try:
                answer = launch.go_on(run)
            except TuiftuneError as error:
                self.post_message(ActionFailed(f"{run.id} cannot be resumed", str(error).splitlines()))
            else:
                self.post_message(RunStarted(run) if answer is None else ActionDone(f"Resume {run.id}", answer))

        self.run_worker(resume, thread=True, exit_on_error=False, exclusive=True, group="resume")

    def _ask(self, run: Run, kind: str) -> None:
        """Ask a run for something, once, and show its answer."""
        if (run.id, kind) in self._asking:
            return
        self._asking.add((run.id, kind))

        def wait_for_answer() -> None:
            try:
                self.post_message(ActionDone(f"{kind.capitalize()} {run.id}", launch.ask(run, kind)))
            except TuiftuneError as error:
                self.post_message(ActionFailed(f"{run.id}: no {kind} yet", str(error).splitlines()))
            finally:
                self._asking.discard((run.id, kind))

        self.run_worker(wait_for_answer, thread=True, exit_on_error=False)

    def on_alerts_seen(self, message: AlertsSeen) -> None:
        """Written down by a thread; the next look shows it."""

        def write() -> None:
            try:
                mark_seen(message.run, message.keys)
            except TuiftuneError as error:
                self.post_message(ActionFailed("They will be told again", str(error).splitlines()))
            else:
                self._watcher.look_now()

        self.run_worker(write, thread=True, exit_on_error=False)

    def on_action_done(self, message: ActionDone) -> None:
        self._watcher.look_now()
        severity: SeverityLevel = "warning" if message.sentence.startswith("refused") else "information"
        self.notify(message.sentence, title=message.title, severity=severity, timeout=NOTICE_S, markup=False)

    def on_action_failed(self, message: ActionFailed) -> None:
        """Every reason, in a window of its own that waits to be read."""
        self._starter.give_up()
        self.clear_notifications()  # that it is being started
        self.push_screen(ProblemsScreen(message.title, message.lines))

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """What a thread raised that is no sentence for the user is a bug, shown as one."""
        if event.state is WorkerState.ERROR and event.worker.error is not None:
            error = event.worker.error
            self.post_message(ActionFailed("A bug in tuiftune", [f"{type(error).__name__}: {error}"]))


def run_dashboard(workspace: Path, run: str | None = None) -> int:
    """Show the dashboard until the user leaves; then say what goes on. Returns the exit status.

    Call `guard.refuse` and `guard.prepare` before this module is imported. Raises RunNotFound.
    """
    app = TuiftuneApp(workspace, run)
    app.run()
    status = app.return_code or 0
    if status == 0:
        for going_on in active_runs(workspace):
            print(f"run {going_on.id} goes on; come back with: tuiftune", file=sys.stderr)
    return status
