"""python -m tuiftune.run.worker DIR: load plugins, run the stages, say in exit.json how it ended."""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
import time
import tomllib
import traceback
from pathlib import Path
from typing import Any

from tuiftune.errors import ResumeRefused, RunStopped, StageError, TuiftuneError
from tuiftune.hookspecs import Event, RunInfo
from tuiftune.plugins import Registry, load_registry
from tuiftune.profile import Pipeline, build
from tuiftune.run.control import Control, Desk
from tuiftune.run.failure import DISK_FULL, GPU_LOST, OOM, kind_of
from tuiftune.run.files import write_json
from tuiftune.run.folder import Run
from tuiftune.run.healing import read_history
from tuiftune.run.leaving import leave, prepare_log
from tuiftune.run.libraries import load_libraries
from tuiftune.run.metrics_db import MetricsReader
from tuiftune.run.pipeline import PipelineRun
from tuiftune.run.process import Lock
from tuiftune.run.recorder import StoreRecorder
from tuiftune.secrets import masked
from tuiftune.stage import Signals, Trainer

EXIT_FINISHED, EXIT_FAILED, EXIT_STOPPED = 0, 1, 3
WRITE_END_S = 600.0


def main(arguments: list[str]) -> int:
    """Run the profile of a run folder. Exit status 0 finished, 1 failed, 3 stopped."""
    run = Run(Path(arguments[0]).resolve())
    os.umask(0o077)
    prepare_log()
    lock = Lock(run.worker_lock)
    if not lock.take():
        print(f"{run.id}: another worker owns this run", file=sys.stderr)
        return EXIT_FAILED
    signals = _obey_signals()
    desk = Desk(run.control_file, run.said_file, lambda control: _heed(signals, control))
    signals.say = desk.say
    hooks = EventHooks(run)
    recorder = StoreRecorder(run.metrics_file, on_event=hooks.put)
    pipeline_run: PipelineRun | None = None
    try:
        pipeline_run = _prepare(run, recorder, signals, hooks)
        load_libraries(with_model=_makes_model(pipeline_run.pipeline))
        pipeline_run.run()
    except RunStopped as stopped:
        status, end = EXIT_STOPPED, _end("stopped", step=stopped.step)
    except TuiftuneError as error:
        print(error, file=sys.stderr)
        status, end = EXIT_FAILED, _end("failed", _sentence(error, pipeline_run), _kind(error, pipeline_run))
    except BaseException as error:
        traceback.print_exc()
        status, kind = EXIT_FAILED, _kind(error, pipeline_run)
        end = _end("failed", _located(_of_a_bug(error, kind, run), pipeline_run), kind, traceback.format_exc())
    else:
        status, end = EXIT_FINISHED, _end("finished")
    recorder.close()
    hooks.close()
    desk.close()
    _write_end(run, end)
    return status


def _write_end(run: Run, end: dict[str, Any]) -> None:
    """exit.json, also where the disk is just full: for a while, then the supervisor has to tell by itself."""
    deadline = time.monotonic() + WRITE_END_S
    while True:
        try:
            write_json(run.exit_file, end)
        except OSError as error:
            if end["outcome"] == "failed" or time.monotonic() > deadline:
                print(f"{run.exit_file.name} cannot be written: {error}", file=sys.stderr)
                return
            time.sleep(1.0)
        else:
            return


def _heed(signals: Signals, control: Control) -> None:
    """Take over what the supervisor asks."""
    signals.holds = control.holds
    signals.wishes = control.wishes


def _prepare(run: Run, recorder: StoreRecorder, signals: Signals, hooks: EventHooks) -> PipelineRun:
    """Plugins, the profile in force, and where to go on from."""
    workspace = run.path.parent.parent
    registry = load_registry(workspace)
    for problem in registry.problems:
        recorder.log(f"not loaded: {problem}")
    with run.profile_file.open("rb") as file:
        profile = tomllib.load(file)
    history, in_force = read_history(run.healing_file), dict(profile)
    if history.changes:
        in_force["train"] = {**profile.get("train", {}), **history.changes}
        recorder.log(f"to save memory: {history.changes}")
    pipeline = build(in_force, registry)
    pipeline_run = PipelineRun(workspace, run.path, pipeline, registry, recorder, signals)
    pipeline_run.most_tokens, pipeline_run.forced = history.batch_tokens, history.forced
    pipeline_run.profile, pipeline_run.copy_history = profile, recorder.copy_history
    if pipeline.model.trust_remote_code:
        text = "model.trust_remote_code is true: Python code that comes with the model runs as you"
        recorder.log(text)
        recorder.event("message", {"stage": None, "text": text})
    hooks.start(registry, pipeline_run)
    checkpoint = pipeline_run.resume_from = _go_on(run, recorder, history.forced)
    pipeline_run.begin = lambda: _begin(run, recorder, checkpoint)
    recorder.fact({"pipeline": _described(pipeline)})
    recorder.event("run_started", {"profile": run.origin().get("profile"), "seed": pipeline.seed})
    return pipeline_run


def _go_on(run: Run, recorder: StoreRecorder, forced: bool) -> Path | None:
    """The newest whole checkpoint of an earlier attempt.

    Raises ResumeRefused where there were some and none is whole: to start over is a person's to say.
    """
    from tuiftune.run.checkpoints import newest_sealed

    checkpoint, passed_over = newest_sealed(run.checkpoints)
    for reason in passed_over:
        recorder.log(f"passed over: {reason}")
        recorder.event("message", {"stage": None, "text": f"passed over: {reason}"})
    if checkpoint is None and passed_over and not forced:
        raise ResumeRefused(
            f"no checkpoint is whole: {'; '.join(passed_over)}. "
            f"To start over at step 1: tuiftune resume {run.id} --force"
        )
    return checkpoint


def _begin(run: Run, recorder: StoreRecorder, checkpoint: Path | None) -> None:
    """Training is about to begin: what was recorded after the checkpoint is forgotten, for it is done again."""
    from tuiftune.run.checkpoints import step_of

    reader = MetricsReader(run.metrics_file)
    recorded = reader.series()
    reader.close()
    if checkpoint is None and not recorded:
        return
    step = step_of(checkpoint) if checkpoint else 0
    recorder.rewind(step if checkpoint else -1)
    recorder.event("resumed", {"step": step})
    recorder.log(f"going on from {checkpoint.name}" if checkpoint else "no checkpoint yet: starting over")


def _makes_model(pipeline: Pipeline) -> bool:
    return any(isinstance(planned.stage, Trainer) and planned.stage.makes_model for planned in pipeline.stages)


def _described(pipeline: Pipeline) -> list[dict[str, Any]]:
    return [{"index": planned.index, "kind": planned.kind, "name": planned.name} for planned in pipeline.stages]


def _obey_signals() -> Signals:
    """TERM and INT ask for a stop at the next step boundary; a hang-up means nothing to a run."""
    signals = Signals()

    def stop(_number: int, _frame: object) -> None:
        signals.stopping = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    return signals


def _end(
    outcome: str,
    sentence: str | None = None,
    kind: str | None = None,
    trace: str | None = None,
    step: int = 0,
) -> dict[str, Any]:
    return {
        "outcome": outcome,
        "sentence": sentence and masked(sentence),
        "kind": kind,
        "step": step,
        "time": time.time(),
        "traceback": trace and masked(trace),
    }


def _sentence(error: TuiftuneError, pipeline_run: PipelineRun | None) -> str:
    return _located(str(error), pipeline_run) if isinstance(error, StageError) else str(error)


def _located(sentence: str, pipeline_run: PipelineRun | None) -> str:
    """The stage and its plugin before what it said, and the line of it where it is a stranger's bug."""
    planned = pipeline_run.current if pipeline_run else None
    if planned is None or pipeline_run is None:
        return sentence
    place = f"{pipeline_run.place}: " if pipeline_run.place else ""
    return f"{planned.kind} stage {planned.name!r} (plugin {planned.plugin}): {place}{sentence}"


def _kind(error: BaseException, pipeline_run: PipelineRun | None) -> str:
    planned = pipeline_run.current if pipeline_run else None
    return kind_of(error, planned.kind if planned else None)


def _of_a_bug(error: BaseException, kind: str, run: Run) -> str:
    """A sentence about an exception that was not meant for a user."""
    first = next(iter(str(error).splitlines()), "")
    what = f"{type(error).__name__}: {first}" if first else type(error).__name__
    known = {OOM: "out of memory", DISK_FULL: "the disk is full", GPU_LOST: "the GPU does not answer any more"}
    if kind in known:
        return f"{known[kind]} ({what})"
    return f"{what}; the traceback is in {run.worker_log.name}"


class EventHooks:
    """Calls the plugins' `event_written` in a thread of its own: one that hangs holds up nothing."""

    def __init__(self, run: Run) -> None:
        self._run = RunInfo(run.id, run.path, str(run.origin().get("profile", "")))
        self._queue: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def put(self, kind: str, data: dict[str, Any], when: float) -> None:
        if kind != "plugin_error":  # a hook that fails on every event must not feed itself
            self._queue.put(Event(kind, data, when))

    def start(self, registry: Registry, pipeline_run: PipelineRun) -> None:
        def call_all() -> None:
            while (event := self._queue.get()) is not None:
                registry.watch("event_written", pipeline_run.plugin_failed, run=self._run, event=event)

        self._thread = threading.Thread(target=call_all, name="event hooks", daemon=True)
        self._thread.start()

    def close(self, timeout_s: float = 5.0) -> None:
        """Let the hooks see what is left, for a bounded time."""
        self._queue.put(None)
        if self._thread is not None:
            self._thread.join(timeout_s)


if __name__ == "__main__":
    leave(main(sys.argv[1:]))
