"""python -m tuiftune.run.supervisor DIR: owns a run: starts its worker, obeys requests, says how it ended.

It is small on purpose: no torch, no NVML, no plugin. While it lives it holds supervisor.lock and alone
writes state.json. Where the worker already runs (this one's forerunner was killed), it is adopted.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sqlite3
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tuiftune.errors import TuiftuneError
from tuiftune.run import process, requests
from tuiftune.run.folder import Run, State, exit_reason, exit_record, log_tail, recorded_state, write_state
from tuiftune.run.last_words import where_it_was
from tuiftune.run.process import Identity, Lock, is_locked, signal_text
from tuiftune.run.telemetry_db import TelemetryWriter
from tuiftune.run.telemetry_source import TelemetrySource
from tuiftune.run.throttling import Throttling
from tuiftune.text import one_line

TICK_S = 0.25
"""How soon a request is seen; the end of the worker is seen at once."""
MARK = "TUIFTUNE_RUN"
"""In the environment of the worker and all that comes from it: its run's folder."""
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
    lock = Lock(run.supervisor_lock)
    if not lock.take():
        log("another supervisor owns this run; this one is not needed")
        return 0
    process.become_subreaper()
    state = recorded_state(run)
    if not state.active and not is_locked(run.worker_lock):
        log(f"nothing to do: the run is {state.name}")
        return 0
    Supervisor(run, state, command or worker_command(), telemetry).supervise()
    return 0


def worker_command() -> list[str]:
    """The worker, but for the run's folder."""
    return process.python("-m", "tuiftune.run.worker")


def log(text: str) -> None:
    """A line in supervisor.log, which is this process's standard error."""
    with contextlib.suppress(OSError):  # a full disk must not end the supervisor
        print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {one_line(text, 2000)}", file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Ending:
    """How a run ended."""

    state: str
    """'finished', 'stopped', 'failed' or 'interrupted'."""
    reason: str | None = None


class Supervisor:
    """One attempt of a run, from its worker's start (or adoption) to its end."""

    def __init__(self, run: Run, state: State, command: list[str], telemetry: Callable[..., TelemetrySource]) -> None:
        self._run, self._state, self._command = run, state, command
        self._unsaved = False
        self._child: subprocess.Popen[bytes] | None = None
        self._options = run_options(run)
        self._asked: list[requests.Request] = []
        """Requests that are obeyed and not yet answered."""
        self._known: set[str] = set()
        """Ids of the requests that were looked at."""
        self._asked_by_signal = False
        self._kill_at: float | None = None
        """When a worker that was asked to stop has had its grace, on the monotonic clock."""
        self._killed: str | None = None
        """Why the tree was killed by us; None when it was not."""
        self._log_from = 0
        self._oom_kills = oom_kills()
        self._record = Record(run.telemetry_file)
        self._telemetry = telemetry(run.path, errors=None)
        self._throttling = Throttling()

    def supervise(self) -> None:
        """Until the run has ended and its end is recorded."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._signalled)
        try:
            ending = self._see_to_the_end()
        finally:
            self._telemetry.close()
        self._finish(ending)

    def _see_to_the_end(self) -> Ending:
        fresh = self._state.name == "starting" and not is_locked(self._run.worker_lock)
        worker = self._start() if fresh else self._adopt()
        if isinstance(worker, Ending):
            return worker
        if worker is not None:
            self._watch(worker)
        return self._classify(watched=worker is not None)

    # ---- start and adoption

    def _start(self) -> Identity | Ending:
        self._save(replace(self._state, supervisor=process.identify(os.getpid()), worker=None, since=time.time()))
        left = process.end_all(self._of_this_run, SWEEP_S)  # of an attempt whose supervisor was killed with it
        if left:
            return Ending("failed", f"processes of an earlier attempt cannot be ended: {pids_text(left)}")
        try:
            self._run.exit_file.unlink(missing_ok=True)
            self._child = self._spawn()
        except OSError as error:
            return Ending("failed", f"the worker could not be started: {error}")
        worker = process.identify(self._child.pid, ended_too=True)
        if worker is None:
            raise RuntimeError(f"our own child {self._child.pid} is nobody")
        self._enter("running", worker)
        log(f"worker {worker.pid} started, attempt {self._state.attempt}")
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
                env=worker_environment(self._run, self._options),
                start_new_session=True,
            )
        finally:
            os.close(output)

    def _adopt(self) -> Identity | None:
        """The worker that holds the lock; None when it has ended before it was found."""
        told = False
        begun = time.monotonic()
        while is_locked(self._run.worker_lock):
            worker = self._find_worker()
            if worker is not None:
                self._enter("running" if self._state.name == "starting" else self._state.name, worker)
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

    def _tick(self, worker: Identity) -> None:
        process.reap_strangers(own=self._own_children())
        if self._unsaved:
            self._save(self._state)
        for request in requests.read(self._run.requests, skip=self._known):
            self._known.add(request.id)
            if request.answer is None:
                self._obey(request, worker)
        if self._asked_by_signal:
            self._stop(worker)
        if self._kill_at is not None and time.monotonic() > self._kill_at:
            grace = self._options["stop_grace"]
            self._kill(worker, f"killed: it had not stopped {grace:g} s after it was asked to")
        self._look_at_devices()

    def _own_children(self) -> set[int]:
        """Those whose end somebody waits for."""
        return {pid for pid in (self._child.pid if self._child else None, self._telemetry.pid) if pid is not None}

    def _obey(self, request: requests.Request, worker: Identity) -> None:
        if request.kind not in requests.KINDS:
            self._answer(request, f"refused: {request.kind!r} is not something this version can be asked")
            return
        self._asked.append(request)
        log(f"asked to {request.kind}")
        if request.kind == "kill":
            self._kill(worker, "killed as asked; what is not in a checkpoint is lost")
        else:
            self._stop(worker)

    def _stop(self, worker: Identity) -> None:
        """Asked once or often, from here or by a signal: the worker is told once."""
        if self._kill_at is None:
            self._kill_at = time.monotonic() + self._options["stop_grace"]
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

    def _look_at_devices(self) -> None:
        problem = self._telemetry.problem
        sample = self._telemetry.poll()
        if sample is not None:
            self._record.write(lambda writer: writer.sample(sample.time, sample.devices))
            for alert in self._throttling.look(sample.time, sample.devices):
                self._tell_alert(alert, sample.time)
        elif self._telemetry.problem and not problem:
            text = self._telemetry.problem
            log(text)
            self._record.write(lambda writer: writer.event("telemetry", {"text": text}, time.time()))

    def _tell_alert(self, alert: dict[str, Any], when: float) -> None:
        log(alert["text"])
        self._record.write(lambda writer: writer.event("alert", alert, when))

    # ---- the end

    def _classify(self, watched: bool) -> Ending:
        """What exit.json says, else what can be told from the outside."""
        said = exit_record(self._run)
        if said:
            return Ending(said["outcome"], exit_reason(said, self._by()))
        if self._killed:
            return Ending("stopped", self._killed)
        if not watched:
            return Ending("interrupted", f"its processes are gone; go on with: tuiftune resume {self._run.id}")
        status = self._child.returncode if self._child else None
        if status == -signal.SIGTERM and (self._asked or self._asked_by_signal):
            return Ending("stopped", "stopped before its first step")
        return Ending("failed", self._without_a_word(status))

    def _by(self) -> str:
        """Who stopped the run."""
        if self._asked:
            return "as asked"
        if self._asked_by_signal:
            return "because its supervisor was told to end, as when the machine shuts down"
        return "by a signal to the worker"

    def _without_a_word(self, status: int | None) -> str:
        """A sentence on a worker that ended without exit.json."""
        where = where_it_was(self._run, self._log_from)
        last = next((line for line in reversed(log_tail(self._run.worker_log, 20, after=self._log_from)) if line), "")
        words = f". The last line of its log: {one_line(last, 300)}" if last.strip() else ""
        if status == -signal.SIGKILL and oom_kills() > self._oom_kills:
            return "the worker was killed (signal 9) because memory ran out, the machine's or its container's"
        if status == -signal.SIGKILL:
            return "the worker was killed (signal 9) by somebody else, or for want of memory (see: dmesg)"
        if status is not None and status < 0:
            return f"the worker was ended by {signal_text(-status)}{where or words}"
        if status is None:
            return f"the worker ended without a word{where}{words}"
        return f"the worker ended without a word (exit status {status}){where}{words}"

    def _finish(self, ending: Ending) -> None:
        """Leave no process behind, then say how it ended, then answer who asked."""
        left = process.end_all(self._left_over, SWEEP_S)
        if left:
            log(f"still there: {pids_text(left)}")
        now = time.time()
        self._state = replace(
            self._state,
            name=ending.state,
            reason=ending.reason,
            since=now,
            ended=None if ending.state == "interrupted" else now,
            left=[one.pid for one in left],
        )
        self._save_at_last()
        self._tell_state()
        log(f"{ending.state}{f': {ending.reason}' if ending.reason else ''}")
        self._answer_all(ending)
        self._record.close()

    def _left_over(self) -> list[Identity]:
        """What came from the worker and is still there, whosever child it is now."""
        process.reap_strangers(own=self._own_children())
        found = {*process.descendants(os.getpid()), *self._of_this_run()}
        return [one for one in found if one.pid not in self._own_children()]

    def _answer_all(self, ending: Ending) -> None:
        late = f"refused: the run has already ended ({ending.state})"
        for request in requests.pending(self._run.requests):
            if ending.state != "stopped" or request not in self._asked:
                self._answer(request, late)
            elif self._killed and request.kind == "stop":
                self._answer(request, f"done: {self._killed}")
            else:
                self._answer(request, "done")

    # ---- what others read

    def _enter(self, name: str, worker: Identity) -> None:
        me = process.identify(os.getpid())
        self._save(replace(self._state, name=name, since=time.time(), supervisor=me, worker=worker))
        self._tell_state()

    def _tell_state(self) -> None:
        data = {"state": self._state.name, "reason": self._state.reason}
        self._record.write(lambda writer: writer.event("state", data, time.time()))

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

    def _answer(self, request: requests.Request, text: str) -> None:
        log(f"{request.kind}: {text}")
        try:
            requests.answer(self._run.requests, request, text)
        except OSError as error:
            log(f"the answer cannot be written: {error}")
        data = {"kind": request.kind, "answer": text}
        self._record.write(lambda writer: writer.event("request", data, time.time()))


class Record:
    """telemetry.db, whose errors (a full disk) end nothing: said once, and opened again at the next write."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer: TelemetryWriter | None = None
        self._told = False

    def write(self, what: Callable[[TelemetryWriter], None]) -> None:
        try:
            if self._writer is None:
                self._writer = TelemetryWriter(self._path)
            what(self._writer)
        except (sqlite3.Error, OSError, TuiftuneError) as error:
            if not self._told:
                log(f"{self._path.name} is not written for now: {error}")
            self._told = True
            self.close()
        else:
            self._told = False

    def close(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            with contextlib.suppress(sqlite3.Error):  # what could not be written was said
                writer.close()


def run_options(run: Run) -> dict[str, Any]:
    """The `[run]` table of the effective profile, as far as the supervisor needs it."""
    try:
        with run.profile_file.open("rb") as file:
            table = tomllib.load(file).get("run", {})
    except (OSError, tomllib.TOMLDecodeError) as error:
        log(f"{run.profile_file.name} cannot be read: {error}")  # the worker will fail on it and say so
        table = {}
    return {"devices": table.get("devices"), "stop_grace": float(table.get("stop_grace", 120.0))}


def worker_environment(run: Run, options: dict[str, Any]) -> dict[str, str]:
    """Ours, with GPUs in the order that nvidia-smi and NVML show them, and the mark of this run."""
    environment = {
        # A CPU thread that waits for the others sleeps rather than spins: with one busy neighbour on 2 cores,
        # training ran at 4,200-4,700 tokens/s so and at 130-1,400 with OpenMP's default.
        "OMP_WAIT_POLICY": "PASSIVE",
        **os.environ,
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "PYTHONUNBUFFERED": "1",
        "TOKENIZERS_PARALLELISM": "false",  # its threads deadlock in forked data workers
        MARK: str(run.path),
    }
    if options["devices"] is not None:
        environment["CUDA_VISIBLE_DEVICES"] = str(options["devices"])
    return environment


def oom_kills() -> int:
    """How many processes the kernel has killed for want of memory since it was started."""
    try:
        lines = Path("/proc/vmstat").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


def pids_text(processes: list[Identity]) -> str:
    return ", ".join(str(one.pid) for one in processes)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
