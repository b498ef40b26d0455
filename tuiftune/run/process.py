"""Start a process that outlives its terminal, know it again, and end its whole tree."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuiftune.errors import TuiftuneError

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

START_TIMEOUT_S = 60.0
"""A started program that has not left its parent after this long (a folder that does not answer) never will."""


@dataclass(frozen=True)
class Identity:
    """A process that cannot be mistaken for a later one with the same pid."""

    pid: int
    start_ticks: int
    """Field 22 of /proc/PID/stat: clock ticks from boot to the start of the process."""
    boot_id: str

    def to_json(self) -> dict[str, Any]:
        return {"pid": self.pid, "start_ticks": self.start_ticks, "boot_id": self.boot_id}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Identity:
        return cls(int(data["pid"]), int(data["start_ticks"]), str(data["boot_id"]))


def boot_id() -> str:
    return BOOT_ID.read_text().strip()


def _stat_fields(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat from the state on; None when there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name before may hold blanks, brackets and any bytes.
    return text[text.rindex(b")") + 2 :].decode("ascii").split()


def identify(pid: int, ended_too: bool = False) -> Identity | None:
    """Who `pid` is now; None when it is nobody, or a zombie and not `ended_too`."""
    fields = _stat_fields(pid)
    if fields is None or (fields[0] in "ZX" and not ended_too):
        return None
    return Identity(pid, int(fields[19]), boot_id())


def is_alive(identity: Identity) -> bool:
    return identify(identity.pid) == identity


def open_pidfd(identity: Identity) -> int | None:
    """A descriptor that stands for just that process, readable once it has ended; None when it is gone."""
    try:
        descriptor = os.pidfd_open(identity.pid)
    except OSError as error:
        # Nobody, or now the id of a thread of another process (EINVAL, newer kernels ENOENT).
        if error.errno in (errno.ESRCH, errno.EINVAL, errno.ENOENT):
            return None
        raise
    if is_alive(identity):  # looked at after the opening, so the pid was not reused in between
        return descriptor
    os.close(descriptor)
    return None


def send(identity: Identity, number: int) -> bool:
    """Signal just that process. False when it is gone."""
    descriptor = open_pidfd(identity)
    if descriptor is None:
        return False
    try:
        signal.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(descriptor)
    return True


def wait_end(identity: Identity, timeout_s: float) -> bool:
    """Wait until that process has ended. False when it is still there after `timeout_s`."""
    descriptor = open_pidfd(identity)
    if descriptor is None:
        return True
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(max(0.0, timeout_s) * 1000))  # negative would be: for ever
    finally:
        os.close(descriptor)


def _living() -> list[tuple[Identity, int]]:
    """Every living process and the pid of its parent."""
    boot = boot_id()
    found = []
    for entry in os.listdir("/proc"):
        fields = _stat_fields(int(entry)) if entry.isdigit() else None
        if fields is not None and fields[0] not in "ZX":
            found.append((Identity(int(entry), int(fields[19]), boot), int(fields[1])))
    return found


def descendants(*pids: int) -> list[Identity]:
    """All living children of these processes, their children and so on."""
    children: dict[int, list[Identity]] = {}
    for process, parent in _living():
        children.setdefault(parent, []).append(process)
    found: list[Identity] = []
    waiting = list(pids)
    while waiting:
        for child in children.pop(waiting.pop(), []):
            found.append(child)
            waiting.append(child.pid)
    return found


def marked(name: str, value: str) -> list[Identity]:
    """The user's living processes started with `name`=`value` in their environment, the oldest first.

    A mark is inherited by every descendant, so it finds those whose parents are gone and that have
    sessions of their own. Processes that cannot be looked into (another user's) are left out.
    """
    found = [process for process, _ in _living() if mark_of(process.pid, name) == value]
    return sorted(found, key=lambda process: process.start_ticks)


def mark_of(pid: int, name: str) -> str | None:
    """The value that `name` had in the environment a process was started with; None where it had none, the process
    is gone, or is another user's."""
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except (PermissionError, FileNotFoundError, ProcessLookupError):
        return None
    start = os.fsencode(f"{name}=")
    return next((os.fsdecode(one[len(start) :]) for one in environment.split(b"\0") if one.startswith(start)), None)


def end_all(look: Callable[[], Iterable[Identity]], timeout_s: float = 10.0) -> list[Identity]:
    """SIGKILL what `look` finds, look again until it finds nothing, and return what is still there.

    Looking again catches what was forked between a look and its kill.
    """
    deadline = time.monotonic() + timeout_s
    while found := list(look()):
        for process in found:
            send(process, signal.SIGKILL)
        for process in found:
            wait_end(process, max(0.0, min(1.0, deadline - time.monotonic())))
        if time.monotonic() > deadline:
            return [process for process in found if is_alive(process)]
    return []


def kill_tree(root: Identity, timeout_s: float = 10.0) -> list[Identity]:
    """SIGKILL a process and all that came from it; returns what is still there after `timeout_s`.

    What it has in sessions of its own (torchrun's ranks) is found too. What is forked while this looks
    becomes the caller's child where the caller is a child subreaper, and can be swept with `end_all`.
    """
    known = {root}

    def look() -> set[Identity]:
        known.intersection_update([process for process in known if is_alive(process)])
        known.update(descendants(*(process.pid for process in known)))
        return known

    return end_all(look, timeout_s)


def become_subreaper() -> None:
    """Orphaned grandchildren become children of this process (prctl PR_SET_CHILD_SUBREAPER, Linux 3.4)."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(36, 1, 0, 0, 0) != 0:  # 36 = PR_SET_CHILD_SUBREAPER
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def end_with_parent() -> None:
    """The kernel ends this process when the thread that started it ends (prctl PR_SET_PDEATHSIG)."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(1, signal.SIGKILL, 0, 0, 0) != 0:  # 1 = PR_SET_PDEATHSIG
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")


def reap_strangers(own: Iterable[int]) -> None:
    """For a subreaper: clear away ended orphans it was given, and leave its `own` children to their waiters."""
    with contextlib.suppress(ChildProcessError):  # no children at all
        while ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            if ended.si_pid in own:
                return
            os.waitpid(ended.si_pid, 0)


class Lock:
    """A flock held for the life of a process; the kernel frees it at death, so it is never stale."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None
        self._forgotten_at_fork = False

    def take(self, timeout_s: float = 2.0) -> bool:
        """Take it. False when another process holds it for the whole of `timeout_s`.

        A viewer that looks holds the lock shared for an instant: hence more than one try.
        """
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    os.close(descriptor)
                    return False
                time.sleep(0.05)
            else:
                self._descriptor = descriptor
                if not self._forgotten_at_fork:
                    # A forked child (data worker) would keep the lock after its parent's death.
                    os.register_at_fork(after_in_child=self.release)
                    self._forgotten_at_fork = True
                return True

    def release(self) -> None:
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                os.close(self._descriptor)
            self._descriptor = None


def is_locked(path: Path) -> bool:
    """Whether a living process holds the lock."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def signal_text(number: int) -> str:
    """'signal 11 (SIGSEGV)'."""
    try:
        return f"signal {number} ({signal.Signals(number).name})"
    except ValueError:
        return f"signal {number}"


def python(*arguments: str) -> list[str]:
    """This interpreter, with the current folder kept off `sys.path` (a `json.py` there must not win)."""
    return [sys.executable, "-P", *arguments]


def start_detached(arguments: list[str], log: Path, cwd: Path, env: dict[str, str] | None = None) -> None:
    """Start a process in a session of its own, its output in `log`, no descriptor inherited.

    The started program forks once more (`leave_parent`), so that nobody is its parent and it can never
    get a controlling terminal; this returns when it has.
    Raises TuiftuneError when it could not be started.
    """
    try:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise TuiftuneError(f"{log}: cannot be written: {error.strerror}") from error
    try:
        status = _run_to_end(arguments, descriptor, cwd, env)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise TuiftuneError(f"{arguments[0]}: the supervisor could not be started: {error}") from error
    finally:
        os.close(descriptor)
    if status != 0:
        raise TuiftuneError(f"{log}: the supervisor did not start (exit status {status}); its log says why")


def _run_to_end(arguments: list[str], output: int, cwd: Path, env: dict[str, str] | None) -> int:
    process = subprocess.Popen(
        arguments,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        cwd=cwd,
        env=env,
        start_new_session=True,
        close_fds=True,
    )
    try:
        return process.wait(START_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise


def leave_parent() -> None:
    """In the started program: fork, end the parent, ignore hang-ups."""
    if os.fork() > 0:
        os._exit(0)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
