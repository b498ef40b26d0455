"""Whether a run outlives its user's logout, and how to start one that does.

A detached process survives a hang-up, but systemd-logind with `KillUserProcesses=yes` ends the whole session, and a
user's own service manager ends with the last session, unless the user lingers (logind.conf(5), loginctl(1)). With
lingering, a scope of the user's manager (`systemd-run --user --scope`) is in no session and survives both.
"""

from __future__ import annotations

import functools
import os
import pwd
import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

PATIENCE_S = 2.0
"""A bus that does not answer must not hold up a start."""
LINGER = Path("/var/lib/systemd/linger")
CGROUP = Path("/proc/self/cgroup")
BUS = (
    "get-property", "org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager",
    "KillUserProcesses", "KillOnlyUsers", "KillExcludeUsers",
)  # fmt: skip


@dataclass(frozen=True)
class Logout:
    """What becomes of this user's processes at a logout."""

    kills_sessions: bool
    """logind ends what a session leaves behind. False also where there is no logind to ask."""
    in_manager: bool
    """This process belongs to the user's service manager (a terminal of a desktop, tmux as a service)."""
    lingers: bool
    """The user's service manager stays when the last session ends."""
    scope_works: bool = False
    """Tried, where it is needed: `systemd-run --user --scope`."""

    @property
    def ends_runs(self) -> bool:
        """Whether a process that is only detached is ended."""
        return (self.in_manager and not self.lingers) or (not self.in_manager and self.kills_sessions)

    @property
    def wants_scope(self) -> bool:
        """Whether a scope of the user's manager is the way out."""
        return self.ends_runs and self.lingers and self.scope_works

    @property
    def warning(self) -> str | None:
        """A sentence for who starts a run; None where it survives."""
        if not self.ends_runs or self.wants_scope:
            return None
        who = "systemd" if self.in_manager else "systemd (KillUserProcesses=yes)"
        first = f"this run will not survive your logout, at which {who} ends all your processes. "
        if self.lingers:
            return f"{first}You linger, but systemd-run --user does not work here: start it from a normal login"
        return f"{first}So that it does, once: loginctl enable-linger (your administrator may have to); then start it"

    def to_json(self) -> dict[str, Any]:
        return {
            "kills_sessions": self.kills_sessions,
            "in_manager": self.in_manager,
            "lingers": self.lingers,
            "survives": not self.ends_runs or self.wants_scope,
        }


@functools.cache
def look() -> Logout:
    """Ask logind, once a process. Takes some 20 ms."""
    kills = _kills_sessions()
    in_manager = _in_manager()
    lingers = (kills or in_manager) and _lingers()
    found = Logout(kills, in_manager, lingers)
    if not (found.ends_runs and lingers):
        return found
    name = f"tuiftune-try-{os.getpid()}"
    return replace(found, scope_works=_ask(*in_scope(["true"], name)) is not None)


def in_scope(command: list[str], name: str) -> list[str]:
    """The command, started in a scope of the user's service manager; environment and folder stay as they are."""
    unit = re.sub(r"[^A-Za-z0-9_.-]", "-", name)
    return ["systemd-run", "--user", "--scope", "--quiet", "--collect", f"--unit={unit}", "--", *command]


def _kills_sessions() -> bool:
    said = _ask("busctl", *BUS)
    if said is None:
        return False
    kill, only, excluded = [*said.splitlines(), "", "", ""][:3]
    if kill.split()[-1:] != ["true"]:
        return False
    user, chosen, spared = _user(), _names(only), _names(excluded)
    return user not in spared and (not chosen or user in chosen)


def _names(line: str) -> list[str]:
    """The words of `as 2 "alice" "bob"`, as busctl prints a list."""
    try:
        return shlex.split(line)[2:]
    except ValueError:
        return []


def _in_manager() -> bool:
    try:
        return re.search(r"/user@\d+\.service(?:/|$)", CGROUP.read_text(), re.MULTILINE) is not None
    except OSError:
        return False


def _lingers() -> bool:
    said = _ask("loginctl", "show-user", str(os.getuid()), "--property=Linger")
    if said is not None:
        return said.strip() == "Linger=yes"
    return bool(_user()) and (LINGER / _user()).exists()


def _user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a user without a name, as containers have
        return ""


def _ask(program: str, *arguments: str) -> str | None:
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
            timeout=PATIENCE_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else None
