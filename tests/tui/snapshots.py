"""Every place on fixed recorded runs, as pictures: python -m tests.tui.snapshots writes them anew.

A picture is an SVG, compressed; its text is compared row by row first, so that a failure is read without a viewer.
"""

from __future__ import annotations

import difflib
import gzip
import html
import re
from pathlib import Path

FOLDER = Path(__file__).parent / "snapshots"
SIZES = ((80, 24), (120, 40), (200, 60))
SHOTS = ("profiles", "run", "gpu", "runs", "compare", "data", "playground", "plugins", "system")
TEXT = re.compile(r'<text class="[^"]*" x="([\d.]+)" y="([\d.]+)"[^>]*>([^<]*)</text>')
CELL = 12.2
"""How wide a cell is drawn."""
UNIQUE = re.compile(r"terminal-\d+")
"""Textual names the classes of each picture after a hash of it."""


def path_of(name: str, size: tuple[int, int]) -> Path:
    return FOLDER / f"{name}-{size[0]}x{size[1]}.svgz"


def plain(svg: str) -> str:
    return UNIQUE.sub("terminal", svg)


def rows(svg: str) -> list[str]:
    """The text of a picture, row by row; blanks alone are in none."""
    found: dict[float, str] = {}
    for x, y, text in TEXT.findall(svg):
        row = found.get(float(y), "")
        found[float(y)] = row.ljust(round(float(x) / CELL)) + html.unescape(text).replace("\xa0", " ")
    return [row.rstrip() for _, row in sorted(found.items())]


def read(path: Path) -> str:
    return gzip.decompress(path.read_bytes()).decode()


def write(path: Path, svg: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(gzip.compress(plain(svg).encode(), mtime=0))


def difference(path: Path, svg: str) -> str:
    """What is other than it was; '' where nothing is."""
    if not path.exists():
        return f"{path.name}: there is no such picture yet"
    before, now = read(path), plain(svg)
    if before == now:
        return ""
    lines = list(difflib.unified_diff(rows(before), rows(now), "kept", "drawn now", lineterm="", n=0))
    return "\n".join(lines) or "the same text in other colours"


if __name__ == "__main__":
    import os
    import sys

    import pytest

    os.environ["DRAW_SNAPSHOTS"] = "write"
    sys.exit(pytest.main(["-q", str(Path(__file__).with_name("test_snapshots.py"))]))
