"""`tuiftune compare` and `tuiftune diff` on a terminal: runs side by side, in columns, and their curves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len

from tuiftune.run.compare import SERIES, Compared, Result, caution, differing, results
from tuiftune.text import one_line
from tuiftune.tui.widgets.overlaid import chart_of
from tuiftune.tui.widgets.plot import ASCII, BRAILLE, as_text, draw, view_of

DRAWN = ("train/loss", "eval/perplexity")
CHART_ROWS = 14
WIDEST_CHART = 100
GAP = "  "
LABEL_LEAST, CELL_LEAST, CELL_MOST = 15, 8, 30
SAME = "no setting differs"
BEST = "*"


@dataclass(frozen=True)
class GridRow:
    """A row of the columns, its parts padded to their widths."""

    label: str
    cells: Sequence[str]
    """One a run; one alone where it is too long for a column, and `run` says whose."""
    source: int
    """The number of the row it was made from."""
    run: int | None = None

    @property
    def text(self) -> str:
        return f"{self.label}{GAP}{GAP.join(self.cells)}".rstrip()


def draw_comparison(compared: Sequence[Compared], width: int, unicode: bool) -> str:
    """Which runs, what came of them, what was set otherwise, and the curves over one another."""
    found = results(compared)
    head = ("RESULT", [f"{one.letter} " for one in compared])
    blocks = [list(_legend(compared)), _columns([head, *starred(found)], width)]
    if any(row.best for row in found):
        blocks[-1].append(f"{BEST} the best of them")
    if warning := caution(compared):
        blocks[-1].append(warning)
    blocks += [_settings(compared, width), *_charts(compared, min(width, WIDEST_CHART), unicode)]
    return "\n\n".join("\n".join(block) for block in blocks)


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


def starred(found: Sequence[Result]) -> list[tuple[str, list[str]]]:
    """Labels and texts, the best of a row with a star."""
    return [
        (row.label, [f"{text}{BEST}" if at in row.best else f"{text} " for at, text in enumerate(row.texts)])
        for row in found
    ]


def _settings(compared: Sequence[Compared], width: int) -> list[str]:
    rows = differing([one.settings for one in compared])
    return _columns([("SETTING", [one.letter for one in compared]), *rows], width) if rows else [SAME]


def _columns(rows: Sequence[tuple[str, Sequence[str]]], width: int) -> list[str]:
    letters = rows[0][1]
    return [
        row.text if row.run is None else f"{GAP}{letters[row.run].strip()}{GAP}{row.cells[0]}"
        for row in grid(rows, width)
    ]


def grid(rows: Sequence[tuple[str, Sequence[str]]], width: int) -> Iterator[GridRow]:
    """Rows of a label and a value a run, in columns. Nothing is cut: a label too long for its column stands in a row
    above its values, values too long for theirs in rows below it."""
    cells = [(one_line(label), [one_line(text, 1000) for text in texts]) for label, texts in rows]
    count = len(cells[0][1])
    most = max(CELL_LEAST, min(CELL_MOST, (width - LABEL_LEAST) // count - len(GAP)))
    sizes = [max(cell_len(texts[at]) for _, texts in cells if _longest(texts) <= most) for at in range(count)]
    room = max(LABEL_LEAST, width - sum(sizes) - count * len(GAP))
    first = max(cell_len(label) for label, _ in cells if cell_len(label) <= room)
    for source, (label, texts) in enumerate(cells):
        padded = [" " * (size - cell_len(text)) + text for text, size in zip(texts, sizes, strict=True)]
        if _longest(texts) > most:
            yield GridRow(label, [], source)
            yield from (GridRow("", [text], source, run) for run, text in enumerate(texts))
        elif cell_len(label) > first:
            yield GridRow(label, [], source)
            yield GridRow(" " * first, padded, source)
        else:
            yield GridRow(label + " " * (first - cell_len(label)), padded, source)


def _longest(texts: Sequence[str]) -> int:
    return max(map(cell_len, texts))


def _charts(compared: Sequence[Compared], width: int, unicode: bool) -> Iterator[list[str]]:
    for series in SERIES:
        chart = chart_of(compared, series)
        if series.key in DRAWN and chart.lines:
            rows = draw(chart, view_of(chart), width, CHART_ROWS, BRAILLE if unicode else ASCII)
            yield [row.rstrip() for row in as_text(rows)]
