"""The terminal, as the dashboard will find it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator

from tuiftune.doctor.finding import GOOD, WARNING, Finding
from tuiftune.signs import ascii_only, terminal_encoding
from tuiftune.text import one_line
from tuiftune.tui import link

SMALLEST = (80, 24)
TMUX_FROM = (3, 2)
"""From this version on tmux knows what its outer terminal can do, by `terminal-features`."""


def findings() -> Iterator[Finding]:
    term = one_line(os.environ.get("TERM", ""), 40)
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        yield Finding("terminal", "terminal", GOOD, "none here: commands print plain lines, without the dashboard")
        return
    if term in ("", "dumb", "unknown"):
        remedy = "if yours can do more: export TERM=xterm-256color"
        yield Finding("terminal", "terminal", WARNING, f"TERM={term!r}: the dashboard cannot be drawn", remedy)
        return
    over = " over SSH" if os.environ.get("SSH_CONNECTION") else ""
    over += ": drawn less often" if link.is_slow() else ""
    yield Finding("terminal", "terminal", GOOD, f"{term}{over}")
    yield _size()
    yield _letters()
    yield _colours(term)
    if "TMUX" in os.environ:
        yield _tmux()
    elif "STY" in os.environ:
        remedy = "if figures look wrong: screen -U, or tmux"
        yield Finding("terminal", "screen", GOOD, f"inside GNU screen; {remedy}")


def _size() -> Finding:
    columns, rows = shutil.get_terminal_size()
    if columns < SMALLEST[0] or rows < SMALLEST[1]:
        fact = f"{columns} x {rows}: parts of the dashboard are left out"
        return Finding("terminal", "size", WARNING, fact, "make it 80 x 24 or larger")
    return Finding("terminal", "size", GOOD, f"{columns} x {rows}")


def _letters() -> Finding:
    if ascii_only():
        name = "the Linux console" if terminal_encoding() == "utf-8" else one_line(terminal_encoding(), 40)
        fact = f"{name}: charts and signs are drawn in ASCII"
        return Finding("terminal", "encoding", WARNING, fact, "export LC_ALL=C.UTF-8, in a terminal that shows UTF-8")
    return Finding("terminal", "encoding", GOOD, "UTF-8")


def _colours(term: str) -> Finding:
    if os.environ.get("NO_COLOR"):
        return Finding("terminal", "colours", GOOD, "none, as NO_COLOR says; signs and words tell the same")
    if os.environ.get("COLORTERM", "").lower() in ("truecolor", "24bit"):
        return Finding("terminal", "colours", GOOD, "16 million")
    if "256" in term or term in ("xterm-kitty", "alacritty", "foot", "xterm-ghostty"):
        return Finding("terminal", "colours", GOOD, "256")
    return Finding("terminal", "colours", WARNING, "8 or 16", "if it can show more: export TERM=xterm-256color")


def _tmux() -> Finding:
    try:
        said = subprocess.run(["tmux", "-V"], capture_output=True, text=True, timeout=5, check=False).stdout
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding("terminal", "tmux", WARNING, f"cannot be asked for its version: {error}", "see: tmux -V")
    found = re.search(r"(\d+)\.(\d+)", said)
    if found and (int(found[1]), int(found[2])) < TMUX_FROM:
        return Finding("terminal", "tmux", WARNING, one_line(said.strip(), 40), "3.2 or later draws true colours")
    return Finding("terminal", "tmux", GOOD, one_line(said.strip(), 40) or "tmux")
