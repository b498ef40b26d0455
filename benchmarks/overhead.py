"""What does a run cost beside its training: the store, the supervisor, telemetry, a dashboard that looks on?

    python -m benchmarks.overhead [data.txt] [--model FOLDER] [--steps 80] [--rounds 3]

A run as a user has it (detached, a dashboard open on it in a terminal of 120 x 40) against the bare loop: the same
stepper and feed of `tuiftune.training`, on the same model and data, in a process with nothing beside it. The first
steps are not measured, nothing is evaluated or saved. Both sides in turn, each round in another order.

A second of the clock tells what a user gets; where the machine has other work it is noise. A CPU second of the
trainer's process tells what the recording costs inside it; what the other processes take is told beside it.
"""

from __future__ import annotations

import argparse
import bisect
import contextlib
import fcntl
import json
import os
import pty
import select
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tuiftune.paths import assets
from tuiftune.run import process
from tuiftune.run.folder import Run, find_run, state_of
from tuiftune.run.metrics_db import MetricsReader
from tuiftune.run.worker_start import worker_environment

SEED = 42
SIDES = ("bare", "ours")
WARM_STEPS = 5
"""Not measured: the dashboard is being drawn for the first time."""
SAMPLED_S = 0.1
SCREEN = (120, 40)

PROFILE = """\
seed = {seed}

[model]
name = "{model}"

[dataset]
stage = "text"
path = "{data}"
unit = "line"
validation = 0.1

[[preprocess]]
stage = "tokenize"
max_length = 256

[train]
stage = "causal_lm"
max_steps = {steps}
batch_size = 8
grad_accum = 1
learning_rate = 1e-3
save_every = 1000000
"""


@dataclass(frozen=True)
class Measured:
    """One side's steps, all but the first few."""

    tokens: int
    seconds: float
    cpu_seconds: float
    """Of the process that trains."""
    losses: list[float]
    """Of every step, the first too."""
    others: dict[str, float] = field(default_factory=dict)
    """CPU seconds of the processes beside it."""


class CpuClock:
    """The CPU time of processes, looked at now and then, so that it can be told for any moment between."""

    def __init__(self) -> None:
        self._times: dict[str, list[float]] = {}
        self._cpu: dict[str, list[float]] = {}

    def look(self, name: str, pid: int) -> None:
        """Nothing is noted of a process that has ended."""
        try:
            fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return
        used = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        self._times.setdefault(name, []).append(time.time())
        self._cpu.setdefault(name, []).append(used)

    def between(self, name: str, start: float, end: float) -> float:
        """CPU seconds from one moment to another; a straight line between two looks."""
        return self._at(name, end) - self._at(name, start)

    def names(self) -> list[str]:
        return list(self._times)

    def _at(self, name: str, when: float) -> float:
        times, cpu = self._times[name], self._cpu[name]
        after = bisect.bisect_left(times, when)
        if after in (0, len(times)):
            return cpu[min(after, len(times) - 1)]
        part = (when - times[after - 1]) / (times[after] - times[after - 1])
        return cpu[after - 1] + part * (cpu[after] - cpu[after - 1])


def main(arguments: list[str]) -> None:
    asked = _parser().parse_args(arguments)
    if asked.train_bare:
        train_bare(asked.train_bare, asked.steps)
        return
    found: dict[str, list[Measured]] = {side: [] for side in SIDES}
    with tempfile.TemporaryDirectory(prefix="tuiftune-") as name:
        place = prepare(Path(name), asked.data.resolve(), asked.model.resolve(), asked.steps)
        for number in range(asked.rounds):
            for side in SIDES if number % 2 == 0 else SIDES[::-1]:
                found[side].append({"bare": bare, "ours": ours}[side](place, asked.steps))
                one = found[side][-1]
                print(
                    f"round {number + 1}, {side}: {one.tokens / one.seconds:,.0f} tokens/s, "
                    f"{one.tokens / one.cpu_seconds:,.0f} a CPU second",
                    file=sys.stderr,
                    flush=True,
                )
    report(found, asked)


def report(found: dict[str, list[Measured]], asked: argparse.Namespace) -> None:
    """Print the table."""
    pairs = list(zip(found["bare"], found["ours"], strict=True))
    wall = [(b.tokens / b.seconds) / (a.tokens / a.seconds) - 1 for a, b in pairs]
    cpu = [(b.tokens / b.cpu_seconds) / (a.tokens / a.cpu_seconds) - 1 for a, b in pairs]
    print(
        f"{asked.data.name}, model {asked.model.name}, {asked.steps} steps, {asked.rounds} rounds: a run and the loop"
    )
    for title, values in (("tokens a second", wall), ("tokens a CPU second of the trainer", cpu)):
        print(f"  {title:<36} {statistics.median(values):+7.2%}   ({min(values):+.2%} to {max(values):+.2%})")
    print("  CPU time beside the trainer's, of one core")
    for name in found["ours"][0].others:
        shares = [one.others[name] / one.seconds for one in found["ours"]]
        print(f"    {name:<34} {statistics.median(shares):7.2%}   ({min(shares):.2%} to {max(shares):.2%})")
    apart = max(abs(a - b) for one, other in pairs for a, b in zip(one.losses, other.losses, strict=True))
    print(f"  {'loss of a step':<36} {apart:.1e} apart at most")


def prepare(folder: Path, data: Path, model: Path, steps: int) -> Path:
    """A workspace with the profile of both sides."""
    for name in ("profiles", "plugins"):
        (folder / name).mkdir(parents=True)
    profile = PROFILE.format(seed=SEED, model=model, data=data, steps=steps)
    (folder / "profiles" / "ours.toml").write_text(profile)
    return folder


def bare(place: Path, steps: int) -> Measured:
    """The loop, in a process of its own, as a worker's environment has it."""
    command = [sys.executable, "-m", "benchmarks.overhead", "--train-bare", str(place), "--steps", str(steps)]
    root = Path(__file__).resolve().parents[1]
    environment = worker_environment(Run(place / "bare"), None)
    clock = CpuClock()
    with (place / "bare.json").open("w+") as answer:
        started = subprocess.Popen(command, cwd=root, env=environment, stdout=answer)
        while started.poll() is None:
            clock.look("trainer", started.pid)
            time.sleep(SAMPLED_S)
        if started.returncode != 0:
            raise RuntimeError("the bare loop failed; its words are above")
        answer.seek(0)
        taken = json.loads(answer.read().splitlines()[-1])
    return _measured(taken["ends"], taken["tokens"], taken["losses"], clock)


def train_bare(place: Path, steps: int) -> None:
    """Print {"ends", "tokens", "losses"} of each step as JSON."""
    import torch

    from tuiftune.plugins import load_registry
    from tuiftune.profile import build, resolve
    from tuiftune.run.libraries import load_libraries
    from tuiftune.run.pipeline import PipelineRun
    from tuiftune.testing import ListRecorder

    load_libraries(with_model=True)
    from tuiftune.training.batches import row_lengths, token_rows
    from tuiftune.training.feed import Feed, steps_of
    from tuiftune.training.model import load_model
    from tuiftune.training.plan import Plan
    from tuiftune.training.precision import choose_device, choose_precision
    from tuiftune.training.steps import Stepper

    registry = load_registry(place)
    pipeline = build(resolve(place, "ours", registry, []).effective, registry)
    run = PipelineRun(place, place / "bare", pipeline, registry, ListRecorder())
    rows = token_rows(run.prepare_data()["train"])
    options: Any = next(planned.stage.options for planned in pipeline.stages if planned.kind == "train")
    device = choose_device(1)
    plan = Plan.of(options, row_lengths(rows), device)
    torch.manual_seed(pipeline.seed)
    model = load_model(pipeline.model, place, torch.float32).to(device)
    stepper = Stepper(model, options, plan, choose_precision(options.precision, device), pipeline.seed)
    feed = Feed(steps_of(rows, plan, pipeline.seed, 0), pinned=device.type == "cuda")
    ends, tokens, losses = [], [], []
    for _ in range(steps):
        result = stepper.take(next(feed))
        losses.append(float(result.loss))
        tokens.append(result.tokens)
        ends.append(time.time())
    feed.close()
    print(json.dumps({"ends": ends, "tokens": tokens, "losses": losses}))


def ours(place: Path, steps: int) -> Measured:
    """A detached run with a dashboard open on it."""
    root = str(Path(__file__).resolve().parents[1])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))}
    command = process.python("-m", "tuiftune.cli", "run", "ours", "--detach")
    done = subprocess.run(command, cwd=place, env=environment, stdout=subprocess.PIPE, check=True, text=True)
    run = find_run(place, done.stdout.strip())
    clock = CpuClock()
    with dashboard(place, environment) as (shown_by, screen):
        while (state := state_of(run)).active:
            if state.worker is not None and state.supervisor is not None:
                clock.look("trainer", state.worker.pid)
                clock.look("supervisor", state.supervisor.pid)
                for child in _children(state.supervisor.pid):
                    if child != state.worker.pid:
                        clock.look("telemetry", child)
                clock.look("dashboard", shown_by)
            time.sleep(SAMPLED_S)
        if state.name != "finished" or run.id[-3:].encode() not in bytes(screen):
            raise RuntimeError(f"{run.id} is {state.name}: {state.reason}; {len(screen)} bytes were drawn of it")
    while process.is_locked(run.supervisor_lock):
        time.sleep(SAMPLED_S)
    reader = MetricsReader(run.metrics_file)
    losses, tokens = (sorted(reader.rows(name), key=lambda row: row.step) for name in ("train/loss", "train/tokens"))
    reader.close()
    if len(losses) != steps:
        raise RuntimeError(f"{run.id} recorded {len(losses)} of {steps} steps")
    return _measured(
        [row.time for row in losses], [int(row.value) for row in tokens], [row.value for row in losses], clock
    )


@contextlib.contextmanager
def dashboard(place: Path, environment: dict[str, str]) -> Iterator[tuple[int, bytearray]]:
    """Its pid and all it has drawn so far, in a terminal that reads it."""
    columns, rows = SCREEN
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(place)
        command = process.python("-m", "tuiftune.cli")
        named = {"TERM": "xterm-256color", "LC_ALL": "C.UTF-8", "COLUMNS": str(columns), "LINES": str(rows)}
        os.execve(command[0], command, {**environment, **named})  # noqa: S606
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    drawn, ended = bytearray(), threading.Event()

    def read() -> None:
        while not ended.is_set():
            if select.select([terminal], [], [], 0.1)[0]:
                try:
                    drawn.extend(os.read(terminal, 1 << 16))
                except OSError:
                    return

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        yield pid, drawn
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        os.waitpid(pid, 0)
        ended.set()
        reader.join()
        os.close(terminal)


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def _measured(ends: Sequence[float], tokens: Sequence[int], losses: list[float], clock: CpuClock) -> Measured:
    start, end = ends[WARM_STEPS - 1], ends[-1]
    cpu = {name: clock.between(name, start, end) for name in clock.names()}
    return Measured(sum(tokens[WARM_STEPS:]), end - start, cpu.pop("trainer"), losses, cpu)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?", default=assets() / "quickstart.txt", help="text, a line a sample")
    parser.add_argument("--model", type=Path, default=assets() / "babyllama-105", help="a model's folder")
    parser.add_argument("--steps", type=int, default=80)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--train-bare", type=Path, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    main(sys.argv[1:])
