"""What happens between the steps of a training: figures, evaluations, checkpoints, stopping."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from tuiftune import units
from tuiftune.errors import NotFinite, RunStopped, StageError
from tuiftune.run.checkpoints import discard_after, step_folder, step_folders, step_of
from tuiftune.run.keeping import with_room
from tuiftune.training.evaluations import Evaluations
from tuiftune.training.model import save_folder
from tuiftune.training.precision import float32_products
from tuiftune.training.state import read_weights, write_state
from tuiftune.training.steps import Stepper, StepResult

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from tuiftune.stage import Context
    from tuiftune.stages.causal_lm import CausalLM
    from tuiftune.training.plan import Plan


class TrainingRun:
    """A training from its baseline to its finished model, without the steps themselves."""

    def __init__(
        self,
        ctx: Context,
        options: CausalLM.Options,
        plan: Plan,
        stepper: Stepper,
        tokenizer: PreTrainedTokenizerBase,
        position: Any = None,
    ) -> None:
        self.ctx, self.options, self.plan = ctx, options, plan
        self.stepper, self.tokenizer = stepper, tokenizer
        self.step = stepper.step
        self.stopped = False
        self.ended_early = False
        self.evaluations = Evaluations(ctx.checkpoints / "evaluations.json", up_to_step=self.step)
        self._saved_step = self.step if ctx.resume_from else -1
        self._last: StepResult | None = None
        self._not_finite: list[int] = []
        """The steps in a row, up to now, whose loss was no number."""
        self._busy_s, self._tokens = 0.0, 0
        """Of training since the last figures."""
        self._mark = 0.0
        """When training last went on."""
        self._position = position
        """Where a stream of data stands."""

    def begin(self) -> None:
        """The baseline of the untouched model, or what the interrupted run still owes."""
        ctx = self.ctx
        ctx.checkpoints.mkdir(parents=True, exist_ok=True)
        discard_after(ctx.checkpoints, self.step)
        ctx.progress(self.step, self.plan.total_steps, "steps")
        if ctx.resume_from is None:
            self._begin_anew()
        else:
            self._catch_up()
        self._mark = time.perf_counter()

    def _begin_anew(self) -> None:
        """A stop in here trains nothing: a resume starts over."""
        if self.ctx.stopping:
            raise RunStopped(0)
        figures = self.measure("eval") or {}
        if self.ctx.stopping:
            raise RunStopped(0)
        if self.options.early_stopping and "eval/loss" not in figures:
            raise StageError(
                "train.early_stopping: no evaluator tells the loss. Add: [[evaluate]] stage = 'perplexity'"
            )
        self.sample()
        if self.ctx.stopping:
            raise RunStopped(0)

    def _catch_up(self) -> None:
        if self._evaluation_is_due() and self.step not in self.evaluations and not self.ctx.stopping:
            self.evaluate()
        if self._samples_are_due() and self.evaluations.sampled_step < self.step and not self.ctx.stopping:
            self.sample()
        self.ended_early = self._ends_early()

    def _evaluation_is_due(self) -> bool:
        return self.plan.is_due(self.step, self.options.eval_every)

    def _samples_are_due(self) -> bool:
        every = self.options.sample_every
        return self.plan.is_due(self.step, every) if every else self._evaluation_is_due()

    def _ends_early(self) -> bool:
        """Whether so many evaluations brought no lower loss; also asked after a resume, which trains on no more."""
        return 0 < self.options.early_stopping <= self.evaluations.since_best

    @property
    def is_over(self) -> bool:
        """Whether there is no other step to take."""
        return self.stopped or self.ended_early or self.step >= self.plan.total_steps

    def after_step(self, result: StepResult) -> None:
        """Record the step and do what is due."""
        self.step = result.step
        self._tokens += result.tokens
        self._position, self._last = result.position, result
        if self.step % self.options.log_every == 0 or self.step == self.plan.total_steps:
            self.record(result)
        else:
            self._busy_s += self._since_mark()
        self.ctx.progress(self.step, self.plan.total_steps, "steps")
        self._stop_if_asked()
        if not self.stopped:
            self._do_what_is_due()
            self.ctx.step_boundary(
                self.step, self._save_as_asked, evaluate=self._evaluate_as_asked, sample=self._sample_as_asked
            )
            self._stop_if_asked()
        self._mark = time.perf_counter()

    def _stop_if_asked(self) -> None:
        """A stop at the very last step lets the finished model be written."""
        if self.ctx.stopping and self.step < self.plan.total_steps and not self.ended_early:
            self.save()
            self.stopped = True

    def _do_what_is_due(self) -> None:
        """Save, evaluate, sample, in this order: where all are due, a run that dies in an evaluation has its
        checkpoint."""
        if self.plan.is_due(self.step, self.options.save_every):
            self.save()
        evaluates = self._evaluation_is_due()
        if evaluates:
            self.evaluate()
        if self._samples_are_due():
            self.sample()
        if evaluates and self._ends_early():
            self.ctx.log(f"early stop: {self.evaluations.since_best} evaluations without a lower loss")
            self.ended_early = True

    def record(self, result: StepResult) -> None:
        """The figures of this very step, not a mean since the last: so a resumed run has the same."""
        loss, grad_norm = float(result.loss), float(result.grad_norm)  # waits for the GPU, so before the clock
        seconds = self._busy_s + self._since_mark()
        self.ctx.metric(
            result.step,
            loss=loss,
            grad_norm=grad_norm,
            learning_rate=result.learning_rate,
            tokens_per_s=self._tokens / seconds,
            tokens=self._tokens,
            seconds=seconds,
            **known(epoch=self.plan.epoch_of(result.step)),
        )
        self._busy_s, self._tokens = 0.0, 0
        self._look_after(loss, grad_norm)

    def _look_after(self, loss: float, grad_norm: float) -> None:
        """Say when the loss is no number any more, and end a run that only trains on nothing.

        An infinite gradient alone is no sign: the loss scaling of fp16 meets some and passes over them.
        """
        if math.isfinite(loss) and not math.isnan(grad_norm):
            self._not_finite.clear()
            return
        self._not_finite.append(self.step)
        first = self._not_finite[0]
        if len(self._not_finite) == 1:
            self.ctx.log(f"step {first:,}: the loss is {loss}, the gradient's norm {grad_norm}")
        if len(self._not_finite) == self.options.nan_steps:
            good = [folder.name for folder in step_folders(self.ctx.checkpoints) if step_of(folder) < first]
            kept = f"The last checkpoint from before is {good[-1]}" if good else "There is no checkpoint from before"
            raise NotFinite(
                f"the loss has been no number for {self.options.nan_steps} steps, since step {first:,}. {kept}. "
                "Lower train.learning_rate, or set train.warmup_steps or train.grad_clip"
            )

    def _since_mark(self) -> float:
        """Seconds of training since the last step's end; evaluations and saving lie before the mark."""
        return time.perf_counter() - self._mark

    def evaluate(self) -> None:
        """Measure, remember the loss, and keep the weights of a new best where they may be wanted."""
        figures = self.measure("eval")
        if figures is None or "eval/loss" not in figures:
            return
        loss = figures["eval/loss"]
        wanted = self.options.early_stopping or self.ctx.keep_best
        if wanted and self.step > 0 and self.evaluations.would_be_best(loss) and not self.save():
            loss = math.nan  # a best whose weights cannot be kept is none
        self.evaluations.add(self.step, loss)

    def sample(self) -> None:
        """Let the model write, and remember that it has."""
        if self.measure("sample") is not None:
            self.evaluations.sampled(self.step)

    def measure(self, cadence: str) -> dict[str, float] | None:
        """Run the profile's evaluators of this cadence on the model as it is; training does not notice.

        None where an evaluator saw the stop: what it had not finished is done after a resume.
        """
        model = self.stepper.model
        try:
            with as_evaluated(model):
                return self.ctx.evaluate(self.step, model, self.tokenizer, cadence=cadence)
        except RunStopped:
            return None

    def save(self) -> bool:
        """Seal a checkpoint of this step, then remove the oldest. False where there is none: weights that are no
        numbers would take the place of the last good ones."""
        ctx = self.ctx
        if self._saved_step == self.step:
            return True
        if self._last and not (math.isfinite(float(self._last.loss)) and not math.isnan(float(self._last.grad_norm))):
            ctx.log(f"no checkpoint of step {self.step:,}: its loss or gradient is no number")
            return False
        best = self.evaluations.best_step
        folder = ctx.save_checkpoint(
            self.step, self._write_checkpoint, self._checkpoint_bytes(), also=() if best is None else (best,)
        )
        if folder is None:
            return False
        self._saved_step = self.step
        return True

    def _write_checkpoint(self, folder: Path) -> None:
        state = self.stepper.state() | {"position": self._position, "slots": self.plan.slots}
        write_state(folder, self.stepper.model, self.tokenizer, state)

    def _checkpoint_bytes(self) -> int:
        """About what a checkpoint takes: weights and AdamW's two averages in float32, and the tokenizer."""
        return 12 * int(self.stepper.model.num_parameters()) + (1 << 20)

    def _save_as_asked(self) -> str | None:
        if self.save():
            return None
        return f"step {self.step:,} has no checkpoint: its loss is no number, or the disk is full"

    def _evaluate_as_asked(self) -> str:
        """Training does not notice: it counts neither as the best nor for early stopping, as a run that nobody asked
        would have it."""
        figures = self.measure("eval")
        if figures is None:
            return "refused: the run is stopping"
        told = {name.removeprefix("eval/"): value for name, value in figures.items()}
        known = "perplexity" if "perplexity" in told else next(iter(told), None)
        if known is None:
            return "refused: the profile has no evaluator that tells figures. Add: [[evaluate]] stage = 'perplexity'"
        return f"done: {known} {units.figure(told[known])} at step {self.step:,}"

    def _sample_as_asked(self) -> str:
        if self.measure("sample") is None:
            return "refused: the run is stopping"
        return f"done: what it writes after step {self.step:,} is among the samples"

    def finish(self) -> Path:
        """Write the final model: the last weights, or with early stopping the best."""
        best = self.evaluations.best_step
        if self.options.early_stopping and best not in (None, self.step):
            assert best is not None  # noqa: S101 - mypy cannot see it in the tuple
            read_weights(self.stepper.model, step_folder(self.ctx.checkpoints, best))
            self.ctx.log(f"the final model is that of step {best:,}, with the lowest evaluation loss")
            self.step = best
        self.ctx.outputs["step"] = self.step
        self.ctx.fact(model_step=self.step)
        model, place = self.stepper.model, self.ctx.run_dir / "model"

        def write() -> Path:
            save_folder(model, self.tokenizer, place)
            return place

        if with_room(self.ctx, self.step, "the finished model", lambda: 4 * model.num_parameters(), write) is None:
            raise RunStopped(self.step)
        return place


@contextmanager
def as_evaluated(model: PreTrainedModel) -> Iterator[None]:
    """Inside, the model is in eval mode, without gradients, its products in float32: in bf16 the logits of GPT-2,
    near -100, lie 0.5 apart, and its perplexity would be wrong."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad(), float32_products(tf32=False):
            yield
    finally:
        model.train(training)


def known(**values: float | None) -> dict[str, float]:
    """Without what a stream does not tell."""
    return {name: value for name, value in values.items() if value is not None}
