"""Write a small file whole or not at all."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any


def write_text(path: Path, text: str) -> None:
    """Write aside, fsync, rename, fsync the folder: a reader sees the old text or the new, never half.

    Raises OSError; then nothing has changed.
    """
    data = text.encode("utf-8")
    aside = path.with_name(f".{path.name}.{threading.get_native_id()}.tmp")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except OSError:
        aside.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def remove_half_written(folder: Path) -> None:
    """Delete from `folder` what `write_text` had written aside when it was killed; not what a process of
    this machine is writing now."""
    for path in folder.glob(".*.tmp"):
        writer = path.name.rsplit(".", 2)[-2]
        if writer.isdigit() and not Path("/proc", writer).exists():
            path.unlink(missing_ok=True)


def write_json(path: Path, data: Any) -> None:
    text = json.dumps(data, ensure_ascii=False, indent=1)
    if not text.isascii() and not _encodable(text):
        text = json.dumps(data, indent=1)  # a path with bytes that are no UTF-8: escaped, and read back the same
    write_text(path, text + "\n")


LARGEST = 16 << 20
"""No file of a run that is read whole is larger: one that is was not written by us."""


def read_json(path: Path, largest: int = LARGEST) -> Any:
    """Raises OSError; ValueError where it is no JSON, or too large to be read."""
    with path.open("rb") as file:
        data = file.read(largest + 1)
    if len(data) > largest:
        raise ValueError(f"larger than {largest:,} bytes")
    return json.loads(data)


def _encodable(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
