"""Runs to look at, written by tuiftune's own store: long ones, many of them, and one that goes on as fast as is asked.

python -m benchmarks.recorded RUN --steps-a-second 10 --lines-a-second 5    goes on until it is ended
"""

from __future__ import annotations

import argparse
import math
import random
import shutil
import sqlite3
import sys
import time
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuiftune.run.folder import Run, State, create, write_state
from tuiftune.run.metrics_db import FANOUT, LEVELS, MetricsWriter
from tuiftune.run.process import Lock
from tuiftune.run.telemetry_db import TelemetryWriter

STAGES = (("dataset", "text"), ("preprocess", "tokenize"), ("train", "causal_lm"), ("evaluate", "perplexity"))
TRAIN = 2
PERIOD_S = 0.05
"""What comes in so long is one commit: the recorder of a worker gathers as much."""
EVALUATED = 200
"""Evaluations a run."""
GIB = 1 << 30


def workspace(folder: Path) -> Path:
    for name in ("profiles", "plugins"):
        (folder / name).mkdir(parents=True)
    return folder


def loss_at(step: int, total: int, noise: random.Random) -> float:
    """A curve as training has it: falling fast, then slowly, and jumping."""
    return 1.4 + 1.9 * math.exp(-6 * step / total) + 0.3 * (noise.random() - 0.5)


def values_at(step: int, total: int, noise: random.Random) -> dict[str, float]:
    """What a trainer records of a step."""
    return {
        "train/loss": loss_at(step, total, noise),
        "train/learning_rate": 5e-4 * (1 - step / total),
        "train/grad_norm": 0.8 + 0.3 * noise.random(),
        "train/tokens_per_s": 8200 + 900 * noise.random(),
        "train/epoch": 3 * step / total,
    }


def ended(place: Path, steps: int, profile: str = "recorded") -> Run:
    """A finished run of so many steps, recorded a quarter of a second each."""
    run = new_run(place, profile, steps)
    noise, began = random.Random(steps), time.time() - steps / 4  # noqa: S311
    with closing(sqlite3.connect(run.metrics_file, isolation_level=None)) as db:
        db.execute("BEGIN")
        db.executemany(
            "INSERT INTO metric VALUES(?,?,?,NULL,?)",
            (
                (series, step, value, began + step / 4)
                for step in range(1, steps + 1)
                for series, value in values_at(step, steps, noise).items()
            ),
        )
        _roll_up(db)
        db.execute("COMMIT")
    with closing(MetricsWriter(run.metrics_file)) as metrics, metrics.batch():
        for step in range(0, steps + 1, max(1, steps // EVALUATED)):
            _evaluate(metrics, step, steps, began + step / 4)
        metrics.progress(TRAIN, steps, steps, "steps", began + steps / 4)
    write_state(run, State("finished", since=time.time(), started=began, ended=began + steps / 4))
    return run


def copies(run: Run, count: int) -> None:
    """So many runs more like this one, each with an id of its own."""
    for number in range(count):
        shutil.copytree(run.path, run.path.with_name(f"many-20260101-{number:06d}-abc"))


def new_run(place: Path, profile: str, steps: int) -> Run:
    """A run that has just been started: its facts, its first event, and no step."""
    effective = {"dataset": {"stage": "text", "path": "text.txt"}, "train": {"stage": "causal_lm", "max_steps": steps}}
    run = create(place, profile, effective, {"profile": profile})
    pipeline = [{"index": index, "kind": kind, "name": name} for index, (kind, name) in enumerate(STAGES)]
    facts = {"total_steps": steps, "device": "cuda", "precision": "bf16", "pipeline": pipeline}
    with closing(MetricsWriter(run.metrics_file)) as metrics, metrics.batch():
        metrics.fact(facts)
        metrics.event("run_started", {"attempt": 1}, time.time())
        for index, (kind, name) in enumerate(STAGES[:TRAIN]):
            about = {"index": index, "kind": kind, "name": name, "seconds": 1.0, "cached": False, "error": None}
            metrics.event("stage_finished", {**about, "summary": ""}, time.time())
        metrics.event("stage_started", {"index": TRAIN, "kind": "train", "name": "causal_lm"}, time.time())
        _evaluate(metrics, 0, steps, time.time())
    with closing(TelemetryWriter(run.telemetry_file)) as telemetry:
        telemetry.sample(time.time(), devices(random.Random(0)))  # noqa: S311
    run.worker_log.write_text("training starts\n")
    return run


def devices(noise: random.Random) -> dict[str, dict[str, Any]]:
    """One look at a busy GPU and its host."""
    gpu = {
        "name": "NVIDIA GeForce RTX 4070 Ti",
        "temperature_c": 64 + noise.randrange(3),
        "memory_used_bytes": 9 * GIB,
        "memory_total_bytes": 12 * GIB,
        "utilization_percent": 93 + noise.randrange(6),
        "power_w": 240 + noise.randrange(20),
        "power_limit_w": 285,
        "throttle": "",
    }
    host = {
        "cpu_percent": 20 + noise.randrange(10),
        "ram_used_bytes": 8.2 * GIB,
        "ram_total_bytes": 32 * GIB,
        "disk_free_bytes": 120 * GIB,
        "disk_total_bytes": 250 * GIB,
        "gpu_status": "ok",
    }
    return {"gpu0": gpu, "host": host}


@dataclass
class Pace:
    """How fast a run goes on."""

    steps_a_second: float
    lines_a_second: float

    def arguments(self) -> list[str]:
        return ["--steps-a-second", f"{self.steps_a_second:g}", "--lines-a-second", f"{self.lines_a_second:g}"]


def go_on(run: Run, pace: Pace, steps: int) -> None:
    """Record as a worker and a supervisor do, until this process is ended."""
    lock = Lock(run.supervisor_lock)
    if not lock.take():
        raise RuntimeError(f"{run.id} has a supervisor")
    began = time.time()
    write_state(run, State("running", since=began, started=began))
    metrics, telemetry = MetricsWriter(run.metrics_file), TelemetryWriter(run.telemetry_file)
    noise = random.Random(1)  # noqa: S311
    step, lines, sampled = 0, 0, 0.0
    with run.worker_log.open("a") as log:
        while True:
            gone_s = time.time() - began
            if new := range(step + 1, min(steps, int(gone_s * pace.steps_a_second)) + 1):
                step = new[-1]
                with metrics.batch():
                    _record(metrics, new, steps, noise)
            while lines < gone_s * pace.lines_a_second:
                lines += 1
                log.write(f"line {lines}: step {step}, all is well\n")
            log.flush()
            if gone_s - sampled >= 1:
                sampled = gone_s
                telemetry.sample(time.time(), devices(noise))
            time.sleep(max(0.0, PERIOD_S - (time.time() - began - gone_s)))


def _record(metrics: MetricsWriter, new: Iterable[int], steps: int, noise: random.Random) -> None:
    for step in new:
        metrics.metric(step, values_at(step, steps, noise), time.time())
        if step % 100 == 0:
            _evaluate(metrics, step, steps, time.time())
        metrics.progress(TRAIN, step, steps, "steps", time.time())


def _evaluate(metrics: MetricsWriter, step: int, steps: int, when: float) -> None:
    loss = 1.5 + 1.8 * math.exp(-6 * step / steps)
    figures = {"eval/loss": loss, "eval/perplexity": math.exp(loss), "eval/bits_per_byte": loss / math.log(2)}
    metrics.metric(step, figures, when)


def _roll_up(db: sqlite3.Connection) -> None:
    """What MetricsWriter.metric does a value at a time, for a million at once."""
    for level in range(1, LEVELS + 1):
        source, part, figures, where = (
            ("metric", "step", "count(value),min(value),max(value),total(value),sum(value IS NULL)", "1")
            if level == 1
            else ("rollup", "bucket", "sum(n),min(min),max(max),total(sum),sum(bad)", f"level={level - 1}")
        )
        db.execute(
            f"INSERT OR REPLACE INTO rollup SELECT series,{level},{part}/{FANOUT},{figures} FROM {source}"  # noqa: S608
            f" WHERE {where} AND series LIKE 'train/%' GROUP BY series,{part}/{FANOUT}"
        )


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="its folder")
    parser.add_argument("--steps-a-second", type=float, default=10)
    parser.add_argument("--lines-a-second", type=float, default=0)
    parser.add_argument("--steps", type=int, default=100_000, help="of the whole run")
    asked = parser.parse_args(arguments)
    go_on(Run(asked.run.resolve()), Pace(asked.steps_a_second, asked.lines_a_second), asked.steps)


if __name__ == "__main__":
    main(sys.argv[1:])
