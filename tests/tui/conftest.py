"""Run folders as a supervisor and a worker leave them, and the screen as a person reads it."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from textual.app import App
from textual.pilot import Pilot

from tuiftune.run.files import write_json
from tuiftune.run.folder import Run, State, create, write_state
from tuiftune.run.metrics_db import MetricsWriter
from tuiftune.run.process import Lock
from tuiftune.run.telemetry_db import TelemetryWriter

STAGES = [("dataset", "text"), ("preprocess", "tokenize"), ("train", "causal_lm"), ("evaluate", "perplexity")]
PROMPT = "Once upon a time"
GIB = 2**30


@dataclass
class Recorded:
    """A run folder under construction; what it writes is what a worker and a supervisor write."""

    run: Run
    began: float
    metrics: MetricsWriter
    telemetry: TelemetryWriter
    locks: list[Lock] = field(default_factory=list)

    def state(self, name: str, **more: Any) -> None:
        """Write state.json; an active run's supervisor lock is held by this process."""
        state = State(name, since=time.time(), started=self.began, **more)
        if state.active and not self.locks:
            lock = Lock(self.run.supervisor_lock)
            assert lock.take()
            self.locks.append(lock)
        write_state(self.run, state)

    def release(self) -> None:
        while self.locks:
            self.locks.pop().release()

    def stage(
        self, index: int, *, finished: float | None = None, cached: bool = False, error: str | None = None
    ) -> None:
        """A stage starts, or has finished after so many seconds."""
        when = self.began + 5
        kind, name = STAGES[index]
        about = {"index": index, "kind": kind, "name": name}
        if finished is None:
            self.metrics.event("stage_started", about, when)
            return
        done = {"seconds": finished, "cached": cached, "error": error, "summary": ""}
        self.metrics.event("stage_finished", {**about, **done}, when)

    def plan(self, total_steps: int = 600, **facts: Any) -> None:
        pipeline = [{"index": index, "kind": kind, "name": name} for index, (kind, name) in enumerate(STAGES)]
        known = {"total_steps": total_steps, "device": "cpu", "precision": "fp32", "pipeline": pipeline}
        self.metrics.fact({**known, **facts})
        self.metrics.event("run_started", {"attempt": 1}, self.began)

    def train(self, first: int, last: int, total: int = 600, seconds_a_step: float = 0.16) -> None:
        """Steps `first` to `last`, evaluated every 50."""
        noise = random.Random(first)  # noqa: S311
        with self.metrics.batch():
            for step in range(first, last + 1):
                when = self.began + 5 + step * seconds_a_step
                jitter = noise.random() - 0.5
                loss = 1.35 + 1.9 * math.exp(-step / 90) + 0.35 * jitter
                warm = min(1.0, step / 30) * 5e-4 * max(0.0, 1 - step / total)
                values = {"loss": loss, "learning_rate": warm, "grad_norm": 0.8 + 0.3 * jitter}
                values |= {"tokens_per_s": 8200 + 900 * jitter, "epoch": step / 200}
                self.metrics.metric(step, {f"train/{name}": value for name, value in values.items()}, when)
                if step % 50 == 0:
                    self.evaluate(step, 1.42 + 1.85 * math.exp(-step / 100))
            self.metrics.progress(2, last, total, "steps", self.began + 5 + last * seconds_a_step)

    def evaluate(self, step: int, loss: float) -> None:
        figures = {"eval/loss": loss, "eval/perplexity": math.exp(loss), "eval/bits_per_byte": loss / math.log(2)}
        self.metrics.metric(step, figures, self.began + 5 + step * 0.1)

    def sample(self, step: int, text: str, prompt: str = PROMPT) -> None:
        self.metrics.sample(step, prompt, text, "base" if step == 0 else f"step {step}", time.time())

    def host(self, seconds: int = 1, cpu: float = 93.0) -> None:
        """So many seconds of readings of a machine without a GPU."""
        for ago in range(seconds, 0, -1):
            self.telemetry.sample(time.time() - ago, {"host": host_fields(cpu)})

    def gpus(self, count: int, seconds: int = 1) -> None:
        for ago in range(seconds, 0, -1):
            devices: dict[str, dict[str, Any]] = {f"gpu{n}": gpu_fields(n, ago) for n in range(count)}
            self.telemetry.sample(time.time() - ago, {**devices, "host": host_fields(31.0, "ok")})

    def healed(self, sentence: str, step: int = 12) -> None:
        """The supervisor has started another worker."""
        self.telemetry.event("healed", {"kind": "oom", "sentence": sentence, "step": step, "changes": {}}, time.time())

    def log(self, *lines: str) -> None:
        with self.run.worker_log.open("a") as file:
            file.writelines(f"{line}\n" for line in lines)

    def finish(self, name: str = "finished", reason: str | None = None, kind: str | None = None) -> None:
        self.state(name, ended=time.time(), reason=reason, kind=kind)
        self.release()

    def model(self) -> None:
        self.run.model.mkdir()
        write_json(self.run.model / "config.json", {})


def host_fields(cpu: float, status: str = "no NVIDIA driver: libnvidia-ml.so.1 is not installed") -> dict[str, Any]:
    return {
        "cpu_percent": cpu,
        "ram_used_bytes": 3.1 * GIB,
        "ram_total_bytes": 15.6 * GIB,
        "disk_free_bytes": 120 * GIB,
        "disk_total_bytes": 250 * GIB,
        "gpu_status": status,
    }


def gpu_fields(number: int, phase: int) -> dict[str, Any]:
    return {
        "uuid": f"GPU-{number}",
        "name": "NVIDIA GeForce RTX 4070 Ti",
        "temperature_c": 61 + phase % 5 + number,
        "memory_used_bytes": 5.2 * GIB,
        "memory_total_bytes": 12 * GIB,
        "utilization_percent": 90 + phase % 9,
        "power_w": 180 + phase % 20,
        "power_limit_w": 285,
        "throttle": "",
        "slowdown_c": 98,
    }


class Factory:
    """Makes runs in a workspace; their locks are given back at the end of the test."""

    def __init__(self, workspace: Path) -> None:
        self.workspace = workspace
        self.made: list[Recorded] = []

    def new(self, profile: str = "quickstart", ago_s: float = 65.0) -> Recorded:
        """A run that started `ago_s` seconds ago and has written nothing yet."""
        effective = {
            "dataset": {"stage": "text"},
            "preprocess": [{"stage": "tokenize"}],
            "train": {"stage": "causal_lm"},
            "evaluate": [{"stage": "perplexity"}],
        }
        run = create(self.workspace, profile, effective, {"profile": profile})
        metrics, telemetry = MetricsWriter(run.metrics_file), TelemetryWriter(run.telemetry_file)
        recorded = Recorded(run, time.time() - ago_s, metrics, telemetry)
        recorded.state("starting")
        self.made.append(recorded)
        return recorded

    def running(self, steps: int = 372, profile: str = "quickstart") -> Recorded:
        """A run in the middle of its training."""
        recorded = self.new(profile)
        recorded.plan()
        recorded.stage(0)
        recorded.stage(0, finished=0.4)
        recorded.stage(1)
        recorded.stage(1, finished=0.0, cached=True)
        recorded.stage(2)
        recorded.evaluate(0, 3.27)
        recorded.train(1, steps)
        recorded.sample(0, ", the the and of a was")
        recorded.sample(steps // 100 * 100 or steps, " there was a king who had a daughter")
        recorded.host(30)
        recorded.log("12:00:00 1,200 documents", f"12:00:05 step {steps}")
        recorded.state("running")
        return recorded

    def finished(self) -> Recorded:
        """A run that came to its end and left a model."""
        recorded = self.running(600)
        recorded.stage(2, finished=60.0)
        recorded.stage(3)
        recorded.stage(3, finished=1.2)
        recorded.model()
        recorded.finish()
        return recorded


def screen_text(app: App[Any]) -> str:
    """The screen as a person reads it, row by row."""
    return "\n".join(strip.text.rstrip() for strip in app.screen._compositor.render_strips(app.size))


async def until(pilot: Pilot[Any], *texts: str, timeout_s: float = 15.0) -> str:
    """Wait until all `texts` are on the screen, and return it; else fail with what is there."""
    deadline = time.monotonic() + timeout_s
    while not all(text in (seen := screen_text(pilot.app)) for text in texts):
        assert time.monotonic() < deadline, f"not all of {texts} came; the screen:\n{seen}"
        await asyncio.sleep(0.02)
        await pilot.pause()
    return seen


@pytest.fixture
def make(workspace: Path) -> Iterator[Factory]:
    factory = Factory(workspace)
    yield factory
    for recorded in factory.made:
        recorded.release()


@pytest.fixture
def shown() -> Callable[..., Awaitable[str]]:
    """`await shown(pilot, "text")` waits for it and returns the screen's text."""
    return until
