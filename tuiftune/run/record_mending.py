"""A damaged metrics.db is set aside and begun again from the copy that the newest whole checkpoint holds."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from pathlib import Path

from tuiftune.run.checkpoints import newest_sealed, step_of
from tuiftune.run.files import sync_folder
from tuiftune.run.store import is_blank, is_sound, set_aside

HISTORY = "history.db"
"""In each checkpoint: metrics.db as it was when that was written."""


def copy_store(store: Path, place: Path) -> None:
    """Write a copy of a store, as of its last commit, to a new file. Raises sqlite3.Error, OSError."""
    place.unlink(missing_ok=True)
    database = sqlite3.connect(f"{store.resolve().as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=5.0)
    try:
        database.execute("VACUUM INTO ?", (str(place),))
    except BaseException:
        place.unlink(missing_ok=True)
        raise
    finally:
        database.close()
    place.chmod(0o600)


def mend(metrics: Path, checkpoints: Path) -> str | None:
    """Where metrics.db is damaged, or empty though there is a checkpoint: set it aside and put the newest copy in its
    place. Returns what was done as a sentence, None where there was nothing to do.

    Raises OSError where nothing can be written.
    """
    if not metrics.exists():
        return None
    sound = is_sound(metrics)
    if sound and not is_blank(metrics):
        return None
    checkpoint, _ = newest_sealed(checkpoints)
    has_copy = checkpoint is not None and (checkpoint / HISTORY).is_file()
    if sound and not has_copy:
        return None  # nothing was lost: it had just been made
    told = f"{metrics.name} was {'empty' if sound else 'damaged'}: set aside as {set_aside(metrics).name}"
    if checkpoint is None or not has_copy:
        return f"{told}, and a new one begun: what it held is lost"
    partial = metrics.with_name(f".{metrics.name}.partial")
    try:
        shutil.copyfile(checkpoint / HISTORY, partial)
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(partial, metrics)
    except OSError:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise
    sync_folder(metrics.parent)
    return f"{told}, and filled again up to step {step_of(checkpoint):,} from {checkpoint.name}"
