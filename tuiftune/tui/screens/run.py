"""One run: its stages, curves, machine, log and samples, live or as they were."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Container
from textual.message import Message
from textual.widget import Widget

from tuiftune.run.folder import ACTIVE, RESUMABLE, Run
from tuiftune.tui.messages import AlertsSeen, RunView
from tuiftune.tui.palette import MORE
from tuiftune.tui.panes.alerts import AlertsPane, unseen
from tuiftune.tui.panes.charts import ChartsPane
from tuiftune.tui.panes.devices import DevicesPane, lines_wanted
from tuiftune.tui.panes.facts import FactsPane
from tuiftune.tui.panes.header import HeaderPane
from tuiftune.tui.panes.log import LogPane
from tuiftune.tui.panes.pipeline import PipelinePane
from tuiftune.tui.panes.samples import SamplesPane
from tuiftune.tui.panes.why import WhyPane, something_to_tell
from tuiftune.tui.screens.alerts import AlertsScreen
from tuiftune.tui.screens.place import Place
from tuiftune.tui.widgets.look import look_bindings

ON_HOLD = ("pausing", "paused")
WITH_CARD = ("failed", "interrupted")
"""In these states what ended the run matters more than what its model wrote."""


GONE = {"display": "none"}
Layout = list[tuple[Widget, dict[str, Any]]]
"""Widgets, and rules that they are given."""


class Asked(Message):
    """The user pressed a key that wants something of the run: one of requests.KINDS."""

    def __init__(self, run: Run, kind: str) -> None:
        super().__init__()
        self.run, self.kind = run, kind


class RunScreen(Place):
    """Hands what the watcher found to the panes; draws nothing while another screen lies over it."""

    help_text: ClassVar[str] = (
        "This screen only looks: the run goes on when you leave, close the terminal or lose the connection. "
        "Several may watch one run at once."
    )
    TITLE = "run"
    AUTO_FOCUS = ""
    BINDINGS = [
        Binding("s", "ask('stop')", "Stop"),
        Binding("space", "ask('pause')", "Pause"),
        Binding("r", "ask('resume')", "Resume"),
        Binding("space", "ask('resume')", "Resume", show=False),
        Binding("c", "ask('checkpoint')", "Save"),
        Binding("w", "full('why')", "Why"),
        Binding("l", "full('log')", "Log"),
        Binding("m", "full('samples')", "Samples"),
        Binding("x", "cycle_chart", "Chart"),
        Binding("g", "cycle_gpu", "GPU", priority=True),  # in a pane on the whole screen too
        Binding("e", "ask('evaluate')", "Evaluate"),
        Binding("t", "ask('sample')", "Sample"),
        Binding("a", "alerts", "Alerts, and what was done about them", show=False, id=f"{MORE}alerts"),
        Binding("escape", "back", "Back", show=False),
        *look_bindings(MORE),
    ]

    def __init__(self, workspace: Path | None = None) -> None:
        super().__init__(workspace)
        self._run: Run | None = None
        self._view: RunView | None = None
        self._full: str | None = None
        self.header = HeaderPane()
        self.alerts = AlertsPane()
        self.pipeline = PipelinePane()
        self.charts = ChartsPane()
        self.main, self.side, self.texts = Container(id="main"), Container(id="side"), Container(id="texts")
        self._side_lines = 2
        self.devices = DevicesPane()
        self.facts = FactsPane()
        self.log_pane = LogPane()
        self.samples = SamplesPane()
        self.why = WhyPane()
        self._laid_out: Layout = []
        """What a pane on the whole screen has set."""

    def body(self) -> ComposeResult:
        yield self.header
        yield self.alerts
        yield self.pipeline
        with self.main:
            yield self.charts
            with self.side:
                yield self.devices
                yield self.facts
        with self.texts:
            yield self.samples
            yield self.why
            yield self.log_pane

    @property
    def run(self) -> Run | None:
        """The run that is shown."""
        return self._run

    def open(self, run: Run) -> None:
        """Show another run; until it was read, its name."""
        if run == self._run:
            return
        self._run, self._view = run, None
        if self._full is not None:
            self._set_full(None)
        self.header.wait_for(run.id)
        self.alerts.show(None)
        self.pipeline.show(None)
        self.charts.for_another_run()
        self.devices.show(None)

    def show(self, view: RunView) -> None:
        """Take over a new look at the run."""
        if view.run != self._run:  # a look that was under way when another run was opened
            return
        before, self._view = self._view, view
        if self.app.screen is self:
            self._draw(view)
        if before is None or _decides_keys(before) != _decides_keys(view):
            self.refresh_bindings()

    def on_screen_resume(self) -> None:
        if self._view is not None:
            self._draw(self._view)

    def _draw(self, view: RunView) -> None:
        self.header.show(view)
        self.alerts.show(view)
        self.pipeline.show(view)
        if lines_wanted(view.devices) != self._side_lines:
            self._side_lines = lines_wanted(view.devices)
            self.side.styles.min_height = self._side_lines
        self.charts.show(view)
        self.devices.show(view.readings)
        self.facts.show(view)
        self.log_pane.show(view)
        self.samples.show(view)
        self.set_class(view.state.name in WITH_CARD or (view.card is not None and not view.samples), "-why")
        self.why.show(view)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys that can do nothing now are not in the footer."""
        if self.log_pane.typing:
            return False
        if action == "ask":
            return self._view is not None and self._view.state.name in may_be_asked(str(parameters[0]))
        if action == "full" and parameters == ("why",):
            return self._view is not None and something_to_tell(self._view)
        if action == "alerts":
            return self._view is not None
        return super().check_action(action, parameters)

    def action_ask(self, kind: str) -> None:
        if self._run is not None:
            self.post_message(Asked(self._run, kind))

    def action_alerts(self) -> None:
        """All of them, in a window; those that nobody had seen are seen now."""
        view = self._view
        if view is None:
            return
        self.app.push_screen(AlertsScreen(view.run.id, view.alerts))
        if unseen(view.alerts):
            self.post_message(AlertsSeen(view.run, [alert.key for alert in unseen(view.alerts)]))

    def action_full(self, pane: str) -> None:
        """A pane on the whole screen, or back."""
        self._set_full(None if self._full == pane else pane)

    def action_chart(self, what: str, amount: float) -> None:
        """Look at the curves otherwise."""
        if self._full in (None, "chart", "gpu"):
            self.charts.change(what, amount)

    def action_cycle_chart(self) -> None:
        if self._full not in (None, "chart"):
            self._set_full(None)
        self._set_full("chart" if self.charts.cycle() else None)

    def action_cycle_gpu(self) -> None:
        """Speed and GPU on one axis, and all figures of the machine."""
        if self._full != "gpu":
            self._set_full(None)
        self._set_full("gpu" if self.charts.cycle_gpu() else None)

    async def action_back(self) -> None:
        """Out of a pane that fills the screen, else to where one was before."""
        if self._full is not None:
            self._set_full(None)
        else:
            await self.run_action("app.back")

    def _set_full(self, pane: str | None) -> None:
        self._full = pane
        for widget, rules in self._laid_out:
            for rule in rules:
                setattr(widget.styles, rule, None)
        self._laid_out = self._layout_of(pane)
        for widget, rules in self._laid_out:
            for rule, value in rules.items():
                setattr(widget.styles, rule, value)
        if pane not in ("chart", "gpu"):
            self.charts.set_full(None)
        self.log_pane.set_full(pane == "log")
        self.samples.set_full(pane == "samples")
        self.why.set_full(pane == "why")
        if pane not in ("log", "samples", "why"):
            self.set_focus(None)

    def _layout_of(self, pane: str | None) -> Layout:
        """What has to be hidden, and grow, for a pane to have the whole screen. Set on the panes themselves: a class of
        the screen's would have the style sheet look at every part of every pane, which takes longer than all else."""
        if pane is None:
            return []
        if pane in ("chart", "gpu"):
            beside: Layout = [] if pane == "gpu" else [(self.side, GONE), (self.main, {"layout": "vertical"})]
            return [(self.texts, GONE), *beside]
        texts: dict[str, Widget] = {"log": self.log_pane, "samples": self.samples, "why": self.why}
        alone = texts.pop(pane)
        others: Layout = [(other, GONE) for other in texts.values()]
        whole = {"display": "block", "height": "1fr"}
        return [(self.main, GONE), *others, (self.texts, whole), (alone, {**whole, "margin": 0})]


def may_be_asked(kind: str) -> tuple[str, ...]:
    """The states of a run in which it can be asked for that."""
    if kind == "stop":
        return ACTIVE
    if kind == "pause":
        return ("running",)
    if kind == "resume":
        return (*RESUMABLE, *ON_HOLD)
    return ("running", "paused")


def _decides_keys(view: RunView) -> tuple[str, bool]:
    return view.state.name, something_to_tell(view)
