"""Memory that runs out is an event, not an end: the same steps, the same losses, less at once."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import pytest

from tuiftune.run import folder
from tuiftune.run.checkpoints import step_folders, step_of
from tuiftune.run.folder import Run
from tuiftune.run.metrics_db import MetricsReader
from tuiftune.run.telemetry_db import TelemetryReader

Until = Callable[..., Any]


class Sets(Protocol):
    def __call__(self, kind: str, **numbers: float) -> str: ...


def losses(run: Run) -> dict[int, float]:
    reader = MetricsReader(run.metrics_file)
    found = {row.step: row.value for row in reader.rows("train/loss")}
    reader.close()
    return found


def private_bytes(run: Run) -> int:
    """What RLIMIT_DATA counts of the run's worker; 0 while there is none."""
    worker = folder.recorded_state(run).worker
    try:
        lines = Path(f"/proc/{worker.pid if worker else 0}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("VmData:")), 0)


@pytest.mark.slow
def test_a_run_that_cannot_fit_its_micro_batch_finishes_at_a_smaller_one_with_the_same_losses(
    profile: Sets, started: Callable[..., Run], until: Until
) -> None:
    # Deep and narrow: much memory a token, little to compute.
    settings = ("train.max_steps=3", "train.batch_size=48", "train.batch_tokens=12288", "train.save_every=2")
    name = profile("real", layers=24, width=32, dropout=0.0)
    freely = started(name, *settings)
    highest = 0

    def ended() -> bool:
        nonlocal highest
        highest = max(highest, private_bytes(freely))
        return not folder.recorded_state(freely).active

    until(ended)
    assert folder.recorded_state(freely).name == "finished"

    capped = started(name, *settings, before=("prlimit", f"--data={highest - (400 << 20)}"))
    until(lambda: not folder.recorded_state(capped).active, capped.supervisor_log.read_text)
    state = folder.recorded_state(capped)
    assert (state.name, state.reason) == ("finished", None)
    assert state.attempt > 1
    used = json.loads(capped.healing_file.read_text())
    assert used["batch_tokens"] < 12288
    assert not used["gradient_checkpointing"]
    assert losses(capped) == pytest.approx(losses(freely), abs=1e-5)
    assert list(losses(capped)) == [1, 2, 3]
    reader = TelemetryReader(capped.telemetry_file)
    healed = [event.data for event in reader.events() if event.kind == "healed"]
    reader.close()
    assert [data["kind"] for data in healed] == ["oom"] * (state.attempt - 1)
    assert "can't allocate memory" in healed[0]["sentence"]
    assert healed[0]["sentence"].endswith("going on with 6,144 tokens at once in place of 12,288")


OOM = '''
from pathlib import Path

import tuiftune
from tuiftune import Field


class OutOfMemoryError(RuntimeError):
    """As torch's, without the seconds it takes to import it."""


class Hungry(tuiftune.Trainer):
    """Runs out of memory wherever it is told to."""

    name = "hungry"
    makes_model = False

    class Options(tuiftune.Options):
        batch_tokens: int = Field(64, description="tokens at once")
        gradient_checkpointing: bool = Field(False, description="less memory")
        longest: int = Field(16, description="tokens of the longest row")
        fits: int = Field(16, description="tokens that fit")
        checkpointing_fits: bool = Field(True, description="whether a row fits with gradient checkpointing")

    def run(self, ctx):
        options = self.options
        ctx.tell_memory(
            batch_tokens=options.batch_tokens,
            longest=options.longest,
            gradient_checkpointing=options.gradient_checkpointing,
        )
        ctx.log(f"at once: {options.batch_tokens}, evaluators at most: {ctx.most_tokens}")
        checkpointed = options.gradient_checkpointing and options.checkpointing_fits
        if options.batch_tokens > options.fits and not checkpointed:
            raise OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        ctx.metric(1, loss=1.0)
        return Path(ctx.run_dir)


@tuiftune.hookimpl
def register_stages():
    return [Hungry]
'''


@pytest.fixture
def hungry(workspace: Path, started: Callable[..., Run], until: Until) -> Callable[..., folder.State]:
    """The end of a run of the trainer above."""
    (workspace / "plugins" / "hungry.py").write_text(OOM)
    (workspace / "profiles" / "hungry.toml").write_text(
        '[dataset]\nstage = "text"\npath = "tuiftune:quickstart.txt"\n[train]\nstage = "hungry"\n'
    )

    def run(*settings: str) -> folder.State:
        begun = started("hungry", *(f"train.{setting}" for setting in settings))
        until(lambda: not folder.recorded_state(begun).active, begun.supervisor_log.read_text)
        return folder.recorded_state(begun)

    return run


@pytest.mark.long
def test_at_one_row_gradient_checkpointing_is_the_last_resort_and_then_a_sentence(
    hungry: Callable[..., folder.State],
) -> None:
    state = hungry("batch_tokens=32", "fits=8")
    assert (state.name, state.attempt) == ("finished", 3)  # 32, 16: one row, 16 with gradient checkpointing
    state = hungry("batch_tokens=32", "fits=8", "checkpointing_fits=false")
    assert (state.name, state.kind, state.attempt) == ("failed", "oom", 3)
    assert (state.reason or "").endswith(
        "CUDA out of memory. Tried to allocate 20.00 MiB) with a single row at once and gradient checkpointing. "
        "Set a smaller tokenize.max_length, choose a smaller model, or end what else uses the memory"
    )


@pytest.mark.slow
def test_a_loss_that_is_no_number_ends_the_run_with_its_class_and_the_last_good_checkpoint(
    profile: Sets, started: Callable[..., Run], until: Until, command_line: Callable[..., Any]
) -> None:
    settings = ("train.max_steps=40", "train.batch_size=2", "train.save_every=1", "train.nan_steps=3")
    run = started(profile("real"), *settings, "train.learning_rate=1e18", "train.grad_clip=0.0")
    until(lambda: not folder.recorded_state(run).active, run.supervisor_log.read_text)
    state = folder.recorded_state(run)
    assert (state.name, state.kind, state.attempt) == ("failed", "nan", 1), "it would only happen again"
    assert "the loss has been no number for 3 steps" in (state.reason or "")
    values = losses(run)
    first_bad = min(step for step, loss in values.items() if not math.isfinite(loss))
    kept = [step_of(one) for one in step_folders(run.checkpoints)]
    assert kept
    assert max(kept) < first_bad, "weights that are no numbers never take the place of the last good ones"
    told = command_line("why", run.id).stdout
    assert "Lower train.learning_rate" in told
