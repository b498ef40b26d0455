"""Processes are known again, locked, started detached and ended with all that came from them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tuiftune.errors import TuiftuneError
from tuiftune.run import process
from tuiftune.run.process import Identity, Lock, identify, is_alive, is_locked, kill_tree

WaitUntil = Callable[..., Any]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str], subprocess.Popen[bytes]]]:
    """Start Python programs; those still there at the end are killed."""
    started: list[subprocess.Popen[bytes]] = []

    def run(source: str) -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen([sys.executable, "-c", textwrap.dedent(source)], cwd=tmp_path))
        return started[-1]

    yield run
    for child in started:
        child.kill()
        child.wait()


def sure(identity: Identity | None) -> Identity:
    assert identity is not None
    return identity


def test_a_process_is_known_again_and_a_later_one_with_its_pid_is_not(start: Callable[..., Any]) -> None:
    me = sure(identify(os.getpid()))
    assert is_alive(me)
    assert Identity.from_json(me.to_json()) == me
    for other in (replace(me, start_ticks=me.start_ticks + 1), replace(me, boot_id="another boot")):
        assert not is_alive(other)
        assert not process.send(other, signal.SIGKILL), "never signalled: this test would not go on"
        assert process.wait_end(other, 0)


def test_a_zombie_has_ended(start: Callable[..., Any], wait_until: WaitUntil) -> None:
    child = start("")
    identity = sure(identify(child.pid, ended_too=True))
    assert process.wait_end(identity, 10)
    wait_until(lambda: not is_alive(identity))
    assert identify(child.pid, ended_too=True) == identity, "not waited for, so still there to be named"
    child.wait()
    assert identify(child.pid, ended_too=True) is None
    assert not process.send(identity, signal.SIGTERM)


def test_a_name_of_brackets_blanks_and_wrong_bytes_confuses_nobody(
    start: Callable[..., Any], wait_until: WaitUntil
) -> None:
    child = start(
        """
        import ctypes, time
        ctypes.CDLL(None).prctl(15, b") R 1 \\xff(", 0, 0, 0)
        time.sleep(600)
        """
    )
    wait_until(lambda: b"\xff" in Path(f"/proc/{child.pid}/comm").read_bytes())
    assert is_alive(sure(identify(child.pid)))
    assert child.pid in [one.pid for one in process.descendants(os.getpid())]


def test_waiting_for_an_end_gives_up_after_its_time(start: Callable[..., Any]) -> None:
    child = start("import time; time.sleep(600)")
    identity = sure(identify(child.pid))
    assert not process.wait_end(identity, 0.05)
    assert process.send(identity, signal.SIGTERM)
    assert process.wait_end(identity, 10)


TREE = """
    import os, signal, sys, time
    def stay(name):
        open(name + ".tmp", "w").write(str(os.getpid())); os.rename(name + ".tmp", name)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True: time.sleep(60)
    if os.fork() == 0: stay("child")
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.setpgid(0, 0)
            stay("grandchild")
        stay("session")
    stay("root")
"""


def read_pids(folder: Path, names: list[str], wait_until: WaitUntil) -> list[Identity]:
    wait_until(lambda: all((folder / name).exists() for name in names), f"{names}")
    return [sure(identify(int((folder / name).read_text()))) for name in names]


def test_killing_a_tree_ends_children_in_sessions_and_groups_of_their_own(
    start: Callable[..., Any], tmp_path: Path, wait_until: WaitUntil
) -> None:
    root = start(TREE)
    tree = read_pids(tmp_path, ["root", "child", "session", "grandchild"], wait_until)
    assert kill_tree(tree[0]) == []
    assert [one for one in tree if is_alive(one)] == []
    assert root.wait() == -signal.SIGKILL


def test_a_subreaper_sweeps_what_has_left_its_parents(
    start: Callable[..., Any], tmp_path: Path, wait_until: WaitUntil
) -> None:
    """As a supervisor does it: the root is killed first, alone, so that its children become strangers."""
    start(
        f"""
        import os, signal, subprocess, sys, textwrap, time
        from tuiftune.run import process
        process.become_subreaper()
        child = subprocess.Popen([sys.executable, "-c", textwrap.dedent({TREE!r})])
        while not all(os.path.exists(name) for name in ("child", "session", "grandchild")): time.sleep(0.02)
        child.kill()
        child.wait()
        def left():
            process.reap_strangers(own=[])
            return process.descendants(os.getpid())
        found = len(left())
        still = len(process.end_all(left))
        process.reap_strangers(own=[])
        try:
            os.waitpid(-1, os.WNOHANG)
            zombies = "zombies"
        except ChildProcessError:
            zombies = "no zombies"
        open("result.tmp", "w").write(f"found {{found}}, left {{still}}, {{zombies}}")
        os.rename("result.tmp", "result")
        """
    )
    wait_until((tmp_path / "result").exists)
    assert (tmp_path / "result").read_text() == "found 3, left 0, no zombies"


def test_reaping_strangers_leaves_own_children_to_those_who_wait_for_them(start: Callable[..., Any]) -> None:
    child = start("raise SystemExit(7)")
    process.wait_end(sure(identify(child.pid, ended_too=True)), 10)
    process.reap_strangers(own=[child.pid])
    assert child.wait() == 7


def test_a_mark_finds_every_process_that_has_it_the_oldest_first(
    start: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wait_until: WaitUntil
) -> None:
    monkeypatch.setenv("TEST_MARK", str(tmp_path))
    root = start(TREE)
    monkeypatch.delenv("TEST_MARK")
    tree = read_pids(tmp_path, ["root", "child", "session", "grandchild"], wait_until)
    found = process.marked("TEST_MARK", str(tmp_path))
    assert set(found) == set(tree)
    assert found[0].pid == root.pid
    assert process.marked("TEST_MARK", f"{tmp_path}x") == []
    assert process.end_all(lambda: process.marked("TEST_MARK", str(tmp_path))) == []


def test_of_twenty_who_want_a_lock_one_gets_it(tmp_path: Path) -> None:
    source = f"""
import sys
from pathlib import Path
from tuiftune.run.process import Lock
lock = Lock(Path({str(tmp_path / "lock")!r}))
print("mine" if lock.take(timeout_s=0) else "not mine", flush=True)
sys.stdin.read()
"""
    children = [
        subprocess.Popen([sys.executable, "-c", source], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(20)
    ]
    answers = [child.stdout.readline().strip() for child in children if child.stdout]
    assert sorted(answers) == ["mine", *["not mine"] * 19]
    assert is_locked(tmp_path / "lock")
    for child in children:
        child.communicate()
    assert not is_locked(tmp_path / "lock")


def test_a_lock_is_free_after_a_kill_although_a_forked_child_and_a_program_live_on(
    start: Callable[..., Any], tmp_path: Path, wait_until: WaitUntil
) -> None:
    owner = start(
        """
        import os, subprocess, sys, time
        from pathlib import Path
        from tuiftune.run.process import Lock
        lock = Lock(Path("lock"))
        assert lock.take()
        program = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], close_fds=False)
        child = os.fork()
        if child == 0: time.sleep(600)
        open("pids.tmp", "w").write(f"{program.pid} {child}"); os.rename("pids.tmp", "pids")
        time.sleep(600)
        """
    )
    wait_until((tmp_path / "pids").exists)
    assert is_locked(tmp_path / "lock")
    others = [sure(identify(int(pid))) for pid in (tmp_path / "pids").read_text().split()]
    owner.kill()
    owner.wait()
    wait_until(lambda: not is_locked(tmp_path / "lock"))  # the child may not have come to close it yet
    assert all(is_alive(one) for one in others)
    process.end_all(lambda: [one for one in others if is_alive(one)])


def test_a_lock_can_be_given_back_and_taken_again(tmp_path: Path) -> None:
    first, second = Lock(tmp_path / "lock"), Lock(tmp_path / "lock")
    assert not is_locked(tmp_path / "lock"), "no file, no lock"
    assert first.take()
    assert not second.take(timeout_s=0)
    first.release()
    first.release()
    assert second.take(timeout_s=0)
    second.release()


def test_looking_at_a_lock_does_not_keep_its_owner_from_taking_it(tmp_path: Path) -> None:
    source = f"""
from pathlib import Path
from tuiftune.run.process import is_locked
print("looking", flush=True)
while True: is_locked(Path({str(tmp_path / "lock")!r}))
"""
    (tmp_path / "lock").touch()
    viewers = [subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE) for _ in range(2)]
    try:
        for viewer in viewers:
            assert viewer.stdout is not None
            viewer.stdout.readline()
        for _ in range(20):
            lock = Lock(tmp_path / "lock")
            assert lock.take()
            lock.release()
    finally:
        for viewer in viewers:
            viewer.kill()
            viewer.wait()


DETACHED = """
import json, os, signal, sys, time
from tuiftune.run.process import leave_parent
leave_parent()
print("said", flush=True)
print("complained", file=sys.stderr, flush=True)
facts = (
    os.getpid(), os.getppid(), os.getsid(0), sorted(os.listdir("/proc/self/fd")),
    signal.getsignal(signal.SIGHUP) == signal.SIG_IGN, os.readlink("/proc/self/fd/0"),
)
open("facts.tmp", "w").write(json.dumps(facts))
os.rename("facts.tmp", "facts")
time.sleep(600)
"""


def test_a_detached_program_has_no_parent_no_terminal_no_descriptor_of_ours(
    tmp_path: Path, wait_until: WaitUntil
) -> None:
    ours = os.open(tmp_path / "mine", os.O_WRONLY | os.O_CREAT)
    os.set_inheritable(ours, True)
    process.start_detached([sys.executable, "-c", DETACHED], tmp_path / "log", tmp_path)
    os.close(ours)
    wait_until((tmp_path / "facts").exists)
    pid, parent, session, descriptors, hangup_ignored, stdin = json.loads((tmp_path / "facts").read_text())
    try:
        assert parent != os.getpid()
        assert session not in (pid, os.getsid(0)), "no session leader, so it can never get a terminal"
        assert len(descriptors) == 4, "three streams and the folder being listed"
        assert hangup_ignored
        assert stdin == "/dev/null"
        assert (tmp_path / "log").read_text() == "said\ncomplained\n"
        assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600
        with pytest.raises(ChildProcessError):
            os.waitpid(-1, os.WNOHANG)  # it left no zombie here
    finally:
        os.kill(pid, signal.SIGKILL)


def test_a_program_that_does_not_start_is_told_with_its_log(tmp_path: Path) -> None:
    with pytest.raises(TuiftuneError, match=r"log: the supervisor did not start \(exit status 5\); its log says why"):
        process.start_detached([sys.executable, "-c", "raise SystemExit(5)"], tmp_path / "log", tmp_path)
    with pytest.raises(TuiftuneError, match="could not be started"):
        process.start_detached(["/no/such/program"], tmp_path / "log", tmp_path)
    with pytest.raises(TuiftuneError, match="cannot be written: No such file"):
        process.start_detached([sys.executable], tmp_path / "nowhere" / "log", tmp_path)
