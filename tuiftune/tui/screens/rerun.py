"""A run once more with changes: they are written one a line, checked, and started."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.content import Content
from textual.message import Message
from textual.timer import Timer
from textual.widgets import Static, TextArea

from tuiftune.catalog import ResolvedProfile
from tuiftune.errors import TuiftuneError
from tuiftune.run import launch
from tuiftune.run.folder import Run
from tuiftune.run.rerun import command_of, overrides_in, resolved_again
from tuiftune.text import plain
from tuiftune.tui.messages import ActionFailed, RunsQueued, RunStarted
from tuiftune.tui.panes.run_details import words_of
from tuiftune.tui.screens.window import Window
from tuiftune.tui.widgets.in_order import TextField

CHECK_AFTER_S = 0.5
"""Since the last key: a check is a process of 0.3 s and more."""
UNCHANGED = "nothing changed: the very same run once more"
CHECKING = "checking..."


@dataclass
class Checked(Message):
    """What the check found."""

    text: str
    """What was checked; by now something else may stand there."""
    lines: Sequence[str]
    """What is wrong, a sentence each."""
    resolved: ResolvedProfile | None = None

    def can_replace(self, message: Message) -> bool:
        return isinstance(message, Checked)


class RerunScreen(Window[None]):
    """Overrides as `tuiftune rerun --set` has them, with the messages of `tuiftune check` below."""

    DEFAULT_CSS = """
    RerunScreen {
        & #changes {
            height: 6; border: none; padding: 0 1; margin: 1 0; background: $foreground 8%;
            & .text-area--cursor-line { background: transparent; }
        }
        & #changes:focus { border: none; background-tint: transparent 0%; }
        & #found { height: auto; max-height: 6; color: $foreground 70%; }
        & #found.-wrong { color: $text-error; }
    }
    """
    AUTO_FOCUS = "#changes"
    AROUND = 18
    BINDINGS = [
        Binding("ctrl+r,f5", "start", "Start", priority=True),
        Binding("ctrl+n,f6", "queue", "Queue", priority=True),
        Binding("escape", "dismiss", "Cancel"),
    ]

    def __init__(self, workspace: Path, run: Run, settings: Mapping[str, Any]) -> None:
        words = " · ".join(words_of(settings))
        text = f"It ran with: {words}\nWhat is to be other, one KEY=VALUE a line, as in train.learning_rate=1e-4:"
        keys = [("ctrl+r", "start"), ("ctrl+n", "into the queue"), ("esc", "cancel")]
        super().__init__(f"Run {run.id} again", Content(plain(text)), keys)
        self._workspace, self._of = workspace, run
        self._timer: Timer | None = None
        self._then: str | None = None
        """What is to be done once the check has come back clean: 'start', 'queue'."""
        self._checked: Checked | None = None

    def below(self) -> ComposeResult:
        yield TextField(id="changes", show_line_numbers=False, tab_behavior="focus")
        yield Static(UNCHANGED, id="found")

    @property
    def _text(self) -> str:
        return self.query_one("#changes", TextArea).text

    @on(TextArea.Changed)
    def _edited(self) -> None:
        self._then = None
        if self._timer is not None:
            self._timer.stop()
        self._timer = self.set_timer(CHECK_AFTER_S, self._check)

    def _check(self) -> None:
        self._say([CHECKING], wrong=False)
        text = self._text
        self.run_worker(lambda: self._look(text), thread=True, exit_on_error=False, exclusive=True, group="check")

    def _look(self, text: str) -> None:
        """In a thread."""
        overrides, problems = overrides_in(text)
        lines = [str(problem) for problem in problems]
        resolved = None
        try:
            resolved = launch.with_warnings(resolved_again(self._workspace, self._of, overrides), self._workspace)
            lines += [str(problem) for problem in resolved.problems or resolved.absent]
        except TuiftuneError as error:
            lines += str(error).splitlines()
        self.post_message(Checked(text, lines, None if lines else resolved))

    def on_checked(self, message: Checked) -> None:
        if message.text != self._text:  # another check is on its way
            return
        self._checked = message
        if message.lines:
            self._then = None
            self._say(message.lines, wrong=True)
            return
        notes = message.resolved.notes if message.resolved else []
        count = len(overrides_in(message.text)[0])
        changed = f"checks clean, {count} value{'s' if count > 1 else ''} changed" if count else UNCHANGED
        self._say([changed, *notes], wrong=False)
        if self._then is not None:
            self._go(message, queued=self._then == "queue")

    def _say(self, lines: Sequence[str], wrong: bool) -> None:
        found = self.query_one("#found", Static)
        found.set_class(wrong, "-wrong")
        found.update(Content("\n").join([Content(plain(line)) for line in lines]))

    def action_start(self) -> None:
        self._want("start")

    def action_queue(self) -> None:
        self._want("queue")

    def _want(self, what: str) -> None:
        """Do it with what was checked, or check first."""
        if self._then is not None:  # pressed twice is one run
            return
        self._then = what
        if self._checked is not None and self._checked.text == self._text and not self._checked.lines:
            self._go(self._checked, queued=what == "queue")
        else:
            if self._timer is not None:
                self._timer.stop()
            self._check()

    def _go(self, checked: Checked, queued: bool) -> None:
        if checked.resolved is None:
            return
        workspace, run, resolved = self._workspace, self._of, checked.resolved
        command, app = command_of(run, overrides_in(checked.text)[0]), self.app

        def start() -> None:
            try:
                started = launch.start(workspace, resolved, name=None, command=command, queued=queued)
            except TuiftuneError as error:
                app.post_message(ActionFailed(f"{run.id} was not started again", str(error).splitlines()))
            else:
                app.post_message(RunsQueued((started,)) if queued else RunStarted(started))

        app.run_worker(start, thread=True, exit_on_error=False)
        self.dismiss()
