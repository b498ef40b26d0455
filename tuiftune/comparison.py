"""`tuiftune compare` and `tuiftune diff` on a terminal: runs side by side, in columns, and their curves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.cells import cell_len

from tuiftune.run.compare import SERIES, Compared, caution, differing, results
from tuiftune.text import one_line
from tuiftune.tui.widgets.overlaid import chart_of
from tuiftune.tui.widgets.plot import ASCII, BRAILLE, as_text, draw, view_of

DRAWN = ("train/loss", "eval/perplexity")
CHART_ROWS = 14
WIDEST_CHART = 100
GAP = "  "
NARROWEST = 10
"""A column of values is not made narrower: then they are listed below their key."""
SAME = "no setting differs"


def draw_comparison(compared: Sequence[Compared], width: int, unicode: bool) -> str:
    """Which runs, what came of them, what was set otherwise, and the curves over one another."""
    blocks = [list(_legend(compared)), list(_results(compared, width)), list(_settings(compared, width))]
    blocks += list(_charts(compared, min(width, WIDEST_CHART), unicode))
    return "\n\n".join("\n".join(block) for block in blocks if block)


def draw_difference(compared: Sequence[Compared], width: int) -> str:
    """Which runs, and what was set otherwise."""
    return "\n\n".join(("\n".join(_legend(compared)), "\n".join(_settings(compared, width))))


def _legend(compared: Sequence[Compared]) -> Iterator[str]:
    widest = max(cell_len(one.summary.id) for one in compared)
    for one in compared:
        name = f"{GAP}{one_line(one.summary.name, 60)}" if one.summary.name else ""
        yield f"{one.letter}{GAP}{one.summary.id.ljust(widest)}{name}".rstrip()
        if one.problem:
            yield f"   {one_line(one.problem)}"


def _results(compared: Sequence[Compared], width: int) -> Iterator[str]:
    found = results(compared)
    rows = [(row.label, [_marked(text, at in row.best) for at, text in enumerate(row.texts)]) for row in found]
    yield from columns([("RESULT", [f"{one.letter} " for one in compared]), *rows], width, right=True)
    if any(row.best for row in found):
        yield "* the best of them"
    if warning := caution(compared):
        yield warning


def _marked(text: str, best: bool) -> str:
    return f"{text}*" if best else f"{text} "


def _settings(compared: Sequence[Compared], width: int) -> Iterator[str]:
    rows = differing([one.settings for one in compared])
    if not rows:
        yield SAME
        return
    yield from columns([("SETTING", [one.letter for one in compared]), *rows], width)


def columns(rows: Sequence[tuple[str, Sequence[str]]], width: int, right: bool = False) -> Iterator[str]:
    """Rows of a label and a value a run, in columns; values too long for that are listed below their label, whole.
    The first row has the titles."""
    cells = [(one_line(label), [one_line(text, 1000) for text in texts]) for label, texts in rows]
    first = max(cell_len(label) for label, _ in cells)
    room = max(NARROWEST, (width - first) // len(cells[0][1]) - len(GAP))
    fitting = [row for row in cells if max(map(cell_len, row[1])) <= room]
    widths = [max(cell_len(texts[at]) for _, texts in fitting) for at in range(len(cells[0][1]))]
    titles = cells[0][1]
    for label, texts in cells:
        if max(map(cell_len, texts)) > room:
            yield label
            yield from (f"{GAP}{title.strip()}{GAP}{text}" for title, text in zip(titles, texts, strict=True))
            continue
        padded = [_padded(text, size, right) for text, size in zip(texts, widths, strict=True)]
        yield f"{label}{' ' * (first - cell_len(label))}{GAP}{GAP.join(padded)}".rstrip()


def _padded(text: str, size: int, right: bool) -> str:
    blanks = " " * (size - cell_len(text))
    return f"{blanks}{text}" if right else f"{text}{blanks}"


def _charts(compared: Sequence[Compared], width: int, unicode: bool) -> Iterator[list[str]]:
    for series in SERIES:
        chart = chart_of(compared, series)
        if series.key in DRAWN and chart.lines:
            rows = draw(chart, view_of(chart), width, CHART_ROWS, BRAILLE if unicode else ASCII)
            yield [row.rstrip() for row in as_text(rows)]
