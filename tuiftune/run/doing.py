"""What a child process is doing, told on its stderr to who started it: lines with a mark, one after the other.

Written only where they are asked for, through the environment: nobody else wants them among the words of stages.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from typing import Any

MARK = "tuiftune: doing "
ASKED = "TUIFTUNE_TELL_DOING"
"""Set to 1 in the environment of a child that is to tell."""
AT_MOST_EVERY_S = 0.25


def asked() -> bool:
    """Whether who started this process wants to hear."""
    return os.environ.get(ASKED) == "1"


def tell(words: str) -> None:
    """Say what is being done now."""
    if asked():
        print(f"{MARK}{' '.join(words.split())}", file=sys.stderr, flush=True)


def heard(line: str) -> str | None:
    """The words of a line that tells; None for any other."""
    return line.removeprefix(MARK) if line.startswith(MARK) else None


class Teller:
    """Tells how far stages are; a recorder hands on its `event` and `progress`."""

    def __init__(self) -> None:
        self._stages: dict[int, str] = {}
        self._due = 0.0

    def event(self, kind: str, data: Mapping[str, Any]) -> None:
        if kind == "stage_started":
            self._stages[int(data["index"])] = str(data["name"])
            tell(str(data["name"]))

    def progress(self, stage: int, done: int, total: int | None, unit: str) -> None:
        now = time.monotonic()
        if now >= self._due:
            self._due = now + AT_MOST_EVERY_S
            of = "" if total is None else f" of {total:,}"
            tell(f"{self._stages.get(stage, 'stage')}: {done:,}{of} {unit}")
