"""What the model writes now, beside what the untouched one wrote."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.cells import cell_len

from tuiftune.run.metrics_db import SampleRow
from tuiftune.text import one_line
from tuiftune.tui.messages import PromptSamples, RunView
from tuiftune.tui.panes.rows import Row, Span, fit, wrap
from tuiftune.tui.panes.scrolled import Scrolled

SIDE_BY_SIDE = 72
"""From this width on the base model's text stands beside the newest."""
PAIR_ROWS = 3
"""Fewer rows hold more of one text than of two."""
GAP = 3


class SamplesPane(Scrolled):
    """The newest text of each prompt; on the whole screen all that are kept."""

    help_text: ClassVar[str] = (
        "Texts the model wrote after the profile's prompts, the newest first, and what the untouched model wrote. "
        "m shows all of them on the whole screen, where arrows and page keys scroll."
    )

    def __init__(self) -> None:
        super().__init__()
        self._samples: Sequence[PromptSamples] = ()

    def show(self, view: RunView) -> None:
        self._samples = view.samples
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

    def all_rows(self, width: int) -> Sequence[Row]:
        rows: list[Row] = []
        for sample in self._samples:
            rows.append([(fit(one_line(sample.prompt), width), "accent")])
            for text in [*sample.tuned, *([sample.base] if sample.base else [])]:
                rows.append([(f"  {_who(text)}", "muted")])
                rows += [[("    ", ""), (line, "")] for line in wrap(text.text.strip(), width - 4)]
            rows.append([])
        return rows


def _who(sample: SampleRow) -> str:
    return (
        "base model" if sample.step == 0 and sample.model in ("", "base") else sample.model or f"step {sample.step:,}"
    )


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
    right = [[(_who(sample.tuned[0]), "muted")], *_told(sample.prompt, sample.tuned[0], column, height - 1)]
    rows: list[Row] = []
    for number in range(max(len(left), len(right))):
        first: Row = left[number] if number < len(left) else []
        second: Row = right[number] if number < len(right) else []
        used = sum(cell_len(text) for text, _ in first)
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
