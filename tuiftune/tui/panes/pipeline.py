"""The stages of the run in order, and how far the running one is; of a run that ended, what came of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

from tuiftune import units
from tuiftune.run.progress import StageView
from tuiftune.text import one_line
from tuiftune.tui.messages import RunView
from tuiftune.tui.panes.rows import Row, Rows, Span, bar, fit, fit_end, joined, row_cells
from tuiftune.tui.widgets.glyphs import short_path
from tuiftune.units import figure

SIGNS = {
    "waiting": ("·", "muted"),
    "running": ("▶", "accent"),
    "done": ("✓", "good"),
    "failed": ("✗", "bad"),
    "stopped": ("■", "warn"),
}
ALL_DONE = "all stages are done; the worker ends"
STARTING = "the worker is starting: it loads plugins and reads the profile"
WITHOUT_STAGE = {
    "queued": "it has not begun; s takes it out of the queue",
    "paused": "nothing of it runs; a worker is started when it can go on",
    "healing": "the next worker goes on from the last whole checkpoint",
    "stopping": "the worker is ending",
}
"""State -> what is going on while no stage runs."""
BAR_CELLS = {70: 20, 100: 30, 150: 48}
"""Width of the pane -> width of the progress bar."""
PROMPT = "Once upon a time"
CLOSE = 0.98
"""A best perplexity that is not below this share of the last one is as good as that."""


class PipelinePane(Rows):
    """A row of stages; below it the progress of the running one, or the result."""

    help_text: ClassVar[str] = (
        "The stages of the profile in order: ✓ done, ▶ running, · waiting, ✗ failed, ■ stopped. "
        "'cached' means that an earlier run had the same result and it was taken from there."
    )
    DEFAULT_CSS = "PipelinePane { height: 2; }"

    def __init__(self) -> None:
        super().__init__()
        self._view: RunView | None = None

    def show(self, view: RunView | None) -> None:
        self._view = view
        self._grow()
        self.redraw()

    def on_resize(self) -> None:
        self._grow()
        self.redraw()

    def _grow(self) -> None:
        height = max(2, len(self.guarded_rows(self.likely_width, 9)))
        if self.styles.height is None or self.styles.height.value != height:
            self.styles.height = height

    def rows(self, width: int, height: int) -> Sequence[Row]:
        view = self._view
        if view is None:
            return []
        rows = [strip(view.stages, width)]
        if view.state.active:
            rows.append(self._progress(view, width))
        else:
            rows += outcome(view, width)
        return rows[:height]

    def _progress(self, view: RunView, width: int) -> Row:
        running = next((stage for stage in view.stages if stage.status == "running"), None)
        if running is None and view.stages and all(stage.status == "done" for stage in view.stages):
            return [(ALL_DONE, "muted")]
        if running is None:
            return [(WITHOUT_STAGE.get(view.state.name, STARTING), "muted")]
        return joined([*_far(running, width), *_figures(view, running)], width)


def strip(stages: Sequence[StageView], width: int) -> Row:
    """`✓ text 0.4 s → ✓ tokenize cached → ▶ causal_lm → · perplexity`, cut down in turn where it is too long:
    without times, then about the stage of the moment only."""
    for detailed in (True, False):
        row: list[Span] = []
        for stage in stages:
            if row:
                row.append((" → ", "muted"))
            row += _stage(stage, detailed)
        if row_cells(row) <= width:
            return row
    current = next((stage for stage in stages if stage.status != "done"), stages[-1])
    done = sum(stage.status == "done" for stage in stages)
    return [(f"stage {min(done + 1, len(stages))} of {len(stages)}  ", "muted"), *_stage(current, True)]


def _stage(stage: StageView, detailed: bool) -> list[Span]:
    sign, tone = SIGNS[stage.status]
    spans: list[Span] = [(f"{sign} ", tone), (stage.name, "muted" if stage.status == "waiting" else "strong")]
    if stage.cached:
        spans.append((" cached", "muted"))
    elif detailed and stage.status == "done" and stage.seconds is not None:
        spans.append((f" {units.duration(stage.seconds)}", "muted"))
    return spans


def _far(stage: StageView, width: int) -> list[list[Span]]:
    """Bar, count and time to go of the running stage."""
    parts: list[list[Span]] = []
    fraction = stage.fraction
    if fraction is not None:
        cells = next((cells for least, cells in reversed(BAR_CELLS.items()) if width >= least), 12)
        parts.append([*bar(fraction, cells), (f" {math.floor(fraction * 100):3d}%", "strong")])
    if stage.done is not None:
        total = f"/{stage.total:,}" if stage.total else ""
        parts.append([(f"{stage.done:,}{total} {stage.unit}".rstrip(), "")])
    else:
        parts.append([(f"{stage.name} is running", "")])
    if stage.eta_s is not None:
        parts.append([(f"{units.clock(stage.eta_s)} left", "strong")])
    return parts


def _figures(view: RunView, stage: StageView) -> list[list[Span]]:
    """Speed and settings of the moment, while training."""
    if stage.kind != "train":
        return []
    parts: list[list[Span]] = []
    for series, before, after in (
        ("train/tokens_per_s", "", " tokens/s"),
        ("train/learning_rate", "lr ", ""),
        ("train/grad_norm", "grad norm ", ""),
    ):
        value = view.last(series)
        if value is not None:
            text = units.count(value) if after else figure(value)
            parts.append([(before, "muted"), (text, ""), (after, "muted")])
        if series == "train/tokens_per_s" and view.mfu is not None:
            parts.append([("MFU ", "muted"), (f"{view.mfu:.0%}", "")])
    if view.facts.get("device"):
        precision = view.facts.get("precision")
        device = view.facts.get("device_name") or view.facts["device"]
        parts.append([(one_line(f"{device} {precision or ''}".strip(), 60), "muted")])
    return parts


def outcome(view: RunView, width: int) -> list[Row]:
    """What came of a run that ended: figures, the model's folder, and how to use it."""
    summary = view.summary
    rows: list[Row] = []
    if summary is None:
        return rows
    parts: list[list[Span]] = []
    before = (summary.baseline or {}).get("perplexity")
    after = (summary.last or {}).get("perplexity")
    if after is not None:
        parts.append(_perplexity(before, after))
        if view.best is not None and not view.best.value >= after * CLOSE:
            best = f"{figure(view.best.value)} at step {view.best.step:,}"
            parts.append([("best ", "muted"), (best, "warn")])
    if summary.tokens_per_s is not None:
        parts.append([(units.count(summary.tokens_per_s), ""), (" tokens/s", "muted")])
    if summary.step:
        total = f"/{summary.total_steps:,}" if summary.total_steps else ""
        parts.append([(f"{summary.step:,}{total} steps", "")])
    if summary.peak_vram_bytes:
        parts.append([("peak VRAM ", "muted"), (units.size(summary.peak_vram_bytes), "")])
    if parts:
        rows.append(joined(parts, width))
    return rows + _what_next(view, width)


def _perplexity(before: float | None, after: float) -> list[Span]:
    """`perplexity 9.41 → 4.62  51% below baseline`, the baseline first."""
    if before is None or not before or not math.isfinite(before) or not math.isfinite(after):
        return [("perplexity ", "muted"), (figure(after), "strong")]
    change = (after - before) / before * 100
    word = "below" if change < 0 else "above"
    return [
        ("perplexity ", "muted"),
        (f"{figure(before)} → {figure(after)}", "strong"),
        (f"  {abs(change):.0f}% {word} baseline", "good" if change < 0 else "warn"),
    ]


def _what_next(view: RunView, width: int) -> list[Row]:
    run_id = view.run.id
    if view.model is not None:
        command = f'tuiftune generate {run_id} "{PROMPT}"'
        return [
            [
                ("model     ", "muted"),
                (fit_end(one_line(short_path(str(view.model))), width - 10 - len("   5 asks it")), ""),
                ("   5", "accent"),
                (" asks it", "muted"),
            ],
            [("generate  ", "muted"), (fit(command, width - 10), "accent")],
        ]
    if view.state.name == "finished":
        return [[("this trainer leaves no model", "muted")]]
    if view.state.name == "failed" and not view.run.has_checkpoint and not (view.summary and view.summary.step):
        mend: Row = [("w", "accent"), (" what to mend", "muted")]
        again: Row = [("r", "accent"), (" the same again", "muted")]
        other: Row = [("3", "accent"), (" and ", "muted"), ("R", "accent"), (" other values", "muted")]
        return [joined([[("nothing trained", "muted")], mend, again, other], width)]
    from_where = "its last checkpoint" if view.run.has_checkpoint else "its beginning"
    why: Row = [("   w", "accent"), (" says why it ended, and what to do", "muted")]
    return [[("r", "accent"), (f" resumes it from {from_where}", "muted"), *why]]
