"""The sections of a profile, and how its keys are written: what everything that reads profiles agrees on."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from tuiftune.toml_lines import KeyPath

KINDS = ("dataset", "preprocess", "train", "evaluate")
"""Of stages, in the order of the pipeline."""
SECTIONS = ("extends", "description", "seed", "model", "dataset", "preprocess", "train", "evaluate", "run")
LISTS = ("preprocess", "evaluate")
"""Sections that are arrays of tables."""


def dotted(path: Iterable[str | int]) -> str:
    """A key as a profile's reader writes it: `preprocess.0.max_length`."""
    parts = [str(part) for part in path]
    return ".".join(part if re.fullmatch(r"[A-Za-z0-9_-]+", part) else json.dumps(part) for part in parts)


def named_stages(table: dict[str, Any]) -> Iterator[tuple[KeyPath, str]]:
    """The path and the name of every stage a profile's table names, in the order of the pipeline."""
    for kind in KINDS:
        value = table.get(kind)
        items: list[tuple[KeyPath, Any]] = [((kind,), value)]
        if kind in LISTS:
            items = [((kind, index), item) for index, item in enumerate(value if isinstance(value, list) else [])]
        for path, item in items:
            if isinstance(item, dict) and isinstance(item.get("stage"), str):
                yield path, item["stage"]
