"""A trainer without torch for tests and tours: every figure and text of it is made up, and says so."""

from __future__ import annotations

import json
import math
import random
import time
from pathlib import Path
from typing import ClassVar

import tuiftune
from tuiftune import Field
from tuiftune.errors import RunStopped
from tuiftune.run.checkpoints import discard_after, step_of  # stdlib only
from tuiftune.run.files import write_json

STATE = "made-up.json"
PROMPT = "Once upon a time"


class Demo(tuiftune.Trainer):
    """Pretends to train: made-up figures, no model. For a look around, and for tests."""

    name = "demo"
    makes_model: ClassVar[bool] = False

    class Options(tuiftune.Options):
        steps: int = Field(60, ge=1, json_schema_extra={"unit": "steps"}, description="optimizer steps to pretend")
        seconds_per_step: float = Field(
            0.05, ge=0, json_schema_extra={"unit": "s"}, description="how long each takes, in seconds"
        )
        epochs: int = Field(3, ge=1, description="passes over the data to pretend; each ends with an evaluation")
        save_every: int = Field(
            10,
            ge=1,
            json_schema_extra={"unit": "steps"},
            description="steps between checkpoints, which hold nothing but the step",
        )
        fail_at: int | None = Field(None, ge=1, description="step that fails with a sentence, as bad input does")
        crash_at: int | None = Field(None, ge=1, description="step that fails with a traceback, as a bug does")

    def run(self, ctx: tuiftune.Context) -> Path:
        options = self.options
        step = _step_in(ctx.resume_from) if ctx.resume_from else 0
        ctx.checkpoints.mkdir(parents=True, exist_ok=True)
        discard_after(ctx.checkpoints, step)
        ctx.fact(
            made_up=True,
            total_steps=options.steps,
            epochs=options.epochs,
            device="made-up device",
            precision="fp32",
            parameters=0,
        )
        ctx.log("this is the demo trainer: it trains nothing, and every figure is made up")
        ctx.progress(step, options.steps, "steps")
        if step == 0:
            self._evaluate(ctx, 0)
        while step < options.steps:
            ctx.step_boundary(
                step,
                lambda: _save(ctx, step),  # noqa: B023 - called at once
                evaluate=lambda: self._evaluate_as_asked(ctx, step),  # noqa: B023
                sample=lambda: self._sample_as_asked(ctx, step),  # noqa: B023
            )
            if ctx.stopping:
                _save(ctx, step)
                raise RunStopped(step)
            step += 1
            self._pretend(ctx, step)
        return self._finish(ctx)

    def _pretend(self, ctx: tuiftune.Context, step: int) -> None:
        """One step: its time passes, its figures are written, and what is due is done."""
        options = self.options
        time.sleep(options.seconds_per_step)
        if step == options.fail_at:
            raise tuiftune.StageError(f"train.fail_at: step {step} was asked to fail, and does")
        if step == options.crash_at:
            raise RuntimeError(f"step {step} was asked to crash")
        ctx.metric(
            step,
            loss=self._loss(ctx.seed, step) + _noise(ctx.seed, step, 0.15),
            learning_rate=5e-5 * (1 - (step - 1) / options.steps),
            grad_norm=1 + abs(_noise(ctx.seed + 1, step, 0.5)),
            tokens_per_s=1000 + _noise(ctx.seed + 2, step, 100),
            epoch=step * options.epochs / options.steps,
        )
        ctx.progress(step, options.steps, "steps")
        if step % options.save_every == 0 or step == options.steps:
            _save(ctx, step)
        if step == options.steps or step % math.ceil(options.steps / options.epochs) == 0:
            self._evaluate(ctx, step)

    def _loss(self, seed: int, step: int) -> float:
        """Falls from about 4 towards 2 over the run; depends on seed and step alone, so a resume goes on."""
        return 2 + 2 * math.exp(-3 * step / self.options.steps) + _noise(seed + 3, 0, 0.1)

    def _evaluate(self, ctx: tuiftune.Context, step: int) -> None:
        loss = self._loss(ctx.seed, step)
        ctx.metric(
            step,
            **{"eval/loss": loss, "eval/perplexity": math.exp(loss), "eval/bits_per_byte": loss / math.log(2) / 4},
        )
        self._sample(ctx, step)

    def _sample(self, ctx: tuiftune.Context, step: int) -> None:
        ctx.sample(step, PROMPT, f", made up at step {step}, there was no model at all.", "made-up")

    def _evaluate_as_asked(self, ctx: tuiftune.Context, step: int) -> str:
        self._evaluate(ctx, step)
        return f"done: perplexity {math.exp(self._loss(ctx.seed, step)):.4g} at step {step:,}, made up"

    def _sample_as_asked(self, ctx: tuiftune.Context, step: int) -> str:
        self._sample(ctx, step)
        return f"done: what it makes up after step {step:,} is among the samples"

    def _finish(self, ctx: tuiftune.Context) -> Path:
        folder = ctx.run_dir / "model"
        folder.mkdir(exist_ok=True)
        write_json(folder / STATE, {"made_up": True, "step": self.options.steps})
        ctx.outputs["step"] = self.options.steps
        return folder


def _noise(seed: int, step: int, size: float) -> float:
    return random.Random(1_000_003 * seed + step).gauss(0, size)  # noqa: S311 - figures, not secrets


def _save(ctx: tuiftune.Context, step: int) -> str | None:
    """A sealed checkpoint like a real one, but for what is in it; why there is none, where there is none."""
    saved = ctx.save_checkpoint(step, lambda folder: write_json(folder / STATE, {"step": step}), size_bytes=4096)
    return None if saved else "the disk is full"


def _step_in(checkpoint: Path) -> int:
    step = int(json.loads((checkpoint / STATE).read_text(encoding="utf-8"))["step"])
    if step != step_of(checkpoint):
        raise tuiftune.StageError(f"{checkpoint}: its {STATE} is that of step {step}")
    return step


@tuiftune.hookimpl
def register_stages() -> list[type[tuiftune.Trainer]]:
    return [Demo]
