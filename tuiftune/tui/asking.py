"""What a key asks of a run: stop, resume, pause, save, evaluate, sample. The run answers; its answer is shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from tuiftune.errors import TuiftuneError
from tuiftune.run import launch
from tuiftune.run.alerts import mark_seen
from tuiftune.run.folder import Run
from tuiftune.tui.messages import ActionDone, ActionFailed, RunStarted
from tuiftune.tui.screens.confirm import ConfirmScreen

if TYPE_CHECKING:
    from tuiftune.tui.app import TuiftuneApp


class Asker:
    """Asks each run once for each thing: a key pressed twice waits for one answer. What blocks runs in a thread."""

    def __init__(self, app: TuiftuneApp) -> None:
        self._app = app
        self._asking: set[tuple[str, str]] = set()
        """Run and kind of what was asked and is not answered yet."""

    def ask(self, run: Run, kind: str) -> None:
        """`kind`: one of requests.KINDS, or 'resume'. Stopping is asked about first."""
        if kind == "stop":
            self._stop(run)
        elif kind == "resume":
            self._resume(run)
        else:
            self._ask(run, kind)

    def seen(self, run: Run, alerts: Sequence[str], then: Callable[[], None]) -> None:
        """Write down that somebody has seen these alerts (their keys), and call `then`."""

        def write() -> None:
            try:
                mark_seen(run, alerts)
            except TuiftuneError as error:
                self._app.post_message(ActionFailed("They will be told again", str(error).splitlines()))
            else:
                then()

        self._app.run_worker(write, thread=True, exit_on_error=False)

    def _stop(self, run: Run) -> None:

        def answered(yes: bool | None) -> None:
            if yes:
                self._ask(run, "stop")

        lines = [
            "It writes a checkpoint first and can be resumed from there.",
            f"To end it at once, without a checkpoint: tuiftune stop {run.id} --now",
        ]
        self._app.push_screen(ConfirmScreen(f"Stop {run.id}?", lines, "stop the run"), answered)

    def _resume(self, run: Run) -> None:
        def resume() -> None:
            try:
                answer = launch.go_on(run)
            except TuiftuneError as error:
                self._app.post_message(ActionFailed(f"{run.id} cannot be resumed", str(error).splitlines()))
            else:
                done = ActionDone(f"Resume {run.id}", answer) if answer is not None else None
                self._app.post_message(done or RunStarted(run))

        self._app.run_worker(resume, thread=True, exit_on_error=False, exclusive=True, group="resume")

    def _ask(self, run: Run, kind: str) -> None:
        if (run.id, kind) in self._asking:
            return
        self._asking.add((run.id, kind))

        def wait_for_answer() -> None:
            try:
                self._app.post_message(ActionDone(f"{kind.capitalize()} {run.id}", launch.ask(run, kind)))
            except TuiftuneError as error:
                self._app.post_message(ActionFailed(f"{run.id}: no {kind} yet", str(error).splitlines()))
            finally:
                self._asking.discard((run.id, kind))

        self._app.run_worker(wait_for_answer, thread=True, exit_on_error=False)
