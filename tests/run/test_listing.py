"""Many runs are read bit by bit, and those that have ended only once."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tuiftune.run import listing, notes, trash
from tuiftune.run.folder import Run, State, write_state
from tuiftune.run.listing import Listing
from tuiftune.run.process import Lock


@pytest.fixture
def runs(new_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> list[Run]:
    """Six, each started a minute after the one before; the first goes on."""
    found = [new_run() for _ in range(6)]
    now = time.time()
    for number, run in enumerate(found):
        started = now - 600 + 60 * number
        stamp = time.strftime("%Y%m%d-%H%M%S", time.localtime(started))
        moved = run.path.rename(run.path.with_name(f"test-{stamp}-abc"))
        found[number] = Run(moved)
        state = "finished" if number else "running"
        write_state(found[number], State(state, now, started, ended=now if number else None))
    monkeypatch.setattr(listing, "FIRST", 2)
    return found


def names(look: list[listing.RunSummary]) -> list[str]:
    return [summary.id for summary in look]


def test_the_newest_come_first_then_what_goes_on_then_the_others(runs: list[Run], workspace: Path) -> None:
    lock = Lock(runs[0].supervisor_lock)
    assert lock.take()
    reading = Listing(workspace)
    seen = []
    while not seen or not reading.complete:
        seen.append(set(names(reading.look(budget_s=0.0))))
    lock.release()
    newest, second, third = runs[5].id, runs[4].id, runs[0].id
    arrived = [name for before, after in zip([set(), *seen], seen, strict=False) for name in after - before]
    assert arrived[:3] == [newest, second, third]
    assert names(reading.look()) == [run.id for run in reversed(runs)], "listed by when they were started"


def test_a_run_that_has_ended_is_read_once_and_again_when_it_has_changed(
    runs: list[Run], workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    summaries = listing.summaries
    monkeypatch.setattr(listing, "summaries", lambda few: read.extend(run.id for run in few) or summaries(few))
    reading = Listing(workspace)
    reading.look(budget_s=60)
    assert sorted(read) == sorted(run.id for run in runs)
    read.clear()
    reading.look(budget_s=60)
    reading.look(budget_s=60, everything=True)
    assert read == [], "all of them ended: the one whose processes are gone too"
    notes.rename(runs[2], "another")
    assert [one.name for one in reading.look(60, everything=True) if one.id == runs[2].id] == ["another"]
    assert read == [runs[2].id]


def test_runs_that_come_and_go_are_seen_at_the_next_look(
    runs: list[Run], new_run: Callable[..., Run], workspace: Path
) -> None:
    reading = Listing(workspace)
    assert len(reading.look(60)) == 6
    new = new_run()
    trash.delete(runs[3])
    shutil.rmtree(runs[4].path)
    assert set(names(reading.look(60))) == {new.id, *(run.id for run in (runs[0], runs[1], runs[2], runs[5]))}
    folder = workspace / "runs" / "late"
    folder.mkdir()
    os.utime(folder.parent, (time.time() - 60, time.time() - 60))
    assert "late" not in names(reading.look(60)), "a folder without a state is no run yet"
    write_state(Run(folder), State("finished", time.time(), time.time(), ended=time.time()))
    assert "late" in names(reading.look(60))
