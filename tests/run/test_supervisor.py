"""A run belongs to its supervisor: real processes, killed for real."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import pytest

from tuiftune.run import folder, launch, process, requests
from tuiftune.run.checkpoints import UNSEALED
from tuiftune.run.folder import Run, State, state_of, write_state
from tuiftune.run.process import Identity, identify, is_alive, is_locked
from tuiftune.run.telemetry_db import TelemetryReader

WaitUntil = Callable[..., Any]
Start = Callable[..., Run]
Wait = Callable[[Run], State]

NOBODY = 2**22 + 1
"""A pid that no process has: one more than Linux gives."""


class FakeGpus(Protocol):
    def set(self, values: dict[str, str | int | bytes]) -> None: ...


@pytest.fixture
def start(new_run: Callable[..., Run], behave: Callable[[str], None]) -> Start:
    """Start a supervised run whose worker behaves in a given way."""

    def begin(behaviour: str, **options: Any) -> Run:
        behave(behaviour)
        run = new_run(**options)
        process.start_detached(launch.supervisor_command(run), run.supervisor_log, run.path)
        return run

    return begin


@pytest.fixture
def ended(wait_until: WaitUntil) -> Wait:
    """Wait until a run has ended and its supervisor has gone, and return its state as recorded."""

    def wait(run: Run) -> State:
        wait_until(lambda: not folder.recorded_state(run).active, run.supervisor_log.read_text())
        wait_until(lambda: not is_locked(run.supervisor_lock))
        return folder.recorded_state(run)

    return wait


@pytest.fixture
def running(wait_until: WaitUntil) -> Wait:
    """Wait until the worker is at work, and return the state."""

    def wait(run: Run) -> State:
        wait_until((run.path / "ready").exists, run.path)
        wait_until(lambda: folder.recorded_state(run).worker, "the worker is written down")  # it may come after
        return folder.recorded_state(run)

    return wait


def sure(identity: Identity | None) -> Identity:
    assert identity is not None
    return identity


def events(run: Run) -> list[tuple[str, dict[str, Any]]]:
    reader = TelemetryReader(run.telemetry_file)
    found = [(event.kind, event.data) for event in reader.events()]
    reader.close()
    return found


def children_of(run: Run, wait_until: WaitUntil) -> list[Identity]:
    """The three processes that the worker `with-children` starts."""

    def written() -> list[str]:
        texts = [path.read_text() for path in run.path.glob("pid.*")]
        return texts if len(texts) == 3 and all(texts) else []

    return [sure(identify(int(text))) for text in wait_until(written)]


# ---- how a worker ends


def test_a_run_that_finishes_is_finished_and_every_process_is_gone(start: Start, ended: Wait) -> None:
    run = start("finish")
    state = ended(run)
    assert (state.name, state.reason, state.left, state.attempt) == ("finished", None, [], 1)
    assert state.ended is not None
    assert state.ended >= state.started
    assert not is_alive(sure(state.worker))
    assert not is_locked(run.worker_lock)
    assert [data for kind, data in events(run) if kind == "state"] == [
        {"state": "running", "reason": None},
        {"state": "finished", "reason": None},
    ]
    assert "attempt of finish" in run.worker_log.read_text()
    assert "finished" in run.supervisor_log.read_text().splitlines()[-1]


def test_the_sentence_of_a_failed_worker_is_the_reason(start: Start, ended: Wait) -> None:
    state = ended(start("fail"))
    assert (state.name, state.reason) == ("failed", "dataset stage 'text': data/x.txt: no such file")


def test_a_worker_that_crashes_is_told_by_the_last_line_of_its_log(start: Start, ended: Wait) -> None:
    state = ended(start("crash"))
    assert state.name == "failed"
    assert state.reason == (
        "the worker ended without a word (exit status 1). The last line of its log: ValueError: broken"
    )


def test_a_worker_that_cannot_be_started_is_a_failed_run(new_run: Callable[..., Run], ended: Wait) -> None:
    run = new_run()
    command = [*process.python("-m", "tuiftune.run.supervisor", str(run.path)), "--", "/no/such/worker"]
    process.start_detached(command, run.supervisor_log, run.path)
    state = ended(run)
    assert state.name == "failed"
    assert (state.reason or "").startswith("the worker could not be started: [Errno 2] No such file or directory")


def test_a_killed_worker_is_a_failed_run_and_leaves_no_process(
    start: Start, running: Wait, ended: Wait, kill: Callable[[int], None], wait_until: WaitUntil
) -> None:
    run = start("with-children")
    worker = sure(running(run).worker)
    children = children_of(run, wait_until)
    half_written = write_halves(run)
    kill(worker.pid)
    state = ended(run)
    assert not [path for path in half_written if path.exists()]
    assert state.name == "failed"
    assert (state.reason or "").startswith("the worker was killed (signal 9) ")
    assert [one for one in children if is_alive(one)] == []
    assert state.left == []


def test_a_worker_that_crashes_in_native_code_is_told_by_its_signal(start: Start, running: Wait, ended: Wait) -> None:
    run = start("wait")
    os.kill(sure(running(run).worker).pid, signal.SIGSEGV)
    assert (ended(run).reason or "").startswith("the worker was ended by signal 11 (SIGSEGV)")


def test_a_finished_worker_leaves_no_children_behind(
    start: Start, running: Wait, ended: Wait, wait_until: WaitUntil
) -> None:
    run = start("with-children")
    running(run)
    children = children_of(run, wait_until)
    (run.path / "finish-now").touch()
    assert ended(run).name == "finished"
    assert [one for one in children if is_alive(one)] == []


# ---- requests


def test_a_stop_lets_the_worker_end_by_itself_and_two_are_one(start: Start, running: Wait, ended: Wait) -> None:
    run = start("wait")
    running(run)
    asked = [requests.ask(run.requests, "stop") for _ in range(2)]
    state = ended(run)
    assert (state.name, state.reason) == ("stopped", "stopped at step 7 as asked")
    assert [requests.wait_answer(run.requests, one, 0) for one in asked] == ["done", "done"]
    states = [data["state"] for kind, data in events(run) if kind == "state"]
    assert states == ["running", "stopping", "stopped"]
    assert [data for kind, data in events(run) if kind == "request"] == [{"kind": "stop", "answer": "done"}] * 2


def test_a_stop_that_outlasts_its_grace_is_a_kill_and_says_so(start: Start, running: Wait, ended: Wait) -> None:
    run = start("stubborn", stop_grace=0.5)
    running(run)
    asked = requests.ask(run.requests, "stop")
    state = ended(run)
    assert (state.name, state.left) == ("stopped", [])
    assert state.reason == "killed: it had not stopped 0.5 s after it was asked to"
    assert requests.wait_answer(run.requests, asked, 0) == f"done: {state.reason}"


def test_a_kill_ends_the_whole_tree_at_once(start: Start, running: Wait, ended: Wait, wait_until: WaitUntil) -> None:
    run = start("with-children")
    running(run)
    children = children_of(run, wait_until)
    assert launch.stop(run, now=True) == "done"
    state = ended(run)
    assert (state.name, state.reason) == ("stopped", "killed as asked; what is not in a checkpoint is lost")
    assert [one for one in children if is_alive(one)] == []


def test_a_kill_after_a_stop_does_not_wait_for_the_grace(
    start: Start, running: Wait, ended: Wait, wait_until: WaitUntil
) -> None:
    run = start("stubborn", stop_grace=600.0)
    running(run)
    first = requests.ask(run.requests, "stop")
    wait_until(lambda: folder.recorded_state(run).name == "stopping")
    assert launch.stop(run, now=True) == "done"
    assert ended(run).name == "stopped"
    assert (requests.wait_answer(run.requests, first, 0) or "").startswith("done: killed")


def test_a_stop_that_comes_too_late_is_refused(start: Start, running: Wait, ended: Wait, wait_until: WaitUntil) -> None:
    run = start("stubborn")
    running(run)
    asked = requests.ask(run.requests, "stop")
    wait_until(lambda: folder.recorded_state(run).name == "stopping")
    (run.path / "finish-now").touch()
    assert ended(run).name == "finished", "it was in its last step"
    assert requests.wait_answer(run.requests, asked, 0) == "refused: the run has already ended (finished)"
    assert launch.stop(run) == "refused: the run has already ended (finished)"


def test_a_stop_before_the_worker_can_heed_it_is_a_stop_all_the_same(
    new_run: Callable[..., Run], behave: Callable[[str], None], ended: Wait
) -> None:
    behave("wait")
    run = new_run()
    asked = requests.ask(run.requests, "stop")
    process.start_detached(launch.supervisor_command(run), run.supervisor_log, run.path)
    state = ended(run)
    assert state.name == "stopped"
    assert (state.reason or "").startswith("stopped ")
    assert requests.wait_answer(run.requests, asked, 0) == "done"


def test_an_unknown_request_is_refused_and_the_run_goes_on(start: Start, running: Wait) -> None:
    run = start("wait")
    running(run)
    asked = requests.ask(run.requests, "dance")
    assert requests.wait_answer(run.requests, asked, 20) == (
        "refused: 'dance' is not something this version can be asked"
    )
    assert state_of(run).name == "running"
    assert launch.stop(run) == "done"


def test_a_supervisor_told_to_end_stops_its_run_with_a_checkpoint(start: Start, running: Wait, ended: Wait) -> None:
    run = start("wait")
    os.kill(sure(running(run).supervisor).pid, signal.SIGTERM)
    state = ended(run)
    assert (state.name, state.reason) == (
        "stopped",
        "stopped at step 7 because its supervisor was told to end, as when the machine shuts down",
    )


def test_a_worker_stopped_by_a_signal_from_outside_is_a_stopped_run(start: Start, running: Wait, ended: Wait) -> None:
    run = start("wait")
    os.kill(sure(running(run).worker).pid, signal.SIGTERM)
    state = ended(run)
    assert (state.name, state.reason) == ("stopped", "stopped at step 7 by a signal to the worker")


# ---- supervisors that die, and several of them


def test_a_run_outlives_its_supervisor_and_the_next_one_adopts_it(
    start: Start, running: Wait, ended: Wait, kill: Callable[[int], None], wait_until: WaitUntil
) -> None:
    run = start("wait")
    before = running(run)
    kill(sure(before.supervisor).pid)
    wait_until(lambda: not is_locked(run.supervisor_lock))
    assert is_alive(sure(before.worker))
    assert state_of(run).name == "running"
    assert launch.ensure_supervised(run)
    wait_until(lambda: folder.recorded_state(run).supervisor != before.supervisor)
    after = folder.recorded_state(run)
    assert (after.name, after.worker, after.started) == ("running", before.worker, before.started)
    assert not launch.ensure_supervised(run), "one is enough"
    (run.path / "finish-now").touch()
    assert ended(run).name == "finished"


def test_a_stop_asked_while_no_supervisor_lives_is_obeyed_by_the_next(
    start: Start, running: Wait, kill: Callable[[int], None], wait_until: WaitUntil
) -> None:
    run = start("wait")
    kill(sure(running(run).supervisor).pid)
    wait_until(lambda: not is_locked(run.supervisor_lock))
    assert launch.stop(run) == "done"
    assert state_of(run).name == "stopped"


def test_an_adopted_tree_is_killed_whole(
    start: Start, running: Wait, ended: Wait, kill: Callable[[int], None], wait_until: WaitUntil
) -> None:
    run = start("with-children")
    state = running(run)
    children = children_of(run, wait_until)
    kill(sure(state.supervisor).pid)
    wait_until(lambda: not is_locked(run.supervisor_lock))
    launch.ensure_supervised(run)
    wait_until(lambda: folder.recorded_state(run).supervisor != state.supervisor)
    kill(sure(state.worker).pid)
    assert ended(run).name == "failed"
    assert [one for one in children if is_alive(one)] == [], "also those that were never its descendants"


def test_a_worker_is_adopted_although_its_supervisor_died_before_naming_it(
    start: Start, running: Wait, ended: Wait, kill: Callable[[int], None], wait_until: WaitUntil
) -> None:
    run = start("wait")
    state = running(run)
    kill(sure(state.supervisor).pid)
    wait_until(lambda: not is_locked(run.supervisor_lock))
    write_state(run, State("starting", state.since, state.started))
    assert launch.ensure_supervised(run)
    wait_until(lambda: folder.recorded_state(run).worker == state.worker)
    assert launch.stop(run) == "done"


def test_an_end_that_nobody_saw_is_written_down_by_the_next_supervisor(
    start: Start, running: Wait, ended: Wait, kill: Callable[[int], None], wait_until: WaitUntil
) -> None:
    run = start("wait")
    state = running(run)
    kill(sure(state.supervisor).pid)
    (run.path / "finish-now").touch()
    wait_until(lambda: not is_alive(sure(state.worker)))
    wait_until(lambda: not is_locked(run.supervisor_lock))
    assert folder.recorded_state(run).name == "running", "as the dead supervisor left it"
    assert state_of(run).name == "finished"
    assert launch.ensure_supervised(run)
    assert ended(run).name == "finished"
    assert not launch.ensure_supervised(run)


def write_halves(run: Run) -> list[Path]:
    """What a process that is killed while it writes leaves: half a checkpoint, and half a record."""
    halves = [run.checkpoints / UNSEALED / "model.safetensors", run.path / f".state.json.{NOBODY}.tmp"]
    halves[0].parent.mkdir(parents=True)
    for path in halves:
        path.write_bytes(b"half of")
    return halves


def test_when_both_are_killed_the_run_is_interrupted_and_can_be_resumed(
    start: Start, running: Wait, ended: Wait, kill: Callable[[int], None], wait_until: WaitUntil
) -> None:
    run = start("with-children")
    state = running(run)
    children = children_of(run, wait_until)
    half_written = write_halves(run)
    kill(sure(state.supervisor).pid)
    kill(sure(state.worker).pid)
    wait_until(lambda: state_of(run).name == "interrupted")
    assert not launch.ensure_supervised(run)
    (run.path / "ready").unlink()
    launch.resume(run)
    again = running(run)
    assert (again.name, again.attempt, again.started) == ("running", 2, state.started)
    assert [one for one in children if is_alive(one)] == [], "the first attempt's processes are ended first"
    assert not [path for path in half_written if path.exists()]
    assert launch.stop(run, now=True) == "done"


def test_of_many_supervisors_one_owns_the_run(start: Start, running: Wait, ended: Wait, wait_until: WaitUntil) -> None:
    run = start("wait")
    before = running(run)
    for _ in range(3):
        process.start_detached(launch.supervisor_command(run), run.supervisor_log, run.path)
    said = "another supervisor owns this run; this one is not needed"
    wait_until(lambda: run.supervisor_log.read_text().count(said) == 3)
    after = folder.recorded_state(run)
    assert (after.supervisor, after.worker) == (before.supervisor, before.worker)
    assert run.worker_log.read_text().count("attempt") == 1
    assert launch.stop(run) == "done"
    process.start_detached(launch.supervisor_command(run), run.supervisor_log, run.path)
    wait_until(lambda: "nothing to do: the run is stopped" in run.supervisor_log.read_text())
    assert ended(run).name == "stopped"


def test_a_hang_up_ends_neither_supervisor_nor_worker(start: Start, running: Wait, ended: Wait) -> None:
    run = start("wait")
    state = running(run)
    for who in (state.supervisor, state.worker):
        os.killpg(os.getpgid(sure(who).pid), signal.SIGHUP)
    (run.path / "finish-now").touch()
    assert ended(run).name == "finished"


def test_a_run_started_in_a_terminal_goes_on_when_the_terminal_is_closed(
    new_run: Callable[..., Run], behave: Callable[[str], None], running: Wait,
    ended: Wait, open_terminal: Callable[..., Any], wait_until: WaitUntil,
) -> None:  # fmt: skip
    behave("wait")
    run = new_run()
    source = (
        "import sys; from pathlib import Path; from tuiftune.run import process\n"
        "log, folder, *command = sys.argv[1:]\n"
        "process.start_detached(command, Path(log), Path(folder)); print('started', flush=True); input()"
    )
    command = launch.supervisor_command(run)
    terminal = open_terminal([sys.executable, "-c", source, str(run.supervisor_log), str(run.path), *command], run.path)
    terminal.wait_for("started")
    running(run)
    terminal.hang_up()
    wait_until(lambda: os.waitpid(terminal.pid, os.WNOHANG)[0])
    (run.path / "finish-now").touch()
    assert ended(run).name == "finished"


# ---- what the worker is given, and what is recorded


def test_the_worker_gets_its_session_its_folder_and_its_devices(start: Start, ended: Wait, workspace: Path) -> None:
    run = start("finish", devices="1,2")
    ended(run)
    facts = json.loads((run.path / "facts.json").read_text())
    assert facts == {
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "CUDA_VISIBLE_DEVICES": "1,2",
        "OMP_WAIT_POLICY": "PASSIVE",
        "PYTHONUNBUFFERED": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "cwd": str(workspace),
        "session": sure(folder.recorded_state(run).worker).pid,
    }


@pytest.mark.parametrize(("devices", "seen"), [({}, "7"), ({"devices": ""}, "")])
def test_devices_not_named_are_left_as_they_are_and_none_hides_all(
    start: Start, ended: Wait, monkeypatch: pytest.MonkeyPatch,
    devices: dict[str, str], seen: str,
) -> None:  # fmt: skip
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    run = start("finish", **devices)
    ended(run)
    assert json.loads((run.path / "facts.json").read_text())["CUDA_VISIBLE_DEVICES"] == seen


def test_gpu_and_host_are_recorded_while_the_run_goes_on(
    fake_gpus: FakeGpus, start: Start, running: Wait, wait_until: WaitUntil
) -> None:
    fake_gpus.set({"gpu0.temp": 77, "gpu0.mem_used": 5 << 30})
    run = start("wait")
    running(run)
    reader = TelemetryReader(run.telemetry_file)
    _, devices = wait_until(reader.latest)
    assert devices["gpu0"]["temperature_c"] == 77
    assert devices["host"]["gpu_status"] == "ok"
    fake_gpus.set({"gpu0.temp": 60})
    wait_until(lambda: reader.latest()[1]["gpu0"]["temperature_c"] == 60)
    assert reader.highest("gpu0", "temperature_c") == 77
    assert launch.stop(run) == "done"
    reader.close()
    assert process.descendants(os.getpid()) == [], "the telemetry process has gone with its supervisor"


def test_a_telemetry_process_that_dies_is_replaced_and_said(
    start: Start, running: Wait, wait_until: WaitUntil, kill: Callable[[int], None]
) -> None:
    run = start("wait")
    supervisor = sure(running(run).supervisor)
    reader = TelemetryReader(run.telemetry_file)
    first, _ = wait_until(reader.latest)
    kill(_telemetry_of(supervisor))
    wait_until(lambda: [event for event in reader.events() if event.kind == "telemetry"])
    told = [event.data["text"] for event in reader.events() if event.kind == "telemetry"]
    assert told == ["the telemetry process ended (exit status -9); a new one is started"]
    newest = wait_until(lambda: (latest := reader.latest()) and latest[0] > first and latest)
    assert newest[1]["host"]["ram_total_bytes"] > 0
    reader.close()
    assert launch.stop(run) == "done"


def _telemetry_of(supervisor: Identity) -> int:
    found = [
        one.pid
        for one in process.descendants(supervisor.pid)
        if b"tuiftune.telemetry" in Path(f"/proc/{one.pid}/cmdline").read_bytes()
    ]
    return found[0]


def test_a_damaged_telemetry_file_is_set_aside_and_the_run_goes_on(
    new_run: Callable[..., Run], behave: Callable[[str], None], running: Wait, wait_until: WaitUntil
) -> None:
    behave("wait")
    run = new_run()
    run.telemetry_file.write_bytes(b"not a database" * 1000)
    process.start_detached(launch.supervisor_command(run), run.supervisor_log, run.path)
    running(run)
    reader = TelemetryReader(run.telemetry_file)
    told = wait_until(lambda: [event.data["text"] for event in reader.events() if event.kind == "telemetry"])
    assert "telemetry.db was damaged: set aside as telemetry.db.damaged-" in told[0]
    reader.close()
    assert launch.stop(run) == "done"


def start_changed(run: Run, change: str) -> None:
    """Start a supervisor in which something of the machine is changed."""
    source = f"import sys, time; from tuiftune.run import supervisor\n{change}\nsupervisor.main(sys.argv[1:])"
    tail = launch.supervisor_command(run)[4:]  # after: python -P -m tuiftune.run.supervisor
    process.start_detached([sys.executable, "-c", source, *tail], run.supervisor_log, run.path)


def test_a_worker_killed_for_want_of_memory_is_told_so_and_started_again(
    new_run: Callable[..., Run], behave: Callable[[str], None], running: Wait, kill: Callable[[int], None],
    wait_until: WaitUntil,
) -> None:  # fmt: skip
    behave("wait")
    run = new_run()
    start_changed(
        run, "from tuiftune.run import ending; ending.oom_kills = lambda: 1; supervisor.oom_kills = lambda: 0"
    )
    worker = sure(running(run).worker)
    half_written = write_halves(run)
    kill(worker.pid)
    wait_until(lambda: folder.recorded_state(run).attempt == 2, "a second worker")
    assert not [path for path in half_written if path.exists()]
    healed = [data for kind, data in events(run) if kind == "healed"]
    assert [(data["kind"], data["changes"]) for data in healed] == [("host-oom", {})]
    assert healed[0]["sentence"].startswith(
        "the worker was killed (signal 9) because memory ran out, the machine's or its container's; trying again"
    )
    assert launch.stop(run) == "done"


def test_the_end_of_a_run_is_written_down_once_the_full_disk_has_room_again(
    new_run: Callable[..., Run], behave: Callable[[str], None], ended: Wait
) -> None:
    behave("finish")
    run = new_run()
    full = """
real, begun = supervisor.write_state, time.monotonic()
def write_state(run, state):
    if time.monotonic() < begun + 2: raise OSError(28, "No space left on device")
    real(run, state)
supervisor.write_state = write_state
"""
    start_changed(run, full)
    assert ended(run).name == "finished"
    log = run.supervisor_log.read_text()
    assert log.count("state.json cannot be written for now: [Errno 28] No space left on device") == 1


def test_a_supervisor_that_cannot_go_on_leaves_its_traceback_in_its_log(
    new_run: Callable[..., Run], wait_until: WaitUntil
) -> None:
    run = new_run()
    run.state_file.unlink()
    process.start_detached(launch.supervisor_command(run), run.supervisor_log, run.path)
    wait_until(lambda: "state.json: cannot be read" in run.supervisor_log.read_text())
    assert "Traceback" in run.supervisor_log.read_text()


def test_it_costs_next_to_nothing(start: Start, running: Wait, wait_until: WaitUntil) -> None:
    run = start("wait")
    supervisor = sure(running(run).supervisor)
    reader = TelemetryReader(run.telemetry_file)
    first, _ = wait_until(reader.latest)
    begun, used = time.monotonic(), _cpu_s(supervisor)
    wait_until(lambda: reader.latest()[0] > first + 3)
    share = (_cpu_s(supervisor) - used) / (time.monotonic() - begun)
    assert share < 0.05, "of one core; a loop that spins would take all of it"
    reader.close()
    assert launch.stop(run) == "done"


def _cpu_s(who: Identity) -> float:
    fields = Path(f"/proc/{who.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_it_imports_nothing_heavy() -> None:
    source = (
        "import sys, tuiftune.run.supervisor, tuiftune.run.launch\n"
        "heavy = {'torch', 'transformers', 'datasets', 'numpy', 'pynvml', 'psutil', 'pydantic', 'pluggy', 'textual'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
