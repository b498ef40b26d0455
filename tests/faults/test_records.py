"""Records that are damaged, checkpoints that are, and a resume that would not be the same run."""

from __future__ import annotations

import json
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tuiftune.run import checkpoints, folder, launch, process
from tuiftune.run.checkpoints import step_folders
from tuiftune.run.folder import Run, State
from tuiftune.run.metrics_db import MetricsReader
from tuiftune.run.process import is_locked

InState = Callable[..., State]
Started = Callable[..., Run]
Profile = Callable[..., str]
Until = Callable[..., Any]


def steps(run: Run) -> list[int]:
    reader = MetricsReader(run.metrics_file)
    found = [row.step for row in reader.rows("train/loss")]
    reader.close()
    return found


def told(run: Run) -> list[str]:
    """Messages that belong to no stage."""
    reader = MetricsReader(run.metrics_file)
    found = [event.data["text"] for event in reader.events() if event.kind == "message" and not event.data["stage"]]
    reader.close()
    return found


def events(run: Run, kind: str) -> list[dict[str, Any]]:
    reader = MetricsReader(run.metrics_file)
    found = [event.data for event in reader.events() if event.kind == kind]
    reader.close()
    return found


@pytest.fixture
def stopped(profile: Profile, started: Started, in_state: InState, until: Until) -> Run:
    """A demo run of 100 steps with a checkpoint each 10, stopped near step 30."""
    run = started(profile("demo"), "train.steps=100", "run.keep_checkpoints=3", "train.seconds_per_step=0.01")
    until(lambda: len(steps(run)) > 30)
    assert launch.ask(run, "stop", 30) == "done"
    in_state(run, "stopped")
    until(lambda: not is_locked(run.supervisor_lock))  # until then telemetry.db is open
    return run


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "a bit is flipped": lambda newest: flip(newest / "made-up.json"),
    "a file is cut short": lambda newest: (newest / "made-up.json").write_bytes(b'{"st'),
    "a file is empty, as after a power cut": lambda newest: (newest / "made-up.json").write_bytes(b""),
    "a file is missing": lambda newest: (newest / "made-up.json").unlink(),
    "the seal is missing": lambda newest: (newest / checkpoints.SEAL).unlink(),
    "the seal is torn": lambda newest: (newest / checkpoints.SEAL).write_text('{"step": 1, "fil'),
    "the seal is of another step": lambda newest: (newest / checkpoints.SEAL).write_text('{"step": 1, "files": {}}'),
    "the folder is empty": lambda newest: (shutil.rmtree(newest), newest.mkdir()),
}


def test_each_damage_of_the_newest_checkpoint_costs_one_save_and_is_named(
    stopped: Run, tmp_path: Path, in_state: InState
) -> None:
    whole = tmp_path / "whole"
    shutil.copytree(stopped.path, whole)
    newest, before = step_folders(stopped.checkpoints)[-1], step_folders(stopped.checkpoints)[-2]
    for name, damage in DAMAGES.items():
        shutil.rmtree(stopped.checkpoints)
        shutil.copytree(whole / "checkpoints", stopped.checkpoints)
        damage(newest)
        found, passed_over = checkpoints.newest_sealed(stopped.checkpoints)
        assert found == before, name
        assert len(passed_over) == 1, name
        assert passed_over[0].startswith(newest.name), name
    assert launch.go_on(stopped) is None
    in_state(stopped, "finished")
    assert steps(stopped) == list(range(1, 101))
    assert events(stopped, "resumed") == [{"step": checkpoints.step_of(before)}]
    assert told(stopped) == [f"passed over: {newest.name} was never finished (no complete.json)"]


def test_where_no_checkpoint_is_whole_the_run_starts_over_only_when_told_to(stopped: Run, in_state: InState) -> None:
    for one in step_folders(stopped.checkpoints):
        flip(one / "made-up.json")
    at = steps(stopped)
    launch.resume(stopped)
    state = in_state(stopped, "failed")
    assert (state.reason or "").startswith("no checkpoint is whole: step-0000")
    assert (state.reason or "").endswith(f"To start over at step 1: tuiftune resume {stopped.id} --force")
    assert steps(stopped) == at, "nothing recorded is thrown away before"
    launch.resume(stopped, force=True)
    assert in_state(stopped, "finished")
    assert steps(stopped) == list(range(1, 101))


def edit(run: Run, old: str, new: str) -> None:
    text = run.profile_file.read_text()
    assert old in text
    run.profile_file.write_text(text.replace(old, new))


def test_a_resume_proves_itself_or_is_refused_until_it_is_forced(
    stopped: Run, in_state: InState, command_line: Callable[..., Any]
) -> None:
    before = steps(stopped)
    edit(stopped, "steps = 100", "steps = 110")
    refused = command_line("resume", stopped.id)
    assert refused.returncode == 1
    assert (
        "the profile is another than this run was begun with: train.steps 100 -> 110. Put it back as it was, start "
        f"another run, or go on all the same: tuiftune resume {stopped.id} --force"
    ) in refused.stderr
    assert steps(stopped) == before, "a run that is refused keeps all that it has recorded"
    edit(stopped, "steps = 110", "steps = 100")
    edit(stopped, "keep_checkpoints = 3", "keep_checkpoints = 4")  # how many are kept is no part of a training
    went_on = command_line("resume", stopped.id)
    assert went_on.returncode == 0, went_on.stderr
    at = events(stopped, "resumed")[-1]["step"]
    assert f"profile, data, code and position agree with the checkpoint of step {at}\n" in went_on.stderr
    assert events(stopped, "proved") == [
        {"step": at, "agree": ["profile", "data", "code", "position"], "noted": [], "forced": []}
    ]
    assert steps(stopped) == list(range(1, 101))


def test_what_is_forced_is_said_and_holds_for_the_workers_that_follow(
    stopped: Run, in_state: InState, until: Until
) -> None:
    edit(stopped, "steps = 100", "steps = 140")
    launch.resume(stopped, force=True)
    first = until(lambda: events(stopped, "proved"))[0]
    until(lambda: steps(stopped)[-1] > first["step"] + 12)
    worker = folder.recorded_state(stopped).worker
    assert worker
    process.send(worker, signal.SIGKILL)
    in_state(stopped, "finished")
    assert steps(stopped) == list(range(1, 141))
    assert first["forced"] == ["the profile is another than this run was begun with: train.steps 100 -> 140"]


def test_other_versions_are_said_and_no_reason_to_refuse(stopped: Run, in_state: InState) -> None:
    newest = step_folders(stopped.checkpoints)[-1]
    proof = json.loads((newest / "proof.json").read_text())
    proof["versions"]["torch"] = "1.0"
    (newest / "proof.json").write_text(json.dumps(proof))
    checkpoints.seal(newest, checkpoints.step_of(newest))
    launch.resume(stopped)
    in_state(stopped, "finished")
    (proved,) = events(stopped, "proved")
    assert proved["agree"] == ["profile", "data", "position"]
    assert proved["noted"][0].startswith("other versions or another device, so the last bits may differ: torch 1.0 -> ")


# ---- metrics.db


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b"no database at all" * 500),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:4096] + bytes(8192) + path.read_bytes()[12288:]),
    ],
    ids=["noise", "empty", "zeroed pages"],
)
def test_a_damaged_record_is_filled_again_from_the_newest_checkpoint(
    stopped: Run, in_state: InState, damage: Callable[[Path], Any]
) -> None:
    at = checkpoints.step_of(step_folders(stopped.checkpoints)[-1])
    damage(stopped.metrics_file)
    for suffix in ("-wal", "-shm"):
        stopped.metrics_file.with_name(f"metrics.db{suffix}").unlink(missing_ok=True)
    launch.resume(stopped)
    in_state(stopped, "finished")
    assert steps(stopped) == list(range(1, 101)), "none is lost"
    (sentence,) = told(stopped)
    assert re.match(r"metrics\.db was (damaged|empty): set aside as metrics\.db\.damaged-", sentence)
    assert sentence.endswith(f", and filled again up to step {at} from step-{at:06d}")
    assert len(list(stopped.path.glob("metrics.db.damaged-*"))) >= 1


def test_a_record_that_is_damaged_while_the_run_goes_on_is_mended_by_its_worker(
    profile: Profile, started: Started, in_state: InState, until: Until
) -> None:
    run = started(profile("demo"), "train.steps=150")
    until(lambda: len(steps(run)) > 30)
    with run.metrics_file.open("r+b") as file:
        file.write(b"noise" * 4000)
    run.metrics_file.with_name("metrics.db-wal").write_bytes(b"")
    state = in_state(run, "finished", "failed")
    assert (state.name, state.attempt) == ("finished", 1), "training never notices"
    found = steps(run)
    assert found[-1] == 150
    (sentence,) = told(run)
    at = int(sentence.rpartition("step-")[2])
    assert found[:at] == list(range(1, at + 1)), "up to the checkpoint nothing is missing"
    assert len(found) > 100, "after it, all but what the damage took"
