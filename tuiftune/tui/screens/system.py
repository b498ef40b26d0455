"""This machine: its GPUs and who is on them, live, and what the doctor says about it."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Container
from textual.message import Message

from tuiftune.doctor.finding import Finding
from tuiftune.text import one_line
from tuiftune.tui.messages import DeviceView, MachineRead, Readings
from tuiftune.tui.panes.devices import DevicesPane, lines_wanted
from tuiftune.tui.panes.doctor import DoctorPane
from tuiftune.tui.panes.processes import CLOSED, ProcessesPane
from tuiftune.tui.panes.rows import Row, Rows, fit
from tuiftune.tui.screens.place import Place

MOST_PROCESSES = 12
"""Rows of them at most, two of them above."""
LOOKING = "looking at this machine..."


@dataclass
class Examined(Message):
    """What the doctor found, None where that failed; and when, or why."""

    found: Sequence[Finding] | None
    said: str


class ProblemRow(Rows):
    """Why there are no new readings; not there while there are."""

    DEFAULT_CSS = "ProblemRow { height: 1; display: none; } ProblemRow.-some { display: block; }"

    def __init__(self) -> None:
        super().__init__()
        self._problem = ""

    def show(self, problem: str | None) -> None:
        self._problem = one_line(problem or "")
        self.set_class(bool(problem), "-some")
        self.redraw()

    def rows(self, width: int, height: int) -> Sequence[Row]:  # noqa: ARG002
        return [[(fit(self._problem, width), "warn")]]


class SystemScreen(Place):
    """The readings at the left, the findings at the right; below one another where there is little room."""

    TITLE = "system"
    help_text: ClassVar[str] = (
        "This machine as it is now, read out every two seconds while you are here, and the findings of the doctor, who "
        "looks when you come the first time and whenever you press r. tuiftune devices and tuiftune doctor print the "
        "same."
    )
    AUTO_FOCUS = "#doctor"
    BINDINGS = [Binding("r", "examine", "Look again"), Binding("escape", "app.back", "Back", show=False)]
    CSS = """
    SystemScreen {
        & > #system { height: 1fr; padding: 0 1; }
        & #machine { height: auto; max-height: 60%; }
        & #machine DevicesPane { height: 2; }
        & #machine ProcessesPane { height: 1; margin: 1 0 0 0; }
        & #doctor { height: 1fr; margin: 1 0 0 0; }
        &.-flat #machine { display: none; }
        &.-flat #doctor { margin: 0; }

        &.-medium.-tall > #system, &.-wide.-tall > #system,
        &.-medium.-high > #system, &.-wide.-high > #system { layout: horizontal; }
        &.-medium.-tall #machine, &.-wide.-tall #machine,
        &.-medium.-high #machine, &.-wide.-high #machine { width: 1fr; height: 1fr; max-height: 100%; }
        &.-medium.-tall #machine DevicesPane, &.-wide.-tall #machine DevicesPane,
        &.-medium.-high #machine DevicesPane, &.-wide.-high #machine DevicesPane { height: 1fr; }
        &.-medium.-tall #doctor, &.-wide.-tall #doctor,
        &.-medium.-high #doctor, &.-wide.-high #doctor {
            width: 1fr; margin: 0 0 0 1; padding: 0 0 0 2; border-left: solid $foreground 20%;
        }
    }
    """

    def __init__(self, workspace: Path | None = None) -> None:
        super().__init__(workspace)
        self.devices = DevicesPane()
        self.processes = ProcessesPane()
        self.problem = ProblemRow()
        self.doctor = DoctorPane(id="doctor")
        self._found: Sequence[Finding] | None = None
        self._examining = False
        self._rows = (0, 0, 0)

    def body(self) -> ComposeResult:
        with Container(id="system"):
            with Container(id="machine"):
                yield self.devices
                yield self.problem
                yield self.processes
            yield self.doctor

    # The machine.

    def read(self, message: MachineRead) -> None:
        """Show new readings."""
        self.devices.show(Readings(message.devices, message.age_s, live=True))
        self.problem.show(message.problem)
        self.processes.show(message.processes, _nobody(message.devices))
        self._divide(len(message.processes), lines_wanted(message.devices))

    def _divide(self, processes: int, least: int) -> None:
        """The processes stand right below the devices: a new layout, but only where the rows of either change."""
        beside = min(MOST_PROCESSES, processes + 2) if processes else 1
        room = self.query_one("#machine").size
        most = max(least, len(self.devices.guarded_rows(room.width, max(least, room.height - beside - 1))))
        if (least, most, beside) != self._rows:
            self._rows = (least, most, beside)
            self.devices.styles.min_height, self.devices.styles.max_height = least, most
            self.processes.styles.height = beside

    # The doctor.

    def about(self, subject: str | None) -> None:  # noqa: ARG002
        """Who comes the first time finds it being looked at."""
        if self._found is None:
            self.action_examine()

    def action_examine(self) -> None:
        if self._examining:
            return
        self._examining = True
        self.doctor.show(self._found, LOOKING)
        # Of its own: the exit waits for Textual's threads, and torch takes seconds to be looked at.
        threading.Thread(target=self._examine, name="doctor", daemon=True).start()

    def _examine(self) -> None:
        from tuiftune.doctor.examine import examine

        try:
            found: Sequence[Finding] | None = examine(self.workspace)
            said = time.strftime("looked at %H:%M")
        except Exception as error:  # told here: nobody else sees what a thread raises
            found, said = None, one_line(f"a bug in tuiftune: {type(error).__name__}: {error}")
        self.post_message(Examined(found, said))

    def on_examined(self, message: Examined) -> None:
        self._examining = False
        self._found = message.found if message.found is not None else self._found
        self.doctor.show(self._found, message.said)


def _nobody(devices: Sequence[DeviceView]) -> str:
    """What to say of processes where none is known."""
    gpus = [device for device in devices if device.name.startswith("gpu")]
    if any(gpu.latest.get("processes") is None and not gpu.latest.get("error") for gpu in gpus):
        return CLOSED
    return "none on a GPU, and no run at work" if gpus else "no run at work"
