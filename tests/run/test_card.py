"""The card of a run that did not finish: real runs that end in each way, and folders as they are left."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tuiftune.run import advice, folder, launch, process, requests
from tuiftune.run.card import Card, card_of, leave_card, make_card
from tuiftune.run.cause import last_traceback
from tuiftune.run.checkpoints import publish
from tuiftune.run.files import write_json
from tuiftune.run.folder import Run, State, state_of, write_state
from tuiftune.run.metrics_db import MetricsWriter
from tuiftune.run.process import is_locked
from tuiftune.run.telemetry_db import TelemetryWriter

CommandLine = Callable[..., subprocess.CompletedProcess[str]]
Ended = Callable[..., Card]

TRACEBACK = """\
Traceback (most recent call last):
  File "/app/tuiftune/run/worker.py", line 53, in main
    pipeline_run.run()
  File "{workspace}/plugins/chat.py", line 12, in run
    return torch.zeros(10**12)
           ^^^^^^^^^^^^^^^^^^^
  File "/venv/lib/python3.11/site-packages/torch/functional.py", line 9, in zeros
    allocate()
torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.20 GiB
more of it on another line
"""


@pytest.fixture
def end_as(
    new_run: Callable[..., Run], behave: Callable[[str], None], wait_until: Callable[..., Any]
) -> Callable[..., Run]:
    """A supervised run whose stand-in worker behaves so, once it is ready, and after `then(run)` once it has ended."""

    def begin(behaviour: str, then: Callable[[Run], object] | None = None) -> Run:
        behave(behaviour)
        run = new_run()
        process.start_detached(launch.supervisor_command(run), run.supervisor_log, run.path)
        if then is not None:
            wait_until(lambda: (run.path / "ready").exists() and folder.recorded_state(run).worker, run.path)
            then(run)
        wait_until(lambda: not state_of(run).active and not is_locked(run.supervisor_lock), run.path)
        return run

    return begin


def kill_worker(number: signal.Signals) -> Callable[[Run], object]:
    def kill(run: Run) -> None:
        worker = folder.recorded_state(run).worker
        assert worker is not None
        os.kill(worker.pid, number)

    return kill


def kill_both(run: Run) -> None:
    state = folder.recorded_state(run)
    assert state.supervisor is not None
    assert state.worker is not None
    os.kill(state.supervisor.pid, signal.SIGKILL)
    os.kill(state.worker.pid, signal.SIGKILL)


def written(run: Run) -> Card:
    return Card.from_json(json.loads(run.card_file.read_text()))


def failed(run: Run, kind: str, reason: str = "something is wrong", **more: Any) -> State:
    state = State("failed", time.time(), time.time() - 60, time.time(), reason=reason, kind=kind, **more)
    write_state(run, state)
    return state


# ---- real runs


def test_a_crash_is_told_with_its_place_its_step_its_checkpoint_and_what_it_was_healed_from(
    command_line: CommandLine, workspace: Path
) -> None:
    profile = '[dataset]\nstage = "text"\npath = "tuiftune:quickstart.txt"\n[train]\nstage = "demo"\nsave_every = 2\n'
    (workspace / "profiles" / "tour.toml").write_text(profile)
    done = command_line("run", "tour", "--set", "train.seconds_per_step=0", "--set", "train.crash_at=5")
    run = folder.list_runs(workspace)[0]
    assert done.returncode == 1
    assert "healed: train stage 'demo' (plugin demo): RuntimeError: step 5 was asked to crash" in done.stderr
    assert done.stderr.endswith(f"Why:      tuiftune why {run.id}\nGo on:    tuiftune resume {run.id}\n")
    assert (
        "RuntimeError: step 5 was asked to crash; the traceback is in worker.log; a new" in run.worker_log.read_text()
    )

    card = written(run)
    assert (card.id, card.profile, card.state, card.kind, card.attempt) == (run.id, "tour", "failed", "crashed", 2)
    assert card.sentence == state_of(run).reason
    assert card.exception == "RuntimeError: step 5 was asked to crash"
    assert (card.place or "").startswith("tuiftune/stages/demo.py:")
    assert (card.place or "").endswith(", in _pretend")
    assert (card.step, card.total_steps, card.last_good_step, card.checkpoint) == (4, 60, 4, 4)
    assert [(one.kind, one.step) for one in card.healed] == [("crashed", 4)]
    assert card.log[-1] == "RuntimeError: step 5 was asked to crash"
    assert len(card.log) == 20
    assert card.devices["host"]["ram_total_bytes"] > 0
    assert card.environment["tuiftune"] == run.origin()["versions"]["tuiftune"]
    assert card.commands == {"go on": f"tuiftune resume {run.id}", "log": f"tuiftune logs {run.id}"}
    assert card.unread == []

    why = command_line("why")
    assert why.returncode == 0
    assert why.stdout.startswith(f"{run.id} failed: train stage 'demo' (plugin demo): RuntimeError: step 5")
    for words in (
        "  exception      RuntimeError: step 5 was asked to crash\n",
        "  step           4 of 60, loss ",
        " (made up)\n",
        "  checkpoint     step 4 (whole, by the sizes of its files)\n",
        "The end of worker.log:\n",
        "What next: This is a bug; resume tries it again.",
        f"  go on:         tuiftune resume {run.id}\n",
    ):
        assert words in why.stdout
    assert json.loads(command_line("why", run.id, "--json").stdout) == json.loads(run.card_file.read_text())


@pytest.mark.parametrize(
    ("number", "what"), [(signal.SIGKILL, "signal 9 (SIGKILL)"), (signal.SIGSEGV, "signal 11 (SIGSEGV)")]
)
def test_a_killed_worker_is_told_by_its_signal(end_as: Callable[..., Run], number: signal.Signals, what: str) -> None:
    card = written(end_as("wait", kill_worker(number)))
    assert (card.kind, card.ended_by, card.exception) == ("killed", what, None)
    assert list(card.commands) == ["look", "start over", "log"]


def test_of_a_worker_that_ends_without_a_word_there_is_its_log(end_as: Callable[..., Run]) -> None:
    card = written(end_as("crash"))
    assert (card.kind, card.ended_by, card.exception) == ("killed", "an end without a word", None)
    assert card.log == ["attempt of crash", "Traceback ...", "ValueError: broken"]


@pytest.mark.parametrize("kind", ["gpu-lost", "nan", "data", "stage", "setup"])
def test_what_the_worker_says_of_its_end_is_the_kind(end_as: Callable[..., Run], kind: str) -> None:
    card = written(end_as(f"fail-as-{kind}"))
    assert (card.kind, card.sentence) == (kind, "something is wrong")
    assert card.advice == advice.ADVICE[kind].text


def test_a_stopped_run_was_stopped_by_somebody_and_a_released_one_paused(end_as: Callable[..., Run]) -> None:
    card = written(end_as("wait", lambda run: requests.ask(run.requests, "stop")))
    assert (card.state, card.kind, card.ended_by) == ("stopped", "stopped", "somebody who asked for it")
    card = written(end_as("wait", lambda run: requests.ask(run.requests, "release")))
    assert (card.state, card.kind, card.ended_by) == ("released", "released", "somebody who asked for its memory")
    card = written(end_as("wait", kill_worker(signal.SIGTERM)))
    assert (card.state, card.ended_by) == ("stopped", "a signal")


def test_a_finished_run_has_no_card(end_as: Callable[..., Run]) -> None:
    assert not end_as("finish").card_file.exists()


def test_of_an_interrupted_run_whoever_looks_makes_the_card_and_tells_a_restart_of_the_machine(
    end_as: Callable[..., Run],
) -> None:
    run = end_as("wait", kill_both)
    card = card_of(run, state_of(run))
    assert not run.card_file.exists()
    assert (card.state, card.kind, card.ended_by) == ("interrupted", "interrupted", "the end of all its processes")
    assert card.time >= folder.recorded_state(run).since
    state = json.loads(run.state_file.read_text())
    state["supervisor"]["boot_id"] = "that of another day"
    write_json(run.state_file, state)
    card = card_of(run, state_of(run))
    assert (card.state, card.kind, card.ended_by) == ("interrupted", "reboot", "a restart of the machine")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("def broken(*_): raise OSError(28, 'No space left on device')\ncard.write_json = broken", "cannot be written"),
        ("def broken(*_): raise RuntimeError('a bug')\ncard.make_card = broken", "RuntimeError: a bug"),
    ],
)
def test_a_card_that_cannot_be_written_costs_nothing_else_of_the_end(
    new_run: Callable[..., Run], behave: Callable[[str], None], wait_until: Callable[..., Any], change: str, said: str
) -> None:
    behave("fail-as-data")
    run = new_run()
    asked = requests.ask(run.requests, "checkpoint")
    source = f"import sys; from tuiftune.run import card, supervisor\n{change}\nsupervisor.main(sys.argv[1:])"
    tail = launch.supervisor_command(run)[4:]  # after: python -P -m tuiftune.run.supervisor
    process.start_detached([process.python()[0], "-c", source, *tail], run.supervisor_log, run.path)
    wait_until(lambda: not state_of(run).active and not is_locked(run.supervisor_lock), run.path)
    assert state_of(run).name == "failed"
    assert (requests.wait_answer(run.requests, asked, 0) or "").startswith("refused")
    assert said in run.supervisor_log.read_text()
    assert not run.card_file.exists()
    assert card_of(run, state_of(run)).kind == "data", "whoever looks makes it"


# ---- what is made of a folder


def test_memory_that_ran_out_is_told_with_its_place_and_the_way_to_another_run(new_run: Callable[..., Run]) -> None:
    run = new_run()
    trace = TRACEBACK.format(workspace=run.path.parents[1])
    write_json(run.exit_file, {"outcome": "failed", "sentence": "out of memory", "kind": "oom", "traceback": trace})
    card = make_card(run, failed(run, "oom"))
    assert card.ended_by == "CUDA memory that ran out"
    assert card.exception == "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.20 GiB"
    assert card.place == "plugins/chat.py:12, in run", "the deepest line that is no library's"
    assert list(card.commands) == ["look", "another", "start over", "log"]
    assert card.commands["look"] == "tuiftune plan test"


def test_a_worker_that_could_not_write_its_end_is_told_by_the_traceback_in_its_log(new_run: Callable[..., Run]) -> None:
    run = new_run()
    run.worker_log.write_text(TRACEBACK.format(workspace=run.path.parents[1]))
    card = make_card(run, failed(run, "crashed", "the worker ended without a word (exit status 1)"))
    assert (card.kind, card.place) == ("crashed", "plugins/chat.py:12, in run")


def test_the_last_of_several_tracebacks_counts_and_none_is_none() -> None:
    text = (
        TRACEBACK.format(workspace="/w")
        + "\nDuring handling ...\n\nTraceback (most recent call last):\n"
        + ('  File "/usr/lib/python3.11/json/decoder.py", line 3, in decode\n    raise\nValueError\n')
    )
    assert last_traceback(text, Path("/w")) == ("ValueError", "/usr/lib/python3.11/json/decoder.py:3, in decode")
    assert last_traceback("a line\nanother", Path("/w")) == (None, None)


def test_the_last_finite_loss_the_devices_and_a_checkpoint_with_a_piece_missing(new_run: Callable[..., Run]) -> None:
    run = new_run()
    writer = MetricsWriter(run.metrics_file)
    with writer.batch():
        for step in range(1, 8):
            writer.metric(step, {"train/loss": 2.5 if step < 6 else float("nan")}, time.time())
    writer.close()
    telemetry = TelemetryWriter(run.telemetry_file)
    gpu = {"name": "GPU", "temperature_c": 91, "utilization_percent": None, "throttle": "heat", "uuid": float("nan")}
    telemetry.sample(1000.0, {"gpu0": gpu, "host": {"cpu_percent": 5.0}})
    telemetry.close()
    for step in (2, 4):
        aside = run.checkpoints / "aside"
        aside.mkdir()
        (aside / "model").write_text("weights")
        publish(aside, run.checkpoints, step)
    (run.checkpoints / "step-000004" / "model").unlink()
    card = make_card(run, failed(run, "nan"))
    assert (card.step, card.last_good_step, card.last_good_loss) == (7, 5, 2.5)
    assert (card.checkpoint, card.passed_over) == (2, ["step-000004: model is missing"])
    assert card.devices["gpu0"] == {"name": "GPU", "temperature_c": 91, "throttle": "heat"}
    assert card.devices_time == 1000.0


def test_what_cannot_be_read_is_said_and_the_rest_is_there(new_run: Callable[..., Run]) -> None:
    run = new_run()
    run.metrics_file.write_bytes(b"no database " * 1000)
    run.telemetry_file.write_bytes(b"no database " * 1000)
    shutil.rmtree(run.checkpoints)
    run.worker_log.write_text("the last line\n")
    card = make_card(run, failed(run, "crashed"))
    assert card.log == ["the last line"]
    assert [problem.partition(":")[0].rpartition("/")[2] for problem in card.unread] == ["metrics.db", "telemetry.db"]


def test_nothing_on_a_card_steers_a_terminal_or_is_without_an_end(new_run: Callable[..., Run]) -> None:
    run = new_run()
    run.worker_log.write_text("x" * 10_000 + "\n\x1b]0;title\x07\x1b[2Jred\x1b[31m line\n")
    card = make_card(run, failed(run, "data", reason="bad \x1b[31m" + "y" * 10_000))
    assert card.log[1] == "red line"
    assert len(card.log[0]) == 500
    assert len(card.sentence) == 2000
    assert "\x1b" not in json.dumps(card.to_json())


def test_a_card_is_believed_only_for_the_end_it_tells_of(new_run: Callable[..., Run]) -> None:
    run = new_run()
    leave_card(run, failed(run, "data", reason="the first end"))
    state = failed(run, "stage", reason="the second end", attempt=2)
    assert card_of(run, state).sentence == "the second end"
    run.card_file.write_text("{torn")
    assert card_of(run, state).kind == "stage"


def test_a_resume_takes_the_card_away(
    new_run: Callable[..., Run], behave: Callable[[str], None], wait_until: Callable[..., Any]
) -> None:
    behave("finish")
    run = new_run()
    leave_card(run, failed(run, "crashed"))
    assert run.card_file.exists()
    launch.resume(run)
    wait_until(lambda: state_of(run).name == "finished", run.path)
    assert not run.card_file.exists()


# ---- what next


def test_another_run_is_proposed_with_the_overrides_of_this_one_and_half_of_what_was_too_much(workspace: Path) -> None:
    effective = {
        "dataset": {"path": "my texts/a.txt"},
        "preprocess": [{"stage": "clean"}, {"stage": "tokenize", "max_length": 512}],
        "train": {"learning_rate": 5e-5, "epochs": 2, "hub_token": "abc"},
    }
    changed = ("dataset.path", "preprocess.1.max_length", "train.epochs", "train.hub_token")
    origin = {"profile": "my gpt", "origin": {**dict.fromkeys(changed, "--set"), "train.learning_rate": "default"}}
    run = folder.create(workspace, "x", effective, origin)
    start = "tuiftune run 'my gpt' --set 'dataset.path=my texts/a.txt' --set tokenize.max_length={} "
    end = "--set train.epochs=2 --set 'train.hub_token=***'"
    assert advice.another(run, "my gpt", "tokenize.max_length") == start.format(256) + end
    assert advice.another(run, "my gpt", "train.learning_rate") == (
        start.format(512) + end + " --set train.learning_rate=2.5e-05"
    )
    assert advice.another(run, "my gpt", "") == start.format(512) + end + " --set KEY=VALUE"


def test_a_profile_that_cannot_be_read_leaves_the_command_without_values(new_run: Callable[..., Run]) -> None:
    run = new_run()
    run.profile_file.write_text("[torn")
    assert advice.another(run, "test", "train.learning_rate") == "tuiftune run test --set KEY=VALUE"


def test_every_kind_of_ending_has_one_next_step_that_fits_a_row() -> None:
    for kind, one in advice.ADVICE.items():
        assert len(one.text.partition(". ")[0]) < 76, kind
