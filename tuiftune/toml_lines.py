"""Read TOML a person wrote: bounded before it is parsed, and with the line of every key."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuiftune.errors import Problem, ProfileError

KeyPath = tuple[str | int, ...]
"""Keys and, inside arrays, indices: ("preprocess", 0, "max_length")."""

MAX_BYTES = 64 * 1024
"""Profiles are a few kB."""
MAX_DEPTH = 16
"""Parts of one dotted key, and brackets inside brackets: 39 kB of `a.a.a` take tomllib 10 s and 1.5 GB."""

_TOKEN = re.compile(
    r"""
      (?P<string>
          \"{3} (?: \\. | [^\\] )*? (?: \"{3,5} | \Z )
        | '{3} .*? (?: '{3,5} | \Z )
        | " (?: \\[^\n] | [^"\\\n] )* "?
        | ' [^'\n]* '?
      )
    | (?P<comment> \#[^\n]* )
    | (?P<newline> \n )
    | (?P<open> [\[{] )
    | (?P<close> [\]}] )
    | (?P<dot> \. )
    | (?P<blank> [ \t\r]+ )
    | (?P<word> [A-Za-z0-9_-]+ )
    | (?P<other> . )
    """,
    re.VERBOSE | re.DOTALL,
)
"""Enough of TOML's grammar to tell where a statement ends. A string that is not closed goes on to the end, so
that no text is looked at twice."""


@dataclass(frozen=True)
class Statement:
    """A key with its value, or a table header; over several lines where an array or a string is."""

    line: int
    """1-based line it begins on."""
    text: str


def statements(text: str) -> Iterator[Statement]:
    """The statements of a valid TOML text, in order."""
    depth, line, begin, begin_line = 0, 1, -1, 0
    for token in _TOKEN.finditer(text):
        kind = token.lastgroup
        if kind == "newline" and depth == 0 and begin >= 0:
            yield Statement(begin_line, text[begin : token.start()].rstrip("\r"))
            begin = -1
        elif begin < 0 and kind not in ("newline", "blank", "comment"):
            begin, begin_line = token.start(), line
        depth += (kind == "open") - (kind == "close")
        line += token.group().count("\n")
    if begin >= 0:
        yield Statement(begin_line, text[begin:])


def comments(text: str) -> list[str]:
    """The comments of a valid TOML text, in order."""
    return [token.group().rstrip() for token in _TOKEN.finditer(text) if token.lastgroup == "comment"]


def key_lines(text: str) -> dict[KeyPath, int]:
    """The line of every table, key and array element of a valid TOML text: where its statement begins.

    Each statement is parsed by itself (a statement is TOML too), so this takes as long as parsing once.
    """
    lines: dict[KeyPath, int] = {}
    counts: dict[KeyPath, int] = {}
    table: KeyPath = ()
    for statement in statements(text):
        parsed = tomllib.loads(statement.text)
        if statement.text.startswith("["):
            table = _enter(parsed, statement, lines, counts)
        else:
            for path in _paths(parsed):
                lines.setdefault(table + path, statement.line)
    return lines


def _enter(parsed: Any, header: Statement, lines: dict[KeyPath, int], counts: dict[KeyPath, int]) -> KeyPath:
    """Note the tables that a header names and return the path of the one it opens.

    A name of an array of tables means its newest element; `[[x]]` makes another.
    """
    table: KeyPath = ()
    while parsed:
        if isinstance(parsed, list):  # `[[x]]` alone parses as {"x": [{}]}
            counts[table] = counts.get(table, 0) + 1
            parsed = parsed[0]
        else:
            ((key, parsed),) = parsed.items()
            table += (key,)
            lines.setdefault(table, header.line)
        if table in counts and not isinstance(parsed, list):
            table += (counts[table] - 1,)
            lines.setdefault(table, header.line)
    return table


def _paths(value: Any, path: KeyPath = ()) -> Iterator[KeyPath]:
    """Every path inside a parsed value."""
    items: Any = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    for key, inner in items:
        yield (*path, key)
        yield from _paths(inner, (*path, key))


def read(path: Path, file: str) -> str:
    """The text of a TOML file, called `file` in messages. Raises ProfileError where it cannot be used."""
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise ProfileError([Problem(f"cannot be read: {error.strerror}", file)]) from error
    if len(data) > MAX_BYTES:
        raise ProfileError([Problem(f"is larger than {MAX_BYTES // 1024} KiB", file, hint="A profile is a few kB")])
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ProfileError([Problem("is not UTF-8", file, line, hint="Save it as UTF-8")]) from error


def parse(text: str, file: str) -> dict[str, Any]:
    """What a TOML text says. Raises ProfileError with the line of a syntax error, or of a key too deep."""
    _refuse_deep(text, file)
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ProfileError([_syntax_problem(error, text, file)]) from error
    except ValueError as error:  # an integer of more than 4300 digits; its place is not told
        raise ProfileError([Problem(f"not TOML: {error}", file)]) from error


def _refuse_deep(text: str, file: str) -> None:
    """Keys of many parts and brackets in brackets cost tomllib time and memory beyond their size."""
    depth, parts, line = 0, 1, 1
    for token in _TOKEN.finditer(text):
        kind = token.lastgroup
        depth = max(depth + (kind == "open") - (kind == "close"), 0)
        if kind == "dot":
            parts += 1
        elif kind not in ("word", "string", "blank"):
            parts = 1
        if max(depth, parts) > MAX_DEPTH:
            what = f"is nested more than {MAX_DEPTH} deep"
            raise ProfileError([Problem(what, file, line, hint="No option is that deep")])
        line += token.group().count("\n")


def _syntax_problem(error: tomllib.TOMLDecodeError, text: str, file: str) -> Problem:
    """tomllib has the place in the message alone: "Invalid value (at line 3, column 8)"."""
    message = str(error)
    place = re.search(r" \(at (?:line (\d+), column (\d+)|end of document)\)$", message)
    what = _in_toml(message[: place.start()] if place else message)
    line = int(place[1]) if place and place[1] else text.rstrip("\n").count("\n") + 1
    return Problem(f"not TOML: {what[:1].lower()}{what[1:]}", file, line, hint=_syntax_hint(what, text, line))


def _in_toml(message: str) -> str:
    """tomllib shows keys as Python tuples: "Cannot declare ('a', 'b') twice"."""
    found = re.search(r"\((?:'[^']*',? ?)+\)", message)
    if not found:
        return message
    keys = ".".join(re.findall(r"'([^']*)'", found[0]))
    return f"{message[: found.start()]}[{keys}]{message[found.end() :]}"


def _syntax_hint(what: str, text: str, line: int) -> str | None:
    """A value without quotes is by far the most usual mistake."""
    if what != "Invalid value":
        return None
    source = text.splitlines()[line - 1] if line <= len(text.splitlines()) else ""
    found = re.match(r"\s*([\w.-]+)\s*=\s*([^\s\"'\[{#][^\"'#]*)", source)
    if not found:
        return None
    value = found[2].strip()
    if value.lower() in ("true", "false"):
        return f"TOML writes {found[1]} = {value.lower()}"
    return f'A text needs quotes: {found[1]} = "{value}"'
