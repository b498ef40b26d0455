"""The machine: room, memory, the file system of the workspace, and what a logout does."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from tuiftune import units
from tuiftune.doctor.finding import BAD, GOOD, WARNING, Finding
from tuiftune.paths import cache_folder, runs_folder
from tuiftune.run import logout
from tuiftune.text import one_line

GIB = 1 << 30
DISK_BAD, DISK_LOW = 2 * GIB, 20 * GIB
"""A checkpoint of GPT-2 small takes 1.5 GiB."""
RAM_BAD, RAM_LOW = 2 * GIB, 6 * GIB
"""Torch and its libraries take 1 GiB, and a model is in RAM before it is on the GPU."""
SHM_LOW = GIB
NETWORK = (
    "nfs",
    "cifs",
    "smb",
    "lustre",
    "gpfs",
    "beegfs",
    "ceph",
    "glusterfs",
    "afs",
    "9p",
    "fuse.sshfs",
    "fuse.rclone",
)
"""Beginnings of the types of file systems that lie on another machine."""


def findings(workspace: Path) -> Iterator[Finding]:
    yield _writable(workspace)
    yield _file_system(workspace)
    yield _disk(workspace)
    yield _ram()
    yield from _shared_memory()
    yield _logout()


def _writable(workspace: Path) -> Finding:
    places = [_nearest(folder) for folder in (runs_folder(workspace), cache_folder(workspace))]
    refused = [place for place in places if not os.access(place, os.W_OK | os.X_OK)]
    name = one_line(str(workspace), 200)
    if refused:
        remedy = f"make {one_line(str(refused[0]), 200)} writable, or choose another: TUIFTUNE_WORKSPACE=FOLDER"
        return Finding("machine", "workspace", BAD, f"{name}: cannot be written to", remedy)
    return Finding("machine", "workspace", GOOD, name)


def _file_system(workspace: Path) -> Finding:
    kind = file_system_of(runs_folder(workspace))
    if kind is None:
        return Finding("machine", "file system", WARNING, "of an unknown kind: /proc/self/mounts cannot be read", "")
    if kind.startswith(NETWORK):
        fact = f"{kind}, over the network: SQLite's shared memory and locks do not work between machines there"
        remedy = "look at a run only from the machine it is on, or use a local workspace: TUIFTUNE_WORKSPACE=FOLDER"
        return Finding("machine", "file system", WARNING, fact, remedy)
    return Finding("machine", "file system", GOOD, f"{kind}, local")


def _disk(workspace: Path) -> Finding:
    space = shutil.disk_usage(_nearest(runs_folder(workspace)))
    fact = f"{units.size(space.free)} free of {units.size(space.total)}"
    if space.free >= DISK_LOW:
        return Finding("machine", "disk", GOOD, fact)
    remedy = "make room: tuiftune trash --empty; tuiftune runs tells what each takes"
    return Finding("machine", "disk", BAD if space.free < DISK_BAD else WARNING, fact, remedy)


def _ram() -> Finding:
    import psutil

    memory = psutil.virtual_memory()
    fact = f"{units.size(memory.available)} available of {units.size(memory.total)}"
    if memory.available >= RAM_LOW:
        return Finding("machine", "RAM", GOOD, fact)
    return Finding("machine", "RAM", BAD if memory.available < RAM_BAD else WARNING, fact, "end programs that hold it")


def _shared_memory() -> Iterator[Finding]:
    """NCCL and the workers of a data loader speak through it; containers have 64 MiB."""
    try:
        total = shutil.disk_usage("/dev/shm").total  # noqa: S108 (looked at, not written to)
    except OSError:
        yield Finding("machine", "shared memory", WARNING, "there is no /dev/shm", "mount a tmpfs there")
        return
    if total < SHM_LOW:
        remedy = "training on several GPUs may fail: start the container with --shm-size=1g or more"
        yield Finding("machine", "shared memory", WARNING, units.size(total), remedy)
    else:
        yield Finding("machine", "shared memory", GOOD, units.size(total))


def _logout() -> Finding:
    found = logout.look()
    if found.warning:
        remedy = f"once: loginctl enable-linger {found.user}".rstrip()
        return Finding("machine", "logout", WARNING, "runs started here end when you log out", remedy)
    how = "in a scope of your service manager" if found.wants_scope else "nothing here ends them"
    return Finding("machine", "logout", GOOD, f"runs go on after it: {how}")


def file_system_of(path: Path, mounts: Path = Path("/proc/self/mounts")) -> str | None:
    """The type of the file system that a path lies on (or would): 'ext4', 'nfs4'. None where nobody tells."""
    try:
        lines = mounts.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return None
    full, found, kind = str(path.resolve()), "", None
    for line in lines:
        _, place, its, *_ = [*line.split(" "), "", "", ""]
        place = place.replace("\\040", " ")
        within = full == place or full.startswith(place.rstrip("/") + "/")
        if within and len(place) >= len(found):  # of two on one place the later covers the other
            found, kind = place, its
    return kind


def _nearest(path: Path) -> Path:
    """The path, or the folder above it that is there already."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return path
