"""All about one profile: what it does, whether it checks clean, how it went last, what to press."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Iterator, Mapping, Sequence

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from tuiftune import units
from tuiftune.catalog import ProfileInfo, StageInfo
from tuiftune.errors import Problem
from tuiftune.planned import plan_line
from tuiftune.run.summary import RunSummary
from tuiftune.text import one_line, plain
from tuiftune.tui.messages import PlanKnown
from tuiftune.tui.widgets.glyphs import STATE_MARKS, short_path
from tuiftune.tui.widgets.run_list import perplexity_words, when_words

MUTED = "$foreground 60%"
LABEL_WIDTH = 10


class ProfileCard(VerticalScroll, can_focus=False):
    """The highlighted profile, or a sentence."""

    DEFAULT_CSS = """
    ProfileCard {
        padding: 0 1;
        scrollbar-size-vertical: 1;
        scrollbar-gutter: stable;
        & > Static { height: auto; }
    }
    """

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id)
        self._shown = Content()

    def compose(self) -> ComposeResult:
        yield Static()

    @property
    def room(self) -> int:
        """Cells of a row of text: the scrollbar has one, whether it is there or not."""
        return max(0, self.content_size.width - 1)

    def show(self, text: Content) -> None:
        """Show `text` (see `card`), from its top."""
        if not text.is_same(self._shown):
            self._shown = text
            self.query_one(Static).update(text)
            self.scroll_home(animate=False)


def card(
    profile: ProfileInfo,
    runs: Sequence[RunSummary],
    stages: Sequence[StageInfo],
    *,
    active: bool = False,
    width: int = 80,
    dense: bool = False,
    plan: PlanKnown | None = None,
) -> Content:
    """The profile's card for so many cells, with its `runs`, the newest first, and its `plan` as far as it is known;
    blank lines between its blocks unless `dense`."""
    blocks = [
        list(_head(profile)),
        [*_checks(profile, active), *_plan(plan, width)],
        list(_results(runs, width)),
        list(_pipeline_in_words(profile, stages, width)),
    ]
    gap = Content("\n" if dense else "\n\n")
    return gap.join([Content("\n").join(block) for block in blocks if block])


def run_card(run: RunSummary, width: int = 80) -> Content:
    """A run's card: what came of it, and why where it failed."""
    name = f"   {one_line(run.name, 60)}" if run.name else ""
    lines = [Content.assemble((one_line(run.id), "bold $text-accent"), (name, ""), (f"   {run.profile}", MUTED))]
    lines += _came_of(run, width, "")
    lines.append(Content.assemble(("enter", "bold $text-accent"), (" opens it", MUTED)))
    return Content("\n").join(lines)


def _head(profile: ProfileInfo) -> Iterator[Content]:
    yield Content.assemble(
        (one_line(profile.name), "bold $text-accent"),
        (f"   {short_path(one_line(profile.path))}", MUTED),
    )
    if profile.description:
        yield Content(plain(profile.description))
    if profile.pipeline:
        yield (
            Content(" → ")
            .stylize(MUTED)
            .join([Content.styled(one_line(name), "$text-primary") for name in profile.pipeline])
        )
    for path in profile.hides:
        yield Content.styled(f"stands before {short_path(one_line(path))}", MUTED)


def _checks(profile: ProfileInfo, active: bool) -> Iterator[Content]:
    count = len(profile.problems)
    found = ("✓ checks clean", "$text-success")
    if count:
        found = (f"✗ {count} problem{'s' if count > 1 else ''}", "bold $text-error")
    elif profile.absent:
        found = ("? no file yet", "$text-warning")
    yield Content.assemble(found, ("   ", ""), what_to_press(profile, active))
    for problem in profile.problems:
        yield Content(problem_line(problem))
    for problem in profile.absent:
        yield Content(one_line(f"{problem.where}: {problem.what.partition(' (')[0]}"))


def _plan(known: PlanKnown | None, width: int) -> Iterator[Content]:
    """Whether it fits and how long it takes; or why that is not known."""
    if known is None:
        return
    if known.plan is None:
        if known.sentence:
            yield Content.styled(one_line(known.sentence, max(40, 2 * width)), MUTED)
        return
    line = plan_line(dict(known.plan))
    yield Content.styled(one_line(line), "" if known.plan["fits"] else "$text-warning")


def problem_line(problem: Problem) -> str:
    """The problem with its file as a person would write it."""
    file = short_path(problem.file) if problem.file else None
    return plain(str(dataclasses.replace(problem, file=file)))


def _results(runs: Sequence[RunSummary], width: int) -> Iterator[Content]:
    """What came of the newest run, and the best result of them all."""
    if not runs:
        return
    yield from _came_of(runs[0], width, "last run".ljust(LABEL_WIDTH))
    measured = [(run.best.get("perplexity"), run.id) for run in runs if run.best and not run.made_up]
    known = [(value, name) for value, name in measured if value is not None and value == value]  # not NaN
    if len(runs) > 1 and known:
        lowest, name = min(known)
        words = f"perplexity {units.figure(lowest)} · {one_line(name)}"
        yield Content.assemble(("best".ljust(LABEL_WIDTH), MUTED), words)


def _came_of(run: RunSummary, width: int, label: str) -> Iterator[Content]:
    sign, colour = STATE_MARKS.get(run.state, ("·", "foreground"))
    style = f"$text-{colour}" if colour not in ("muted", "foreground") else MUTED
    steps = f"{run.step:,} of {run.total_steps:,} steps" if run.total_steps else f"{run.step:,} steps"
    yield Content.assemble((label, MUTED), (f"{sign} {one_line(run.state)}", style), f" · {when_words(run)} · {steps}")
    if run.reason:
        yield Content(" " * len(label) + _hanging(run.reason, len(label), width))
    figures = perplexity_words(run)
    if run.tokens_per_s is not None:
        figures.append(f"{units.figure(run.tokens_per_s)} tokens/s")
    if figures:
        yield Content(" " * len(label) + " · ".join(figures))


def what_to_press(profile: ProfileInfo, active: bool) -> Content:
    """The next key, in words."""
    if not profile.runnable and not profile.problems:
        name = one_line(profile.name)
        return Content.styled(f'not run by itself: others build on it with extends = "{name}"', MUTED)
    if profile.problems:
        return Content.assemble(("enter", "bold $text-accent"), (" checks it again", MUTED))
    if profile.absent:
        return Content.assemble(("enter", "bold $text-accent"), (" asks for its file and runs it", MUTED))
    words = " starts another run, tab goes to the active one" if active else " runs it"
    return Content.assemble(("enter", "bold $text-accent"), (words, MUTED))


def _pipeline_in_words(profile: ProfileInfo, stages: Sequence[StageInfo], width: int) -> Iterator[Content]:
    """Each stage with what it does, in two columns."""
    summaries: Mapping[str, str] = {stage.name: stage.summary for stage in stages}
    column = 2 + max([cell_len(one_line(name)) for name in profile.pipeline], default=0)
    for name in profile.pipeline:
        label = one_line(name)
        text = _hanging(summaries.get(name, ""), column, width)
        if text:
            yield Content.assemble((label, "$text-primary"), " " * (column - cell_len(label)), (text, MUTED))


def _hanging(text: str, column: int, width: int) -> str:
    """`text` in lines that all begin at `column`."""
    return ("\n" + " " * column).join(textwrap.wrap(one_line(text), max(20, width - column)))
