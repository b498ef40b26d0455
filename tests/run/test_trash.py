"""Deleted runs: where they go, how they come back, what is never deleted."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tuiftune.errors import RunNotFound, TuiftuneError, WorkspaceError
from tuiftune.run import trash
from tuiftune.run.folder import Run, State, find_run, list_runs, write_state
from tuiftune.run.process import Lock
from tuiftune.run.size import size_on_disk


@pytest.fixture
def ended(new_run: Callable[..., Run]) -> Callable[[], Run]:
    def make() -> Run:
        run = new_run()
        now = time.time()
        write_state(run, State("finished", since=now, started=now - 60, ended=now))
        (run.checkpoints / "step-000001").mkdir()
        (run.checkpoints / "step-000001" / "weights").write_bytes(b"w" * 100_000)
        return run

    return make


def test_a_deleted_run_is_not_listed_and_comes_back_whole(ended: Callable[[], Run], workspace: Path) -> None:
    first, second = ended(), ended()
    before = size_on_disk(first.path)
    trash.delete(first)
    assert list_runs(workspace) == [second]
    with pytest.raises(RunNotFound):
        find_run(workspace, first.id)
    assert [one.id for one in trash.contents(workspace)] == [first.id]
    assert trash.find(workspace, first.id[:-1]).id == first.id
    assert trash.restore(trash.find(workspace, first.id)) == first
    assert {run.id for run in list_runs(workspace)} == {first.id, second.id}
    assert not (first.path / trash.STAMP).exists()
    assert size_on_disk(first.path) == before
    assert trash.contents(workspace) == []


@pytest.mark.parametrize("state", ["queued", "running", "paused"])
def test_a_run_that_goes_on_is_not_deleted(new_run: Callable[..., Run], workspace: Path, state: str) -> None:
    run = new_run()
    write_state(run, State(state, since=time.time(), started=time.time()))
    lock = Lock(run.supervisor_lock)
    assert lock.take()
    try:
        with pytest.raises(TuiftuneError, match=rf"is {state}: .* First: tuiftune stop {run.id}"):
            trash.delete(run)
    finally:
        lock.release()
    worker = Lock(run.worker_lock)
    assert worker.take(), "an orphan: its supervisor died, it goes on"
    try:
        with pytest.raises(TuiftuneError, match="is not deleted"):
            trash.delete(run)
    finally:
        worker.release()
    assert list_runs(workspace) == [run]


def test_emptying_removes_links_and_not_what_they_lead_to(
    ended: Callable[[], Run], workspace: Path, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "data").write_text("precious")
    run, other = ended(), ended()
    (run.path / "link").symlink_to(kept)
    told: list[tuple[int, int]] = []
    trash.delete(run)
    trash.delete(other)
    trash.empty(trash.contents(workspace), lambda done, total: told.append((done, total)))
    assert (kept / "data").read_text() == "precious"
    assert trash.contents(workspace) == []
    assert told == [(1, 2), (2, 2)]


def test_links_in_place_of_a_run_or_of_the_trash_are_refused(
    ended: Callable[[], Run], workspace: Path, tmp_path: Path
) -> None:
    run = ended()
    link = Run(run.path.parent / "elsewhere")
    link.path.symlink_to(run.path)
    with pytest.raises(RunNotFound):
        trash.delete(link)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (run.path.parent / trash.TRASH).symlink_to(elsewhere)
    with pytest.raises(WorkspaceError, match="is a link"):
        trash.delete(run)
    assert trash.contents(workspace) == []
    assert run.path.is_dir()
    assert list(elsewhere.iterdir()) == []


def test_a_run_is_not_put_back_over_another(ended: Callable[[], Run]) -> None:
    run = ended()
    deleted = trash.delete(run)
    run.path.mkdir()
    with pytest.raises(WorkspaceError, match="stays in the trash"):
        trash.restore(deleted)
    assert deleted.run.path.is_dir()
