"""Text from outside cannot steer a terminal."""

from __future__ import annotations

import time

import pytest

from tuiftune.text import one_line, plain

HARMFUL = {
    "colour": ("\x1b[31mred\x1b[0m", "red"),
    "cursor and screen": ("\x1b[2J\x1b[1;1Hgone\x1b[?1049h", "gone"),
    "title": ("a\x1b]0;owned\x07b", "ab"),
    "title ended by ST": ("a\x1b]2;owned\x1b\\b", "ab"),
    "clipboard, OSC 52": ("a\x1b]52;c;cm0gLXJmIH4=\x07b", "ab"),
    "link, OSC 8": ("\x1b]8;;http://evil\x1b\\here\x1b]8;;\x1b\\", "here"),
    "OSC that never ends": ("a\x1b]0;owned\nnext line", "a\nnext line"),
    "device control string": ("a\x1bP1$r0m\x1b\\b", "ab"),
    "application command": ("a\x1b_Gpicture\x1b\\b", "ab"),
    "character set": ("\x1b(0lqk\x1b(B", "lqk"),
    "reset": ("a\x1bcb", "ab"),
    "8-bit CSI": ("\x9b31mred\x9bm", "red"),
    "8-bit OSC": ("a\x9d0;owned\x9cb", "ab"),
    "C1": ("a\x84\x85\x90b", "a"),
    "a lone escape at the end": ("a\x1b", "a"),
    "an escape cut short": ("a\x1b[12", "a12"),
    "an escape inside an escape": ("\x1b\x1b[31mx", "x"),
    "backspace and bell": ("abc\x08\x08\x07d", "abcd"),
    "carriage return over a line": ("good\rbad", "goodbad"),
    "NUL and DEL": ("a\x00b\x7fc", "abc"),
    "bidi override": ("a\u202egpj.exe\u202c", "agpj.exe"),
    "bidi isolate": ("\u2066a\u2069", "a"),
    "zero-width signs": ("a\u200bb\u200dc\ufeffd\u2060e\u00adf", "abcdef"),
    "invisible tags": ("a\U000e0041\U000e007fb", "ab"),
    "line and paragraph separators": ("a\u2028b\u2029c", "abc"),
    "lone surrogates": ("a\udc80\ud800b", "ab"),
}


@pytest.mark.parametrize("name", HARMFUL)
def test_what_steers_a_terminal_or_hides_is_taken_out(name: str) -> None:
    raw, shown = HARMFUL[name]
    assert plain(raw) == shown


def test_ordinary_text_of_any_language_is_left_as_it_is() -> None:
    text = "naïve café — 你好, Привет, שלום, مرحبا, 👍 e\u0301 [bold]not markup[/] tab\tline\nend"
    assert plain(text) == text


def test_no_mix_of_dangerous_characters_survives_in_any_order() -> None:
    pieces = ["\x1b", "[", "]", "\x9b", "\x9d", "P", "\x07", "\\", "3", "m", "\n", "\x9c", "("]
    for first in pieces:
        for second in pieces:
            for third in pieces:
                for fourth in pieces:
                    shown = plain(first + second + third + fourth + "x")
                    assert not set(shown) & {"\x1b", "\x9b", "\x9d", "\x9c", "\x07"}


def test_long_text_is_cut_and_says_so() -> None:
    assert plain("x" * 20, limit=10) == "x" * 9 + "…"
    assert plain("x" * 10, limit=10) == "x" * 10
    assert plain("\x1b[1m" * 30 + "x", limit=10).endswith("…"), "cut before it was cleaned: said all the same"


def test_a_megabyte_of_half_sequences_is_cleaned_in_no_time() -> None:
    begun = time.perf_counter()
    for nasty in ("\x1b[" * 500_000, "\x1b[" + "1;" * 500_000, "\x1b]" * 500_000, "\x1bP" + "x" * 1_000_000):
        plain(nasty, limit=1_000_000)
    assert time.perf_counter() - begun < 5


def test_one_line_has_no_line_breaks_and_no_tabs() -> None:
    assert one_line("a\r\nb\tc\nd") == "a b c d"
