"""The menu's list of runs, the active ones first as they are handed in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.cells import cell_len, set_cell_size
from textual.binding import Binding
from textual.content import Content
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from tuiftune import units
from tuiftune.run.folder import WAITING
from tuiftune.run.summary import RunSummary
from tuiftune.text import one_line
from tuiftune.tui.widgets.glyphs import STATE_MARKS


class RunList(OptionList):
    """Runs to open."""

    help_title: ClassVar[str] = "Runs"
    help_text: ClassVar[str] = "Active and recent runs; Enter opens one. A run goes on when the dashboard is closed."
    BINDINGS = [
        Binding("enter", "select", "Open"),
        Binding("tab", "screen.focus_profiles", "Profiles"),
    ]
    DEFAULT_CSS = """
    RunList {
        height: auto;
        border: none;
        border-top: solid $foreground 20%;
        border-title-color: $foreground 60%;
        padding: 0;
        background: transparent;
        text-wrap: nowrap;
        text-overflow: ellipsis;
        scrollbar-size-vertical: 1;
        & > .option-list--option { padding: 0 1; }
        & > .option-list--option-highlighted { background: transparent; color: $foreground; text-style: none; }
        & > .option-list--option-hover { background: $primary 8%; }
        &:focus {
            border: none;
            border-top: solid $primary;
            background-tint: transparent 0%;
            & > .option-list--option-highlighted { background: $primary 35%; color: $foreground; text-style: none; }
        }
    }
    """

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id, markup=False)
        self.border_title = "runs"
        self._runs: Sequence[RunSummary] = ()
        self._texts: list[Content] = []

    @property
    def run_id(self) -> str | None:
        """The highlighted run's."""
        return self.run.id if self.run else None

    @property
    def run(self) -> RunSummary | None:
        """The highlighted run."""
        index = self.highlighted
        return None if index is None or index >= len(self._runs) else self._runs[index]

    def show(self, runs: Sequence[RunSummary]) -> None:
        """List these runs; only rows that read differently are drawn again."""
        ids, texts = [run.id for run in runs], rows_of(runs)
        keep, before = self.run_id, [run.id for run in self._runs]
        self._runs = runs
        if ids == before:
            for index, (old, new) in enumerate(zip(self._texts, texts, strict=True)):
                if not old.is_same(new):
                    self.replace_option_prompt_at_index(index, new)
        else:
            self.set_options([Option(text) for text in texts])
            self.highlighted = ids.index(keep) if keep in ids and self.has_focus else 0 if ids else None
        self._texts = texts


def rows_of(runs: Sequence[RunSummary]) -> list[Content]:
    """Each run in a row, in columns: state, profile or label, when, step, and what came of it."""
    columns = [
        (
            one_line(run.state),
            one_line(run.name or run.profile or run.id, 30),
            units.ago(run.started if run.ended is None else run.ended),
            f"{run.step:,}/{run.total_steps:,}" if run.total_steps else f"{run.step:,}",
        )
        for run in runs
    ]
    widths = [max(map(cell_len, column)) for column in zip(*columns, strict=True)]
    return [_row(run, texts, widths) for run, texts in zip(runs, columns, strict=True)]


def _row(run: RunSummary, texts: Sequence[str], widths: Sequence[int]) -> Content:
    sign, colour = STATE_MARKS.get(run.state, ("·", "foreground"))
    style = f"$text-{colour}" if colour not in ("muted", "foreground") else "$foreground 60%"
    state, name, when = (set_cell_size(text, width) for text, width in zip(texts[:3], widths[:3], strict=True))
    outcome = (
        one_line(run.reason, 200)
        if run.reason and run.state in ("failed", *WAITING)
        else "".join(perplexity_words(run)).replace(" → ", "→").replace("baseline perplexity", "baseline")
    )
    return Content.assemble(
        (f"{sign} {state}  ", style),
        (name, "bold"),
        (f"  {when}  {texts[3].rjust(widths[3])}  {outcome}".rstrip(), "$foreground 70%"),
    )


def when_words(run: RunSummary) -> str:
    """When it ended, or where nobody saw that, when it was started."""
    return units.ago(run.ended) if run.ended is not None else f"started {units.ago(run.started)}"


def perplexity_words(run: RunSummary) -> list[str]:
    """`perplexity 18.20 → 9.810`, or nothing where nothing was measured."""
    before = run.baseline.get("perplexity") if run.baseline else None
    after = run.last.get("perplexity") if run.last else None
    if after is None:
        words = f"baseline perplexity {units.figure(before)}" if before is not None else ""
    else:
        words = "perplexity " + (f"{units.figure(before)} → " if before is not None else "") + units.figure(after)
    return [f"{words}{' made up' if run.made_up else ''}"] if words else []
