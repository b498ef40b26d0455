"""python -m tuiftune.run.supervisor DIR: owns a run: starts its worker, obeys requests, heals it, says how it ended.

It is small on purpose: no torch, no NVML, no plugin. While it lives it holds supervisor.lock and alone
writes state.json. Where the worker already runs (this one's forerunner was killed), it is adopted.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tuiftune.errors import StoreError, TuiftuneError
from tuiftune.run import failure, process
from tuiftune.run.ballast import Ballast
from tuiftune.run.card import leave_card
from tuiftune.run.checkpoints import remove_unsealed, step_folders, step_of
from tuiftune.run.ending import Ending, oom_kills, without_a_word
from tuiftune.run.files import remove_half_written
from tuiftune.run.folder import Run, State, exit_reason, exit_record, has_worker, recorded_state, write_state
from tuiftune.run.healing import Cure, Failure, History, Incurable, cure_of, read_history, write_history
from tuiftune.run.lease import Leases
from tuiftune.run.log_rotation import ShortLog, older
from tuiftune.run.machine import VRAM_S, Machine
from tuiftune.run.metrics_db import MetricsReader
from tuiftune.run.orders import HEAT, Orders
from tuiftune.run.process import Identity, Lock, is_locked
from tuiftune.run.queue import Turn
from tuiftune.run.requests import Request
from tuiftune.run.room import checkpoint_bytes, shortage
from tuiftune.run.stalling import StallWatch
from tuiftune.run.supervisor_log import Record, log, log_of_the_run
from tuiftune.run.telemetry_source import TelemetrySource
from tuiftune.run.worker_start import MARK, RunTable, worker_command, worker_environment

TICK_S = 0.25
"""How soon a request is seen; the end of the worker is seen at once."""
FIND_WORKER_S = 10.0
SWEEP_S = 10.0
SAVE_S = 600.0
"""A disk that is full at the end of a run is waited for this long."""


def main(arguments: list[str], telemetry: Callable[..., TelemetrySource] = TelemetrySource) -> int:
    """`DIR [-- COMMAND ...]`: another COMMAND than the worker's is given DIR as its last argument."""
    run = Run(Path(arguments[0]).resolve())
    command = arguments[2:] if arguments[1:2] == ["--"] else None
    process.leave_parent()
    os.umask(0o077)
    leases, lock = announced_leases(), Lock(run.supervisor_lock)
    if not lock.take():
        log("another supervisor owns this run; this one is not needed")
        return 0
    state = recorded_state(run)
    if not state.active and not is_locked(run.worker_lock):
        log(f"nothing to do: the run is {state.name}")
        return 0
    Supervisor(run, state, command or worker_command(), telemetry, leases).supervise()
    return 0


def announced_leases() -> Leases:
    """Before its lock is taken: who sees it locked must not choose a device before it has said which ones it uses."""
    leases = Leases()
    try:
        leases.announce()
    except OSError as error:
        log(f"queued runs may not wait for this one: {error}")
    return leases


class Supervisor:
    """A run from its worker's start (or adoption) to its end, through as many workers as it takes."""

    def __init__(
        self, run: Run, state: State, command: list[str], telemetry: Callable[..., TelemetrySource], leases: Leases
    ) -> None:
        self._run, self._state, self._command = run, state, command
        self._unsaved = False
        self._child: subprocess.Popen[bytes] | None = None
        self._table = run_table(run)
        self._asked_by_signal = False
        self._kill_at: float | None = None
        """When a worker that was asked to stop has had its grace, on the monotonic clock."""
        self._killed: str | None = None
        """Why the tree was killed by us; None when it was not."""
        self._log_from = 0
        self._oom_kills = oom_kills()
        self._record = Record(run.telemetry_file)
        self._orders = Orders(run, self._record)
        self._ballast = Ballast(run.path)
        self._short_log = ShortLog(run.worker_log)
        self._stalls = StallWatch(run.metrics_file)
        self._machine = Machine(run, self._table, self._record, leases, telemetry)
        self._machine.devices = state.devices or self._table.devices

    def supervise(self) -> None:
        """Until the run has ended and its end is recorded."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._signalled)
        try:
            self._finish(self._see_to_the_end())
        finally:
            self._machine.close()

    def _see_to_the_end(self) -> Ending:
        worker = self._begin()
        while True:
            if isinstance(worker, Ending):
                return worker
            if worker is not None:
                self._watch(worker)
            ending = self._classify(watched=worker is not None)
            cure = self._cure(ending)
            if isinstance(cure, Ending):
                return cure
            stopped = self._rest(cure)
            if stopped:
                return stopped
            worker = self._start(self._state.attempt + 1)

    def _begin(self) -> Identity | Ending | None:
        """The worker: started, or the one that is there; None when it has ended before it was found."""
        waits = self._state.name == "queued" and not is_locked(self._run.worker_lock)
        taken_out = self._wait_for_turn() if waits else None
        # Not before: supervisors that are started while it waits, for other runs, must not be ended with this one.
        process.become_subreaper()
        if waits:
            return taken_out or self._start(self._state.attempt)
        name = self._state.name
        if is_locked(self._run.worker_lock) or name not in ("starting", "healing"):
            return self._adopt()
        return self._start(self._state.attempt + (name == "healing"))

    def _wait_for_turn(self) -> Ending | None:
        """Until the devices are this run's; how it ended, where it was taken out of the queue."""
        self._machine.leases.settled()
        turn = Turn(self._run, self._machine.leases)
        log("queued")
        while True:
            self._tick(None)
            if self._orders.is_to_end:
                return Ending("stopped", "taken out of the queue as asked")
            if self._asked_by_signal:
                told = "its supervisor was told to end while it waited, as when the machine shuts down"
                return Ending("interrupted", f"{told}; start it with: tuiftune resume {self._run.id}")
            try:
                sample = self._machine.sample
                reason = turn.look(sample.devices if sample else None)
            except OSError as error:
                reason = f"the queue cannot be read: {error}"
            if reason is None:
                self._machine.devices = turn.devices or self._machine.devices
                self._state = replace(self._state, devices=turn.devices)
                return None
            if reason != self._state.reason:
                self._enter("queued", None, reason)
            time.sleep(TICK_S)

    # ---- start and adoption

    def _start(self, attempt: int) -> Identity | Ending:
        me = process.identify(os.getpid())
        now, devices = time.time(), self._state.devices
        self._save(State("starting", now, self._state.started, attempt=attempt, supervisor=me, devices=devices))
        left = process.end_all(self._of_this_run, SWEEP_S)  # of an attempt whose supervisor was killed with it
        if left:
            return Ending("failed", f"processes of an earlier attempt cannot be ended: {pids_text(left)}")
        self._remove_half_written()
        self._kill_at, self._oom_kills = None, oom_kills()
        try:
            self._orders.begin_attempt()
            self._run.exit_file.unlink(missing_ok=True)
            self._child = self._spawn()
        except OSError as error:
            return Ending("failed", f"the worker could not be started: {error}", failure.SETUP)
        worker = process.identify(self._child.pid, ended_too=True)
        if worker is None:
            raise RuntimeError(f"our own child {self._child.pid} is nobody")
        self._enter("running", worker)
        log(f"worker {worker.pid} started, attempt {attempt}")
        return worker

    def _spawn(self) -> subprocess.Popen[bytes]:
        output = os.open(self._run.worker_log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            self._log_from = os.fstat(output).st_size
            return subprocess.Popen(
                [*self._command, str(self._run.path)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self._run.path.parent.parent,
                env=worker_environment(self._run, self._machine.devices),
                start_new_session=True,
            )
        finally:
            os.close(output)

    def _adopt(self) -> Identity | None:
        """The worker that holds the lock; None when it has ended before it was found."""
        told = False
        begun = time.monotonic()
        self._orders.adopt()
        while has_worker(self._run, self._state):
            worker = self._find_worker()
            if worker is not None:
                name = self._state.name
                self._enter("running" if name in ("starting", "healing") else name, worker, self._state.reason)
                log(f"worker {worker.pid} adopted")
                return worker
            if not told and time.monotonic() - begun > FIND_WORKER_S:
                told = True
                log("a process that cannot be seen from here holds worker.lock; waiting for its end")
            time.sleep(TICK_S)
        log("the worker has ended while there was no supervisor")
        return None

    def _find_worker(self) -> Identity | None:
        """By state.json; where its writer was killed before it wrote, the first process that has our mark."""
        recorded = self._state.worker
        if recorded is not None and process.is_alive(recorded):
            return recorded
        found = self._of_this_run()
        return found[0] if found else None

    def _of_this_run(self) -> list[Identity]:
        return process.marked(MARK, str(self._run.path))

    # ---- while the worker runs

    def _watch(self, worker: Identity) -> None:
        """Until it has ended: obey requests and record telemetry."""
        pidfd = os.pidfd_open(worker.pid) if self._child else process.open_pidfd(worker)
        if pidfd is None:
            return
        try:
            poll = select.poll()
            poll.register(pidfd, select.POLLIN)
            self._tick(worker)
            while not poll.poll(TICK_S * 1000):
                self._tick(worker)
        finally:
            os.close(pidfd)
        if self._child:
            self._child.wait()
        self._hear(worker)

    def _tick(self, worker: Identity | None) -> None:
        process.reap_strangers(own=self._own_children())
        if self._unsaved:
            self._save(self._state)
        for request in self._orders.new():
            self._obey(request, worker)
        self._machine.look()
        if self._machine.too_hot != self._orders.why_held(HEAT):
            self._orders.hold(HEAT, self._machine.too_hot)
        self._ballast.look()
        self._shorten_log()
        if worker is None:
            return
        self._machine.share_devices()
        for alert in self._stalls.look(self._state, time.time()):
            self._record.event("alert", alert)
        if self._asked_by_signal:
            self._stop(worker)
        if self._kill_at is not None and time.monotonic() > self._kill_at:
            grace = self._table.stop_grace_s
            self._kill(worker, f"killed: it had not stopped {grace:g} s after it was asked to")
        self._hear(worker)

    def _shorten_log(self) -> None:
        try:
            if self._short_log.look():
                self._log_from = 0
                log(f"{self._run.worker_log.name} was too long: its last part is in {older(self._run.worker_log).name}")
        except OSError as error:
            log(f"{self._run.worker_log.name} cannot be shortened: {error}")

    def _own_children(self) -> set[int]:
        """Those whose end somebody waits for."""
        pids = (self._child.pid if self._child else None, self._machine.telemetry_pid)
        return {pid for pid in pids if pid is not None}

    def _obey(self, request: Request, worker: Identity | None) -> None:
        if not self._orders.take(request, self._state) or worker is None:
            return  # where there is no worker, `_rest` sees it
        if request.kind == "kill":
            self._kill(worker, "killed as asked; what is not in a checkpoint is lost")
        else:
            self._stop(worker)

    def _hear(self, worker: Identity) -> None:
        """The state that follows from what the worker says and what it was asked."""
        self._orders.hear()
        if self._state.name == "stopping":
            return
        held, why = self._orders.said.hold, self._orders.why_held()
        name = "paused" if held else "pausing" if why else "running"
        if (name, held or why) != (self._state.name, self._state.reason):
            self._enter(name, worker, held or why)

    def _stop(self, worker: Identity) -> None:
        """Asked once or often, from here or by a signal: the worker is told once."""
        if self._kill_at is None:
            self._kill_at = time.monotonic() + self._table.stop_grace_s
            self._enter("stopping", worker)
            process.send(worker, signal.SIGTERM)

    def _signalled(self, _number: int, _frame: object) -> None:
        """As a shutdown of the machine does it; the next tick sees it."""
        self._asked_by_signal = True

    def _kill(self, worker: Identity, why: str) -> None:
        if self._killed is None:
            self._killed, self._kill_at = why, float("inf")
            log(why)
            if self._state.name != "stopping":
                self._enter("stopping", worker)
            left = process.kill_tree(worker)
            if left:
                log(f"not ended yet, probably in a device's driver: {pids_text(left)}")

    # ---- how a worker ended, and whether another is started

    def _classify(self, watched: bool) -> Ending:
        """What exit.json says, else what can be told from the outside."""
        said = exit_record(self._run)
        if said:
            kind = str(said.get("kind") or failure.CRASHED) if said["outcome"] == "failed" else None
            return self._stopped_how(Ending(said["outcome"], exit_reason(said, self._by()), kind))
        if self._killed:
            return Ending("stopped", self._killed)
        if not watched:
            return Ending("interrupted", f"its processes are gone; go on with: tuiftune resume {self._run.id}")
        status = self._child.returncode if self._child else None
        if status == -signal.SIGTERM and self._is_to_end():
            return self._stopped_how(Ending("stopped", "stopped before its first step"))
        return without_a_word(self._run, status, self._log_from, self._oom_kills)

    def _is_to_end(self) -> bool:
        return self._asked_by_signal or self._orders.is_to_end

    def _stopped_how(self, ending: Ending) -> Ending:
        """A stop whose only purpose was to give the memory back."""
        if ending.state != "stopped" or self._asked_by_signal or not self._orders.is_to_be_released:
            return ending
        reason = f"paused{(ending.reason or '').removeprefix('stopped')}, its memory given back"
        return Ending("released", f"{reason}; go on with: tuiftune resume {self._run.id}")

    def _by(self) -> str:
        """Who stopped the run."""
        if self._orders.is_to_end:
            return "as asked"
        if self._asked_by_signal:
            return "because its supervisor was told to end, as when the machine shuts down"
        return "by a signal to the worker"

    def _cure(self, ending: Ending) -> Cure | Ending:
        """What is done about a failure; the ending where nothing is."""
        if ending.state != "failed" or self._killed or self._is_to_end():
            return ending
        found = Failure(
            ending.kind or failure.CRASHED,
            ending.reason or "the worker gave no reason",
            self._step_reached(),
            ending.by_signal,
        )
        cure = cure_of(found, read_history(self._run.healing_file), self._orders.said, self._table.max_restarts)
        if isinstance(cure, Incurable):
            return replace(ending, reason=cure.sentence)
        log(f"{cure.sentence}; a new worker is started")
        log_of_the_run(self._run.worker_log, f"{cure.sentence}; a new worker is started")
        self._child = None
        self._save_history(cure.history)
        self._record.event(
            "healed",
            {"kind": found.kind, "sentence": cure.sentence, "step": found.step, "changes": cure.history.changes},
        )
        self._state = replace(self._state, worker=None, kind=found.kind)
        self._enter("healing", None, cure.sentence)
        return cure

    def _step_reached(self) -> int:
        """The furthest step on record."""
        saved = step_folders(self._run.checkpoints)
        reader = MetricsReader(self._run.metrics_file)
        try:
            recorded = reader.newest_step()
        except StoreError as error:
            log(str(error))
            recorded = 0
        finally:
            reader.close()
        return max(recorded, step_of(saved[-1]) if saved else 0)

    def _save_history(self, history: History) -> None:
        try:
            write_history(self._run.healing_file, history)
        except OSError as error:  # the worker goes on as the one before, then
            log(f"{self._run.healing_file.name} cannot be written: {error}")

    def _rest(self, cure: Cure) -> Ending | None:
        """Wait before the next worker; how the run ended, where it was stopped meanwhile."""
        until = time.monotonic() + cure.wait_s
        self._sweep()
        while True:
            self._tick(None)
            if self._is_to_end():
                return self._stopped_how(Ending("stopped", f"stopped as asked; before that: {cure.sentence}"))
            missing = self._missing_room() if cure.for_room else None
            if missing is None and time.monotonic() >= until:
                return None
            if missing and self._state.reason != missing:
                self._enter("paused", None, missing)
                log_of_the_run(self._run.worker_log, missing)
            time.sleep(TICK_S)

    def _missing_room(self) -> str | None:
        needed = checkpoint_bytes(self._run.checkpoints)
        return shortage(self._run.path, "the next checkpoint", needed, self._table.disk_reserve_bytes)

    # ---- the end

    def _finish(self, ending: Ending) -> None:
        """Leave no process and no half file behind, then say how it ended, then answer who asked."""
        left = self._sweep()
        held = self._machine.vram_still_held()
        if held:
            log(f"their VRAM was not given back within {VRAM_S:.0f} s: {', '.join(map(str, held))}")
        self._ballast.drop()
        now = time.time()
        self._state = replace(
            self._state,
            name=ending.state,
            reason=ending.reason,
            kind=ending.kind,
            since=now,
            ended=None if ending.state in ("interrupted", "released") else now,
            left=sorted({one.pid for one in left} | held),
        )
        self._save_at_last()
        leave_card(self._run, self._state)
        self._tell_state()
        log(f"{ending.state}{f': {ending.reason}' if ending.reason else ''}")
        self._orders.answer_all(ending, self._killed)
        self._record.close()

    def _sweep(self) -> list[Identity]:
        """End what the worker left running, and remove what it left half written; what could not be ended."""
        left = process.end_all(self._left_over, SWEEP_S)
        if left:
            log(f"still there: {pids_text(left)}")
        else:
            self._remove_half_written()
        return left

    def _remove_half_written(self) -> None:
        """Only where there is no worker. Half a checkpoint may be the very room that the next one needs."""
        try:
            remove_unsealed(self._run.checkpoints)
            remove_half_written(self._run.path)
        except OSError as error:
            log(f"half-written files are left: {error}")

    def _left_over(self) -> list[Identity]:
        """What came from the worker and is still there, whosever child it is now."""
        process.reap_strangers(own=self._own_children())
        found = {*process.descendants(os.getpid()), *self._of_this_run()}
        return [one for one in found if one.pid not in self._own_children()]

    # ---- what others read

    def _enter(self, name: str, worker: Identity | None, reason: str | None = None) -> None:
        me = process.identify(os.getpid())
        kind = self._state.kind if name in ("healing", "paused") else None
        self._save(
            replace(self._state, name=name, since=time.time(), supervisor=me, worker=worker, reason=reason, kind=kind)
        )
        self._tell_state()

    def _tell_state(self) -> None:
        self._record.event("state", {"state": self._state.name, "reason": self._state.reason})

    def _save(self, state: State) -> None:
        """Write state.json; what a full disk does not take is tried again at each tick."""
        self._state = state
        try:
            write_state(self._run, state)
        except OSError as error:
            if not self._unsaved:
                log(f"{self._run.state_file.name} cannot be written for now: {error}")
            self._unsaved = True
        else:
            self._unsaved = False

    def _save_at_last(self) -> None:
        deadline = time.monotonic() + SAVE_S
        self._save(self._state)
        while self._unsaved and time.monotonic() < deadline:
            time.sleep(1.0)
            self._save(self._state)


def run_table(run: Run) -> RunTable:
    """The `[run]` table; the defaults where the profile cannot be read: the worker will fail on it and say so."""
    try:
        return RunTable.of(run)
    except TuiftuneError as error:
        log(str(error))
        return RunTable()


def pids_text(processes: list[Identity]) -> str:
    return ", ".join(str(one.pid) for one in processes)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
