"""Whether a file could have been written by another user, as ssh looks at a key before it uses it (StrictModes).

A plugin is code that runs as you. It is taken only where the file, every folder above it and wherever links lead belong
to you or to root and can be written by nobody else.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
from pathlib import Path

TRUSTED = "TUIFTUNE_TRUSTED_FOLDERS"
"""Folders with ':' between them whose content is taken whoever may write it: the user's own word."""


def fault(path: Path) -> tuple[str, str] | None:
    """What is wrong and how to mend it; None where nothing is. Raises OSError where it cannot be looked at."""
    whole = path.absolute()
    trusted = [Path(one).resolve() for one in os.environ.get(TRUSTED, "").split(":") if one]
    if any(whole.resolve().is_relative_to(folder) for folder in trusted):
        return None
    for one in dict.fromkeys([*_chain(whole), *_chain(whole.resolve())]):
        found = _fault_of(one)
        if found:
            return found
    return None


def _chain(path: Path) -> list[Path]:
    """The file and the folders above it, as named: where one of them is a link, whoever may change that decides too."""
    return [path, *path.parents]


def _fault_of(path: Path) -> tuple[str, str] | None:
    found = path.stat()
    if found.st_uid not in (0, os.getuid()):
        who = _user(found.st_uid)
        return f"{path} belongs to {who}, who could write code into it", f"Copy it, or: chown $USER {path}"
    others = found.st_mode & stat.S_IWOTH
    group = found.st_mode & stat.S_IWGRP and not _is_private(found.st_gid)
    if not (others or group):
        return None
    if stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX and found.st_uid == 0:
        return None  # as /tmp is: what lies in it can be replaced by its owner alone
    who = "everybody" if others else f"the group {_group(found.st_gid)}"
    return f"{path} can be written by {who}", f"Mend it with: chmod {'o-w,g-w' if others else 'g-w'} {path}"


def _is_private(gid: int) -> bool:
    """Debian and Fedora give each user a group of their own, and files that it may write: nobody else is in it."""
    try:
        me, group = pwd.getpwuid(os.getuid()), grp.getgrgid(gid)
    except KeyError:
        return False
    return group.gr_name == me.pw_name and me.pw_gid == gid and set(group.gr_mem) <= {me.pw_name}


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
