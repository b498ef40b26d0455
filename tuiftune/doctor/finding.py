"""What one look has found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

GOOD, WARNING, BAD = "good", "warning", "bad"
LEVELS = (GOOD, WARNING, BAD)
GROUPS = ("GPU", "torch", "machine", "terminal", "hub", "software")
"""In the order shown."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    group: str
    name: str
    level: str
    """One of LEVELS: with `warning` runs work, but not as well as they could; with `bad` they do not."""
    fact: str
    """What it is, with units."""
    remedy: str = ""
    """What to do, where it is not good."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def worst(findings: Sequence[Finding]) -> str:
    """The worst level among them."""
    return max((finding.level for finding in findings), key=LEVELS.index, default=GOOD)


def counted(findings: Sequence[Finding]) -> str:
    """'14 good, 2 warnings, none bad'."""
    good, warnings, bad = (sum(finding.level == level for finding in findings) for level in LEVELS)
    return f"{good} good, {warnings} warning{'' if warnings == 1 else 's'}, {bad or 'none'} bad"
