"""Which run this is, what it is doing and, where it failed or waits, why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from tuiftune import units
from tuiftune.text import one_line
from tuiftune.tui.messages import RunView
from tuiftune.tui.panes.rows import Row, Rows, Span, beside, wrap
from tuiftune.tui.widgets.glyphs import STATE_MARKS

WORDS = {
    "pausing": "at the end of its step: ",
    "stopping": "it writes a checkpoint first, then it ends",
    "healing": "a new worker goes on; the one before: ",
}
"""State -> what stands before its reason."""
TONES = {"primary": "accent", "success": "good", "warning": "warn", "error": "bad", "muted": "muted"}
REASON_ROWS = 3
MADE_UP = "MADE-UP FIGURES (demo)"


class HeaderPane(Rows):
    """One row, and below it the reason when there is one to give."""

    help_text: ClassVar[str] = "The run's id, its profile, what it is doing and for how long."
    DEFAULT_CSS = "HeaderPane { height: 1; }"

    def __init__(self) -> None:
        super().__init__()
        self._view: RunView | None = None
        self._waiting = ""

    def show(self, view: RunView) -> None:
        self._view = view
        self._grow()
        self.redraw()

    def wait_for(self, run_id: str) -> None:
        """Nothing was read of that run yet."""
        self._view, self._waiting = None, run_id
        self._grow()
        self.redraw()

    def on_resize(self) -> None:
        self._grow()
        self.redraw()

    def _grow(self) -> None:
        """As many rows as the reason takes: a new layout, but only when that changes."""
        height = 1 + len(self._reason(self.likely_width))
        if self.styles.height is None or self.styles.height.value != height:
            self.styles.height = height

    def rows(self, width: int, height: int) -> Sequence[Row]:
        if self._view is None:
            return [[(self._waiting, "title"), ("  reading...", "muted")]]
        return [self._first(self._view, width), *self._reason(width)][:height]

    def _first(self, view: RunView, width: int) -> Row:
        left: list[Span] = [(view.run.id, "title")]
        if view.label:
            left.append((f"  {view.label}", "accent"))
        if width >= 100:
            left.append((f"  profile {view.profile}", "muted"))
        return beside(left, state_spans(view), width)

    def _reason(self, width: int) -> list[Row]:
        view = self._view
        if view is None or not width:
            return []
        problem = view.problem or view.stalled or f"{WORDS.get(view.state.name, '')}{view.state.reason or ''}"
        if view.state.left:
            pids = ", ".join(str(pid) for pid in view.state.left)
            problem = f"{problem} These processes did not end: {pids}".strip()
        if not problem or (view.state.name == "finished" and not view.problem):
            return []
        tone = "bad" if view.problem or view.state.name == "failed" else "warn"
        lines = wrap(one_line(problem, 2000), width)
        if len(lines) > REASON_ROWS:
            lines = [*lines[: REASON_ROWS - 1], lines[REASON_ROWS - 1][: width - 1] + "…"]
        return [[(line, tone)] for line in lines]


def state_spans(view: RunView) -> list[Span]:
    """`MADE-UP FIGURES (demo)  ● running  12:05`: the sign alone tells the state without colour."""
    name = view.state.name
    sign, colour = STATE_MARKS.get(name, ("?", "muted"))
    spans: list[Span] = [(f"{MADE_UP}  ", "warn")] if view.made_up else []
    spans.append((f"{sign} {name}", TONES[colour]))
    if view.state.attempt > 1:
        spans.append((f"  attempt {view.state.attempt}", "muted"))
    if view.elapsed_s is not None:
        spans.append((f"  {units.clock(view.elapsed_s)}", "muted"))
    return spans
