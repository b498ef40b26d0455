"""A logout, a hang-up, a restart of the machine: what a run outlives, and what is said where it would not."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tuiftune.run import folder, launch, logind, logout, process
from tuiftune.run.folder import Run, State
from tuiftune.run.logind import Rules
from tuiftune.run.metrics_db import MetricsReader

InState = Callable[..., State]
Started = Callable[..., Run]
Profile = Callable[..., str]

ME = logind.user_name(os.getuid())
SESSION = f"0::/user.slice/user-{os.getuid()}.slice/session-3.scope"
MANAGER = f"0::/user.slice/user-{os.getuid()}.slice/user@{os.getuid()}.service/app.slice/a-terminal.scope"
SERVICE = "0::/system.slice/cron.service"
WARNING = "this run will not survive your logout, at which systemd (KillUserProcesses) ends all your processes"
LIKE_ROOT = "as 1 'nobody'"
"""Whom KillExcludeUsers names: somebody, so that even root is not spared."""


class Machine:
    """A machine with systemd: programs that answer as its own would, and where it has put a process."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._programs = path / "programs"
        self._programs.mkdir()
        self.noted = path / "noted"
        """What systemd-run was asked, a line each."""
        self.cgroup = path / "cgroup"
        self.settings = path / "systemd"
        """Where logind's files lie."""
        self.settings.mkdir()
        monkeypatch.setenv("PATH", f"{self._programs}:{os.environ['PATH']}")
        monkeypatch.setattr(logout, "CGROUP", self.cgroup)
        monkeypatch.setattr(logind, "FOLDERS", (self.settings / "etc", self.settings / "usr"))
        self.is_set()

    def is_set(
        self,
        kill: bool = True,
        *,
        only: str = "as 0",
        spared: str = LIKE_ROOT,
        lingers: bool = False,
        where: str = SESSION,
        bus: str = "",
        loginctl: str = "",
        scope: str = "",
    ) -> None:
        """`bus`, `loginctl`, `scope`: what busctl, loginctl and systemd-run do first, in the words of a shell."""
        logout.look.cache_clear()
        self.cgroup.write_text(f"1:name=openrc:/x\n{where}\n")
        self._write("busctl", f'{bus}\nprintf "%s\\n" "b {str(kill).lower()}" "{only}" "{spared}"')
        self._write("loginctl", f"{loginctl}\necho Linger={'yes' if lingers else 'no'}")
        run = f'{scope}\necho "$@" >> {self.noted}\nwhile [ "$1" != -- ]; do shift; done\nshift\nexec "$@"'
        self._write("systemd-run", run)

    def _write(self, name: str, script: str) -> None:
        (self._programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (self._programs / name).chmod(0o755)

    @property
    def there(self) -> tuple[str, ...]:
        """Before a command: it runs there."""
        return (sys.executable, "-P", str(Path(__file__).with_name("logged_in.py")), str(self.cgroup))

    def asked(self) -> list[str]:
        return self.noted.read_text().splitlines() if self.noted.exists() else []


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    yield Machine(tmp_path, monkeypatch)
    logout.look.cache_clear()


def test_where_a_logout_would_kill_the_run_it_is_said_before_it_starts_and_goes_on(
    machine: Machine, workspace: Path, profile: Profile, started: Started, in_state: InState
) -> None:
    run = started(profile("demo"), "train.steps=1000", before=machine.there, says=lambda words: WARNING in words)
    assert run.origin()["logout"] == {
        "kills_sessions": True, "in_manager": False, "lingers": False, "survives": False,
    }  # fmt: skip
    launch.stop(run)
    command = [*machine.there, sys.executable, "-P", "-m", "tuiftune.cli", "resume", run.id, "--detach"]
    done = subprocess.run(command, cwd=workspace, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stderr.strip() == f"{WARNING}. So that it does, once: loginctl enable-linger {ME} " + (
        "(your administrator may have to); then start it"
    )
    in_state(run, "starting", "running")
    assert launch.stop(run).startswith("done")
    assert machine.asked() == []


def test_who_lingers_has_the_run_in_a_scope_of_its_own_and_the_next_supervisor_too(
    machine: Machine, profile: Profile, started: Started, in_state: InState, until: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("HF_TOKEN", "hf_" + "s3cret" * 5)
    machine.is_set(lingers=True)
    run = started(profile("demo"), "train.steps=80", before=machine.there, says=lambda words: "logout" not in words)
    assert run.origin()["logout"]["survives"] is True
    tried, used = machine.asked()
    assert tried.endswith("-- true")
    assert used.startswith(f"--user --scope --quiet --collect --unit=tuiftune-{run.id}-")
    assert " --property=OOMPolicy=continue -- " in used
    assert f"-m tuiftune.run.supervisor {run.path}" in used
    assert "s3cret" not in used, "what ps shows holds no secret"
    until(lambda: len(steps(run)) > 5)
    supervisor = folder.recorded_state(run).supervisor
    assert supervisor
    assert b"s3cret" in Path(f"/proc/{supervisor.pid}/environ").read_bytes(), "and yet it is passed on"
    process.send(supervisor, signal.SIGKILL)
    until(lambda: launch.ensure_supervised(run))  # its lock is free a moment after its end
    assert f"-m tuiftune.run.supervisor {run.path}" in machine.asked()[-1]
    assert len(machine.asked()) == 4
    assert in_state(run, "finished").attempt == 1


OLD = 'case "$*" in *OOMPolicy*) echo "Unknown assignment: OOMPolicy=continue" >&2; exit 1;; esac'


@pytest.mark.parametrize(
    ("scope", "options", "says"),
    [
        ("", (logout.OOM,), None),
        (OLD, (), None),
        ("echo 'Failed to connect to bus' >&2; exit 1", None, "systemd-run --user does not work here"),
        ("exec sleep 60", None, "systemd-run --user does not work here"),
    ],
    ids=["new", "before 253", "no bus of the user", "hangs"],
)
def test_a_scope_is_tried_before_it_is_used(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, scope: str, options: tuple[str, ...] | None, says: str | None
) -> None:
    monkeypatch.setattr(logout, "TRIAL_S", 0.5)
    machine.is_set(lingers=True, scope=scope)
    found = logout.look()
    assert found.wants_scope is (options is not None)
    assert found.scope_options == (options or ())
    assert (found.warning is None) if says is None else (says in (found.warning or ""))


def test_a_scope_that_is_refused_at_the_start_costs_the_scope_and_not_the_run(
    machine: Machine, profile: Profile, started: Started, in_state: InState
) -> None:
    machine.is_set(lingers=True, scope='case "$*" in *supervisor*) echo "too many units" >&2; exit 1;; esac')
    run = started(profile("demo"), "train.steps=2", before=machine.there)
    in_state(run, "finished")
    assert "too many units" in run.supervisor_log.read_text()


@pytest.mark.parametrize(
    ("where", "lingers", "said"),
    [
        (SERVICE, False, None),
        (MANAGER, True, None),
        (
            MANAGER,
            False,
            f"at which systemd ends all your processes. So that it does, once: loginctl enable-linger {ME} ",
        ),
        ("0::/", False, WARNING),
        (f"1:name=systemd:/user.slice/user-{os.getuid()}.slice/session-c2.scope", False, WARNING),
        (f"4:memory:/user.slice/user-{os.getuid()}.slice/session-c2.scope\n0::/docker/1f2e", False, None),
    ],
    ids=["a service", "lingering manager", "manager", "a namespace", "a session of cgroups v1", "a container"],
)
def test_it_depends_on_where_systemd_has_put_the_process(
    machine: Machine, where: str, lingers: bool, said: str | None
) -> None:
    machine.is_set(where=where, lingers=lingers)
    warning = logout.look().warning
    assert (warning is None) if said is None else (said in (warning or ""))


def test_after_su_it_depends_on_whose_session_it_is(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logind, "user_name", lambda uid: {os.getuid(): "me", 4242: "alice"}[uid])
    for only, ends in (("as 1 'me'", False), ("as 1 'alice'", True)):
        machine.is_set(kill=False, only=only, where="0::/user.slice/user-4242.slice/session-7.scope")
        assert logout.look().ends_runs is ends
    machine.is_set(where="0::/user.slice/user-4242.slice/user@4242.service/app.slice/x.scope")
    assert "loginctl enable-linger alice " in (logout.look().warning or "")


@pytest.mark.parametrize(
    ("bus", "where"),
    [
        ("echo 'b false'; echo 'as 0'; echo 'as 0'; exit", SESSION),
        ("exit 1", SESSION),
        ("exit 1", "0::/"),
        ("exec sleep 60", SESSION),
        ("printf '\\377\\n'; exit", SESSION),
    ],
    ids=["not killed", "no bus", "no systemd", "hangs", "odd"],
)
def test_where_nothing_is_killed_or_nobody_answers_nothing_is_said(machine: Machine, bus: str, where: str) -> None:
    machine.is_set(bus=bus, where=where)
    begun = time.monotonic()
    found = logout.look()
    assert not found.ends_runs
    assert found.warning is None
    assert time.monotonic() - begun < 10, "a bus that hangs is given up"


def test_where_the_bus_is_silent_the_files_of_logind_tell(machine: Machine) -> None:
    def ends(**files: str) -> bool:
        shutil.rmtree(machine.settings, ignore_errors=True)
        for name, text in files.items():
            top, _, dropped = name.partition("_")
            file = machine.settings / top / (f"logind.conf.d/{dropped}.conf" if dropped else "logind.conf")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        machine.is_set(bus="exit 1")
        return logout.look().ends_runs

    spared = "[Login]\nKillExcludeUsers=nobody\n"  # so that root is not
    yes, no = f"{spared}KillUserProcesses=yes\n", "[Login]\nKillUserProcesses=no\n"
    assert not ends()
    assert ends(etc=yes)
    assert not ends(etc=no, usr=yes), "one file counts"
    assert ends(usr=f"{spared}#KillUserProcesses=yes\n"), "the default that it was built with"
    assert not ends(usr=f"{no}#KillUserProcesses=yes\n")
    assert ends(etc=no, etc_10=yes)
    assert not ends(etc=yes, usr_20=no), "what is dropped in comes later"
    assert ends(etc=yes, usr_20=no, etc_20=""), "and is hidden by the same name in /etc"
    assert not ends(etc=f"[Other]\n{yes.removeprefix('[Login]')}")
    assert ends(
        etc=f"[Login]\nKillExcludeUsers={ME}\nKillExcludeUsers=\nKillExcludeUsers=nobody\nKillOnlyUsers=\\\n {ME}\n"
    )
    assert not ends(etc=f"{yes}KillOnlyUsers=somebody\n")


def test_a_users_exception_goes_before_the_list_of_who_is_meant_and_that_before_the_rule() -> None:
    assert Rules(True).end_sessions_of("ann")
    assert not Rules(True).end_sessions_of("root"), "spared where the list is not set"
    assert Rules(True, spared=("ann",)).end_sessions_of("root")
    assert not Rules(True, only=("ann",), spared=("ann",)).end_sessions_of("ann")
    assert Rules(False, only=("ann",)).end_sessions_of("ann")
    assert not Rules(True, only=("ann",)).end_sessions_of("bob")


def test_without_loginctl_the_mark_of_lingering_is_looked_for(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logind, "LINGER", tmp_path)
    for lingering in (False, True):
        if lingering:
            (tmp_path / ME).touch()
        machine.is_set(where=MANAGER, loginctl="exit 1")
        assert logout.look().ends_runs is not lingering


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


def test_a_terminal_that_nobody_reads_holds_up_who_follows_and_not_the_run(
    workspace: Path, profile: Profile, in_state: InState, until: Callable[..., Any]
) -> None:
    profile("demo")
    master, slave = os.openpty()
    os.set_blocking(slave, False)
    with contextlib.suppress(BlockingIOError):
        while os.write(slave, b"x" * 1024):  # what it holds is full
            pass
    os.set_blocking(slave, True)
    command = [sys.executable, "-P", "-m", "tuiftune.cli", "run", "a-demo"]
    following = subprocess.Popen(command, cwd=workspace, stdin=slave, stdout=slave, stderr=slave)
    try:
        run = until(lambda: next(iter(folder.list_runs(workspace)), None))
        in_state(run, "finished")
        assert steps(run) == list(range(1, 61))
        assert following.poll() is None, "it still waits for somebody to read"
    finally:
        os.close(slave)
        os.close(master)
        following.kill()
        following.wait()


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
