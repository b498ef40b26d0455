"""`tuiftune why` and those who follow a run, over one real run that is paused, released, resumed and stopped."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tuiftune.output import runs_table
from tuiftune.run import folder
from tuiftune.run.card import Healed
from tuiftune.run.folder import Run, State, state_of, write_state
from tuiftune.run.news import SupervisorNews, worker_news
from tuiftune.run.process import Lock
from tuiftune.run.store import EventRow
from tuiftune.run.summary import summarize
from tuiftune.run.telemetry_db import TelemetryWriter
from tuiftune.run.why import gpu_text, healed_facts, host_text, look, text

CommandLine = Callable[..., subprocess.CompletedProcess[str]]
PROFILE = '[dataset]\nstage = "text"\npath = "tuiftune:quickstart.txt"\n[train]\nstage = "demo"\nsteps = 100000\n'


def test_of_a_run_that_goes_on_or_waits_why_says_what_it_does(
    command_line: CommandLine, workspace: Path, wait_until: Callable[..., Any]
) -> None:
    (workspace / "profiles" / "long.toml").write_text(PROFILE)
    started = command_line("run", "long", "--set", "train.seconds_per_step=0.01", "--detach")
    run = Run(workspace / "runs" / started.stdout.strip())
    wait_until(lambda: summarize(run).step >= 2)
    said = look(run)
    assert (said.state, said.sentence.split()[0], said.commands) == (
        "running",
        "demo",
        {"log": f"tuiftune logs {run.id}"},
    )
    assert text(said, 80).startswith(f"{run.id} running: demo  ")

    paused = command_line("pause", run.id)
    assert paused.stdout.startswith(f"{run.id}: done: it waits at step "), paused.stderr
    said = look(run)
    assert said.sentence.startswith("paused as asked; demo  ")
    assert text(said, 80).startswith(f"{run.id} paused as asked; demo  ")
    assert "\n  since          " in text(said, 80)
    assert runs_table([summarize(run)]).splitlines()[2:] == ["  paused as asked"]
    standing = command_line("watch", run.id, "--once").stdout.splitlines()
    assert standing[0].startswith(f"{run.id} paused: demo  ")
    assert standing[1] == "  paused as asked"

    assert command_line("resume", run.id).stdout == f"{run.id}: done\n"
    wait_until(lambda: " going on at step " in run.worker_log.read_text())
    assert " waiting at step " in run.worker_log.read_text()
    assert command_line("stop", run.id).returncode == 0
    why = command_line("why", "latest")
    assert why.returncode == 0
    assert why.stdout.startswith(f"{run.id} stopped at step ")
    assert "What next: Resume goes on where it stopped." in why.stdout
    assert (
        json.loads(command_line("why", "latest", "--json").stdout)["commands"]["go on"] == f"tuiftune resume {run.id}"
    )


@pytest.fixture
def held(new_run: Callable[..., Run]) -> Iterator[Callable[..., Run]]:
    """A run in a state, whose supervisor is this process."""
    locks: list[Lock] = []

    def make(name: str, reason: str | None = None) -> Run:
        run = new_run()
        if name in folder.ACTIVE:
            locks.append(Lock(run.supervisor_lock))
            assert locks[-1].take()
        now = time.time()
        write_state(run, State(name, now, now - 60, None if name in folder.ACTIVE else now, reason))
        return run

    yield make
    for lock in locks:
        lock.release()


def test_of_a_finished_run_why_says_that_nothing_went_wrong_and_what_it_was_healed_from(
    held: Callable[..., Run],
) -> None:
    run = held("finished")
    assert text(look(run), 80).startswith(f"{run.id} finished: nothing went wrong.\n")
    healed(run, "out of memory; going on with 2,048 tokens at once in place of 4,096")
    said = text(look(run), 80)
    assert said.startswith(f"{run.id} finished: nothing went wrong. It went on by itself once after its worker had")
    assert "at step 12: out of memory; going on with 2,048" in said
    assert "What next" not in said


def test_a_run_that_stands_still_says_so(held: Callable[..., Run]) -> None:
    run = held("running")
    write_state(run, State("running", time.time() - 500, time.time() - 600))
    assert look(run).sentence == "no progress for 500 s, which is unusual; starting"


def healed(run: Run, sentence: str) -> None:
    record(run, "healed", {"kind": "oom", "sentence": sentence, "step": 12, "changes": {}})


def record(run: Run, kind: str, data: dict[str, Any]) -> None:
    writer = TelemetryWriter(run.telemetry_file)
    writer.event(kind, data, time.time())
    writer.close()


def test_of_many_healings_the_newest_are_listed_and_all_counted() -> None:
    facts = list(healed_facts([Healed(number, "oom", f"the {number}th", number) for number in range(9)]))
    assert facts[0] == ("healed", "9 times, the newest:")
    assert [fact.rpartition(" ")[2] for _, fact in facts[1:]] == ["3th", "4th", "5th", "6th", "7th", "8th"]


def test_what_a_device_does_not_tell_is_left_out() -> None:
    gib = 2**30
    told = {"name": "RTX", "temperature_c": 61.0, "memory_used_bytes": 5 * gib, "memory_total_bytes": 12 * gib}
    assert gpu_text("gpu0", told | {"utilization_percent": 97, "throttle": "heat"}) == (
        "gpu0 RTX: 61 °C, VRAM 5.0 GiB of 12.0 GiB, utilisation 97 %, slowed down: heat"
    )
    assert gpu_text("gpu0", {}) == "gpu0: tells nothing"
    assert gpu_text("gpu1", told | {"error": "the GPU is lost"}) == "gpu1: the GPU is lost"
    assert host_text({"cpu_percent": 5.2, "disk_free_bytes": gib, "gpu_status": "ok"}) == "CPU 5 %, disk 1.0 GiB free"
    assert host_text({"gpu_status": "no GPU"}) == "no GPU"


# ---- what those hear who follow a run


def test_a_follower_hears_what_the_supervisor_does_each_thing_once(held: Callable[..., Run]) -> None:
    run = held("running")
    record(run, "state", {"state": "running", "reason": None})
    news = SupervisorNews(run)
    running = state_of(run)
    assert news.look(running) == []
    healed(run, "out of\nmemory")
    record(run, "state", {"state": "healing", "reason": "out of\nmemory"})
    record(run, "state", {"state": "running", "reason": None})
    assert news.look(running) == ["healed: out of memory; a new worker is started"]
    record(run, "state", {"state": "pausing", "reason": "paused as asked"})
    record(run, "state", {"state": "paused", "reason": "paused as asked"})
    assert news.look(running) == ["pausing at the end of its step: paused as asked", "paused as asked"]
    assert news.look(State("paused", 0, 0, reason="paused as asked")) == []
    record(run, "alert", {"alert": "throttle", "text": "gpu0 is slowed down: heat"})
    assert news.look(running) == ["gpu0 is slowed down: heat"]
    record(run, "state", {"state": "stopping", "reason": None})
    assert news.look(running) == ["stopping: it writes a checkpoint first, then it ends"]
    news.close()


def test_who_comes_later_hears_at_once_what_a_run_waits_for(held: Callable[..., Run]) -> None:
    run = held("paused", "the disk is full")
    record(run, "state", {"state": "paused", "reason": "the disk is full"})
    news = SupervisorNews(run)
    assert news.look(state_of(run)) == ["paused: the disk is full"]
    assert news.look(state_of(run)) == []
    news.close()


def test_a_damaged_record_of_the_supervisor_is_said_once_and_the_state_is_told_all_the_same(
    held: Callable[..., Run],
) -> None:
    run = held("queued", "waits for GPU 0")
    run.telemetry_file.write_bytes(b"no database " * 1000)
    news = SupervisorNews(run)
    first = news.look(state_of(run))
    assert "telemetry.db: cannot be read" in first[0]
    assert first[1:] == ["queued: waits for GPU 0"]
    assert news.look(state_of(run)) == []
    news.close()


def test_that_a_run_was_let_go_is_a_line() -> None:
    assert worker_news(EventRow(1, 0.0, "held", {"step": 5, "reason": "paused as asked"})) is None, "the state says it"
    assert (
        worker_news(EventRow(2, 0.0, "released", {"step": 5, "seconds": 75})) == "goes on at step 5, after 1 min 15 s"
    )
