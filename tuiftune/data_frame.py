"""`tuiftune data` as text: figures in a table, lengths as bars, the first step with what is not counted marked."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from tuiftune import units
from tuiftune.output import table
from tuiftune.text import one_line

FIRST_STEP_ROWS = 8
"""Rows of the first step that are shown."""
OPEN, CLOSE = "⟦", "⟧"
"""Around tokens whose loss is not counted."""
RUN_CHARACTERS = 240
"""Of a stretch of tokens that are counted, or are not: both of its ends are shown."""
RUNS = 8
"""Stretches of a row that are shown."""
EIGHTHS = " ▏▎▍▌▋▊▉█"
WIDEST_BAR = 40

Report = dict[str, Any]


def draw(report: Report, width: int) -> str:
    """The report of `tuiftune.run.data_report` at so many columns."""
    parts = [
        _head(report, width),
        _figures(report),
        _bars(report["lengths"], report["splits"], width),
        "\n".join(_repeats(report, width)),
        _longest(report, width),
        _padding(report["padding"], width),
        _first_step(report["first_step"], width),
    ]
    return "\n\n".join(part for part in parts if part)


def _head(report: Report, width: int) -> str:
    text = f"{report['profile']}: {' → '.join(report['pipeline'])}; a tokenizer of {report['vocabulary']:,} tokens"
    return textwrap.fill(text, width)


def _figures(report: Report) -> str:
    splits = report["splits"]
    rows: list[Sequence[str]] = []

    def add(name: str, *values: str) -> None:
        rows.append((name, *values))

    each = list(splits.values())
    if each[0]["documents"] is not None:
        add("documents", *(units.count(split["documents"]) for split in each))
    add("rows", *(units.count(split["rows"]) for split in each))
    add("tokens", *(units.count(split["tokens"]) for split in each))
    add("  with loss", *(_percent(split["share_with_loss"]) for split in each))
    unknown = report["unknown_token"]
    if unknown["id"] is not None and any(split["unknown_tokens"] for split in each):
        values = [f"{split['unknown_tokens']:,} ({_percent(split['unknown_share'])})" for split in each]
        add(f"  unknown, {unknown['text']}", *values)
    else:
        none = "none possible" if unknown["bytes"] else "none"
        add("  unknown", none, none)
    add("  in a row, mean", *(f"{split['mean_length']:,.1f}" for split in each))
    add("  in a row, most", *(units.count(split["longest_length"]) for split in each))
    if each[0]["cut"] is not None:
        cuts = [split["cut"] for split in each]
        add("longest document", *(units.count(cut["longest_document"]) for cut in cuts))
        add(
            f"  longer than {cuts[0]['max_length']:,}",
            *(f"{cut['documents']:,} ({_percent(cut['documents_share'])})" for cut in cuts),
        )
        if any(cut["documents"] for cut in cuts):
            if any(cut["tokens_thrown_away"] for cut in cuts):
                values = [f"{cut['tokens_thrown_away']:,} ({_percent(cut['share_thrown_away'])})" for cut in cuts]
                add("  tokens thrown away", *values)
            else:
                add("  tokens thrown away", *("0, split" if cut["documents"] else "0" for cut in cuts))
    repeats = [split["repeats"] for split in each]
    add(f"repeated {repeats[0]['unit']}", *(f"{found['count']:,} ({_percent(found['share'])})" for found in repeats))
    leaks = report["leaks"]
    add("  also in train", "", f"{leaks['count']:,} ({_percent(leaks['share_of_validation'])})")
    return table(rows, ("", *(f"{split.upper()}>" for split in splits)))


def _bars(lengths: list[dict[str, int]], splits: dict[str, Any], width: int) -> str:
    """Rows by length, a column of bars for each split on one scale of shares."""
    labels = [_range(found["from"], found["to"]) for found in lengths]
    label = max(len("TOKENS"), *map(len, labels))
    number = max(len(f"{found[split]:,}") for found in lengths for split in splits)
    room = (width - label - len(splits) * (number + 2 + 2 + 6)) // len(splits)
    bar = max(4, min(WIDEST_BAR, room))
    shares = {split: [found[split] / max(1, splits[split]["rows"]) for found in lengths] for split in splits}
    highest = max(max(found) for found in shares.values())
    titles = "".join(f"  {split.upper():<{number + 8 + bar}}" for split in splits)
    lines = [f"{'TOKENS':<{label}}{titles}"]
    for place, found in enumerate(lengths):
        line = labels[place].rjust(label)
        for split in splits:
            share = shares[split][place]
            drawn = _bar(share / highest, bar)
            line += f"  {found[split]:>{number},} {_percent(share):>6} {drawn:<{bar}}"
        lines.append(line)
    return "\n".join(line.rstrip() for line in lines)


def _range(first: int, last: int) -> str:
    return f"{first:,}" if first == last else f"{first:,} to {last:,}"


def _bar(part: float, width: int) -> str:
    """A bar of `part` of `width` columns, to an eighth of one; what is there at all is seen."""
    eighths = round(part * width * 8)
    if part and not eighths:
        eighths = 1
    return "█" * (eighths // 8) + EIGHTHS[eighths % 8].strip()


def _repeats(report: Report, width: int) -> Iterator[str]:
    for split, figures in report["splits"].items():
        most = figures["repeats"]["most_frequent"]
        if most is not None:
            yield _quoted(f"Most often in {split}, {most['times']:,} times: ", most["text"], width)
    if report["leaks"]["count"]:
        yield _quoted("In train and in validation: ", report["leaks"]["example"], width)


def _longest(report: Report, width: int) -> str:
    cut = any(figures["cut"] and figures["cut"]["tokens_thrown_away"] for figures in report["splits"].values())
    lines = ["Longest samples, after the cut" if cut else "Longest samples"]
    for split, figures in report["splits"].items():
        lines += [
            _quoted(f"  {split}, {found['tokens']:,} tokens: ", found["text"], width) for found in figures["longest"]
        ]
    return "\n".join(lines)


def _padding(padding: Report | None, width: int) -> str:
    if padding is None:
        return ""
    of_steps = f"{padding['steps_measured']:,} steps"
    if padding["steps_measured"] < padding["steps_per_epoch"]:
        of_steps = f"the first {of_steps} of {padding['steps_per_epoch']:,}"
    text = (
        f"Padding: with every row padded to {padding['padded_to']:,} tokens, {_percent(padding['share'])} of the slots "
        f"would be padding. Cut by length, at most {padding['slots_at_once']:,} slots at once, an epoch of {of_steps} "
        f"computes {padding['computed_slots']:,} slots in place of {padding['padded_slots']:,}: about "
        f"{_times(padding['speed_up_estimate'])} times as fast, an estimate from token counts alone."
    )
    return textwrap.fill(text, width)


def _first_step(step: Report | None, width: int) -> str:
    if step is None:
        return ""
    batches = step["micro_batches"]
    lines = [
        textwrap.fill(
            f"Step 1: {_many(step['samples'], 'sample')}, {_many(step['tokens'], 'token')}, "
            f"{step['tokens_with_loss']:,} of them with loss, in {_many(len(batches), 'micro-batch', 'es')}"
            + (f"; {_many(step['left_out'], 'sample')} of one token left out" if step["left_out"] else ""),
            width,
        ),
        f"Between {OPEN} {CLOSE}: read, but not counted in the loss",
    ]
    hidden = 0
    for number, batch in enumerate(batches, start=1):
        told = [row for row in batch["rows"] if "pieces" in row]
        hidden += len(batch["rows"]) - len(told)
        if told:
            lines += ["", f"micro-batch {number}: {_many(len(batch['rows']), 'row')}, {_many(batch['slots'], 'slot')}"]
        for row in told:
            lines.append(f"  sample {row['sample']:,}, {_many(row['tokens'], 'token')}")
            lines += _wrapped(_marked(row["pieces"], row["loss"]), width, "    ")
    if hidden:
        lines += ["", f"not shown: {_many(hidden, 'more row')}; --json has them all"]
    return "\n".join(lines)


def _marked(pieces: Sequence[str], loss: Sequence[bool]) -> str:
    """The text of a row on one line, long stretches shortened in their middle."""
    runs = [
        (counted, "".join(piece for _, piece in run))
        for counted, run in groupby(zip(loss, pieces, strict=True), key=lambda item: item[0])
    ]
    shown = [
        _shortened(text) if counted else f"{OPEN}{_shortened(text)}{CLOSE}" for counted, text in runs[:RUNS] if text
    ]
    more = f" … {len(runs) - RUNS:,} more stretches" if len(runs) > RUNS else ""
    return "".join(shown) + more


def _shortened(text: str) -> str:
    text = _visible(text)
    if len(text) <= RUN_CHARACTERS:
        return text
    kept = RUN_CHARACTERS // 2 - 20  # what says how much is left out takes the rest
    return f"{text[:kept]} … {len(text) - 2 * kept:,} characters … {text[-kept:]}"


def _visible(text: str) -> str:
    """On one line, line breaks and tabs seen."""
    return one_line(text.replace("\r", "␍").replace("\n", "⏎").replace("\t", "⇥"), len(text) + 1)


def _quoted(before: str, text: str, width: int) -> str:
    """A text in quotes after some words, cut to the width."""
    room = max(10, width - len(before) - 2)
    shown = _visible(text)
    if _columns(shown) > room:
        while _columns(shown) > room - 1:
            shown = shown[: len(shown) - max(1, (_columns(shown) - room + 1) // 2)]
        shown = shown.rstrip("… ") + "…"
    return f"{before}“{shown}”"


def _wrapped(text: str, width: int, indent: str) -> list[str]:
    """Lines of at most `width` columns, broken at blanks where there are any."""
    from rich.cells import chop_cells

    room = max(10, width - len(indent))
    lines = textwrap.wrap(text, room, break_on_hyphens=False)
    return [(indent + part).rstrip() for line in lines for part in chop_cells(line, room)]


def _columns(text: str) -> int:
    from rich.cells import cell_len

    return cell_len(text)


def _many(number: int, what: str, plural: str = "s") -> str:
    return f"{number:,} {what}{'' if number == 1 else plural}"


def _times(ratio: float) -> str:
    return f"{ratio:.2f}" if ratio < 10 else f"{ratio:.0f}"


def _percent(share: float) -> str:
    """`12.3%`; what is there, but too little to be seen, as `<0.1%`."""
    return "<0.1%" if 0 < share < 0.0005 else f"{share:.1%}"
