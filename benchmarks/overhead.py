"""What does a run cost beside its bare loop: records, supervisor, telemetry and a dashboard that looks on?

    python -m benchmarks.overhead [--steps 300] [--rounds 3] [--set KEY=VALUE]

The profile is `quickstart` without evaluators. Bare: its data and its steps, taken one after another in a process
that does nothing else. Ours: the same by `tuiftune run --detach`, with a dashboard open on it in a terminal of
120x40. Both in turn; the first steps of each are not timed. A CPU second is one of the process that trains; a second
is one by the wall, in which telemetry and dashboard take their share of the same cores.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import pty
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

WARM_UP = 20
"""Steps that are not timed."""
PROFILE = """\
extends = "quickstart"
description = "quickstart without evaluators"
evaluate = []

[train]
save_every = 1000000
"""


@dataclass(frozen=True)
class Measured:
    """Of the steps that were timed."""

    tokens: int
    seconds: float
    cpu_seconds: float
    losses: list[float]
    """Of every step."""


def main(arguments: list[str]) -> None:
    asked = _parser().parse_args(arguments)
    if asked.side == "bare":
        print(json.dumps(asdict(bare(asked.workspace, asked.settings, asked.steps))))
        return
    found: dict[str, list[Measured]] = {"bare": [], "ours": []}
    with tempfile.TemporaryDirectory(prefix="tuiftune-") as folder:
        workspace = new_workspace(Path(folder))
        for number in range(asked.rounds):
            found["bare"].append(bare_in_a_process(workspace, asked.settings, asked.steps))
            found["ours"].append(ours(workspace, asked.settings, asked.steps))
            line = ", ".join(f"{side} {_speeds(values[-1])}" for side, values in found.items())
            print(f"round {number + 1}: {line}", file=sys.stderr)
    report(found, asked.steps)


def report(found: dict[str, list[Measured]], steps: int) -> None:
    pairs = list(zip(found["bare"], found["ours"], strict=True))
    apart = max(abs(a - b) for one, other in pairs for a, b in zip(one.losses, other.losses, strict=True))
    print(f"quickstart, {steps} steps of {pairs[0][0].tokens / (steps - WARM_UP):,.0f} tokens, {len(pairs)} rounds")
    for title, key in (("tokens a CPU second", "cpu_seconds"), ("tokens a second", "seconds")):
        lost = [1 - getattr(a, key) / getattr(b, key) for a, b in pairs]
        print(f"  {title:<20} {statistics.median(lost):7.2%} fewer   ({min(lost):.2%} to {max(lost):.2%})")
    print(f"  {'loss of a step':<20} {apart:.1e} apart at most")


def new_workspace(folder: Path) -> Path:
    for name in ("profiles", "plugins"):
        (folder / name).mkdir()
    (folder / "profiles" / "bare.toml").write_text(PROFILE)
    return folder


def bare(workspace: Path, settings: list[str], steps: int) -> Measured:
    """The steps of the profile and nothing else: no records, no supervisor, no thread but the data's."""
    from tuiftune import catalog
    from tuiftune.plugins import load_registry
    from tuiftune.profile import build
    from tuiftune.run.pipeline import PipelineRun
    from tuiftune.testing import ListRecorder
    from tuiftune.training.batches import row_lengths, token_rows
    from tuiftune.training.feed import Feed, steps_of
    from tuiftune.training.plan import Plan
    from tuiftune.training.precision import choose_device, choose_precision
    from tuiftune.training.steps import Stepper
    from tuiftune.training.trainer import Job

    resolved = catalog.resolve_profile(workspace, "bare", (*settings, f"train.max_steps={steps}"))
    registry = load_registry(workspace)
    pipeline = build(resolved.effective, registry)
    with tempfile.TemporaryDirectory(prefix="tuiftune-") as folder:
        data = PipelineRun(workspace, Path(folder), pipeline, registry, ListRecorder()).prepare_data()
        rows = token_rows(data["train"])
        options: Any = next(planned.stage.options for planned in pipeline.stages if planned.kind == "train")
        device = choose_device()
        plan = Plan.of(options, row_lengths(rows), device)
        precision = choose_precision(options.precision, device)
        model = Job(options, pipeline.model, workspace, pipeline.seed, precision, None).new_model().to(device)
        stepper = Stepper(model, options, plan, precision, pipeline.seed)
        feed = Feed(steps_of(rows, plan, pipeline.seed, 0), pinned=device.type == "cuda")
        losses, tokens, clock = [], 0, (0.0, 0.0)
        for number in range(1, steps + 1):
            result = stepper.take(next(feed))
            losses.append(float(result.loss))
            tokens += result.tokens
            if number == WARM_UP:
                tokens, clock = 0, (time.perf_counter(), time.process_time())
        seconds, cpu_seconds = time.perf_counter() - clock[0], time.process_time() - clock[1]
        feed.close()
    return Measured(tokens, seconds, cpu_seconds, losses)


def bare_in_a_process(workspace: Path, settings: list[str], steps: int) -> Measured:
    command = [sys.executable, "-m", "benchmarks.overhead", "--side", "bare", "--workspace", str(workspace)]
    command += ["--steps", str(steps), *(part for value in settings for part in ("--set", value))]
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}  # as a run's worker has it
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run(command, cwd=root, env=environment, stdout=subprocess.PIPE, check=True, text=True)
    return Measured(**json.loads(done.stdout.splitlines()[-1]))


def ours(workspace: Path, settings: list[str], steps: int, columns: int = 120, lines: int = 40) -> Measured:
    """A run as a person has it, watched by a dashboard from its start to its end."""
    from tuiftune.run.folder import find_run, state_of
    from tuiftune.run.metrics_db import MetricsReader

    command = [sys.executable, "-P", "-m", "tuiftune.cli"]
    start = [*command, "run", "bare", "--detach", "--set", f"train.max_steps={steps}"]
    start += [part for value in settings for part in ("--set", value)]
    done = subprocess.run(start, cwd=workspace, stdout=subprocess.PIPE, check=True, text=True)
    run = find_run(workspace, done.stdout.strip())
    cpu: dict[int, float] = {}
    with terminal(command, workspace, columns, lines):
        while state_of(run).active:
            worker = state_of(run).worker
            if worker is not None and run.metrics_file.is_file():
                reader = MetricsReader(run.metrics_file)
                step = max((row.step for row in reader.rows("train/loss")), default=0)
                reader.close()
                if step >= WARM_UP and (used := _cpu_seconds(worker.pid)) is not None:
                    cpu[step] = used
            time.sleep(0.5)
    if state_of(run).name != "finished":
        raise RuntimeError(f"{run.id} {state_of(run).name}: {state_of(run).reason}")
    reader = MetricsReader(run.metrics_file)
    series = {
        name: {row.step: row.value for row in reader.rows(f"train/{name}")} for name in ("loss", "tokens", "seconds")
    }
    reader.close()
    first, last = min(cpu), max(cpu)
    counted = sum(value for step, value in series["tokens"].items() if first < step <= last)
    timed = [step for step in series["seconds"] if step > WARM_UP]
    tokens = sum(series["tokens"][step] for step in timed)
    return Measured(
        tokens=int(tokens),
        seconds=sum(series["seconds"][step] for step in timed),
        cpu_seconds=(cpu[last] - cpu[first]) * tokens / counted,
        losses=list(series["loss"].values()),
    )


@contextmanager
def terminal(command: list[str], folder: Path, columns: int, lines: int) -> Iterator[None]:
    """Inside, a program runs in a terminal, and what it writes is read."""
    pid, descriptor = pty.fork()
    if pid == 0:
        os.chdir(folder)
        os.environ["TERM"] = "xterm-256color"
        os.execv(command[0], command)  # noqa: S606
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def read() -> None:
        try:
            while os.read(descriptor, 65536):
                pass
        except OSError:  # it has ended
            return

    threading.Thread(target=read, daemon=True).start()
    try:
        yield
    finally:
        os.kill(pid, 15)
        os.waitpid(pid, 0)
        os.close(descriptor)


def _cpu_seconds(pid: int) -> float | None:
    """What a process has used; None where it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _speeds(one: Measured) -> str:
    return f"{one.tokens / one.cpu_seconds:,.0f} tokens a CPU second, {one.tokens / one.seconds:,.0f} a second"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--set", dest="settings", action="append", default=[], help="a value of the profile")
    parser.add_argument("--side", choices=["bare"], help=argparse.SUPPRESS)
    parser.add_argument("--workspace", type=Path, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    main(sys.argv[1:])
