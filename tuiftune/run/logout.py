"""Whether a run outlives its user's logout, and how to start one that does.

A detached process survives a hang-up. It does not survive a systemd-logind that is set to end what a session leaves
behind (`session-N.scope`), nor the end of the user's own service manager (`user@UID.service`), which goes with the last
session unless the user lingers (logind.conf(5), loginctl(1)). With lingering, a scope of that manager (`systemd-run
--user --scope`) is in no session and survives both. Which of them a process is in, its cgroup tells: elsewhere (a
service of the system, a container) a logout changes nothing.
"""

from __future__ import annotations

import functools
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuiftune.run import logind

CGROUP = Path("/proc/self/cgroup")
TRIAL_S = 3.0
"""A scope is made within some 10 ms, but by a service manager that may be busy."""
OOM = "--property=OOMPolicy=continue"
"""Else a worker that the kernel kills for memory takes its supervisor with it, which would have started another: from
version 253 on systemd stops a whole scope for that. Earlier ones stop no scope for it, and do not know the option."""


@dataclass(frozen=True)
class Logout:
    """What becomes of this user's processes at a logout."""

    kills_sessions: bool
    """This process is in a session, and logind ends what that leaves behind."""
    in_manager: bool
    """This process belongs to the user's service manager (a terminal of a desktop, tmux as a service)."""
    lingers: bool
    """The user's service manager stays when the last session ends."""
    scope_works: bool = False
    """Tried, where it is needed: `systemd-run --user --scope`."""
    scope_options: tuple[str, ...] = ()
    """Of systemd-run: those that were found to work."""
    user: str = ""
    """Whose lingering it takes."""

    @property
    def ends_runs(self) -> bool:
        """Whether a process that is only detached is ended."""
        return not self.lingers if self.in_manager else self.kills_sessions

    @property
    def wants_scope(self) -> bool:
        """Whether a scope of the user's manager is the way out."""
        return self.ends_runs and self.lingers and self.scope_works

    @property
    def warning(self) -> str | None:
        """A sentence for who starts a run; None where it survives."""
        if not self.ends_runs or self.wants_scope:
            return None
        who = "systemd" if self.in_manager else "systemd (KillUserProcesses)"
        first = f"this run will not survive your logout, at which {who} ends all your processes. "
        if self.lingers:
            return f"{first}You linger, but systemd-run --user does not work here: start it from a normal login"
        how = f"loginctl enable-linger {self.user}".rstrip()
        return f"{first}So that it does, once: {how} (your administrator may have to); then start it"

    def in_scope(self, command: list[str], name: str) -> list[str]:
        """The command, in a scope of the user's service manager. systemd-run becomes it: environment, folder, umask
        and descriptors stay as they are, and no value of a variable is on a command line."""
        return _scope(command, name, self.scope_options)

    def to_json(self) -> dict[str, Any]:
        return {
            "kills_sessions": self.kills_sessions,
            "in_manager": self.in_manager,
            "lingers": self.lingers,
            "survives": not self.ends_runs or self.wants_scope,
        }


@functools.cache
def look() -> Logout:
    """Find out, once a process. In a session that is a program or two of some 10 ms each, elsewhere nothing."""
    where, owner = _place()
    me = os.getuid()
    if where == "manager":  # of another after su or sudo
        name = logind.user_name(owner)
        stays = logind.lingers(owner, name)
        return Logout(kills_sessions=False, in_manager=True, lingers=stays, user=name)
    rules = logind.rules(known=where == "session") if where != "elsewhere" else None
    if rules is None or not rules.end_sessions_of(logind.user_name(owner)):
        return Logout(kills_sessions=False, in_manager=False, lingers=False)
    name = logind.user_name(me)
    stays = logind.lingers(me, name)
    options = _try_scope() if stays else None
    return Logout(True, False, stays, scope_works=options is not None, scope_options=options or (), user=name)


def _place() -> tuple[str, int]:
    """Where systemd has put this process, and the uid of the user whose session or manager that is.

    'session', 'manager', 'elsewhere'; 'hidden' where a namespace of its own lets it see the root alone.
    """
    me = os.getuid()
    try:
        lines = CGROUP.read_text().splitlines()
    except OSError:
        return "hidden", me
    split = (line.split(":", 2) for line in lines)  # number:controllers:path
    paths = [path for _, controllers, path in split if controllers in ("", "name=systemd")]  # systemd's own hierarchies
    for path in paths:
        if found := re.search(r"/user@(\d+)\.service(?:/|$)", path):
            return "manager", int(found[1])
        if found := re.search(r"/user-(\d+)\.slice/session-[^/]+\.scope(?:/|$)", path):
            return "session", int(found[1])
    return ("elsewhere" if any(path != "/" for path in paths) else "hidden"), me


def _try_scope() -> tuple[str, ...] | None:
    """The options with which `systemd-run --user --scope` works here; None where it does not."""
    until = time.monotonic() + TRIAL_S
    for number, options in enumerate(((OOM,), ())):
        command = _scope(["true"], f"tuiftune-try-{os.getpid()}-{number}", options)
        if logind.ask(*command, patience_s=max(0.0, until - time.monotonic())) is not None:
            return options
    return None


def _scope(command: list[str], name: str, options: tuple[str, ...]) -> list[str]:
    unit = re.sub(r"[^A-Za-z0-9_.-]", "-", name)
    return ["systemd-run", "--user", "--scope", "--quiet", "--collect", f"--unit={unit}", *options, "--", *command]
