"""The line of every key, and TOML that is refused before it costs anything."""

from __future__ import annotations

import random
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tuiftune.errors import ProfileError
from tuiftune.toml_lines import MAX_BYTES, MAX_DEPTH, KeyPath, key_lines, parse, read

BY_HAND = '''
# a comment = 1
a = 1 # b = 2
[t]
"quoted.key" = 1
b.c = [
  1, # ] is no end here
  {q = "]"}]
text = """
[no]
x = 1\\""""
raw = \'\'\'
y = """\'\'\'
[[p]]
stage = "a"
[[p]]
stage = "b"
[p.sub]
z = ""
[[p.list]]
y = 1
[[p.list]]
y = 2
[t.late]
when = 2026-11-24T10:00:00Z
'''


def paths(value: Any, path: KeyPath = ()) -> Iterator[KeyPath]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from paths(inner, (*path, key))


def brute_force(text: str) -> dict[KeyPath, int]:
    """A text cut after a whole statement is still TOML: try every cut, and see what is new after each."""
    lines = text.split("\n")
    found: dict[KeyPath, int] = {}
    whole_until = 0
    for count in range(1, len(lines) + 1):
        try:
            parsed = tomllib.loads("\n".join(lines[:count]))
        except tomllib.TOMLDecodeError:
            continue
        new = [number for number in range(whole_until, count) if lines[number].split("#")[0].strip()]
        for path in paths(parsed):
            found.setdefault(path, new[0] + 1 if new else -1)
        whole_until = count
    return found


def generated(seed: int) -> str:
    """A random document: dotted and quoted keys, arrays over lines, strings that look like tables."""
    draw = random.Random(seed)  # noqa: S311 - documents, no secrets
    values = [
        "1",
        "-2.5e-3",
        "true",
        '"x = 1 # no"',
        "'[t]'",
        "1979-05-27",
        '[1, 2, "]"]',
        '[\n  1, # [\n  "a",\n]',
        '"""\n[not.a.table]\nk = 1\n"""',
        "'''\n[[nor]]\n'''",
        '{a = 1, b.c = "}"}',
        "[{x = 1}, {x = [\n 2]}]",
        '""',
        '"""a""\\""""',
    ]
    lines, names = [], iter(range(1000))

    def key() -> str:
        name = f"k{next(names)}"
        return draw.choice([name, f'"{name}"', f'"{name}.dot"', f"{name}.x", f"{name} . 'y z'.x"])

    for _ in range(draw.randint(1, 8)):
        for _ in range(draw.randint(0, 4)):
            lines.append(f"{key()} = {draw.choice(values)}" + draw.choice(["", "  # [c]"]))
            lines.extend([""] * draw.randint(0, 1))
        header = draw.choice(["[t%d]", "[[a]]", "[[a.b]]", "[t%d.sub.'q r']", "# [t%d]", "[[ c ]]"])
        if header != "[[a.b]]" or "[[a]]" in lines:
            lines.append(header.replace("%d", str(next(names))))
    return "\n".join(lines) + draw.choice(["", "\n"])


@pytest.mark.parametrize("text", [BY_HAND, *map(generated, range(60))], ids=lambda text: str(len(text)))
def test_the_line_of_every_key_is_the_one_a_search_of_all_cuts_finds(text: str) -> None:
    assert set(key_lines(text)) == set(paths(tomllib.loads(text)))
    assert key_lines(text) == brute_force(text)


def test_a_key_that_is_not_there_has_no_line() -> None:
    assert ("b",) not in key_lines("a = 1\n")
    assert key_lines("\na.b = 1\n")[("a", "b")] == 2


def refusal(text: str) -> str:
    with pytest.raises(ProfileError) as caught:
        parse(text, "x.toml")
    return str(caught.value)


@pytest.mark.parametrize(
    "bomb",
    [
        "a." * 19_500 + "a = 1",
        "[" + "a." * 19_500 + "a]",
        "x = {" + '"a" . ' * 6_000 + "a = 1}",
        "x = " + "[" * 30_000,
        "x = " + "{a=" * 20_000,
    ],
    ids=["key", "header", "inline key", "arrays", "inline tables"],
)
def test_a_deep_text_is_refused_at_once(bomb: str) -> None:
    start = time.perf_counter()
    assert refusal(bomb) == f"x.toml:1: is nested more than {MAX_DEPTH} deep. No option is that deep"
    assert time.perf_counter() - start < 0.05


def test_dots_and_brackets_in_texts_and_numbers_are_no_depth() -> None:
    text = f"""a = "{"[." * 100}" # {"[." * 100}\nb = [{"1.5, " * 100}]\nc = '{"a." * 50}'\n"""
    assert len(parse(text, "x.toml")["b"]) == 100


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a = 1\nb = hello\n", 'x.toml:2: not TOML: invalid value. A text needs quotes: b = "hello"'),
        ("a = True\n", "x.toml:1: not TOML: invalid value. TOML writes a = true"),
        ("a = 1\na = 2\n", "x.toml:2: not TOML: cannot overwrite a value"),
        ("[a\n", "x.toml:1: not TOML: expected ']' at the end of a table declaration"),
        ("a = 1\nb = [1,\n\n", "x.toml:2: not TOML: invalid value"),
        ('a = """\nb = 1\n', "x.toml:2: not TOML: unterminated string"),
    ],
)
def test_a_syntax_error_has_its_line(text: str, sentence: str) -> None:
    assert refusal(text) == sentence


def test_an_integer_of_thousands_of_digits_is_a_sentence() -> None:
    assert refusal("a = " + "9" * 5000).startswith("x.toml: not TOML: ")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"# " + b"x" * MAX_BYTES, "x.toml: is larger than 64 KiB. A profile is a few kB"),
        (b"a = 1\nb = '\xe9'\n", "x.toml:2: is not UTF-8. Save it as UTF-8"),
        (None, "x.toml: cannot be read: No such file or directory"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_sentence(tmp_path: Path, content: bytes | None, sentence: str) -> None:
    path = tmp_path / "x.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ProfileError) as caught:
        read(path, "x.toml")
    assert str(caught.value) == sentence


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_bytes(b"\xef\xbb\xbfa = 1\r\nb = 2\r\n")
    text = read(path, "x.toml")
    assert parse(text, "x.toml") == {"a": 1, "b": 2}
    assert key_lines(text) == {("a",): 1, ("b",): 2}
