"""The highlighted run of the table in some rows: how it stands, its figures, what it was set to, and its note."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from rich.cells import cell_len

from tuiftune import units
from tuiftune.run.compare import written
from tuiftune.run.folder import ACTIVE
from tuiftune.run.summary import RunSummary
from tuiftune.text import one_line, plain
from tuiftune.tui.panes.rows import Row, Rows, Span, beside, wrap
from tuiftune.tui.widgets.glyphs import STATE_MARKS, short_path
from tuiftune.tui.widgets.run_columns import UNKNOWN, Told, tone_of, took
from tuiftune.tui.widgets.run_list import perplexity_words, when_words

LABEL = 10
DOT = " · "
REASON_ROWS = 3
NOTHING = "nothing is highlighted"


class RunDetails(Rows):
    """A label and a text a row."""

    help_title: ClassVar[str] = "Highlighted run"
    help_text: ClassVar[str] = "What is known of the highlighted run. n gives it a name, t a note; w says why it ended."

    def __init__(self) -> None:
        super().__init__()
        self._run: RunSummary | None = None
        self._settings: Mapping[str, Any] | None = None
        self._size_bytes: int | None = None
        self._doing = ""

    def show(
        self, run: RunSummary | None, settings: Mapping[str, Any] | None, size_bytes: int | None, doing: str = ""
    ) -> None:
        """`settings`: None while they are read. `doing`: what is being done to it, such as an export."""
        self._run, self._settings, self._size_bytes, self._doing = run, settings, size_bytes, doing
        self.redraw()

    def rows(self, width: int, height: int) -> Sequence[Row]:
        run = self._run
        if run is None:
            return [[(NOTHING, "muted")]]
        left: list[Span] = [(one_line(run.id), "title")]
        if run.name:
            left.append((f"  {one_line(run.name, 60)}", "accent"))
        sign = STATE_MARKS.get(run.state, ("·", ""))[0]
        rows: list[Row] = [beside(left, [(f"{sign} {one_line(run.state)}", tone_of(run))], width)]
        for label, text, tone in self._facts(run):
            lines = wrap(text, width - LABEL) if isinstance(text, str) else flowing(list(text), width - LABEL)
            if label == "why" and len(lines) > REASON_ROWS:
                lines = [*lines[: REASON_ROWS - 1], f"{lines[REASON_ROWS - 1]} …"]
            rows += [[((label if not n else "").ljust(LABEL), "muted"), (line, tone)] for n, line in enumerate(lines)]
        return rows[:height]

    def _facts(self, run: RunSummary) -> Iterator[tuple[str, str | Iterator[str], str]]:
        if self._doing:
            yield "doing", self._doing, "accent"
        if run.stalled:
            yield "stands", f"{run.stalled}, which is unusual", "warn"
        if run.reason:
            yield ("waits" if run.state == "queued" else "why"), plain(run.reason, 2000), _reason_tone(run)
        if run.note:
            yield "note", one_line(run.note, 2000), "strong"
        yield "figures", self._figures(run), ""
        yield "course", self._course(run), ""
        if self._settings is None:
            yield "settings", "reading...", "muted"
        elif self._settings:
            yield "settings", words_of(self._settings), ""
        else:
            yield "settings", "its profile cannot be read", "warn"

    def _figures(self, run: RunSummary) -> Iterator[str]:
        yield from perplexity_words(run)
        best = run.best.get("perplexity") if run.best else None
        if best is not None and (run.last is None or run.last.get("perplexity") != best):
            yield f"best {units.figure(best)}"
        bits = run.last.get("bits_per_byte") if run.last else None
        if bits is not None:
            yield f"{units.figure(bits)} bits/byte"
        if run.tokens_per_s is not None:
            yield f"{units.count(run.tokens_per_s)} tokens/s"
        if run.peak_vram_bytes is not None:
            yield f"peak VRAM {units.size(run.peak_vram_bytes)}"

    def _course(self, run: RunSummary) -> Iterator[str]:
        steps = f"step {run.step:,} of {run.total_steps:,}" if run.total_steps else f"step {run.step:,}"
        yield steps
        yield f"queued {units.ago(run.started)}" if run.state == "queued" else when_words(run)
        seconds = took(Told(run, None, time.time()))
        if seconds is not None and run.state != "queued":
            yield f"{'for' if run.state in ACTIVE else 'took'} {units.duration(seconds)}"
        yield f"{units.size(self._size_bytes)} on disk" if self._size_bytes is not None else f"{UNKNOWN} on disk"


def flowing(parts: Sequence[str], width: int) -> list[str]:
    """Parts with a dot between them, in lines; a part is not broken where it fits into one."""
    lines: list[str] = []
    for part in parts:
        if lines and cell_len(f"{lines[-1]}{DOT}{part}") <= width:
            lines[-1] += f"{DOT}{part}"
        else:
            lines += wrap(part, width)
    return lines


def _reason_tone(run: RunSummary) -> str:
    return "bad" if run.state == "failed" else "muted" if run.state in ("queued", "stopped", "released") else "warn"


def words_of(settings: Mapping[str, Any]) -> Iterator[str]:
    """The settings that matter, in the order a person asks for them."""
    for key in ("model.name", "dataset.path", "dataset.name"):
        value = settings.get(key)
        if value is not None:
            yield one_line(short_path(str(value)) if str(value).startswith("/") else str(value), 100)
    if settings.get("preprocess"):
        yield one_line(str(settings["preprocess"]), 100)
    for key, value in settings.items():
        if key.startswith("preprocess.") and key.endswith(".max_length"):
            yield f"{one_line(written(value))} tokens a row"
    if settings.get("train.max_steps"):
        yield f"{written(settings['train.max_steps'])} steps at most"
    if settings.get("train.epochs") is not None:
        epochs = written(settings["train.epochs"])
        yield f"{epochs} epoch{'' if epochs == '1' else 's'}"
    size, times = settings.get("train.batch_size"), settings.get("train.grad_accum")
    if size is not None:
        yield f"batch {written(size)} x {written(times)}" if times is not None else f"batch {written(size)}"
    for key, word in (("train.learning_rate", "lr "), ("train.weight_decay", "decay "), ("train.precision", "")):
        if settings.get(key) is not None:
            yield f"{word}{one_line(written(settings[key]), 60)}"
