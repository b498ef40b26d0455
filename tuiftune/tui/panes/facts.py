"""What is trained, on what, and the figures that have no chart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from time import localtime, strftime
from typing import ClassVar

from tuiftune.run.metrics_db import EPOCHS
from tuiftune.text import one_line
from tuiftune.tui.messages import RunView
from tuiftune.tui.panes.rows import Row, Rows, fit
from tuiftune.units import figure

LABEL = 11
MOST = 12


class FactsPane(Rows):
    """A row a fact; what is not known is left out."""

    help_text: ClassVar[str] = (
        "Best is the lowest perplexity. It and the bits per byte are measured on the held-out text; bits per byte can "
        "be compared between models with different tokenizers."
    )

    def __init__(self) -> None:
        super().__init__()
        self._view: RunView | None = None

    def show(self, view: RunView) -> None:
        self._view = view
        height = len(self.guarded_rows(self.content_size.width or LABEL, MOST))
        if self.styles.height is None or self.styles.height.value != height:
            self.styles.height = height
        self.redraw()

    def rows(self, width: int, height: int) -> Sequence[Row]:
        if self._view is None:
            return []
        facts: list[Row] = [
            [(label.ljust(LABEL), "muted"), (fit(one_line(value), width - LABEL), "")]
            for label, value in _facts(self._view)
        ]
        return [[("figures", "title")], *facts][:height] if facts else []


def _facts(view: RunView) -> Iterator[tuple[str, str]]:
    known = view.facts
    if view.healed:
        times = f"{len(view.healed)} times, last " if len(view.healed) > 1 else ""
        yield "healed", f"{times}at {strftime('%H:%M', localtime(view.healed[-1].time))}"
    if view.best is not None:
        yield "best", f"{figure(view.best.value)} at step {view.best.step:,}"
    bits = view.last("eval/bits_per_byte")
    if bits is not None:
        yield "bits/byte", figure(bits)
    epoch = view.last(EPOCHS)
    if epoch is not None:
        epochs = known.get("epochs")
        whole = f"{epochs:.2f}".rstrip("0").rstrip(".") if isinstance(epochs, int | float) else ""
        yield "epoch", f"{epoch:.2f}" + (f" of {whole}" if whole else "")
    for key, label, unit in (
        ("parameters", "model", "parameters"),
        ("train_tokens", "trained on", "tokens"),
        ("validation_tokens", "held out", "tokens"),
        ("samples_per_step", "one step", "samples"),
    ):
        if known.get(key):
            yield label, f"{_shown(known[key])} {unit}"
    if known.get("device"):
        yield "device", f"{known['device']} {known.get('precision') or ''}"


def _shown(value: object) -> str:
    """A fact is whatever a stage said."""
    return figure(value) if isinstance(value, int | float) else str(value)
