"""A data report as rows: figures in a table, lengths as bars, what stands there twice, what padding would cost.

For the command line, which leaves the tones out, and for the screen, which has a heading above each section.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rich.cells import cell_len

from tuiftune import units
from tuiftune.data_signs import UNICODE, Row, Signs, Span, many, percent, text_of
from tuiftune.data_tokens import FIRST_STEP_ROWS, shortened_step
from tuiftune.text import one_line

__all__ = ["FIRST_STEP_ROWS", "Report", "Section", "draw", "head", "sections"]

WIDEST_BAR = 40
LEAST_BAR = 4
"""Cells; where there are fewer, counts and then shares are left out beside the bars."""

LEAKS = "  also in train"

Report = dict[str, Any]


@dataclass(frozen=True)
class Section:
    """A part of the report."""

    name: str
    """In a word, for a list of them."""
    rows: Sequence[Row]
    note: Sequence[Row] = ()
    """What the screen says below: how to read it."""


def draw(report: Report, width: int, signs: Signs = UNICODE) -> str:
    """The report of `tuiftune.run.data_report` at so many columns, as the command line prints it."""
    found = {section.name: "\n".join(map(text_of, section.rows)) for section in sections(report, width, signs)}
    if "longest" in found:
        found["longest"] = f"{longest_title(report)}\n{found['longest']}"
    parts = [head(report, width, signs), *found.values(), shortened_step(report["first_step"], width, signs)]
    return "\n\n".join(part for part in parts if part)


def sections(report: Report, width: int, signs: Signs = UNICODE) -> list[Section]:
    """All but the first step, those that are empty left out."""
    lengths, highest = _bars(report["lengths"], report["splits"], width, signs)
    scale = f"The share of a split's rows by their tokens. The longest bar: {percent(highest)}."
    after_cut = "After the cut." if "cut" in longest_title(report) else ""
    found = [
        Section("figures", _figures(report, width)),
        Section("lengths", lengths, _paragraph(scale, width, "muted")),
        Section("twice", list(_repeats(report, width, signs))),
        Section("longest", _longest(report, width, signs), _paragraph(after_cut, width, "muted")),
        Section("padding", _padding(report["padding"], width)),
    ]
    return [section for section in found if section.rows]


def head(report: Report, width: int, signs: Signs = UNICODE) -> str:
    """What the data goes through, and the tokenizer."""
    pipeline = f" {signs.arrow} ".join(map(one_line, report["pipeline"]))
    text = f"{report['profile']}: {pipeline}; a tokenizer of {report['vocabulary']:,} tokens"
    return textwrap.fill(text, width)


def longest_title(report: Report) -> str:
    cut = any(figures["cut"] and figures["cut"]["tokens_thrown_away"] for figures in report["splits"].values())
    return "Longest samples, after the cut" if cut else "Longest samples"


def _paragraph(text: str, width: int, tone: str = "") -> list[Row]:
    return [[(line, tone)] for line in textwrap.wrap(text, max(10, width))]


def _figures(report: Report, width: int) -> list[Row]:
    """Names at the left, a column of figures for each split; shares are left out where they have no room."""
    rows = [("", *(split.upper() for split in report["splits"]))]
    rows += [tuple(map(one_line, row)) for row in _figure_rows(report)]
    if _table_width(rows) > width:
        rows = [(name, *(value.partition(" (")[0].removesuffix("ATION") for value in values)) for name, *values in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    gap = 2 if _table_width(rows) <= width else 1
    drawn: list[Row] = []
    for number, (name, *values) in enumerate(rows):
        tone = "muted" if number == 0 else "warn" if name == LEAKS and not values[-1].startswith("0") else ""
        cells = [(f"{' ' * gap}{value.rjust(room)}", tone) for value, room in zip(values, widths[1:], strict=True)]
        drawn.append([(name.ljust(widths[0]), "muted"), *cells])
    return drawn


def _table_width(rows: Sequence[Sequence[str]]) -> int:
    """With two blanks between its columns."""
    return sum(2 + max(map(len, column)) for column in zip(*rows, strict=True)) - 2


def _figure_rows(report: Report) -> Iterator[Sequence[str]]:
    each = list(report["splits"].values())
    if each[0]["documents"] is not None:
        yield "documents", *(units.count(split["documents"]) for split in each)
    yield "rows", *(units.count(split["rows"]) for split in each)
    yield "tokens", *(units.count(split["tokens"]) for split in each)
    yield "  with loss", *(percent(split["share_with_loss"]) for split in each)
    unknown = report["unknown_token"]
    if unknown["id"] is not None and any(split["unknown_tokens"] for split in each):
        yield (
            f"  unknown, {one_line(unknown['text'], 20)}",
            *(f"{split['unknown_tokens']:,} ({percent(split['unknown_share'])})" for split in each),
        )
    else:
        none = "none possible" if unknown["bytes"] else "none"
        yield "  unknown", none, none
    yield "  in a row, mean", *(f"{split['mean_length']:,.1f}" for split in each)
    yield "  in a row, most", *(units.count(split["longest_length"]) for split in each)
    if each[0]["cut"] is not None:
        yield from _cut_rows([split["cut"] for split in each])
    repeats = [split["repeats"] for split in each]
    yield f"repeated {repeats[0]['unit']}", *(f"{found['count']:,} ({percent(found['share'])})" for found in repeats)
    leaks = report["leaks"]
    yield LEAKS, "", f"{leaks['count']:,} ({percent(leaks['share_of_validation'])})"


def _cut_rows(cuts: Sequence[Report]) -> Iterator[Sequence[str]]:
    """What `max_length` did."""
    yield "longest document", *(units.count(cut["longest_document"]) for cut in cuts)
    yield (
        f"  longer than {cuts[0]['max_length']:,}",
        *(f"{cut['documents']:,} ({percent(cut['documents_share'])})" for cut in cuts),
    )
    if any(cut["tokens_thrown_away"] for cut in cuts):
        yield (
            "  tokens thrown away",
            *(f"{cut['tokens_thrown_away']:,} ({percent(cut['share_thrown_away'])})" for cut in cuts),
        )
    elif any(cut["documents"] for cut in cuts):
        yield "  tokens thrown away", *("0, split" if cut["documents"] else "0" for cut in cuts)


def _bars(lengths: list[dict[str, int]], splits: dict[str, Any], width: int, signs: Signs) -> tuple[list[Row], float]:
    """Rows by length, a column of bars for each split on one scale of shares; and the share of the longest bar."""
    labels = [_range(found["from"], found["to"]) for found in lengths]
    label = max(len("TOKENS"), *map(len, labels))
    number = max(len(f"{found[split]:,}") for found in lengths for split in splits)
    beside = (number + 8, 7, 0)  # what stands before a bar: count and share, the share alone, nothing
    fits = [cells for cells in beside if (width - label) // len(splits) - cells - 2 >= LEAST_BAR]
    before = fits[0] if fits else 0
    bar = max(1, min(WIDEST_BAR, (width - label) // len(splits) - before - 2))
    shares = {split: [found[split] / max(1, splits[split]["rows"]) for found in lengths] for split in splits}
    highest = max(max(found) for found in shares.values())
    titles: list[Span] = [(f"  {split.upper()[: before + bar]:<{before + bar}}", "muted") for split in splits]
    rows: list[Row] = [[(f"{'TOKENS':>{label}}" if before == 0 else f"{'TOKENS':<{label}}", "muted"), *titles]]
    for place, found in enumerate(lengths):
        row: list[Span] = [(labels[place].rjust(label), "muted")]
        for split in splits:
            share = shares[split][place]
            words = f"{found[split]:>{number},} {percent(share):>6} " if before > 7 else f"{percent(share):>6} "
            row.append((f"  {words if before else ''}", ""))
            row.append((f"{signs.bar(share / highest, bar):<{bar}}", "blocks"))
        rows.append(row)
    return rows, highest


def _range(first: int, last: int) -> str:
    return f"{first:,}" if first == last else f"{first:,} to {last:,}"


def _repeats(report: Report, width: int, signs: Signs) -> Iterator[Row]:
    for split, figures in report["splits"].items():
        most = figures["repeats"]["most_frequent"]
        if most is not None:
            yield _quoted(f"Most often in {split}, {most['times']:,} times: ", most["text"], width, signs)
    if report["leaks"]["count"]:
        yield _quoted("In train and in validation: ", report["leaks"]["example"], width, signs)


def _longest(report: Report, width: int, signs: Signs) -> list[Row]:
    return [
        _quoted(f"  {split}, {many(found['tokens'], 'token')}: ", found["text"], width, signs)
        for split, figures in report["splits"].items()
        for found in figures["longest"]
    ]


def _padding(padding: Report | None, width: int) -> list[Row]:
    if padding is None:
        return []
    of_steps = f"{padding['steps_measured']:,} steps"
    if padding["steps_measured"] < padding["steps_per_epoch"]:
        of_steps = f"the first {of_steps} of {padding['steps_per_epoch']:,}"
    text = (
        f"Padding: with every row padded to {padding['padded_to']:,} tokens, {percent(padding['share'])} of the slots "
        f"would be padding. Cut by length, at most {padding['slots_at_once']:,} slots at once, an epoch of {of_steps} "
        f"computes {padding['computed_slots']:,} slots in place of {padding['padded_slots']:,}: about "
        f"{_times(padding['speed_up_estimate'])} times as fast, an estimate from token counts alone."
    )
    return _paragraph(text, width)


def _quoted(before: str, text: str, width: int, signs: Signs) -> Row:
    """A text in quotes after some words, cut to the width."""
    room = max(10, width - len(before) - 2)
    shown = signs.visible(text)
    if cell_len(shown) > room:
        while cell_len(shown) > room - len(signs.cut):
            shown = shown[: len(shown) - max(1, (cell_len(shown) - room + 1) // 2)]
        shown = shown.rstrip(f"{signs.cut} ") + signs.cut
    left, right = ("“", "”") if signs.bars else ('"', '"')
    return [(before, "muted"), (f"{left}{shown}{right}", "")]


def _times(ratio: float) -> str:
    return f"{ratio:.2f}" if ratio < 10 else f"{ratio:.0f}"
