"""Which models of the hub a profile names that are not on this machine yet: said before the start, not after it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tuiftune.paths import ASSET_PREFIX, hub_cache, hub_is_offline, resolve_path
from tuiftune.text import one_line


def to_fetch(effective: Mapping[str, Any], workspace: Path) -> str | None:
    """The sentence on them; None where there are none. `effective`: a profile's values, as a run has them."""
    missing = list(dict.fromkeys(_missing(effective.get("model") or {}, workspace)))
    if not missing:
        return None
    are = "is" if len(missing) == 1 else "are"
    which = "it" if len(missing) == 1 else "they"
    will = f"{which} cannot be" if hub_is_offline() else f"{which} {are}"
    offline = ", since HF_HUB_OFFLINE says so" if hub_is_offline() else " first"
    return f"{' and '.join(missing)} {are} not on this machine: {will} fetched from the Hugging Face hub{offline}"


def _missing(model: Mapping[str, Any], workspace: Path) -> Iterator[str]:
    keys = ("tokenizer",) if model.get("init") == "scratch" else ("name", "tokenizer")
    for name in (model.get(key) for key in keys):
        if not isinstance(name, str) or name.startswith((ASSET_PREFIX, ".", "/", "~")):
            continue
        if not (resolve_path(name, workspace).is_dir() or _is_cached(name)):
            yield one_line(name, 80)


def _is_cached(name: str) -> bool:
    """Whether any snapshot of it is there; it may be an incomplete one, which the hub's library finds out."""
    try:
        return any((hub_cache() / f"models--{name.replace('/', '--')}" / "snapshots").iterdir())
    except (OSError, RuntimeError, ValueError):
        return False
