"""Start, resume, stop and adopt runs: what the command line and the dashboard do to them."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tuiftune import __version__
from tuiftune.errors import ProfileError, RunFailed, TuiftuneError, WorkspaceError
from tuiftune.run import folder, logout, process, requests
from tuiftune.run.folder import Run, State
from tuiftune.run.healing import read_history, write_history
from tuiftune.run.process import Lock, is_locked
from tuiftune.run.queue import join
from tuiftune.run.to_fetch import to_fetch
from tuiftune.run.worker_start import RunTable
from tuiftune.secrets import without_secrets
from tuiftune.text import one_line

if TYPE_CHECKING:
    from tuiftune.catalog import ResolvedProfile

START_S = 15.0
"""A supervisor takes its lock within 0.2 s; after this long it never will."""
ANSWER_S = 30.0
"""Beyond the grace of a stop: time to kill what is left and to write the end down."""


def start(
    workspace: Path, resolved: ResolvedProfile, *, name: str | None, command: Sequence[str], queued: bool = False
) -> Run:
    """Make a run's folder and start its supervisor, which outlives this process. Returns once it is there.

    `queued`: it waits for those queued before it and for its GPU; see tuiftune.run.queue.

    Raises ProfileError where the profile has problems or names files that are not there, TuiftuneError where it
    is only for others to extend, WorkspaceError where no folder can be made, RunFailed where the supervisor does
    not come up.
    """
    refuse_problems([resolved])
    system = os.uname()
    origin = {
        "profile": resolved.name,
        "name": name,
        "origin": resolved.origin,
        "plugins": resolved.plugins,
        "versions": {"tuiftune": __version__, "python": sys.version.split()[0]},
        "platform": f"{system.sysname} {system.release} {system.machine}",
        "command": without_secrets(command),
        "logout": logout.look().to_json(),
        "created": time.time(),
    }
    run = folder.create(workspace, resolved.name, resolved.effective, origin, "queued" if queued else "starting")
    try:
        if queued:
            join(run)
        _start_supervisor(run)
    except OSError as error:  # the folder was made with the last room there was
        shutil.rmtree(run.path, ignore_errors=True)
        raise WorkspaceError(f"{run.path.parent}: no run can be started here: {error.strerror}") from error
    return run


def queue(
    workspace: Path, profiles: Sequence[ResolvedProfile], *, name: str | None, command: Sequence[str]
) -> list[Run]:
    """A run of each that waits for its turn, in this order after those that wait already.

    Raises what `start` raises; where a profile has problems, before the first run is made.
    """
    refuse_problems(profiles)
    return [start(workspace, one, name=name, command=command, queued=True) for one in profiles]


def refuse_problems(profiles: Sequence[ResolvedProfile]) -> None:
    """Raises ProfileError where profiles have problems or name files that are not there, TuiftuneError where one is
    only for others to extend."""
    problems = [problem for one in profiles for problem in one.problems or one.absent]
    if problems:
        raise ProfileError(problems)
    for one in profiles:
        if not one.runnable:
            raise TuiftuneError(
                f"{one.name}: names no dataset or no trainer of its own; it is for others to extend. "
                "See what can be run: tuiftune profiles"
            )


def resume(run: Run, force: bool = False) -> None:
    """Go on with a run that has ended, from its newest whole checkpoint. Returns once its supervisor is there.

    `force`: whatever differs from what the checkpoint was made of, and from the start where no checkpoint is whole.
    Raises TuiftuneError where it is still active or has finished, RunFailed where the supervisor does not come up.
    """
    recorded, state = folder.recorded_state(run), folder.state_of(run)
    if state.name not in folder.RESUMABLE:
        hint = "" if state.active else ". Start another: tuiftune run PROFILE"
        raise TuiftuneError(f"{run.id} cannot be resumed: it is {state.name}{hint}")
    try:
        _begin_again(run, recorded, state, force)
    except OSError as error:
        raise TuiftuneError(f"{run.id} cannot be resumed: {run.path}: {error.strerror}") from error
    _start_supervisor(run)


def _begin_again(run: Run, recorded: State, state: State, force: bool) -> None:
    """Write down that a run starts once more; its lock decides between two who resume at once."""
    lock = Lock(run.supervisor_lock)
    if not lock.take():
        raise TuiftuneError(f"{run.id} cannot be resumed: its supervisor is still there")
    try:
        if folder.recorded_state(run) != recorded:
            raise TuiftuneError(f"{run.id} cannot be resumed: somebody else has just done so")
        _refuse_pending(run, state)
        run.exit_file.unlink(missing_ok=True)
        run.card_file.unlink(missing_ok=True)
        run.control_file.unlink(missing_ok=True)
        write_history(run.healing_file, read_history(run.healing_file).begun_anew(force))
        folder.write_state(run, State("starting", time.time(), state.started, attempt=state.attempt + 1))
    finally:
        lock.release()


def ensure_supervised(run: Run) -> bool:
    """Start a supervisor where one is missed; it adopts the worker. Returns whether that was so.

    Raises TuiftuneError where it cannot be started.
    """
    if not folder.is_orphaned(run):
        return False
    _detach(run)
    return True


def adopt_orphans(runs: Iterable[Run]) -> None:
    """`ensure_supervised` for each; who only looks is not told where it cannot be done."""
    for run in runs:
        with contextlib.suppress(TuiftuneError):
            ensure_supervised(run)


def stop(run: Run, now: bool = False, timeout_s: float | None = None) -> str:
    """Ask a run to end, after a checkpoint or `now`, and wait for the answer: 'done', 'done: how', 'refused: why'.

    Raises TuiftuneError where it cannot be asked, or when there is no answer after `timeout_s` (left out: the
    grace of its profile and some more).
    """
    return ask(run, "kill" if now else "stop", timeout_s)


def ask(run: Run, kind: str, timeout_s: float | None = None) -> str:
    """Ask an active run for one of requests.KINDS and wait for the answer, as `stop` does."""
    state = folder.state_of(run)
    if not state.active:
        return _too_late(state)
    request = requests.ask(run.requests, kind)
    limit = RunTable.of(run).stop_grace_s + ANSWER_S if timeout_s is None else timeout_s
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        ensure_supervised(run)
        answer = requests.wait_answer(run.requests, request, timeout_s=0.5)
        if answer is not None:
            return answer
        state = folder.state_of(run)
        if not state.active and not is_locked(run.supervisor_lock):
            _refuse_pending(run, state)
    raise TuiftuneError(f"{run.id}: asked to {kind}, and no answer within {limit:.0f} s. {_late(run, kind)}")


def go_on(run: Run, force: bool = False) -> str | None:
    """Let a run that is paused go on: the answer; or start one that has ended again, as `resume` does: None.

    Raises what `ask` and `resume` raise.
    """
    if folder.state_of(run).name in ("paused", "pausing"):
        return ask(run, "resume", ANSWER_S)
    resume(run, force)
    return None


def _late(run: Run, kind: str) -> str:
    if kind in ("pause", *requests.WISHES):
        return f"It will be done at the end of the step that runs now. See: tuiftune watch {run.id}"
    return f"See {run.supervisor_log}"


def supervisor_command(run: Run) -> list[str]:
    return process.python("-m", "tuiftune.run.supervisor", str(run.path))


def with_warnings(resolved: ResolvedProfile, workspace: Path) -> ResolvedProfile:
    """The profile, its notes and what a person should know before a run of it is started here."""
    found = [to_fetch(resolved.effective, workspace), logout.look().warning]
    warnings = [warning for warning in found if warning]
    return replace(resolved, notes=[*resolved.notes, *warnings]) if warnings else resolved


def _detach(run: Run) -> None:
    """Start its supervisor so that it outlives this process, the terminal and, where there is a way, the logout."""
    command, workspace = supervisor_command(run), run.path.parent.parent
    found = logout.look()
    if found.wants_scope:
        scoped = found.in_scope(command, f"tuiftune-{run.id}-{time.monotonic_ns()}")
        # What worked a moment ago may not work now: better a run that a logout ends than none.
        with contextlib.suppress(TuiftuneError):  # its words are in supervisor.log
            process.start_detached(scoped, run.supervisor_log, workspace)
            return
    process.start_detached(command, run.supervisor_log, workspace)


def _start_supervisor(run: Run) -> None:
    try:
        _detach(run)
    except TuiftuneError as error:
        _give_up(run, str(error))
    deadline = time.monotonic() + START_S
    while not is_locked(run.supervisor_lock) and folder.recorded_state(run).name in ("starting", "queued"):
        if time.monotonic() > deadline:
            _give_up(run, f"the supervisor did not come up within {START_S:.0f} s")
        time.sleep(0.02)


def _give_up(run: Run, problem: str) -> None:
    """There is no supervisor to say it: record that the run failed, and raise RunFailed."""
    last = folder.log_tail(run.supervisor_log, 1)
    reason = one_line(f"{problem}: {last[0]}" if last else problem)
    lock = Lock(run.supervisor_lock)
    if lock.take(timeout_s=0):
        now = time.time()
        folder.write_state(run, replace(folder.recorded_state(run), name="failed", reason=reason, since=now, ended=now))
        lock.release()
    raise RunFailed(f"{run.id}: {reason}")


def _refuse_pending(run: Run, state: State) -> None:
    """What was asked of a run that had ended is answered, so that it does not stop the next attempt."""
    for request in requests.pending(run.requests):
        requests.answer(run.requests, request, _too_late(state))


def _too_late(state: State) -> str:
    return f"refused: the run has already ended ({state.name})"
