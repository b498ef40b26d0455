"""What the table of runs has in its columns, how it is sorted and what a filter finds."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.cells import cell_len

from tuiftune import units
from tuiftune.run.folder import ACTIVE
from tuiftune.run.summary import RunSummary
from tuiftune.text import one_line
from tuiftune.tui.panes.rows import Span, fit, fit_end
from tuiftune.tui.widgets.glyphs import STATE_MARKS

GAP = 2
TONES = {"primary": "accent", "success": "good", "warning": "warn", "error": "bad", "muted": "muted"}
NAME_LEAST, NAME_MOST = 12, 32
PROFILE_MOST = 18
STATE = "✓ interrupted"
ALERTED = " !"
"""After the state of a run with alerts that nobody has seen."""
UNKNOWN = "—"


@dataclass(frozen=True)
class Told:
    """What a cell is made from."""

    run: RunSummary
    size_bytes: int | None
    now: float


@dataclass(frozen=True)
class Column:
    """One of the columns."""

    name: str
    title: str
    width: int
    """Cells; of 'profile' and 'run' the least."""
    text: Callable[[Told], str]
    key: Callable[[Told], Any]
    """What it is sorted by; None, and what is no number, comes last either way."""
    right: bool = True
    highest_first: bool = False
    """The order it is sorted in first."""


def _perplexity(run: RunSummary) -> float | None:
    """The best one; while there is none after step 0, the untouched model's says nothing of the run."""
    return run.best.get("perplexity") if run.best else None


def _share(run: RunSummary) -> float | None:
    return run.step / run.total_steps if run.total_steps else None


def _progress(told: Told) -> str:
    share = _share(told.run)
    return f"{told.run.step:,}" if share is None else f"{math.floor(min(1.0, share) * 100)} %"


def _steps(told: Told) -> str:
    run = told.run
    return f"{run.step:,}/{run.total_steps:,}" if run.total_steps else f"{run.step:,}"


def took(told: Told) -> float | None:
    """Of one that goes on, until now."""
    run = told.run
    return max(0.0, told.now - run.started) if run.state in ACTIVE else run.took_s


def _took(told: Told) -> str:
    seconds = took(told)
    return UNKNOWN if seconds is None or told.run.state == "queued" else units.duration(seconds)


def _size(value: float | None) -> str:
    return UNKNOWN if value is None else units.size(value)


def _when(told: Told) -> str:
    run = told.run
    return units.ago(run.started if run.ended is None else run.ended, told.now)


def name_of(run: RunSummary) -> str:
    """Its label, else its id, which has its profile and when it was started in it."""
    return run.name or run.id


def name_beside(run: RunSummary) -> str:
    """The same where its profile stands beside it: of an id what comes after that."""
    return run.name or run.id.removeprefix(f"{run.profile}-")


ALL = (
    Column(
        "state",
        "STATE",
        cell_len(STATE + ALERTED),
        lambda told: _state(told.run),
        lambda told: told.run.state,
        right=False,
    ),
    Column("profile", "PROFILE", 8, lambda told: told.run.profile, lambda told: told.run.profile, right=False),
    Column("run", "RUN", NAME_LEAST, lambda told: name_of(told.run), lambda told: name_of(told.run), right=False),
    Column("progress", "DONE", 6, _progress, lambda told: _share(told.run), highest_first=True),
    Column("step", "STEP", 13, _steps, lambda told: told.run.step, highest_first=True),
    Column("best", "BEST PPL", 8, lambda told: units.figure(_perplexity(told.run)), lambda told: _perplexity(told.run)),
    Column(
        "speed",
        "TOKENS/S",
        8,
        lambda told: units.count(told.run.tokens_per_s),
        lambda told: told.run.tokens_per_s,
        highest_first=True,
    ),
    Column(
        "vram",
        "PEAK VRAM",
        9,
        lambda told: _size(told.run.peak_vram_bytes),
        lambda told: told.run.peak_vram_bytes,
        highest_first=True,
    ),
    Column("took", "TOOK", 11, _took, took, highest_first=True),
    Column("size", "ON DISK", 9, lambda told: _size(told.size_bytes), lambda told: told.size_bytes, highest_first=True),
    Column("when", "WHEN", 10, _when, lambda told: told.run.ended or told.run.started, highest_first=True),
)
BY_NAME = {column.name: column for column in ALL}
WANTED = ("state", "run", "when", "best", "progress", "profile", "speed", "vram", "took", "size", "step")
"""The columns by how much they are missed: as many of the first as the width has room for."""
SORTED = tuple(column.name for column in (BY_NAME["when"], *ALL[:-1]))
"""By these it is sorted, one after the other."""


def _state(run: RunSummary) -> str:
    return f"{STATE_MARKS.get(run.state, ('·', ''))[0]} {one_line(run.state)}{ALERTED if run.alerts else ''}"


def tone_of(run: RunSummary) -> str:
    """Of its state; a stall and an alert are worth a look."""
    return (
        "warn"
        if run.stalled or (run.alerts and run.state in ACTIVE)
        else TONES.get(STATE_MARKS.get(run.state, ("", "muted"))[1], "")
    )


@dataclass(frozen=True)
class Layout:
    """Which columns there are, and how wide."""

    columns: tuple[tuple[Column, int], ...]

    def spans(self, told: Told) -> list[Span]:
        """A run's cells, with the gaps between them."""
        row: list[Span] = []
        for column, width in self.columns:
            text = one_line(self._text(column, told), 200)
            shown = fit_end(text, width) if column.name == "run" and not told.run.name else fit(text, width)
            blanks = " " * (width - cell_len(shown))
            tone = self._tone(column, told.run)
            row += [(f"{blanks}{shown}" if column.right else f"{shown}{blanks}", tone), (" " * GAP, "")]
        return row[:-1]

    def _text(self, column: Column, told: Told) -> str:
        beside = column.name == "run" and any(one.name == "profile" for one, _ in self.columns)
        return name_beside(told.run) if beside else column.text(told)

    @staticmethod
    def _tone(column: Column, run: RunSummary) -> str:
        if column.name == "state":
            return tone_of(run)
        if column.name == "run":
            return "strong" if run.name else ""
        return "" if column.name in ("progress", "best", "speed") else "muted"

    def header(self, by: str, sign: str) -> list[Span]:
        """The titles; that of the column it is sorted by has `sign`."""
        row: list[Span] = []
        for column, width in self.columns:
            title = f"{sign}{column.title}" if column.right else f"{column.title}{sign}"
            title = title if column.name == by else column.title
            shown = title.rjust(width) if column.right else title.ljust(width)
            row += [(fit(shown, width + (1 if column.right else 0)), "strong" if column.name == by else "muted")]
            row += [(" " * GAP, "")]
        return row[:-1]

    def column_at(self, x: int) -> str | None:
        """The column under a cell."""
        start = 0
        for column, width in self.columns:
            if start <= x < start + width:
                return column.name
            start += width + GAP
        return None


def layout(width: int, runs: Sequence[RunSummary]) -> Layout:
    """As many columns as fit into `width`; profile and name as wide as they need to be, where there is room."""
    profiles = min(PROFILE_MOST, max([8, *(cell_len(one_line(run.profile, 60)) for run in runs)]))
    sizes = {column.name: column.width for column in ALL} | {"profile": profiles}
    longest = min(NAME_MOST, max([NAME_LEAST, *(cell_len(name_beside(run)) for run in runs)]))
    chosen: list[str] = []
    for name in WANTED:
        more = longest - NAME_LEAST if name == WANTED[-1] else 0  # the last one is not worth a cut name
        if sum(sizes[one] + GAP for one in [*chosen, name]) - GAP + more <= width:
            chosen.append(name)
    left = width - sum(sizes[name] + GAP for name in chosen) + GAP
    sizes["run"] += max(0, min(left, longest - NAME_LEAST))
    return Layout(tuple((column, sizes[column.name]) for column in ALL if column.name in chosen))


def found_by(runs: Sequence[RunSummary], query: str) -> list[RunSummary]:
    """Those with every word of `query` in their id, profile, name, note or state."""
    words = query.lower().split()
    if not words:
        return list(runs)
    return [
        run
        for run in runs
        if all(
            word in f"{run.id} {run.profile} {run.name or ''} {run.note or ''} {run.state}".lower() for word in words
        )
    ]


def in_order(
    runs: Sequence[RunSummary], by: str, backwards: bool, sizes: Mapping[str, int], queue: Sequence[str] = ()
) -> list[RunSummary]:
    """Sorted by a column. By 'when' what goes on comes first, what waits in the order of the queue."""
    column, now = BY_NAME[by], time.time()
    known: list[tuple[Any, RunSummary]] = []
    unknown: list[RunSummary] = []
    for run in runs:
        key = column.key(Told(run, sizes.get(run.id), now))
        if key is None or (isinstance(key, float) and math.isnan(key)):
            unknown.append(run)
        else:
            known.append((key.lower() if isinstance(key, str) else key, run))
    known.sort(key=lambda pair: pair[0], reverse=column.highest_first != backwards)
    found = [*(run for _, run in known), *unknown]
    if by == "when" and not backwards:
        places = {name: place for place, name in enumerate(queue, start=1)}
        found.sort(key=lambda run: (run.state not in ACTIVE, run.state == "queued", places.get(run.id, 0)))
    return found
