"""The dashboard: which screen is shown, what its keys ask for, and what the threads answer."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from textual import work
from textual.app import App
from textual.binding import Binding
from textual.notifications import SeverityLevel
from textual.screen import ModalScreen
from textual.worker import Worker, WorkerState

from tuiftune.catalog import ResolvedProfile, resolve_profile
from tuiftune.errors import TuiftuneError
from tuiftune.paths import runs_folder
from tuiftune.run import launch, logout
from tuiftune.run.folder import ACTIVE, Run, find_run, list_runs, state_of
from tuiftune.run.summary import RunSummary
from tuiftune.tui import guard
from tuiftune.tui.messages import (
    ActionDone,
    ActionFailed,
    CatalogLoaded,
    ProfileResolved,
    RunGone,
    RunsChanged,
    RunSnapshot,
    RunStarted,
)
from tuiftune.tui.palette import KeyedCommands
from tuiftune.tui.screens.ask import AskScreen
from tuiftune.tui.screens.confirm import ConfirmScreen
from tuiftune.tui.screens.help import HelpScreen
from tuiftune.tui.screens.problems import ProblemsScreen
from tuiftune.tui.screens.profiles import ProfileChosen, ProfilesScreen, RunOpened
from tuiftune.tui.screens.run import CheckpointAsked, PauseAsked, ResumeAsked, RunScreen, StopAsked
from tuiftune.tui.watch import Watcher

NOTICE_S = 4.0
RECENT = 50
"""So many ended runs the menu lists, the newest."""
HELD_S = 0.5
"""So long the first frame waits for the first look at the run: one frame instead of four."""


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
    MODES = {"profiles": "profiles", "run": "run"}
    COMMANDS = {KeyedCommands}  # Textual's own have other words for leaving and help
    HORIZONTAL_BREAKPOINTS = [(0, "-tiny"), (60, "-narrow"), (100, "-medium"), (160, "-wide")]
    VERTICAL_BREAKPOINTS = [(0, "-flat"), (16, "-short"), (30, "-tall"), (50, "-high")]
    BINDINGS = [
        Binding("p", "profiles", "Profiles"),
        Binding("question_mark", "help", "Help", key_display="?"),
        Binding("q", "leave", "Leave"),
    ]

    def __init__(self, workspace: Path, run: str | None = None) -> None:
        """Raises RunNotFound where `run` names none."""
        super().__init__()
        self._workspace = workspace
        self._runs: list[RunSummary] = []
        self._starting = False
        self._asking: set[tuple[str, str]] = set()
        """Run and kind of what was asked and is not answered yet: a key pressed twice asks once."""
        self._held = ExitStack()
        self._resizes = guard.Resizes(self)
        self._watcher = Watcher(workspace, self.post_message)
        self.profiles = ProfilesScreen()
        self.run_screen = RunScreen()
        self.install_screen(self.profiles, "profiles")
        self.install_screen(self.run_screen, "run")
        self._first = find_run(workspace, run) if run else next(iter(active_runs(workspace)), None)

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
        self._held.close()

    def on_runs_changed(self, message: RunsChanged) -> None:
        self._runs = list(message.runs)
        self._show_runs()

    def on_catalog_loaded(self, message: CatalogLoaded) -> None:
        self._catalog = message
        self._show_catalog()

    def on_run_gone(self, message: RunGone) -> None:
        if self.run_screen.run == message.run and self.screen is not self.profiles:
            self.action_profiles()
        self.push_screen(ProblemsScreen(f"{message.run.id} cannot be shown", [message.reason]))

    _catalog: CatalogLoaded | None = None

    def _show_runs(self) -> None:
        active = [run for run in self._runs if run.state in ACTIVE]
        ended = [run for run in self._runs if run.state not in ACTIVE]
        shown = self.run_screen.run
        self.run_screen.show_others(sum(1 for run in active if shown is None or run.id != shown.id))
        self.profiles.show_runs([*active, *ended[:RECENT]])
        self._show_catalog()

    def _show_catalog(self) -> None:
        """The profiles, each with its newest run."""
        if self._catalog is None:
            return
        newest: dict[str, RunSummary] = {}
        for run in self._runs:
            newest.setdefault(run.profile, run)
        self.profiles.show_catalog(self._catalog.catalog, newest, self._catalog.error)

    # Where to be.

    def open_run(self, run: Run) -> None:
        """Show a run and follow it."""
        self.run_screen.open(run)
        self._watcher.follow(run)
        self._show_runs()
        self._switch("run")

    def action_profiles(self) -> None:
        """The menu of profiles; read anew, since they may have been edited."""
        if self.screen is not self.profiles:
            self._watcher.follow(None)
            self._switch("profiles")
        self._watcher.load_catalog()

    def _switch(self, name: str) -> None:
        """To another screen, whatever lies over this one."""
        while isinstance(self.screen, ModalScreen):
            self._starting = False  # a question that nobody answers any more
            self.pop_screen()
        self.switch_mode(name)

    def action_help(self) -> None:
        self.push_screen(HelpScreen.of(self.screen))

    def action_leave(self) -> None:
        """Only the screen ends: the runs belong to other processes."""
        self.exit()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "profiles" and self.screen_stack and self.screen is self.profiles:
            return False
        return super().check_action(action, parameters)

    # What the user asks for. What blocks runs in a thread; its answer is a message.

    def on_run_opened(self, message: RunOpened) -> None:
        self.open_run(Run(runs_folder(self._workspace) / message.run_id))

    def on_profile_chosen(self, message: ProfileChosen) -> None:
        if self._starting:  # Enter pressed twice is one run
            return
        self._starting = True
        self.notify("it is checked and started", title=message.name, timeout=NOTICE_S, markup=False)
        self._resolve(message.name)

    @work(thread=True, exit_on_error=False)
    def _resolve(self, name: str, overrides: Sequence[str] = ()) -> None:
        logout.look.cache_clear()  # the user may have been told to linger, and does by now
        try:
            resolved = launch.with_warnings(resolve_profile(self._workspace, name, overrides))
            self.post_message(ProfileResolved(resolved, overrides))
        except TuiftuneError as error:
            self.post_message(ActionFailed(f"{name} cannot be started", str(error).splitlines()))

    def on_profile_resolved(self, message: ProfileResolved) -> None:
        resolved = message.resolved
        if resolved.problems:
            self.post_message(
                ActionFailed(f"{resolved.name} cannot be started", [str(problem) for problem in resolved.problems])
            )
        elif resolved.absent:
            self._ask_for_file(message)
        elif resolved.notes:
            self._ask_about_notes(resolved)
        else:
            self._launch(resolved)

    def _ask_for_file(self, message: ProfileResolved) -> None:
        """A profile such as gpt2-text is for any file: which one is asked, and the profile checked again with it."""
        name, absent = message.resolved.name, message.resolved.absent[0]

        def answered(file: str | None) -> None:
            if file is None:
                self._starting = False
            else:
                self._resolve(name, [*message.overrides, f"{absent.where}={json.dumps(file)}"])

        lines = [f"{absent.where}: {absent.what}", f"Another file, from {Path.cwd()} or whole:"]
        self.clear_notifications()
        self.push_screen(AskScreen(f"What is {name} to be run on?", lines, "FILE"), answered)

    def _ask_about_notes(self, resolved: ResolvedProfile) -> None:
        """What is allowed and worth a look, such as code from a hub, is agreed to first."""

        def answered(yes: bool | None) -> None:
            if yes:
                self._launch(resolved)
            else:
                self._starting = False

        self.push_screen(ConfirmScreen(f"Start {resolved.name}?", resolved.notes, "start"), answered)

    @work(thread=True, exit_on_error=False)
    def _launch(self, resolved: ResolvedProfile) -> None:
        try:
            run = launch.start(self._workspace, resolved, name=None, command=sys.argv)
        except TuiftuneError as error:
            self.post_message(ActionFailed(f"{resolved.name} was not started", str(error).splitlines()))
        else:
            self.post_message(RunStarted(run))

    def on_run_started(self, message: RunStarted) -> None:
        self._starting = False
        self._watcher.look_now()
        self.open_run(message.run)

    def on_stop_asked(self, message: StopAsked) -> None:
        run = message.run

        def answered(yes: bool | None) -> None:
            if yes:
                self._stop(run)

        lines = [
            "It writes a checkpoint first and can be resumed from there.",
            f"To end it at once, without a checkpoint: tuiftune stop {run.id} --now",
        ]
        self.push_screen(ConfirmScreen(f"Stop {run.id}?", lines, "stop the run"), answered)

    @work(thread=True, exit_on_error=False)
    def _stop(self, run: Run) -> None:
        try:
            self.post_message(ActionDone(f"Stop {run.id}", launch.stop(run)))
        except TuiftuneError as error:
            self.post_message(ActionFailed(f"{run.id} was not stopped", str(error).splitlines()))

    def on_resume_asked(self, message: ResumeAsked) -> None:
        self._resume(message.run)

    @work(thread=True, exit_on_error=False, exclusive=True, group="resume")
    def _resume(self, run: Run) -> None:
        try:
            answer = launch.go_on(run)
        except TuiftuneError as error:
            self.post_message(ActionFailed(f"{run.id} cannot be resumed", str(error).splitlines()))
        else:
            self.post_message(RunStarted(run) if answer is None else ActionDone(f"Resume {run.id}", answer))

    def on_pause_asked(self, message: PauseAsked) -> None:
        self._ask(message.run, "pause")

    def on_checkpoint_asked(self, message: CheckpointAsked) -> None:
        self._ask(message.run, "checkpoint")

    def _ask(self, run: Run, kind: str) -> None:
        if (run.id, kind) not in self._asking:
            self._asking.add((run.id, kind))
            self._wait_for_answer(run, kind)

    @work(thread=True, exit_on_error=False)
    def _wait_for_answer(self, run: Run, kind: str) -> None:
        try:
            self.post_message(ActionDone(f"{kind.capitalize()} {run.id}", launch.ask(run, kind)))
        except TuiftuneError as error:
            self.post_message(ActionFailed(f"{run.id}: no {kind} yet", str(error).splitlines()))
        finally:
            self._asking.discard((run.id, kind))

    def on_action_done(self, message: ActionDone) -> None:
        self._watcher.look_now()
        severity: SeverityLevel = "warning" if message.sentence.startswith("refused") else "information"
        self.notify(message.sentence, title=message.title, severity=severity, timeout=NOTICE_S, markup=False)

    def on_action_failed(self, message: ActionFailed) -> None:
        """Every reason, in a window of its own that waits to be read."""
        self._starting = False
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
