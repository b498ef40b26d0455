"""The texts after one prompt in the order they were written, and which two of them are looked at. No widget."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len

from tuiftune.run.metrics_db import SampleRow
from tuiftune.tui.messages import PromptSamples
from tuiftune.tui.panes.rows import Row, Span
from tuiftune.tui.widgets.glyphs import ascii_only


def is_base(sample: SampleRow) -> bool:
    return sample.step == 0 and sample.model in ("", "base")


def who(sample: SampleRow) -> str:
    """Which model wrote it."""
    return "base model" if is_base(sample) else sample.model or f"step {sample.step:,}"


class SampleTimes:
    """Two of the texts of one prompt, side by side: at the left the base model's, at the right the newest, until others
    are chosen. Another prompt shows those of the same steps."""

    def __init__(self) -> None:
        self._samples: Sequence[PromptSamples] = ()
        self._prompt = ""
        self._left: SampleRow | None = None
        self._right: SampleRow | None = None

    def take(self, samples: Sequence[PromptSamples]) -> None:
        self._samples = samples

    @property
    def place(self) -> int:
        """Of the prompt among all."""
        prompts = [one.prompt for one in self._samples]
        return prompts.index(self._prompt) if self._prompt in prompts else 0

    @property
    def prompt(self) -> PromptSamples | None:
        return self._samples[self.place] if self._samples else None

    @property
    def texts(self) -> list[SampleRow]:
        """The oldest first."""
        prompt = self.prompt
        if prompt is None:
            return []
        return [*([prompt.base] if prompt.base else []), *reversed(prompt.tuned)]

    @property
    def pair(self) -> tuple[int, int] | None:
        """Places of the left and the right one in `texts`."""
        texts = self.texts
        if not texts:
            return None
        return nearest(texts, self._left, 0), nearest(texts, self._right, len(texts) - 1)

    def to_prompt(self, by: int) -> None:
        if self._samples:
            self._prompt = self._samples[(self.place + by) % len(self._samples)].prompt

    def to_step(self, by: int) -> None:
        """The right one; the newest is that also when a newer one comes."""
        pair, texts = self.pair, self.texts
        if pair is not None:
            at = max(0, min(len(texts) - 1, pair[1] + by))
            self._right = None if at == len(texts) - 1 else texts[at]

    def set_left(self) -> None:
        """The left one is what stands at the right now; once it is that already, the base model's again."""
        pair = self.pair
        if pair is not None:
            self._left = None if pair[0] == pair[1] else self.texts[pair[1]]


def nearest(texts: Sequence[SampleRow], wanted: SampleRow | None, otherwise: int) -> int:
    """The place of a text; where another prompt is shown, of the same model's, else of the newest before it."""
    if wanted is None:
        return otherwise
    for place, text in enumerate(texts):
        if text.id == wanted.id:
            return place
    same = [place for place, text in enumerate(texts) if (text.step, text.model) == (wanted.step, wanted.model)]
    before = [place for place, text in enumerate(texts) if text.step <= wanted.step]
    return (same or before or [0])[-1]


def time_line(texts: Sequence[SampleRow], left: int, right: int, width: int) -> Row:
    """`base ─ (50) ─ 100 ─ [150] ─ 200`: round brackets for the left one, square ones for the right; where not all fit
    into the width, those about the right one."""
    names = [_short(text) for text in texts]
    names[left] = f"({names[left]})"
    names[right] = f"[{names[right]}]"
    dash = " - " if ascii_only() else " ─ "
    first = last = right
    room = width - cell_len(names[right]) - 4
    while True:
        more = [place for place in (last + 1, first - 1) if 0 <= place < len(names)]
        fits = [place for place in more if cell_len(names[place]) + len(dash) <= room]
        if not fits:
            break
        room -= cell_len(names[fits[0]]) + len(dash)
        first, last = min(first, fits[0]), max(last, fits[0])
    spans: list[Span] = [("… ", "muted")] if first > 0 else []
    for place in range(first, last + 1):
        tone = "accent" if place == right else "strong" if place == left else "muted"
        spans += [*([(dash, "rest")] if place > first else []), (names[place], tone)]
    return [*spans, *([(" …", "muted")] if last < len(names) - 1 else [])]


def _short(text: SampleRow) -> str:
    if is_base(text):
        return "base"
    return f"{text.step:,}" if text.model in ("", f"step {text.step}") else text.model
