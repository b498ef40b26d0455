"""What happened to the run that nobody has seen yet, in a row; and all of it, for a window."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import ClassVar

from rich.cells import cell_len
from textual.content import Content

from tuiftune.run.alerts import Alert
from tuiftune.text import one_line
from tuiftune.tui.messages import RunView
from tuiftune.tui.panes.rows import Row, Rows, fit

KEY = "a"


class AlertsPane(Rows):
    """`! 3 alerts  14:02 out of memory, ...   a reads them`; it is not there while all were seen."""

    help_text: ClassVar[str] = (
        "What happened to the run and nobody has seen: it went on after a failure, was held or slowed down by heat, "
        "waited for room on the disk, its loss was no number, it stood still, a plugin failed. a lists all with what "
        "was done about each, and from then on they count as seen, by everybody who watches; "
        "tuiftune alerts prints the same."
    )
    DEFAULT_CSS = """
    AlertsPane { height: 1; padding: 0 1; background: $warning 15%; display: none; }
    AlertsPane.-some { display: block; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._alerts: Sequence[Alert] = ()

    def show(self, view: RunView | None) -> None:
        self._alerts = unseen(view.alerts) if view is not None else ()
        self.set_class(bool(self._alerts), "-some")
        self.redraw()

    def rows(self, width: int, height: int) -> Sequence[Row]:  # noqa: ARG002
        if not self._alerts:
            return []
        newest = self._alerts[-1]
        count = f"! {len(self._alerts)} alerts  " if len(self._alerts) > 1 else "! "
        keys = "  a reads them" if len(self._alerts) > 1 else "  a reads it"
        clock = f"{time.strftime('%H:%M', time.localtime(newest.time))} "
        room = width - len(count) - len(clock) - len(keys)
        said = fit(f"{newest.sentence}: {newest.done}", room)
        blanks = " " * max(0, room - cell_len(said))
        return [[(count, "warn"), (clock, "muted"), (said, "strong"), (blanks, ""), ("  a", "accent"), (keys[3:], "")]]

    async def on_click(self) -> None:
        await self.run_action("screen.alerts")


def unseen(alerts: Sequence[Alert]) -> Sequence[Alert]:
    return tuple(alert for alert in alerts if not alert.seen)


def body(alerts: Sequence[Alert]) -> Content:
    """All of them, the newest first: when and at which step, what, and what was done about it."""
    parts = []
    for alert in reversed(alerts):
        head = [
            ("! " if not alert.seen else "  ", "$text-warning bold"),
            (" · ".join(_about(alert)), "$foreground 60%"),
        ]
        lines = [Content.assemble(*head), Content(f"  {one_line(alert.sentence)}")]
        if alert.done:
            lines.append(Content.styled(f"  {one_line(alert.done)}", "$foreground 60%"))
        parts.append(Content("\n").join(lines))
    return Content("\n\n").join(parts) if parts else Content("nothing happened that you should know of")


def _about(alert: Alert) -> Iterator[str]:
    yield time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(alert.time))
    if alert.step is not None:
        yield f"step {alert.step:,}"
    if alert.times > 1:
        yield f"{alert.times} times since {time.strftime('%H:%M', time.localtime(alert.first))}"
    yield "seen" if alert.seen else "new"
