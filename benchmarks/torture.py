"""How much is lost when the processes of a run are killed, again and again, at any moment?

    python -m benchmarks.torture [--kills 50] [--seed 1]

One run of a small GPT-2 made from scratch (dropout, accumulation, epochs, evaluations, samples, a checkpoint every few
steps) is left alone; another of the same profile has its trainer, its supervisor, both at once, and the dashboard that
looks at it killed with SIGKILL, at random moments, some right after each other. Nothing is done for it but what a user
does: to look (which starts a supervisor where one is missed), and to resume where it says `interrupted`.

Then the two are compared: weights bit for bit, every recorded value, every sample; and it is looked what is left of
processes, temporary files and broken checkpoints. Exit status 1 where anything differs.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.overhead import dashboard
from tuiftune.errors import StoreError, TuiftuneError
from tuiftune.run import folder, launch, process
from tuiftune.run.checkpoints import flaw, step_folders
from tuiftune.run.folder import Run, find_run
from tuiftune.run.metrics_db import MetricsReader
from tuiftune.run.process import Identity, is_locked
from tuiftune.run.telemetry_db import TelemetryReader
from tuiftune.run.worker_start import MARK

STEPS_A_KILL = 40
VICTIMS = {"trainer": 5, "supervisor": 3, "trainer and supervisor": 1, "dashboard": 1}
"""By weight. A trainer whose supervisor is dead too is not started again by itself: that is `interrupted`."""
SOON = 0.25
"""This part of the kills comes without waiting for progress."""
PATIENCE_S = 120.0
TIMED = ("train/tokens_per_s", "train/seconds")
"""Series whose values are of the clock."""

PROFILE = """\
seed = 7

[model]
init = "scratch"
tokenizer = "tuiftune:babyllama-105"

[model.config]
model_type = "gpt2"
n_layer = 2
n_embd = 64
n_head = 2
n_positions = 128

[dataset]
stage = "text"
path = "tuiftune:quickstart.txt"
unit = "line"
validation = 0.03

[[preprocess]]
stage = "tokenize"
max_length = 128

[train]
stage = "causal_lm"
max_steps = {steps}
batch_size = 4
grad_accum = 2
learning_rate = 1e-3
save_every = 7
eval_every = 45

[[evaluate]]
stage = "perplexity"

[[evaluate]]
stage = "samples"
prompts = ["Romeo"]
max_new_tokens = 16

[run]
max_restarts = 1000000
disk_reserve = "0"
"""


@dataclass
class Story:
    """What happened to the run that was not left alone."""

    kills: Counter[str] = field(default_factory=Counter)
    resumes: int = 0
    adoptions: int = 0
    back_s: list[float] = field(default_factory=list)
    """From the kill of a trainer to the next recorded step."""
    seconds: float = 0.0


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.torture", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1, help="of the victims and the moments")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="tuiftune-") as name:
        place = Path(name)
        (place / "plugins").mkdir()
        (place / "profiles").mkdir()
        steps = STEPS_A_KILL * asked.kills + 20
        (place / "profiles" / "torture.toml").write_text(PROFILE.format(steps=steps))
        print(f"a run of {steps:,} steps, left alone", file=sys.stderr, flush=True)
        alone, alone_s = undisturbed(place)
        print(f"the same, with {asked.kills} kills", file=sys.stderr, flush=True)
        run, story = tortured(place, asked.kills, random.Random(asked.seed))  # noqa: S311 - moments, not secrets
        wrong = [*differences(alone, run), *left_behind(run)]
        report(run, story, asked.kills, alone_s, wrong)
    return 1 if wrong or sum(story.kills.values()) < asked.kills else 0


def start(place: Path) -> Run:
    command = process.python("-m", "tuiftune.cli", "run", "torture", "--detach")
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=True)
    return find_run(place, done.stdout.strip())


def undisturbed(place: Path) -> tuple[Run, float]:
    """The finished run and its seconds."""
    run, begun = start(place), time.monotonic()
    while folder.state_of(run).active:
        time.sleep(0.05)
    return run, time.monotonic() - begun


def tortured(place: Path, kills: int, rng: random.Random) -> tuple[Run, Story]:
    """The run, ended, and what was done to it."""
    run, story, begun = start(place), Story(), time.monotonic()
    with contextlib.ExitStack() as screens:
        seen_by = _open(screens, place)
        while sum(story.kills.values()) < kills:
            victim = rng.choices(list(VICTIMS), list(VICTIMS.values()))[0]
            if rng.random() < SOON:
                time.sleep(rng.uniform(0.0, 0.5))
            elif not _progress(run, story, rng.randrange(STEPS_A_KILL)):
                break
            else:
                time.sleep(rng.uniform(0.0, 0.2))  # into a step, a save, an evaluation
            if _kill(run, victim, seen_by):
                story.kills[victim] += 1
                print(".", end="", file=sys.stderr, flush=True)
            if victim == "dashboard":
                screens.close()
                seen_by = _open(screens, place)
            if "trainer" in victim and rng.random() >= SOON:  # else the next one may come before it is back
                _time_back(run, story)
        print(file=sys.stderr)
        while _look(run, story).name != "finished":
            time.sleep(0.2)
    while is_locked(run.supervisor_lock):
        time.sleep(0.05)
    story.seconds = time.monotonic() - begun
    return run, story


def _open(screens: contextlib.ExitStack, place: Path) -> int:
    """A dashboard in a terminal; its pid."""
    pid, _ = screens.enter_context(dashboard(place, dict(os.environ)))
    return pid


def _look(run: Run, story: Story) -> folder.State:
    """As `tuiftune runs` does; and resume a run that says it has ended before its time."""
    with contextlib.suppress(TuiftuneError):
        story.adoptions += launch.ensure_supervised(run)
    state = folder.state_of(run)
    if state.name in folder.RESUMABLE and not is_locked(run.supervisor_lock):
        if state.name == "failed":
            raise SystemExit(f"the run failed: {state.reason}\n{run.supervisor_log.read_text()}")
        with contextlib.suppress(TuiftuneError):  # the dashboard's user was quicker
            launch.resume(run)
            story.resumes += 1
    return folder.state_of(run)


def _progress(run: Run, story: Story, steps: int) -> bool:
    """Wait until the run has come so many steps further than it is; False where it has ended before."""
    begun, target = time.monotonic(), newest_step(run) + steps
    while newest_step(run) < target:
        if _look(run, story).name == "finished":
            return False
        if time.monotonic() - begun > PATIENCE_S:
            raise SystemExit(f"no progress within {PATIENCE_S:.0f} s:\n{run.supervisor_log.read_text()}")
        time.sleep(0.05)
    return True


def _time_back(run: Run, story: Story) -> None:
    """How long until a step is recorded after a kill; only where nothing else is killed before."""
    begun, events = time.monotonic(), _resumed(run)
    while time.monotonic() - begun < PATIENCE_S:
        _look(run, story)
        if _resumed(run) > events:
            at = newest_step(run)
            while newest_step(run) <= at and time.monotonic() - begun < PATIENCE_S:
                if _look(run, story).name == "finished":
                    return
                time.sleep(0.02)
            story.back_s.append(time.monotonic() - begun)
            return
        time.sleep(0.02)


def _resumed(run: Run) -> int:
    """The newest event that says a worker has begun to train, or to do again what was lost."""
    reader = MetricsReader(run.metrics_file)
    try:
        begun = [event for event in reader.events() if event.kind == "stage_started" and event.data["kind"] == "train"]
    except StoreError:
        return 0
    finally:
        reader.close()
    return begun[-1].id if begun else 0


def newest_step(run: Run) -> int:
    reader = MetricsReader(run.metrics_file)
    try:
        last = reader.last("train/loss")
    except StoreError:
        return 0
    finally:
        reader.close()
    return last.step if last else 0


def _kill(run: Run, victim: str, dashboard_pid: int) -> bool:
    """Whether there was anybody to kill."""
    if victim == "dashboard":
        os.kill(dashboard_pid, signal.SIGKILL)
        return True
    state = folder.recorded_state(run)
    chosen = {"trainer": [state.worker], "supervisor": [state.supervisor]}.get(victim, [state.worker, state.supervisor])
    sent = [_sent(who) for who in chosen if who is not None]  # all of them, whichever is gone
    return any(sent)


def _sent(who: Identity) -> bool:
    return process.send(who, signal.SIGKILL)


# ---- afterwards


def differences(alone: Run, run: Run) -> Iterator[str]:
    """What is not as in the run that was left alone."""
    state = folder.state_of(run)
    if state.name != "finished":
        yield f"the run is {state.name}: {state.reason}"
    weights = [hashlib.sha256((one.model / "model.safetensors").read_bytes()).hexdigest() for one in (alone, run)]
    if weights[0] != weights[1]:
        yield "the final weights differ"
    readers = [MetricsReader(one.metrics_file) for one in (alone, run)]
    expected, found = ({(row.series, row.step): row.value for row in reader.rows()} for reader in readers)
    yield from (f"{series} of step {step} is missing" for series, step in expected.keys() - found.keys())
    yield from (f"{series} has a value at step {step} too many" for series, step in found.keys() - expected.keys())
    for key in expected.keys() & found.keys():
        if key[0] not in TIMED and expected[key] != found[key]:
            yield f"{key[0]} of step {key[1]} is {found[key]}, not {expected[key]}"
    texts = [sorted((one.step, one.prompt, one.text, one.model) for one in reader.samples()) for reader in readers]
    if texts[0] != texts[1]:
        yield f"the sample texts differ: {len(texts[0])} and {len(texts[1])}"
    for reader in readers:
        reader.close()


def left_behind(run: Run) -> Iterator[str]:
    """Processes, temporary files, broken checkpoints."""
    for who in process.marked(MARK, str(run.path)):
        yield f"process {who.pid} is left"
    for path in run.path.rglob("*"):
        if path.name.startswith(".") or path.suffix in (".tmp", ".partial"):
            yield f"{path.relative_to(run.path)} is left"
    for checkpoint in step_folders(run.checkpoints):
        if problem := flaw(checkpoint):
            yield problem


def report(run: Run, story: Story, kills: int, alone_s: float, wrong: list[str]) -> None:
    reader, telemetry = MetricsReader(run.metrics_file), TelemetryReader(run.telemetry_file)
    resumed = [event.data["step"] for event in reader.events() if event.kind == "resumed"]
    healed = [event for event in telemetry.events() if event.kind == "healed"]
    values = sum(1 for _ in reader.rows())
    reader.close()
    telemetry.close()
    done = sum(story.kills.values())
    print(f"kills             {done} of {kills}: " + ", ".join(f"{n} {who}" for who, n in story.kills.items()))
    print(f"worker started    {folder.recorded_state(run).attempt} times, from a checkpoint {len(resumed)} times")
    print(
        f"by itself         {len(healed)} times; resumed by hand {story.resumes}; supervisors started {story.adoptions}"
    )
    if story.back_s:
        low, high = min(story.back_s), max(story.back_s)
        print(f"kill to next step {statistics.median(story.back_s):.1f} s ({low:.1f} to {high:.1f})")
    print(f"took              {story.seconds:.0f} s; {alone_s:.0f} s left alone")
    print(f"compared          weights, {values:,} values, samples, processes, files, checkpoints")
    print(f"wrong             {len(wrong) or 'nothing'}")
    for line in wrong[:20]:
        print(f"  {line}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
