"""Run folders: made whole, listed newest first, found by prefix, and never believed against their locks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tuiftune.errors import RunNotFound, WorkspaceError
from tuiftune.run import folder
from tuiftune.run.files import write_json, write_text
from tuiftune.run.folder import Run, State, log_tail, state_of, write_state
from tuiftune.run.process import Lock, identify

EFFECTIVE = {"seed": 42, "run": {"stop_grace": 5.0}}


def create(workspace: Path, profile: str = "quickstart") -> Run:
    return folder.create(workspace, profile, EFFECTIVE, {"profile": profile})


def long_ago(run: Run, **changes: Any) -> State:
    """Give a run a state that nobody is about to change."""
    state = replace(folder.recorded_state(run), since=time.time() - 3600, **changes)
    write_state(run, state)
    return state


def test_a_new_run_is_whole_private_and_starting(workspace: Path) -> None:
    run = create(workspace)
    assert tomllib.loads(run.profile_file.read_text()) == EFFECTIVE
    assert run.origin() == {"profile": "quickstart"}
    assert state_of(run).name == "starting"
    assert [found.id for found in folder.list_runs(workspace)] == [run.id]
    for path in (run.path, run.requests, run.checkpoints, run.stages):
        assert path.stat().st_mode & 0o777 == 0o700
    for path in (run.profile_file, run.origin_file, run.state_file):
        assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("profile", "begins"),
    [
        ("quickstart", "quickstart-2"),
        ("../../etc", "etc-2"),
        ("My Profile!", "my-profile-2"),
        ("naïve", "na-ve-2"),
        ("...", "run-2"),
        ("x" * 300, "x" * 40 + "-2"),
    ],
)
def test_a_run_is_named_for_its_profile_and_never_leaves_its_folder(workspace: Path, profile: str, begins: str) -> None:
    run = create(workspace, profile)
    assert run.path.parent == workspace / "runs"
    assert run.id.startswith(begins)


def test_twenty_runs_made_at_once_get_a_folder_each(workspace: Path) -> None:
    source = (
        "import sys; from pathlib import Path; from tuiftune.run import folder\n"
        "for _ in range(5): print(folder.create(Path(sys.argv[1]), 'same', {}, {}).id)"
    )
    children = [
        subprocess.Popen([sys.executable, "-c", source, str(workspace)], stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    ids = [line for child in children for line in child.communicate()[0].split()]
    assert len(set(ids)) == 20
    assert {run.id for run in folder.list_runs(workspace)} == set(ids)


def test_where_no_run_can_be_made_it_is_said_and_nothing_half_is_left(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, data: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(folder, "write_json", full)
    with pytest.raises(WorkspaceError, match=r"runs: no run can be made here: No space left on device\. Choose"):
        create(workspace)
    assert list((workspace / "runs").iterdir()) == []
    monkeypatch.undo()
    (workspace / "runs").rmdir()
    (workspace / "runs").write_text("a file")
    with pytest.raises(WorkspaceError, match="no run can be made here"):
        create(workspace)


def test_runs_are_listed_newest_first_whatever_their_ids_say(workspace: Path) -> None:
    runs = [create(workspace, name) for name in ("b", "c", "a")]
    assert [run.id for run in folder.list_runs(workspace)] == [run.id for run in reversed(runs)]
    write_text(runs[1].state_file, "{torn")
    assert {run.id for run in folder.list_runs(workspace)} == {run.id for run in runs}, "a damaged one is listed"
    assert folder.find_run(workspace, "latest").id == runs[2].id
    (workspace / "runs" / "not-a-run").mkdir()
    (workspace / "runs" / "file").touch()
    assert len(folder.list_runs(workspace)) == 3


def test_a_run_is_found_by_its_id_or_the_beginning_of_it(workspace: Path) -> None:
    with pytest.raises(RunNotFound, match=r"runs: no runs yet\. Start one with: tuiftune run quickstart"):
        folder.find_run(workspace, "latest")
    first, second = create(workspace, "alpha"), create(workspace, "alphabet")
    assert folder.find_run(workspace, first.id) == first
    assert folder.find_run(workspace, "alphab") == second
    with pytest.raises(RunNotFound, match=r"'alpha' is the beginning of 2 runs: .*Give more of it"):
        folder.find_run(workspace, "alpha")
    with pytest.raises(RunNotFound, match=r"'beta' is no run of this workspace\. See: tuiftune runs"):
        folder.find_run(workspace, "beta")
    with pytest.raises(RunNotFound):
        folder.find_run(workspace, "../runs")


def test_a_state_is_read_back_as_it_was_written(workspace: Path) -> None:
    run = create(workspace)
    me = identify(os.getpid())
    state = State("failed", 3.0, 1.0, 2.0, "a réason \udc80", attempt=4, supervisor=me, worker=me, left=[7])
    write_state(run, state)
    assert folder.recorded_state(run) == state


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"state": "running"}', '{"state": "x", "since": "y", "started": 1}'])
def test_a_damaged_state_is_told_by_the_rest_of_the_folder(workspace: Path, text: str) -> None:
    run = create(workspace)
    started = folder.recorded_state(run).started
    write_text(run.state_file, text)
    state = state_of(run)
    assert state.name == "interrupted"
    assert f"tuiftune resume {run.id}" in (state.reason or "")
    assert abs(state.started - started) < 2, "by its id"
    lock = Lock(run.supervisor_lock)
    assert lock.take()
    state = state_of(run)
    assert state.name == "running"
    assert state.reason == "state.json is damaged; whether the run goes on is told by its locks"
    lock.release()
    write_json(run.exit_file, {"outcome": "stopped", "step": 7, "time": 9.0})
    assert (state_of(run).name, state_of(run).reason) == ("stopped", "stopped at step 7")
    assert folder.is_orphaned(run), "the next supervisor writes it down"
    run.state_file.unlink()
    with pytest.raises(RunNotFound, match=r"state\.json: cannot be read"):
        folder.recorded_state(run)


@pytest.mark.parametrize("name", ["starting", "running", "stopping"])
def test_an_active_run_that_nobody_holds_is_interrupted(workspace: Path, name: str) -> None:
    run = create(workspace)
    long_ago(run, name=name, attempt=3)
    state = state_of(run)
    assert state.name == "interrupted"
    assert state.attempt == 3
    assert state.reason == (f"its processes are gone (killed); go on with: tuiftune resume {run.id}")
    assert not folder.is_orphaned(run), "nobody to adopt"


@pytest.mark.parametrize("lock", ["supervisor_lock", "worker_lock"])
def test_a_run_is_active_while_either_lock_is_held(workspace: Path, lock: str) -> None:
    run = create(workspace)
    long_ago(run, name="running")
    held = Lock(getattr(run, lock))
    assert held.take()
    assert state_of(run).name == "running"
    assert folder.is_orphaned(run) == (lock == "worker_lock")
    held.release()
    assert state_of(run).name == "interrupted"


@pytest.mark.parametrize(
    ("said", "name", "reason"),
    [
        ({"outcome": "finished", "step": 9, "time": 5.0}, "finished", None),
        ({"outcome": "stopped", "step": 9, "time": 5.0}, "stopped", "stopped at step 9"),
        ({"outcome": "stopped", "step": 0, "time": 5.0}, "stopped", "stopped before its first step"),
        ({"outcome": "failed", "sentence": "data/x: no such file", "time": 5.0}, "failed", "data/x: no such file"),
    ],
)
def test_a_worker_that_ended_while_nobody_supervised_it_has_said_how(
    workspace: Path, said: dict[str, Any], name: str, reason: str | None
) -> None:
    run = create(workspace)
    long_ago(run, name="running")
    write_json(run.exit_file, said)
    state = state_of(run)
    assert (state.name, state.reason, state.ended) == (name, reason, 5.0)
    assert folder.is_orphaned(run), "a supervisor is missed to write it down"


def test_a_damaged_exit_record_says_nothing(workspace: Path) -> None:
    run = create(workspace)
    long_ago(run, name="running")
    for text in ("", "[]", '{"outcome": "great"}', "\udcff"):
        run.exit_file.write_bytes(text.encode("utf-8", "surrogateescape"))
        assert folder.exit_record(run) == {}
        assert state_of(run).name == "interrupted"


def test_a_log_is_shown_by_its_last_lines_as_a_terminal_would(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert log_tail(log, 5) == []
    log.write_bytes(b"")
    assert log_tail(log, 5) == []
    log.write_bytes(b"one\r\ntwo\n 10%\r 50%\r100%\r\nbytes \xff\xfe\n\nlast")
    assert log_tail(log, 99) == ["one", "two", "100%", "bytes \ufffd\ufffd", "", "last"]
    assert log_tail(log, 2) == ["", "last"]
    assert log_tail(log, 99, after=len(b"one\r\n")) == ["two", "100%", "bytes \ufffd\ufffd", "", "last"]
    log.write_bytes(b"x" * 1000 + b"\nshort\n")
    assert log_tail(log, 99, chunk_bytes=50) == ["short"], "a line cut in two is not shown as one"
    log.write_bytes(b"y" * 1000)
    assert log_tail(log, 99, chunk_bytes=50) == ["y" * 50]


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file.json"
    write_json(path, {"name": "naïve"})
    assert path.read_text(encoding="utf-8") == '{\n "name": "naïve"\n}\n'

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_json(path, {"name": "other"})
    assert json.loads(path.read_text(encoding="utf-8")) == {"name": "naïve"}
    assert list(tmp_path.glob(".*.tmp")) == []


def test_paths_of_any_bytes_survive_in_a_file(tmp_path: Path) -> None:
    odd = os.fsdecode(b"/data/caf\xe9")
    write_json(tmp_path / "file.json", {"path": odd})
    assert json.loads((tmp_path / "file.json").read_text(encoding="utf-8")) == {"path": odd}


def test_readers_never_see_half_a_file(workspace: Path, wait_until: Callable[..., Any]) -> None:
    run = create(workspace)
    source = f"""
from pathlib import Path
from tuiftune.run.folder import Run, State, write_state
run = Run(Path({str(run.path)!r}))
for number in range(300): write_state(run, State("running", number, 0, reason="x" * number * 20))
"""
    writer = subprocess.Popen([sys.executable, "-c", source])
    wait_until(lambda: folder.recorded_state(run) and writer.poll() is not None)
    assert writer.returncode == 0
    assert folder.recorded_state(run).since == 299
