"""What the model writes now, beside what the untouched one wrote."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Sequence
from typing import ClassVar

from rich.cells import cell_len
from textual.binding import Binding

from tuiftune.run.metrics_db import SampleRow
from tuiftune.text import one_line
from tuiftune.tui.messages import PromptSamples, RunView
from tuiftune.tui.panes.rows import Row, Span, fit, joined, row_cells, wrap
from tuiftune.tui.panes.sample_times import SampleTimes, is_base, time_line, who
from tuiftune.tui.panes.scrolled import Scrolled
from tuiftune.units import figure

SIDE_BY_SIDE = 72
"""From this width on the base model's text stands beside the newest."""
PAIR_ROWS = 3
"""Fewer rows hold more of one text than of two."""
GAP = 3


class SamplesPane(Scrolled):
    """The newest text of each prompt; on the whole screen two of one prompt side by side, from all that are kept."""

    help_text: ClassVar[str] = (
        "Texts the model wrote after the profile's prompts, and what the untouched model wrote. m shows those of one "
        "prompt on the whole screen, two beside each other with the perplexity at their steps: left and right go from "
        "step to step, up and down from prompt to prompt, b puts the one at the right to the left, to compare others "
        "with (and again: the base model's). Home and end are the first and the newest; page keys scroll long texts."
    )
    BINDINGS = [
        Binding("left", "step(-1)", "Earlier", key_display="←"),
        Binding("right", "step(1)", "Later", key_display="→"),
        Binding("up,k", "prompt(-1)", "Prompt before", show=False),
        Binding("down", "prompt(1)", "Next prompt", key_display="↓"),
        Binding("j", "prompt(1)", "Next prompt", show=False),
        Binding("b", "left", "Keep left"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._samples: Sequence[PromptSamples] = ()
        self._times = SampleTimes()
        self._view: RunView | None = None

    def show(self, view: RunView) -> None:
        if self._view is not None and self._view.run != view.run:
            self._times = SampleTimes()
        self._view, self._samples = view, view.samples
        self.redraw()

    def title(self) -> Row:
        newest = max((sample.tuned[0].step for sample in self._samples if sample.tuned), default=None)
        note = "" if newest is None else f"  after step {newest:,}"
        return [("samples", "title"), (note, "muted")]

    def few_rows(self, width: int, height: int) -> Sequence[Row]:
        if not self._samples:
            return [[("none yet", "muted")]]
        each = max(1, height // len(self._samples))
        drawn = _pair if width >= SIDE_BY_SIDE else _stacked
        texts = [drawn(sample, width, each) for sample in self._samples]
        if sum(map(len, texts)) + len(texts) - 1 <= height:
            texts[1:] = [[[], *text] for text in texts[1:]]
        return [row for text in texts for row in text][:height]

    # On the whole screen.

    def rows(self, width: int, height: int) -> Sequence[Row]:
        if not self.full:
            return super().rows(width, height)
        self._times.take(self._samples)
        pair = self._times.pair
        if pair is None:
            return [self.title(), [("none yet", "muted")]]
        texts = self._times.texts
        head: list[Row] = [
            self._where(width),
            [(fit(one_line(texts[0].prompt), width), "accent")],
            time_line(texts, *pair, width),
            [],
        ]
        rows = self._side_by_side(texts[pair[0]], texts[pair[1]], width)
        room = max(1, height - len(head))
        self._away = max(0, min(self._away, len(rows) - room))
        return [*head, *rows[self._away : self._away + room]]

    def _where(self, width: int) -> Row:
        texts, pair, prompt = self._times.texts, self._times.pair, self._times.prompt
        parts: list[list[Span]] = [[("samples", "title")]]
        if len(self._samples) > 1:
            parts.append([(f"prompt {self._times.place + 1} of {len(self._samples)}", "")])
        if pair is not None:
            parts.append([(f"text {pair[1] + 1} of {len(texts)}", "")])
        if prompt is not None and prompt.dropped:
            parts.append([(f"{prompt.dropped:,} older ones are not kept here", "muted")])
        return joined(parts, width)

    def _side_by_side(self, left: SampleRow, right: SampleRow, width: int) -> list[Row]:
        """Two columns; below one another where there is no room for two."""
        if left.id == right.id:
            return self._column(right, width)
        if width < SIDE_BY_SIDE:
            return [*self._column(left, width), [], *self._column(right, width)]
        column = (width - GAP) // 2
        return _columns(self._column(left, column), self._column(right, column), column)

    def _column(self, sample: SampleRow, width: int) -> list[Row]:
        title: list[Span] = [(fit(who(sample), width), "title")]
        known = self._perplexity(sample)
        if known is not None:
            title.append((fit(f"  perplexity {figure(known)}", width - cell_len(title[0][0])), "muted"))
        return [title, *([(line, "")] for line in wrap(sample.text.strip(), width))]

    def _perplexity(self, sample: SampleRow) -> float | None:
        """At its step, where it was measured there."""
        view = self._view
        if view is None or (is_base(sample) and view.baseline is not None):
            return view.baseline if view is not None else None
        curve = view.curves.get("eval/perplexity")
        at = bisect.bisect_left(curve.steps, sample.step) if curve else 0
        return curve.means[at] if curve and at < len(curve) and curve.steps[at] == sample.step else None

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys that can do nothing now are not in the footer."""
        if action == "prompt":
            return len(self._samples) > 1
        return super().check_action(action, parameters)

    def action_step(self, by: int) -> None:
        self._look(lambda: self._times.to_step(by))

    def action_prompt(self, by: int) -> None:
        self._look(lambda: self._times.to_prompt(by))

    def action_left(self) -> None:
        self._look(self._times.set_left)

    def action_edge(self, side: int) -> None:
        self._look(lambda: self._times.to_step(side * 1_000_000))

    def _look(self, change: Callable[[], None]) -> None:
        self._away = 0
        change()
        self.redraw()


def _newest(sample: PromptSamples, width: int, height: int) -> list[Row]:
    """Prompt and text run on, in `height` rows."""
    text = sample.tuned[0] if sample.tuned else sample.base
    return _told(sample.prompt, text, width, height)


def _stacked(sample: PromptSamples, width: int, height: int) -> list[Row]:
    """The newest, and where there is room the base model's below it."""
    newest = _newest(sample, width, height)
    left = height - len(newest) - 2
    if sample.base is None or not sample.tuned or left < 1:
        return newest
    return [*newest, [], [("base model", "muted")], *_told(sample.prompt, sample.base, width, left)]


def _pair(sample: PromptSamples, width: int, height: int) -> list[Row]:
    """Two columns: the base model at the left, the newest at the right."""
    if sample.base is None or not sample.tuned or height < PAIR_ROWS:
        return _newest(sample, width, height)
    column = (width - GAP) // 2
    left = [[("base model", "muted")], *_told(sample.prompt, sample.base, column, height - 1)]
    right = [[(who(sample.tuned[0]), "muted")], *_told(sample.prompt, sample.tuned[0], column, height - 1)]
    return _columns(left, right, column)


def _columns(left: Sequence[Row], right: Sequence[Row], column: int) -> list[Row]:
    """Two blocks of rows beside each other, the left one `column` cells wide."""
    rows: list[Row] = []
    for number in range(max(len(left), len(right))):
        first: Row = left[number] if number < len(left) else []
        second: Row = right[number] if number < len(right) else []
        used = row_cells(first)
        rows.append([*first, (" " * (column + GAP - used), ""), *second])
    return rows


def _told(prompt: str, sample: SampleRow | None, width: int, height: int) -> list[Row]:
    """The prompt in its own tone and the text after it, on one paragraph of at most `height` rows."""
    start = one_line(prompt)
    text = one_line(sample.text) if sample is not None else ""
    glue = "" if not text or text[0] in " ,.;:!?'" else " "
    lines = wrap(f"{start}{glue}{text}", width)
    if len(lines) > height:
        lines = [*lines[: height - 1], fit(f"{lines[height - 1]} …", width)] if height > 0 else []
    rows: list[Row] = []
    left = len(start)
    for line in lines:
        spans: list[Span] = [(line[:left], "accent"), (line[left:], "")] if left > 0 else [(line, "")]
        left -= len(line) + 1
        rows.append(spans)
    return rows
