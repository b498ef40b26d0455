"""What systemd-logind is set to end at a logout: asked of its bus, or read from its files where the bus is silent.

A user that `KillExcludeUsers` names is spared (root where it names nobody); else `KillOnlyUsers`, where it names
somebody, decides alone, and only then `KillUserProcesses` does (logind.conf(5)).
"""

from __future__ import annotations

import pwd
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PATIENCE_S = 1.0
"""A bus that does not answer must not hold up a start; its answers take some 10 ms."""
FOLDERS = tuple(Path(one) for one in ("/etc/systemd", "/run/systemd", "/usr/local/lib/systemd", "/usr/lib/systemd"))
"""Where settings lie, the first wins."""
LINGER = Path("/var/lib/systemd/linger")
BUS = (
    "get-property", "org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager",
    "KillUserProcesses", "KillOnlyUsers", "KillExcludeUsers",
)  # fmt: skip
YES = ("1", "yes", "y", "true", "t", "on")


@dataclass(frozen=True)
class Rules:
    """logind's three settings of what to end."""

    kill: bool
    only: tuple[str, ...] = ()
    spared: tuple[str, ...] = ()

    def end_sessions_of(self, user: str) -> bool:
        """Whether what a session of `user` leaves behind is ended."""
        if user in (self.spared or ("root",)):
            return False
        return user in self.only if self.only else self.kill


def rules(known: bool) -> Rules | None:
    """As logind has them. None where there is no logind to ask; `known`: there is one, even if its bus is silent."""
    return _rules_of_the_bus() or (_rules_of_the_files() if known else None)


def lingers(uid: int, user: str) -> bool:
    """Whether the user's service manager stays when the last session ends."""
    said = ask("loginctl", "show-user", str(uid), "--property=Linger")
    if said is not None:
        return said.strip() == "Linger=yes"
    return bool(user) and (LINGER / user).exists()


def ask(program: str, *arguments: str, patience_s: float = PATIENCE_S) -> str | None:
    """What it prints; None where it is not there, fails or hangs."""
    found = shutil.which(program)
    if found is None:
        return None
    try:
        done = subprocess.run(
            [found, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=patience_s,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else None


def _rules_of_the_bus() -> Rules | None:
    said = (ask("busctl", *BUS) or "").splitlines()
    if len(said) != 3 or said[0] not in ("b true", "b false"):
        return None
    try:
        only, spared = (tuple(shlex.split(line)[2:]) for line in said[1:])  # as 2 "alice" "bob"
    except ValueError:
        return None
    return Rules(said[0] == "b true", only, spared)


def _rules_of_the_files() -> Rules:
    kill = False
    lists: dict[str, tuple[str, ...]] = {"KillOnlyUsers": (), "KillExcludeUsers": ()}
    for key, value in _settings():
        if key == "KillUserProcesses":
            kill = value.lower() in YES
        elif key in lists:
            lists[key] = (*lists[key], *value.split()) if value else ()  # a list grows; empty begins it anew
    return Rules(kill, lists["KillOnlyUsers"], lists["KillExcludeUsers"])


def _settings() -> Iterator[tuple[str, str]]:
    """Each assignment of the section [Login], in the order in which they count."""
    main = next((text for folder in FOLDERS if (text := _text(folder / "logind.conf")) is not None), "")
    # What the distribution has built in stands in its file as a comment.
    yield from re.findall(r"^#(KillUserProcesses)=(\w+)$", main, re.MULTILINE)
    yield from _assignments(main)
    dropped: dict[str, Path] = {}
    for folder in reversed(FOLDERS):  # a file of the same name in a folder that comes first takes its place
        dropped |= {file.name: file for file in (folder / "logind.conf.d").glob("*.conf")}
    for name in sorted(dropped):
        yield from _assignments(_text(dropped[name]) or "")


def _text(file: Path) -> str | None:
    try:
        return file.read_text("utf-8", "replace")
    except OSError:  # not there, or not for this user's eyes
        return None


def _assignments(text: str) -> Iterator[tuple[str, str]]:
    section = ""
    for line in map(str.strip, text.replace("\\\n", " ").splitlines()):
        if line.startswith("["):
            section = line
        elif section == "[Login]" and "=" in line and not line.startswith(("#", ";")):
            key, _, value = line.partition("=")
            yield key.strip(), value.strip()


def user_name(uid: int) -> str:
    """'' of a user without a name, as containers have."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return ""
