"""Checkpoints that are whole or not there: sealed, verified and rotated. No torch in here."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Collection
from pathlib import Path

from tuiftune.run.files import read_json, sync_folder, write_json

SEAL = "complete.json"
"""Written last: step, and size and sha256 of every file. A folder without it is not a checkpoint."""

UNSEALED = ".unsealed"
"""Where a checkpoint is written before it is sealed and moved to its place."""

_NAME = re.compile(r"step-(\d{6,})")


def step_folder(checkpoints: Path, step: int) -> Path:
    """`checkpoints/step-000200`."""
    return checkpoints / f"step-{step:06d}"


def publish(aside: Path, checkpoints: Path, step: int) -> Path:
    """Seal what lies in `aside` and move it to its place, over an unsound one of the same step."""
    seal(aside, step)
    place = step_folder(checkpoints, step)
    if place.exists():
        remove(place)
    os.replace(aside, place)
    sync_folder(checkpoints)
    return place


def seal(folder: Path, step: int) -> None:
    """Fsync every file of `folder`, then write the seal over them."""
    sync_files(folder)
    files = {
        path.relative_to(folder).as_posix(): {"size": path.stat().st_size, "sha256": _sha256(path)}
        for path in _files(folder)
    }
    write_json(folder / SEAL, {"step": step, "files": files})


def sync_files(folder: Path) -> None:
    """Fsync every file and folder in `folder`, and itself."""
    for path in _files(folder):
        _sync_file(path)
    for below in [*(path for path in folder.rglob("*") if path.is_dir()), folder]:
        sync_folder(below)


def is_sealed(folder: Path) -> bool:
    """Whether there is a seal; `flaw` says whether it is kept."""
    return (folder / SEAL).is_file()


def flaw(folder: Path, by_content: bool = True, unread: Collection[str] = ()) -> str | None:
    """What is wrong with a checkpoint, as a sentence; None when it is as it was sealed.

    Without `by_content` only names and sizes are looked at: that costs milliseconds where gigabytes are to be read.
    `unread`: files of which only that is looked at.
    """
    try:
        seal = read_json(folder / SEAL)
        step, files = int(seal["step"]), dict(seal["files"])
        recorded = {name: (int(item["size"]), str(item["sha256"])) for name, item in files.items()}
    except FileNotFoundError:
        return f"{folder.name} was never finished (no {SEAL})"
    except (OSError, ValueError, KeyError, TypeError):
        return f"{folder.name}: its {SEAL} cannot be read"
    if step != step_of(folder):
        return f"{folder.name}: its {SEAL} is that of step {step}"
    for name, (size, digest) in recorded.items():
        path = folder / name
        try:
            if path.stat().st_size != size:
                return f"{folder.name}: {name} has {path.stat().st_size:,} bytes where {size:,} were written"
            if by_content and name not in unread and _sha256(path) != digest:
                return f"{folder.name}: {name} is damaged (its sha256 is another)"
        except FileNotFoundError:
            return f"{folder.name}: {name} is missing"
        except OSError as error:
            return f"{folder.name}: {name} cannot be read: {error.strerror}"
    return None


def newest_sealed(checkpoints: Path, by_content: bool = True) -> tuple[Path | None, list[str]]:
    """The newest whole checkpoint, and a sentence for each newer one that was passed over. `by_content`: see `flaw`."""
    reasons: list[str] = []
    for folder in reversed(step_folders(checkpoints)):
        reason = flaw(folder, by_content)
        if reason is None:
            return folder, reasons
        reasons.append(reason)
    return None, reasons


def step_folders(checkpoints: Path) -> list[Path]:
    """Folders named as checkpoints, oldest step first, sealed or not; by number, never by time."""
    if not checkpoints.is_dir():
        return []
    found = [path for path in checkpoints.iterdir() if _NAME.fullmatch(path.name) and path.is_dir()]
    return sorted(found, key=step_of)


def step_of(folder: Path) -> int:
    match = _NAME.fullmatch(folder.name)
    if match is None:
        raise ValueError(f"{folder} is not named as a checkpoint")
    return int(match[1])


def rotate(checkpoints: Path, keep: int, also: Collection[int] = (), space_bytes: int | None = None) -> None:
    """Remove all but the `keep` newest sealed checkpoints and the steps in `also`, what older removals left half done,
    and then the oldest until the rest takes no more than `space_bytes`: never the newest, nor one of `also`.

    Only to be called when a newer one is sealed.
    """
    sealed = [folder for folder in step_folders(checkpoints) if is_sealed(folder)]
    always = {folder for folder in sealed if step_of(folder) in also} | set(sealed[-1:])
    kept = {*sealed[-keep:], *always}
    for folder in step_folders(checkpoints):
        if folder not in kept and sealed and step_of(folder) < step_of(sealed[-1]):
            remove(folder)
    if space_bytes is None:
        return
    sizes = {folder: size_of(folder) for folder in sealed if folder in kept}
    for folder in [folder for folder in sizes if folder not in always]:
        if sum(sizes.values()) <= space_bytes:
            return
        remove(folder)
        del sizes[folder]


def discard_after(checkpoints: Path, step: int) -> None:
    """Remove what is newer than `step`: it was passed over, and training will pass there again."""
    for folder in step_folders(checkpoints):
        if step_of(folder) > step:
            remove(folder)


def remove(folder: Path) -> None:
    """Delete a checkpoint, its seal first: one that is half deleted is not taken for whole."""
    (folder / SEAL).unlink(missing_ok=True)
    shutil.rmtree(folder)


def remove_unsealed(checkpoints: Path) -> None:
    """Delete what was written of a checkpoint that was never sealed: it may be as large as a whole one."""
    shutil.rmtree(checkpoints / UNSEALED, ignore_errors=True)


def size_of(folder: Path) -> int:
    """Bytes of all files in `folder`."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != SEAL)


def _sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
