"""A logout, a hang-up, a restart of the machine: what a run outlives, and what is said where it would not."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tuiftune.run import folder, launch, logout, process
from tuiftune.run.folder import Run, State
from tuiftune.run.logout import Logout
from tuiftune.run.metrics_db import MetricsReader

InState = Callable[..., State]
Started = Callable[..., Run]
Profile = Callable[..., str]

WARNING = "this run will not survive your logout, at which systemd (KillUserProcesses=yes) ends all your processes"


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Programs that answer as those of a machine with systemd; returns the file where systemd-run notes its words."""
    programs = tmp_path / "programs"
    programs.mkdir()
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    logout.look.cache_clear()

    def write(name: str, script: str) -> None:
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)

    def make(kills: str, lingers: str = "no", bus: str = "", scope: str = "works") -> Path:
        noted = tmp_path / "noted"
        write("busctl", bus or f"echo 'b {kills}'; echo 'as 0'; echo 'as 0'")
        write("loginctl", f"echo Linger={lingers}")
        run = f'echo "$@" >> {noted}; while [ "$1" != -- ]; do shift; done; shift; exec "$@"'
        write("systemd-run", run if scope == "works" else "echo 'Failed to connect to bus' >&2; exit 1")
        return noted

    return make


@pytest.fixture(autouse=True)
def _asked_anew() -> Any:
    yield
    logout.look.cache_clear()


def test_where_a_logout_would_kill_the_run_it_is_said_before_it_starts(
    systemd: Callable[..., Path], profile: Profile, started: Started, in_state: InState
) -> None:
    noted = systemd(kills="true")
    run = started(profile("demo"), "train.steps=2", says=lambda words: WARNING in words)
    assert run.origin()["logout"] == {
        "kills_sessions": True, "in_manager": False, "lingers": False, "survives": False,
    }  # fmt: skip
    assert not noted.exists()
    in_state(run, "finished")


def test_who_lingers_has_the_run_in_a_scope_of_its_own(
    systemd: Callable[..., Path], profile: Profile, started: Started, in_state: InState
) -> None:
    noted = systemd(kills="true", lingers="yes")
    run = started(profile("demo"), "train.steps=2", says=lambda words: "logout" not in words)
    assert run.origin()["logout"]["survives"] is True
    tried, used = noted.read_text().splitlines()
    assert tried.endswith("-- true")
    assert used.startswith(f"--user --scope --quiet --collect --unit=tuiftune-{run.id}-")
    assert f"-m tuiftune.run.supervisor {run.path}" in used
    in_state(run, "finished")


def test_a_scope_that_cannot_be_had_is_a_warning_and_no_failure(
    systemd: Callable[..., Path], profile: Profile, started: Started, in_state: InState
) -> None:
    systemd(kills="true", lingers="yes", scope="broken")
    run = started(profile("demo"), "train.steps=2", says=lambda words: "systemd-run --user does not work here" in words)
    in_state(run, "finished")


@pytest.mark.parametrize(
    "bus",
    ["echo 'b false'; echo 'as 0'; echo 'as 0'", "exit 1", "exec sleep 60", "printf '\\377\\n'"],
    ids=["not killed", "no bus", "hangs", "odd"],
)
def test_where_nothing_is_killed_or_nobody_answers_nothing_is_said(systemd: Callable[..., Path], bus: str) -> None:
    systemd(kills="", bus=bus)
    begun = time.monotonic()
    assert not logout.look().ends_runs
    assert logout.look().warning is None
    assert time.monotonic() - begun < 10, "a bus that hangs is given up"


def test_a_user_that_is_spared_or_not_meant_is_not_warned(systemd: Callable[..., Path]) -> None:
    user = logout._user()
    cases = {(f"as 1 {user!r}", "as 0"): True, ("as 1 'x'", "as 0"): False, ("as 0", f"as 1 {user!r}"): False}
    for (only, spared), ends in cases.items():
        logout.look.cache_clear()
        systemd(kills="", bus=f'echo "b true"; echo "{only}"; echo "{spared}"')
        assert logout.look().ends_runs is ends


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (Logout(kills_sessions=False, in_manager=True, lingers=False), "at which systemd ends all your processes"),
        (Logout(kills_sessions=True, in_manager=True, lingers=False), "at which systemd ends all your processes"),
        (Logout(kills_sessions=True, in_manager=True, lingers=True), None),
        (Logout(kills_sessions=False, in_manager=False, lingers=False), None),
    ],
)
def test_a_process_of_the_users_own_manager_ends_with_the_last_session(found: Logout, words: str | None) -> None:
    assert (found.warning is None) if words is None else (words in (found.warning or ""))


def steps(run: Run) -> list[int]:
    reader = MetricsReader(run.metrics_file)
    found = [row.step for row in reader.rows("train/loss")]
    reader.close()
    return found


def test_a_run_goes_on_when_its_session_is_hung_up_and_the_leader_killed(
    workspace: Path, profile: Profile, open_terminal: Callable[..., Any], in_state: InState, until: Callable[..., Any]
) -> None:
    profile("demo")
    terminal = open_terminal(["/bin/sh"], workspace)
    terminal.type(f"exec 7>opened; {sys.executable} -P -m tuiftune.cli run a-demo --set train.steps=150\n")
    run = until(lambda: next(iter(folder.list_runs(workspace)), None))
    until(lambda: len(steps(run)) > 5)
    state = folder.recorded_state(run)
    assert state.supervisor
    assert state.worker
    for who in (state.supervisor, state.worker):
        assert os.getsid(who.pid) not in (terminal.pid, os.getsid(0))
        status = Path(f"/proc/{who.pid}/status").read_text()
        ignored = int(next(line.split()[1] for line in status.splitlines() if line.startswith("SigIgn")), 16)
        assert ignored & 1 << (signal.SIGHUP - 1)
        open_files = {str(link.readlink()) for link in Path(f"/proc/{who.pid}/fd").iterdir()}
        assert not any(name.startswith(("/dev/pts", str(workspace / "opened"))) for name in open_files), open_files
    os.killpg(os.getpgid(terminal.pid), signal.SIGHUP)
    os.kill(terminal.pid, signal.SIGKILL)
    terminal.hang_up()
    at = len(steps(run))
    until(lambda: len(steps(run)) > at + 10)
    assert in_state(run, "finished").attempt == 1
    assert steps(run) == list(range(1, 151))


def test_after_a_restart_of_the_machine_a_run_is_interrupted_says_why_and_goes_on(
    workspace: Path, profile: Profile, started: Started, in_state: InState, until: Callable[..., Any],
    command_line: Callable[..., Any],
) -> None:  # fmt: skip
    run = started(profile("demo"), "train.steps=60")
    until(lambda: len(steps(run)) > 15)
    state = folder.recorded_state(run)
    for who in (state.supervisor, state.worker):
        assert who
        process.send(who, signal.SIGKILL)
        process.wait_end(who, 10)
    data = json.loads(run.state_file.read_text())
    for name in ("supervisor", "worker"):
        data[name]["boot_id"] = "00000000-0000-0000-0000-000000000000"
    run.state_file.write_text(json.dumps(data))
    (told,) = json.loads(command_line("runs", "--json").stdout)
    assert told["state"] == "interrupted"
    assert told["reason"] == f"the machine was restarted; go on with: tuiftune resume {run.id}"
    data["state"] = "queued"  # what waited for its turn waits for a word now
    run.state_file.write_text(json.dumps(data))
    assert not launch.ensure_supervised(run)
    assert folder.state_of(run).name == "interrupted"
    assert command_line("resume", run.id, "--detach").returncode == 0
    in_state(run, "finished")
    assert steps(run) == list(range(1, 61))
