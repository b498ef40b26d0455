"""Delete a run so that it can be had back: its folder is moved into the trash of its workspace, and removed from there
when a person empties it."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tuiftune.errors import RunNotFound, TuiftuneError, WorkspaceError
from tuiftune.paths import runs_folder
from tuiftune.run.files import read_json, sync_folder, write_json
from tuiftune.run.folder import Run, recorded_state, state_of
from tuiftune.run.process import Lock, is_locked

TRASH = ".trash"
"""In the folder of the runs: moving a run there is renaming it, whatever its size. It has no state.json, so it is no
run, and what lies in it is not listed."""
STAMP = "deleted.json"


@dataclass(frozen=True)
class Deleted:
    """A run in the trash."""

    run: Run
    """Its folder there."""
    time: float
    """When it was deleted, in seconds since the epoch."""

    @property
    def id(self) -> str:
        return self.run.id


def delete(run: Run) -> Deleted:
    """Move a run that has ended into the trash. Links are not followed: a run's folder itself is moved.

    Raises TuiftuneError where it is active, or cannot be moved.
    """
    with _ended(run):
        now = time.time()
        try:
            trash = _made(run.path.parent)
            place = trash / run.id
            if os.path.lexists(place):
                raise WorkspaceError(f"{place}: a run of that id is in the trash already. See: tuiftune trash")
            write_json(run.path / STAMP, {"time": now})
            run.path.rename(place)
            sync_folder(run.path.parent)
        except OSError as error:
            (run.path / STAMP).unlink(missing_ok=True)
            raise WorkspaceError(f"{run.path}: cannot be moved to the trash: {error.strerror}") from error
    return Deleted(Run(place), now)


@contextmanager
def _ended(run: Run) -> Iterator[None]:
    """Nobody resumes it meanwhile: whoever does needs this lock."""
    if run.path.is_symlink() or not run.path.is_dir():
        raise RunNotFound(f"{run.path}: no folder of a run")
    try:
        lock = Lock(run.supervisor_lock)
        taken = lock.take(timeout_s=0.5)
    except OSError as error:
        raise WorkspaceError(f"{run.path}: cannot be deleted: {error.strerror}") from error
    if not taken:
        raise _active(run, recorded_state(run).name)
    try:
        if is_locked(run.worker_lock) or state_of(run).active:
            raise _active(run, state_of(run).name)
        yield
    finally:
        lock.release()


def _active(run: Run, state: str) -> TuiftuneError:
    return TuiftuneError(f"{run.id} is {state}: a run that goes on is not deleted. First: tuiftune stop {run.id}")


def _made(runs: Path) -> Path:
    """The trash of a folder of runs. Raises OSError, WorkspaceError."""
    trash = runs / TRASH
    if trash.is_symlink():
        raise WorkspaceError(f"{trash}: is a link; what is deleted stays where the runs are. Take it away")
    trash.mkdir(mode=0o700, exist_ok=True)
    return trash


def contents(workspace: Path) -> list[Deleted]:
    """What is in the trash, deleted last first."""
    trash = runs_folder(workspace) / TRASH
    if trash.is_symlink() or not trash.is_dir():
        return []
    found = [Run(Path(entry.path)) for entry in os.scandir(trash) if entry.is_dir(follow_symlinks=False)]
    return sorted([Deleted(run, _when(run)) for run in found], key=lambda one: (one.time, one.id), reverse=True)


def _when(run: Run) -> float:
    try:
        return float(read_json(run.path / STAMP)["time"])
    except (OSError, ValueError, KeyError, TypeError):
        return run.path.lstat().st_mtime if run.path.exists() else 0.0


def find(workspace: Path, reference: str) -> Deleted:
    """A deleted run by its id or a unique beginning of it. Raises RunNotFound."""
    there = contents(workspace)
    found = [one for one in there if one.id == reference] or [one for one in there if one.id.startswith(reference)]
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(one.id for one in found[:5])
        raise RunNotFound(f"{reference!r} is the beginning of {len(found)} deleted runs: {names}. Give more of it")
    raise RunNotFound(f"{reference!r} is no run in the trash. See: tuiftune trash")


def restore(deleted: Deleted) -> Run:
    """Move a run back to where it was. Raises WorkspaceError."""
    place = deleted.run.path.parent.parent / deleted.id
    try:
        if os.path.lexists(place):
            raise WorkspaceError(f"{place}: there is a run of that id again; it stays in the trash")
        deleted.run.path.rename(place)
        (place / STAMP).unlink(missing_ok=True)
        sync_folder(place.parent)
    except OSError as error:
        raise WorkspaceError(f"{deleted.run.path}: cannot be moved back: {error.strerror}") from error
    return Run(place)


def empty(found: Sequence[Deleted], progress: Callable[[int, int], None] | None = None) -> None:
    """Remove deleted runs for good, files and all; a link in one is removed, what it leads to is not touched.

    `progress(done, total)` is told after each. Raises WorkspaceError.
    """
    for number, one in enumerate(found, start=1):
        try:
            shutil.rmtree(one.run.path)
        except OSError as error:
            raise WorkspaceError(f"{error.filename or one.run.path}: cannot be removed: {error.strerror}") from error
        if progress is not None:
            progress(number, len(found))
