"""From Enter on a profile, or R on a run, to a run: check, ask for what is missing, agree to what it will do, start."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tuiftune.catalog import ResolvedProfile, resolve_profile
from tuiftune.errors import TuiftuneError
from tuiftune.run import launch, logout
from tuiftune.run.folder import Run
from tuiftune.run.rerun import command_of, resolved_again
from tuiftune.tui.messages import ActionFailed, ProfileResolved, RunsQueued, RunStarted
from tuiftune.tui.screens.ask import AskScreen
from tuiftune.tui.screens.problems import ProblemsScreen
from tuiftune.tui.screens.start import CheckingScreen, Chosen, StartScreen

if TYPE_CHECKING:
    from tuiftune.tui.app import TuiftuneApp

NOTICE_S = 4.0


@dataclass(frozen=True)
class Wanted:
    """What is to be started: a profile, or what a run was made of."""

    name: str
    """As windows call it: the profile's name, or the run's id."""
    again: Run | None = None

    @property
    def question(self) -> str:
        return f"Run {self.name} again?" if self.again else f"Start {self.name}?"

    def resolve(self, workspace: Path, overrides: Sequence[str]) -> ResolvedProfile:
        """Raises TuiftuneError where it cannot be read."""
        if self.again is not None:
            return resolved_again(workspace, self.again, overrides)
        return resolve_profile(workspace, self.name, overrides)

    def command(self, overrides: Sequence[str], queued: bool) -> list[str]:
        """What to type for the same: it is written down with the run."""
        queue = ["--queue"] if queued else []
        if self.again is not None:
            return [*command_of(self.again, overrides), *queue]
        return ["tuiftune", "run", self.name, *(part for one in overrides for part in ("--set", one)), *queue]


class Starter:
    """Starts one run at a time, or queues several. What blocks runs in a thread; its answer is a message."""

    def __init__(self, app: TuiftuneApp, workspace: Path) -> None:
        self._app, self._workspace = app, workspace
        self._busy = False
        self._wanted = Wanted("")
        self._agreed: ProfileResolved | None = None
        """What was asked about last, without problems."""
        self._at = 0
        """The value that was highlighted there."""

    def give_up(self) -> None:
        """A question that nobody answers any more, or something that failed."""
        self._busy = False

    def checked(self) -> None:
        """The window that says that it is being checked has said so long enough."""
        if isinstance(self._app.screen, CheckingScreen):
            self._app.pop_screen()

    def start(self, name: str, overrides: Sequence[str] = ()) -> None:
        """Check a profile, ask what has to be asked, and start it. Enter pressed twice is one run."""
        self._start(Wanted(name), overrides)

    def start_again(self, run: Run) -> None:
        """The same of what a run was made of."""
        self._start(Wanted(run.id, run), ())

    def _start(self, wanted: Wanted, overrides: Sequence[str]) -> None:
        if self._busy:
            return
        self._busy, self._wanted, self._agreed, self._at = True, wanted, None, 0
        self._app.notify("it is checked", title=wanted.name, timeout=NOTICE_S, markup=False)
        self._resolve(overrides)

    def _resolve_anew(self, overrides: Sequence[str]) -> None:
        """What was typed is checked; meanwhile no key is meant for what lies below."""
        self._app.push_screen(CheckingScreen(self._wanted.question), lambda _: self.give_up())
        self._resolve(overrides)

    def _resolve(self, overrides: Sequence[str]) -> None:
        wanted = self._wanted

        def check() -> None:
            logout.look.cache_clear()  # the user may have been told to linger, and does by now
            try:
                found = launch.with_warnings(wanted.resolve(self._workspace, overrides), self._workspace)
                self._app.post_message(ProfileResolved(found, overrides, wanted))
            except TuiftuneError as error:
                self._app.post_message(ActionFailed(f"{wanted.name} cannot be started", str(error).splitlines()))

        self._in_a_thread(check)

    def resolved(self, message: ProfileResolved) -> None:
        """It was checked: say what is wrong, ask for its file, or show what will be run."""
        if not self._busy or message.wanted is not self._wanted:  # somebody went elsewhere meanwhile
            return
        resolved = message.resolved
        self._app.clear_notifications()
        self.checked()
        if resolved.problems and not message.overrides and self._wanted.again:
            self._ask_for_value([str(problem) for problem in resolved.problems])
        elif resolved.problems and not message.overrides:
            lines = [str(problem) for problem in resolved.problems]
            self._app.post_message(ActionFailed(f"{self._wanted.name} cannot be started", lines))
        elif resolved.problems:
            self._again(message)
        elif resolved.absent:
            self._ask_for_file(message)
        else:
            self._agree(message)

    def _again(self, message: ProfileResolved) -> None:
        """What was typed is wrong: say so, then show what was right before."""
        before = self._agreed
        if before is None:
            self.give_up()
        lines = [str(problem) for problem in message.resolved.problems]
        if before is not None:
            fresh = [one for one in message.overrides if one not in before.overrides]
            lines += ["", f"Left out again: {', '.join(fresh)}. The values of before are kept."]
        title = f"{self._wanted.name} cannot be started so"

        def read(_: None) -> None:
            if self._busy and before is not None:
                self._agree(before)

        self._app.push_screen(ProblemsScreen(title, lines), read)

    def _ask_for_value(self, problems: Sequence[str]) -> None:
        """What a run was made of is no file of the user's to be mended: another value is asked for."""

        def answered(text: str | None) -> None:
            if text is None:
                self.give_up()
            else:
                key, _, value = text.partition("=")
                self._resolve_anew([f"{key.strip()}={value.strip()}"])

        lines = [*problems, "", "Another value, as in train.epochs=1:"]
        self._app.push_screen(AskScreen(self._wanted.question, lines, "KEY=VALUE"), answered)

    def _ask_for_file(self, message: ProfileResolved) -> None:
        """A profile such as gpt2-text is for any file: which one is asked, and the profile checked again with it."""
        name, absent = self._wanted.name, message.resolved.absent[0]

        def answered(file: str | None) -> None:
            if file is None:
                self.give_up()
            else:
                kept = [one for one in message.overrides if not one.startswith(f"{absent.where}=")]
                self._resolve_anew([*kept, f"{absent.where}={json.dumps(file)}"])

        typed = next((one for one in message.overrides if one.startswith(f"{absent.where}=")), "").partition("=")[2]
        file = _as_typed(typed)
        what = f"{file}: no such file" if file else absent.what
        lines = [f"{absent.where}: {what}", f"Another file, from {Path.cwd()} or whole:"]
        self._app.push_screen(AskScreen(f"What is {name} to be run on?", lines, "FILE", file, files=True), answered)

    def _agree(self, message: ProfileResolved) -> None:
        """The values that matter, which may be changed here, and what is worth a look, such as code from a hub."""
        self._agreed, wanted = message, self._wanted

        def answered(chosen: Chosen | None) -> None:
            if chosen is None:
                self.give_up()
            elif tuple(chosen.overrides) != tuple(message.overrides):
                self._at = chosen.at
                self._resolve_anew(chosen.overrides)
            else:
                queued = chosen.queued
                one = (message.resolved, wanted.command(message.overrides, queued))
                self._in_a_thread(lambda: self._launch([one], queued=queued))

        self._app.push_screen(StartScreen(wanted.question, message.resolved, message.overrides, self._at), answered)

    def queue(self, names: Sequence[str]) -> None:
        """Put several profiles into the queue, in this order; all of them or none."""
        if self._busy:
            return
        self._busy = True

        def check() -> None:
            try:
                found = [
                    launch.with_warnings(resolve_profile(self._workspace, name), self._workspace) for name in names
                ]
            except TuiftuneError as error:
                self._app.post_message(ActionFailed("Nothing was queued", str(error).splitlines()))
                return
            lines = [f"{one.name}: {problem}" for one in found for problem in (*one.problems, *one.absent)]
            if lines:
                self._app.post_message(ActionFailed("Nothing was queued", lines))
            else:
                self._launch([(one, Wanted(one.name).command((), queued=True)) for one in found], queued=True)

        self._in_a_thread(check)

    def _launch(self, profiles: Sequence[tuple[ResolvedProfile, list[str]]], *, queued: bool) -> None:
        """Each with the command that does the same. In a thread: it waits until the supervisors are there."""
        try:
            launch.refuse_problems([one for one, _ in profiles])  # before the first of them is made
            runs = [
                launch.start(self._workspace, one, name=None, command=command, queued=queued)
                for one, command in profiles
            ]
            self._app.post_message(RunsQueued(tuple(runs)) if queued else RunStarted(runs[0]))
        except TuiftuneError as error:
            names = ", ".join(one.name for one, _ in profiles)
            self._app.post_message(ActionFailed(f"{names} was not started", str(error).splitlines()))

    def _in_a_thread(self, do: Callable[[], None]) -> None:
        self._app.run_worker(do, thread=True, exit_on_error=False)


def _as_typed(value: str) -> str:
    """The file of an override: as this asks for it a JSON text, as a person types it by itself."""
    try:
        found = json.loads(value)
    except ValueError:
        return value
    return found if isinstance(found, str) else value
