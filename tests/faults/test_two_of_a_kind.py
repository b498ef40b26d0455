"""What is done twice at once: a lock decides, each who asked gets one answer, and there is never a second worker."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tuiftune.run import folder, launch, process
from tuiftune.run.folder import Run, recorded_state, state_of, write_state
from tuiftune.run.process import Identity, identify, is_alive, is_locked
from tuiftune.run.worker_start import MARK

MANY = 8


def together(cli: Any, *commands: tuple[str, ...]) -> list[tuple[int, str, str]]:
    """Start commands at once; of each its exit status, and what it printed to stdout and stderr."""
    started = [cli.start(*command) for command in commands]
    said = [one.communicate(timeout=120) for one in started]
    return [(one.returncode, *texts) for one, texts in zip(started, said, strict=True)]


def workers_of(run: Run) -> list[Identity]:
    """Processes of a run that are workers."""
    return [
        one
        for one in process.marked(MARK, str(run.path))
        if b"tuiftune.run.worker" in Path(f"/proc/{one.pid}/cmdline").read_bytes()
    ]


@pytest.mark.slow
def test_a_profile_started_by_eight_at_once_is_eight_runs(cli: Any) -> None:
    """8 starts on 2 cores."""
    done = together(cli, *[("run", "quick", "--detach")] * MANY)
    assert [status for status, _, _ in done] == [0] * MANY, done
    ids = {said.strip() for _, said, _ in done}
    assert ids == {run.id for run in folder.list_runs(cli.workspace)}
    assert len(ids) == MANY
    for run in folder.list_runs(cli.workspace):
        assert cli.ended(run).name == "finished"
        assert cli.step(run) == 5
        cli.assert_in_order(run)


def test_of_eight_supervisors_of_one_folder_one_owns_the_run(cli: Any) -> None:
    run = cli.detached("long")
    cli.until(lambda: cli.step(run) >= 1)
    state = recorded_state(run)
    assert state.supervisor
    assert state.worker
    process.send(state.supervisor, 9)
    cli.until(lambda: not is_locked(run.supervisor_lock))
    started = [subprocess.Popen(launch.supervisor_command(run), stderr=subprocess.DEVNULL) for _ in range(MANY)]
    assert [one.wait(60) for one in started] == [0] * MANY, "each has forked and gone"
    cli.until(lambda: recorded_state(run).supervisor != state.supervisor)
    owner = recorded_state(run).supervisor

    def supervisors() -> list[str]:
        command = ["pgrep", "-f", f"tuiftune.run.supervisor {run.path}"]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()

    assert owner
    cli.until(lambda: supervisors() == [str(owner.pid)], supervisors())
    assert recorded_state(run).worker == state.worker
    assert workers_of(run) == [state.worker]
    assert cli("stop", run.id).returncode == 0
    assert cli.ended(run).name == "stopped"
    cli.assert_in_order(run)


@pytest.mark.slow
def test_eight_stops_at_once_are_one_stop_with_eight_answers(cli: Any) -> None:
    run = cli.detached("long")
    cli.until(lambda: cli.step(run) >= 1)
    done = together(cli, *[("stop", run.id)] * MANY)
    answers = [(status, said) for status, said, _ in done]
    assert (0, f"{run.id}: done\n") in answers
    late = (2, f"{run.id}: refused: the run has already ended (stopped)\n")
    assert set(answers) <= {(0, f"{run.id}: done\n"), late}
    assert all(words == "" for _, _, words in done)
    state = cli.ended(run)
    assert state.name == "stopped"
    assert len([line for line in run.supervisor_log.read_text().splitlines() if " stopped: " in line]) == 1
    cli.assert_in_order(run)


@pytest.mark.slow
def test_stop_and_resume_at_once_have_an_answer_each_and_leave_one_worker_or_none(cli: Any) -> None:
    run = cli.detached("long")
    cli.until(lambda: cli.step(run) >= 1)
    for stopped_first in (False, True, True):
        if stopped_first and state_of(run).active:
            assert cli("stop", run.id).returncode == 0
        done = together(cli, ("stop", run.id), ("resume", run.id, "--detach"), ("stop", run.id))
        for status, said, words in done:
            assert status in (0, 2)
            assert (said + words).count("\n") == 1, "one answer each"
            assert "Traceback" not in words
        seen = state_of(run).name
        assert seen in ("starting", "running", "stopping", "stopped")
        assert len(workers_of(run)) <= 1
    launch.stop(run, now=True)
    cli.until(lambda: not is_locked(run.supervisor_lock))
    assert state_of(run).name == "stopped"
    assert workers_of(run) == []
    cli.assert_in_order(run)


def test_a_pid_that_another_process_has_now_is_neither_trusted_nor_killed(cli: Any) -> None:
    """state.json as of a run whose processes are long gone, and whose pids a stranger has."""
    run = cli.detached("long")
    cli.until(lambda: cli.step(run) >= 12)
    state = recorded_state(run)
    assert state.supervisor
    assert state.worker
    process.send(state.supervisor, 9)
    process.send(state.worker, 9)
    cli.until(lambda: not is_locked(run.worker_lock) and not is_locked(run.supervisor_lock))
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        mine = identify(stranger.pid)
        assert mine
        reused = replace(mine, start_ticks=mine.start_ticks - 100)
        write_state(run, replace(state, supervisor=reused, worker=reused))
        assert state_of(run).name == "interrupted", "a lock that nobody holds tells more than a pid"
        assert "refused: the run has already ended (interrupted)" in cli("stop", run.id, "--now").stdout
        adopting = subprocess.Popen([*launch.supervisor_command(run)], stderr=subprocess.DEVNULL)
        assert adopting.wait(60) == 0
        assert cli.ended(run).name == "interrupted"
        write_state(run, replace(state, supervisor=reused, worker=reused))
        assert cli("resume", run.id, "--detach").returncode == 0
        cli.until(lambda: recorded_state(run).worker not in (None, reused))
        at = cli.step(run)
        cli.until(lambda: cli.step(run) > at)
        assert cli("stop", run.id, "--now").returncode == 0
        assert is_alive(mine)
        assert not process.send(reused, 9)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()
    cli.assert_in_order(run)
