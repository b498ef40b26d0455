"""The Hugging Face hub: can it be reached, and where is what was fetched from it."""

from __future__ import annotations

import os
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from tuiftune import units
from tuiftune.doctor.finding import GOOD, WARNING, Finding
from tuiftune.paths import hub_cache, hub_is_offline
from tuiftune.text import one_line

ENDPOINT = "https://huggingface.co"
LIMIT_S = 6.0
CACHE_LOW = 5 << 30


def findings() -> Iterator[Finding]:
    yield _reach()
    yield _cache(hub_cache())


def _reach() -> Finding:
    if hub_is_offline():
        return Finding("hub", "reach", GOOD, "HF_HUB_OFFLINE: only what is in the cache, and folders")
    endpoint = os.environ.get("HF_ENDPOINT") or ENDPOINT
    remedy = (
        'models and data can be folders: model.name = "./gpt2"; behind a proxy: export HTTPS_PROXY=...; '
        "a mirror: export HF_ENDPOINT=..."
    )
    if not endpoint.startswith(("https://", "http://")):
        return Finding("hub", "reach", WARNING, f"HF_ENDPOINT={one_line(endpoint, 80)} is no web address", remedy)
    began = time.monotonic()
    try:
        request = urllib.request.Request(endpoint, method="HEAD", headers={"User-Agent": "tuiftune"})  # noqa: S310
        with urllib.request.urlopen(request, timeout=LIMIT_S):  # noqa: S310 (of the web alone, see above)
            pass
    except urllib.error.HTTPError:
        pass  # it answered
    except OSError as error:
        why = one_line(str(getattr(error, "reason", error)), 120)
        return Finding("hub", "reach", WARNING, f"{one_line(endpoint, 80)} cannot be reached: {why}", remedy)
    took_ms = 1000 * (time.monotonic() - began)
    return Finding("hub", "reach", GOOD, f"{one_line(endpoint, 80)} answers in {took_ms:.0f} ms")


def _cache(folder: Path) -> Finding:
    there = folder
    while not there.exists() and there != there.parent:
        there = there.parent
    name = one_line(str(folder), 120)
    if not os.access(there, os.W_OK | os.X_OK):
        return Finding("hub", "cache", WARNING, f"{name}: cannot be written to", "export HF_HOME=FOLDER")
    models = sum(1 for one in folder.glob("models--*")) if folder.is_dir() else 0
    free = shutil.disk_usage(there).free
    fact = f"{name}: {models} model{'' if models == 1 else 's'}, {units.size(free)} free"
    if free < CACHE_LOW:
        return Finding("hub", "cache", WARNING, fact, "make room, or: export HF_HOME=FOLDER on a larger disk")
    return Finding("hub", "cache", GOOD, fact)
