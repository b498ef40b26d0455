"""What the command line and the dashboard do to runs: start, resume, stop, adopt."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tuiftune import __version__
from tuiftune.catalog import ResolvedProfile, resolve_profile
from tuiftune.errors import Problem, ProfileError, RunFailed, TuiftuneError
from tuiftune.run import folder, launch, logout, process, requests
from tuiftune.run.files import write_json
from tuiftune.run.folder import Run, state_of, write_state
from tuiftune.run.metrics_db import MetricsReader
from tuiftune.run.process import is_locked
from tuiftune.run.telemetry_db import TelemetryReader
from tuiftune.run.worker_start import MARK
from tuiftune.secrets import without_secrets

WaitUntil = Callable[..., Any]

RESOLVED = ResolvedProfile(
    name="quickstart",
    path="profiles/quickstart.toml",
    description="",
    effective={"seed": 42, "run": {"stop_grace": 5.0}},
    origin={"seed": "profiles/base.toml:3", "run.stop_grace": "default"},
    pipeline=["text"],
    problems=[],
    notes=[],
    plugins={"tuiftune.stages.text": __version__},
)


@pytest.fixture
def start(workspace: Path) -> Iterator[Callable[..., Run]]:
    """launch.start; whatever is left of the runs at the end is killed."""
    started: list[Run] = []

    def begin(
        resolved: ResolvedProfile = RESOLVED,
        name: str | None = None,
        command: tuple[str, ...] = ("tuiftune", "run", "quickstart"),
    ) -> Run:
        started.append(launch.start(workspace, resolved, name=name, command=command))
        return started[-1]

    yield begin
    for run in started:
        supervisor = folder.recorded_state(run).supervisor
        if supervisor:
            process.send(supervisor, 9)
        process.end_all(lambda path=run.path: process.marked(MARK, str(path)))


@pytest.fixture
def finished(wait_until: WaitUntil) -> Callable[[Run], str]:
    """Wait until a run has ended and its supervisor has gone; the name of its state."""

    def wait(run: Run) -> str:
        wait_until(lambda: not state_of(run).active and not is_locked(run.supervisor_lock))
        return state_of(run).name

    return wait


def test_a_started_run_is_supervised_when_start_returns(
    start: Callable[..., Run], behave: Callable[[str], None], finished: Callable[[Run], str]
) -> None:
    behave("finish")
    begun = time.monotonic()
    run = start(name="first try")
    assert time.monotonic() - begun < launch.START_S / 2
    assert is_locked(run.supervisor_lock) or not state_of(run).active
    assert finished(run) == "finished"
    assert tomllib.loads(run.profile_file.read_text()) == RESOLVED.effective
    origin = run.origin()
    created = origin.pop("created")
    assert abs(time.time() - created) < 60
    assert origin == {
        "profile": "quickstart",
        "name": "first try",
        "origin": RESOLVED.origin,
        "plugins": RESOLVED.plugins,
        "versions": {"tuiftune": __version__, "python": sys.version.split()[0]},
        "platform": f"{os.uname().sysname} {os.uname().release} {os.uname().machine}",
        "command": ["tuiftune", "run", "quickstart"],
        "logout": logout.look().to_json(),
    }
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)  # no zombie here


def test_a_run_goes_on_after_the_program_that_started_it_was_killed_with_its_group(
    workspace: Path, behave: Callable[[str], None], wait_until: WaitUntil, new_run: Callable[..., Run]
) -> None:
    behave("wait")
    run = new_run()
    source = (
        "import sys; from pathlib import Path; from tuiftune.run import process\n"
        "process.start_detached(sys.argv[2:], Path(sys.argv[1]), Path.cwd())\n"
        "print('started', flush=True); sys.stdin.read()"
    )
    launcher = subprocess.Popen(
        [sys.executable, "-c", source, str(run.supervisor_log), *launch.supervisor_command(run)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert launcher.stdout is not None
    launcher.stdout.readline()
    os.killpg(launcher.pid, 9)
    launcher.communicate()
    wait_until((run.path / "ready").exists)
    (run.path / "finish-now").touch()
    wait_until(lambda: state_of(run).name == "finished")


def test_a_profile_with_problems_starts_nothing(workspace: Path) -> None:
    broken = ResolvedProfile(**{**vars(RESOLVED), "problems": [Problem("not an option", "p.toml", 3, "train.x")]})
    with pytest.raises(ProfileError, match=r"p\.toml:3: train\.x: not an option"):
        launch.start(workspace, broken, name=None, command=[])
    assert not (workspace / "runs").exists()


def test_secrets_on_the_command_line_are_written_nowhere(
    start: Callable[..., Run], behave: Callable[[str], None], finished: Callable[[Run], str]
) -> None:
    behave("finish")
    run = start(command=("tuiftune", "run", "p", "--set", "hub.token=hf_geheim", "--set=x.api_key=geheim=="))
    finished(run)
    written = [path.read_bytes() for path in run.path.rglob("*") if path.is_file()]
    assert not any(b"geheim" in text for text in written)


@pytest.mark.parametrize(
    ("argument", "written"),
    [
        ("hub.token=abc", "hub.token=***"),
        ("HF_TOKEN=abc", "HF_TOKEN=***"),
        ("--set=train.db_password=a=b", "--set=train.db_password=***"),
        ('hub={token="abc", x=1}', "hub={token=***"),
        ("client_secret = x", "client_secret =***"),
        ("model.tokenizer=gpt2", "model.tokenizer=gpt2"),
        ("train.batch_tokens=512", "train.batch_tokens=512"),
        ("dataset.path=token.txt", "dataset.path=token.txt"),
        ("token", "token"),
    ],
)
def test_what_is_named_like_a_secret_is_masked_and_a_tokenizer_is_not(argument: str, written: str) -> None:
    assert without_secrets([argument]) == [written]


def test_a_supervisor_that_does_not_start_is_a_failed_run_with_the_reason(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = [sys.executable, "-c", "raise SystemExit('no module named x')"]
    monkeypatch.setattr(launch, "supervisor_command", lambda _: broken)
    with pytest.raises(RunFailed, match=r"the supervisor did not start .*: no module named x$"):
        launch.start(workspace, RESOLVED, name=None, command=[])
    (run,) = folder.list_runs(workspace)
    assert folder.recorded_state(run).name == "failed"


def test_a_supervisor_that_goes_away_at_once_is_told_after_a_while(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "START_S", 0.3)
    gone = [sys.executable, "-c", "import sys; print('line of the log', file=sys.stderr)"]
    monkeypatch.setattr(launch, "supervisor_command", lambda _: gone)
    with pytest.raises(RunFailed, match=r"the supervisor did not come up within 0 s: line of the log"):
        launch.start(workspace, RESOLVED, name=None, command=[])


# ---- resume


def test_a_stopped_run_is_resumed_as_its_second_attempt(
    start: Callable[..., Run], behave: Callable[[str], None], finished: Callable[[Run], str], wait_until: WaitUntil
) -> None:
    behave("wait")
    run = start()
    wait_until((run.path / "ready").exists)
    assert launch.stop(run) == "done"
    first = folder.recorded_state(run)
    behave("finish")
    launch.resume(run)
    assert finished(run) == "finished"
    second = folder.recorded_state(run)
    assert (second.attempt, second.started) == (2, first.started)
    assert second.worker != first.worker
    with pytest.raises(TuiftuneError, match=r"cannot be resumed: it is finished\. Start another: tuiftune run PROFILE"):
        launch.resume(run)


def test_an_active_run_is_not_resumed(
    start: Callable[..., Run], behave: Callable[[str], None], wait_until: WaitUntil
) -> None:
    behave("wait")
    run = start()
    wait_until((run.path / "ready").exists)
    with pytest.raises(TuiftuneError, match=rf"^{run.id} cannot be resumed: it is running$"):
        launch.resume(run)
    assert launch.stop(run) == "done"


def test_of_those_who_resume_at_once_one_does(
    new_run: Callable[..., Run], behave: Callable[[str], None], wait_until: WaitUntil
) -> None:
    behave("wait")
    run = new_run()
    now = time.time()
    write_state(run, folder.State("failed", now, now, now, "broken"))
    outcomes: list[str] = []

    def resume() -> None:
        try:
            launch.resume(run)
            outcomes.append("resumed")
        except TuiftuneError as error:
            outcomes.append(str(error))

    threads = [threading.Thread(target=resume) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count("resumed") == 1
    assert all("cannot be resumed" in outcome for outcome in outcomes if outcome != "resumed")
    wait_until((run.path / "ready").exists)
    assert folder.recorded_state(run).attempt == 2
    assert run.worker_log.read_text().count("attempt") == 1
    assert launch.stop(run) == "done"


def test_a_stop_asked_of_a_run_that_had_ended_does_not_stop_its_next_attempt(
    new_run: Callable[..., Run], behave: Callable[[str], None], finished: Callable[[Run], str]
) -> None:
    behave("finish")
    run = new_run()
    now = time.time()
    write_state(run, folder.State("failed", now, now, now, "broken"))
    write_json(run.exit_file, {"outcome": "failed", "sentence": "broken"})
    asked = requests.ask(run.requests, "stop")
    launch.resume(run)
    assert requests.wait_answer(run.requests, asked, 0) == "refused: the run has already ended (failed)"
    assert finished(run) == "finished"


# ---- stop and adoption


def test_a_run_that_has_ended_cannot_be_stopped(new_run: Callable[..., Run]) -> None:
    run = new_run()
    now = time.time()
    write_state(run, folder.State("running", now - 60, now - 60))
    assert launch.stop(run) == "refused: the run has already ended (interrupted)"
    assert requests.read(run.requests) == []


def test_a_stop_of_a_run_whose_processes_vanish_is_answered(
    start: Callable[..., Run], behave: Callable[[str], None], wait_until: WaitUntil, kill: Callable[[int], None]
) -> None:
    behave("stubborn")
    run = start()
    wait_until((run.path / "ready").exists)
    state = folder.recorded_state(run)
    assert state.supervisor
    assert state.worker
    answers: list[str] = []
    asking = threading.Thread(target=lambda: answers.append(launch.stop(run)))
    asking.start()
    wait_until(lambda: folder.recorded_state(run).name == "stopping")
    process.send(state.supervisor, 9)
    process.send(state.worker, 9)
    asking.join(30)
    assert answers in (
        ["refused: the run has already ended (interrupted)"],
        ["refused: the run has already ended (failed)"],  # adopted just before the worker's end
    )


def test_a_stop_without_an_answer_says_where_to_look(
    start: Callable[..., Run], behave: Callable[[str], None], wait_until: WaitUntil
) -> None:
    behave("stubborn")
    run = start()
    wait_until((run.path / "ready").exists)
    with pytest.raises(TuiftuneError, match=r"asked to stop, and no answer within 1 s\. See .*supervisor\.log"):
        launch.stop(run, timeout_s=0.6)
    assert launch.stop(run, now=True) == "done"


def test_a_run_with_a_supervisor_and_one_that_has_ended_need_none(
    start: Callable[..., Run], behave: Callable[[str], None], finished: Callable[[Run], str]
) -> None:
    behave("finish")
    run = start()
    assert not launch.ensure_supervised(run)
    finished(run)
    assert not launch.ensure_supervised(run)


# ---- the whole chain, with the real worker


@pytest.fixture
def demo(workspace: Path) -> Callable[..., ResolvedProfile]:
    """The demo profile, whose trainer makes its figures up, with overrides."""

    def resolve(*overrides: str) -> ResolvedProfile:
        resolved = resolve_profile(workspace, "demo", overrides)
        assert resolved.problems == []
        return resolved

    return resolve


def steps_of(run: Run) -> list[int]:
    reader = MetricsReader(run.metrics_file)
    found = [row.step for row in reader.rows("train/loss")]
    reader.close()
    return found


def test_a_run_is_stopped_and_resumed_and_has_every_step_once(
    start: Callable[..., Run], demo: Callable[..., ResolvedProfile], wait_until: WaitUntil,
    finished: Callable[[Run], str],
) -> None:  # fmt: skip
    run = start(demo("train.steps=80", "train.seconds_per_step=0.02"))
    wait_until(lambda: len(steps_of(run)) > 5, run.path)
    assert launch.stop(run) == "done"
    state = state_of(run)
    assert state.name == "stopped"
    assert state.reason == f"stopped at step {steps_of(run)[-1]} as asked"
    launch.resume(run)
    assert finished(run) == "finished"
    assert steps_of(run) == list(range(1, 81))
    telemetry = TelemetryReader(run.telemetry_file)
    told = [event.data["state"] for event in telemetry.events() if event.kind == "state"]
    telemetry.close()
    assert told == ["running", "stopping", "stopped", "running", "finished"]


def test_a_run_whose_worker_is_killed_fails_and_goes_on_when_it_is_resumed(
    start: Callable[..., Run], demo: Callable[..., ResolvedProfile], wait_until: WaitUntil, kill: Callable[[int], None],
    finished: Callable[[Run], str],
) -> None:  # fmt: skip
    run = start(demo("train.steps=80", "train.seconds_per_step=0.02", "run.max_restarts=0"))
    wait_until(lambda: len(steps_of(run)) > 25)
    worker = folder.recorded_state(run).worker
    assert worker
    kill(worker.pid)
    assert finished(run) == "failed"
    assert (state_of(run).reason or "").startswith("the worker was killed (signal 9)")
    launch.resume(run)
    assert finished(run) == "finished"
    assert steps_of(run) == list(range(1, 81))


def test_a_run_that_lost_its_supervisor_loses_no_step(
    start: Callable[..., Run], demo: Callable[..., ResolvedProfile], wait_until: WaitUntil, kill: Callable[[int], None],
    finished: Callable[[Run], str],
) -> None:  # fmt: skip
    run = start(demo("train.steps=80", "train.seconds_per_step=0.02"))
    wait_until(lambda: len(steps_of(run)) > 5)
    supervisor = folder.recorded_state(run).supervisor
    assert supervisor
    kill(supervisor.pid)
    wait_until(lambda: launch.ensure_supervised(run))
    wait_until(lambda: folder.recorded_state(run).supervisor != supervisor)
    assert finished(run) == "finished"
    assert folder.recorded_state(run).name == "finished"
    assert steps_of(run) == list(range(1, 81))


def test_the_sentence_of_a_failing_stage_is_the_reason_of_the_run(
    start: Callable[..., Run], demo: Callable[..., ResolvedProfile], finished: Callable[[Run], str]
) -> None:
    run = start(demo("train.steps=5", "train.seconds_per_step=0", "train.fail_at=3"))
    assert finished(run) == "failed"
    assert (state_of(run).reason or "").startswith("train stage 'demo' (plugin ")
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
