"""A damaged metrics.db is set aside and begun again from the copy that the newest whole checkpoint holds."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from pathlib import Path

from tuiftune.run.checkpoints import newest_sealed, step_of
from tuiftune.run.files import sync_folder
from tuiftune.run.store import is_sound, set_aside

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
    if not metrics.exists() or is_sound(metrics):
        return None
    aside = set_aside(metrics)
    told = f"{metrics.name} was damaged: set aside as {aside.name}"
    checkpoint, _ = newest_sealed(checkpoints)
    if checkpoint is None or not (checkpoint / HISTORY).is_file():
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
