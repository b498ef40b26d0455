"""How the command line prints: facts on stdout, words on stderr, JSON where asked, no escape codes."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import click

from tuiftune import units
from tuiftune.catalog import Catalog, OptionInfo, ResolvedProfile
from tuiftune.run.folder import WAITING
from tuiftune.run.summary import RunSummary
from tuiftune.text import is_unicode, one_line, plain


def fact(text: str) -> None:
    """Print to stdout what was asked for; nothing in it can steer the terminal."""
    click.echo(plain(text, limit=1_000_000))


def word(text: str) -> None:
    """Say something to the person, on stderr."""
    click.echo(plain(text), err=True)


def as_json(data: Any) -> None:
    click.echo(json.dumps(data, ensure_ascii=not is_unicode(sys.stdout), indent=1, default=str))


def width() -> int:
    """Columns of the terminal; 80 where there is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 80


def table(rows: Sequence[Sequence[str]], header: Sequence[str]) -> str:
    """Left-aligned columns, as wide as they need to be; numbers are told by their header ending in '>'."""
    titles = [title.rstrip(">") for title in header]
    cells = [[one_line(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in [titles, *cells]) for i in range(len(titles))]
    lines = []
    for row in [titles, *cells]:
        padded = [
            cell.rjust(width) if title.endswith(">") else cell.ljust(width)
            for cell, width, title in zip(row, widths, header, strict=True)
        ]
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


def runs_table(found: Sequence[RunSummary]) -> str:
    """`tuiftune runs`; below one that waits, what it waits for."""
    header = ("RUN", "STATE", "STEP>", "PERPLEXITY", "TOKENS/S>", "STARTED", "NAME")
    columns = len(header) if any(summary.name for summary in found) else len(header) - 1
    head, *rows = table([_run_row(summary)[:columns] for summary in found], header[:columns]).splitlines()
    lines = [head]
    for summary, row in zip(found, rows, strict=True):
        lines.append(row)
        if summary.state in WAITING and summary.reason:
            lines.append(one_line(f"  {summary.reason}", max(40, width())))
    return "\n".join(lines)


def _run_row(summary: RunSummary) -> tuple[str, ...]:
    steps = f"{summary.step:,}/{summary.total_steps:,}" if summary.total_steps else f"{summary.step:,}"
    return (
        summary.id,
        f"{summary.state}, {summary.stalled}" if summary.stalled else summary.state,
        steps,
        perplexity_change(summary),
        units.count(summary.tokens_per_s),
        units.ago(summary.started),
        summary.name or "",
    )


def perplexity_change(summary: RunSummary) -> str:
    """`9.31 → 5.12`, with a word where the figures are made up."""
    if summary.baseline is None and summary.last is None:
        return "—"
    before = units.figure((summary.baseline or {}).get("perplexity"))
    after = units.figure((summary.last or {}).get("perplexity"))
    return f"{before} → {after}" + (" (made up)" if summary.made_up else "")


def profiles_table(catalog: Catalog) -> str:
    """`tuiftune profiles`: the runnable ones, then those that others extend."""
    found = sorted(catalog.profiles, key=lambda profile: (not profile.runnable, profile.name))
    rows = []
    for profile in found:
        count = len(profile.problems)
        checks = f"{count} problem{'s' if count > 1 else ''}" if count else "needs data" if profile.absent else "ok"
        use = checks if profile.runnable or profile.problems else "base"
        hides = f" (hides {', '.join(profile.hides)})" if profile.hides else ""
        rows.append((profile.name, use, profile.source, profile.description + hides))
    return table(rows, ("PROFILE", "CHECK", "FROM", "WHAT"))


def plugins_table(catalog: Catalog) -> str:
    """`tuiftune plugins`: each plugin with its stages, or why it could not be loaded."""
    rows = [
        (plugin.name, plugin.source, plugin.problem or ", ".join(plugin.stages) or "watches only")
        for plugin in catalog.plugins
    ]
    return table(rows, ("PLUGIN", "FROM", "STAGES"))


def options(found: Sequence[OptionInfo]) -> str:
    """`tuiftune plugins STAGE`: an option and what it does; its type and default below the name."""
    lines = []
    for option in found:
        default = default_words(option)
        lines += [
            one_line(f"{option.name}: {type_and_bounds(option)}, {default}"),
            one_line(f"    {option.description}"),
            "",
        ]
    return "\n".join(lines).rstrip() or "no options"


def type_and_bounds(option: OptionInfo) -> str:
    """`integer, at least 1, in steps`."""
    return ", ".join(part for part in (option.type, option.bounds, option.unit and f"in {option.unit}") if part)


def default_words(option: OptionInfo) -> str:
    """`default 4`, `required`, or that it may be left out."""
    if option.required:
        return "required"
    if option.default is None:
        return "left out by default"
    return f"default {json.dumps(option.default, ensure_ascii=False)}"


def effective_profile(profile: ResolvedProfile) -> str:
    """`tuiftune show`: the whole profile as TOML, each value with where it comes from."""
    lines = [f"# {profile.name}: {profile.path}"]
    for _, text, where in effective_lines(profile):
        lines.append(f"{text:<40}  # {where}" if where and "\n" not in text else text)
    return "\n".join(lines)


def effective_lines(profile: ResolvedProfile) -> Iterator[tuple[str, str, str]]:
    """The whole profile as TOML: of each value its dotted key, its text (one of several lines is one), and where it
    comes from; of a table's heading and of a blank the text alone."""
    import tomli_w

    yield from _toml_lines(profile.effective, "", "", profile.origin, tomli_w.dumps)


def _toml_lines(
    data: dict[str, Any], prefix: str, heading: str, origin: dict[str, str], dumps: Any
) -> Iterator[tuple[str, str, str]]:
    """`prefix` is that of the keys, with the numbers of stages; `heading` that of the names of tables."""
    tables = {}
    for key, value in data.items():
        if isinstance(value, dict) or (isinstance(value, list) and value and isinstance(value[0], dict)):
            tables[key] = value
            continue
        yield f"{prefix}{key}", dumps({key: value}).strip(), origin.get(f"{prefix}{key}", "")
    for key, value in tables.items():
        for number, item in enumerate(value if isinstance(value, list) else [value]):
            inside = f"{prefix}{key}" + (f".{number}" if isinstance(value, list) else "")
            name = f"{heading}{key}"
            yield "", "", ""
            yield "", f"[[{name}]]" if isinstance(value, list) else f"[{name}]", ""
            yield from _toml_lines(item, f"{inside}.", f"{name}.", origin, dumps)
