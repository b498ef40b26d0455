"""All alerts of a run, in a window; who opens it has seen them."""

from __future__ import annotations

from collections.abc import Sequence

from textual.binding import Binding

from tuiftune.run.alerts import Alert
from tuiftune.tui.panes.alerts import body
from tuiftune.tui.screens.window import Window


class AlertsScreen(Window[None]):
    """Escape, enter, a or q closes it."""

    BINDINGS = [Binding("escape,enter,a,q", "dismiss", "Close")]
    DEFAULT_CSS = "AlertsScreen > #window { max-width: 116; }"

    def __init__(self, run_id: str, alerts: Sequence[Alert]) -> None:
        super().__init__(f"Alerts of {run_id}", body(alerts), [("esc", "close"), ("↑ ↓", "scroll")])
