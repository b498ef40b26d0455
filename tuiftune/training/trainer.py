"""Fine-tune a causal language model: read it top to bottom."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import transformers

from tuiftune.errors import RunStopped, StageError
from tuiftune.run.checkpoints import discard_after, publish, rotate, step_folder, step_folders, step_of
from tuiftune.training.batches import check_fits, row_lengths, token_rows
from tuiftune.training.evaluations import Evaluations
from tuiftune.training.model import load_model, load_tokenizer, save_folder
from tuiftune.training.plan import Plan
from tuiftune.training.precision import choose_device, choose_precision, device_name
from tuiftune.training.randomness import kept_rng
from tuiftune.training.steps import StepResult, StepTrainer, arguments_of, unsealed_folder

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from tuiftune.stage import Context
    from tuiftune.stages.causal_lm import CausalLM


def train(options: CausalLM.Options, ctx: Context) -> Path:
    """Train on `ctx.input["train"]` and return the folder of the finished model.

    Raises RunStopped when `ctx.stopping`, its checkpoint sealed; StageError for what the user can mend.
    """
    device = choose_device()
    precision = choose_precision(options.precision, device)
    data = _train_rows(ctx)
    plan = Plan.of(options, row_lengths(data), device)

    transformers.set_seed(ctx.seed)
    tokenizer = load_tokenizer(ctx.model, ctx.workspace)
    # float32 whatever the precision: small updates of bf16 weights are rounded away. Autocast does the rest.
    model = load_model(ctx.model, ctx.workspace, torch.float32)
    _say_facts(ctx, options, plan, model, device, precision, data)

    trainer = StepTrainer(model, arguments_of(options, ctx, plan, device, precision), data, plan.slots)
    if not trainer.loss.is_chunked:
        ctx.log("this model's logits are more than a linear layer's output: they are computed at every position")
    run = TrainingRun(ctx, options, plan, trainer, tokenizer)
    run.begin()
    if run.step < plan.total_steps and not run.ended_early:
        trainer.train(resume_from_checkpoint=None if ctx.resume_from is None else str(ctx.resume_from))
    if run.stopped:
        raise RunStopped(run.step)
    return run.finish()


def _train_rows(ctx: Context) -> Dataset:
    if ctx.input is None or "train" not in ctx.input or len(ctx.input["train"]) == 0:
        raise StageError("there is no text to train on: the train split is empty")
    rows = token_rows(ctx.input["train"])
    if int(row_lengths(rows).max()) < 2:
        raise StageError("no sample has two tokens, so there is nothing to predict. Are the documents empty?")
    return rows


def _say_facts(
    ctx: Context,
    options: CausalLM.Options,
    plan: Plan,
    model: PreTrainedModel,
    device: torch.device,
    precision: str,
    data: Dataset,
) -> None:
    """Check the rows against the model, and print each derived quantity once."""
    lengths = {"train": row_lengths(data)}
    if ctx.input is not None and "validation" in ctx.input and "input_ids" in ctx.input["validation"].column_names:
        lengths["validation"] = row_lengths(ctx.input["validation"])
    check_fits(model.config, lengths)
    tokens = {f"{split}_tokens": int(found.sum()) for split, found in lengths.items()}
    ctx.fact(
        total_steps=plan.total_steps,
        epochs=plan.epoch_of(plan.total_steps),
        samples_per_step=plan.samples_per_step,
        device=device.type,
        device_name=device_name(device),
        precision=precision,
        parameters=model.num_parameters(),
        **tokens,
    )
    ctx.log(
        f"{model.num_parameters():,} parameters on {device_name(device)} in {precision}; "
        f"{len(data):,} samples of {tokens['train_tokens']:,} tokens; {options.batch_size} x {options.grad_accum} = "
        f"{plan.samples_per_step} samples a step, at most {plan.slots:,} tokens at once; "
        f"{plan.steps_per_epoch:,} steps an epoch, {plan.total_steps:,} in all"
    )
    if plan.warmup_steps >= plan.total_steps:
        ctx.log(
            f"the warm-up of {plan.warmup_steps:,} steps is as long as the run of {plan.total_steps:,}: "
            "the learning rate asked for is never reached. Lower train.warmup_steps"
        )


class TrainingRun:
    """What happens between the steps: figures, evaluations, checkpoints, stopping."""

    def __init__(
        self,
        ctx: Context,
        options: CausalLM.Options,
        plan: Plan,
        trainer: StepTrainer,
        tokenizer: PreTrainedTokenizerBase,
    ) -> None:
        self.ctx, self.options, self.plan = ctx, options, plan
        self.trainer, self.tokenizer = trainer, tokenizer
        self.step = step_of(ctx.resume_from) if ctx.resume_from else 0
        self.stopped = False
        self.ended_early = False
        self.evaluations = Evaluations(ctx.checkpoints / "evaluations.json", up_to_step=self.step)
        self._saved_step = self.step if ctx.resume_from else -1
        self._not_finite: list[int] = []
        """The steps in a row, up to now, whose loss was no number."""
        self._busy_s = 0.0
        self._mark: float | None = None
        """When training last went on; before the first step it is the trainer's first_batch_at."""
        trainer.on_step = self.after_step
        trainer.last_step = self.step

    def begin(self) -> None:
        """The baseline of the untouched model, or what the interrupted run still owes."""
        ctx = self.ctx
        ctx.checkpoints.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(unsealed_folder(ctx), ignore_errors=True)
        discard_after(ctx.checkpoints, self.step)
        ctx.progress(self.step, self.plan.total_steps, "steps")
        if ctx.resume_from is None:
            if ctx.stopping:
                raise RunStopped(0)
            figures = self.measure("eval") or {}
            if ctx.stopping:  # nothing is trained yet: a resume starts over
                raise RunStopped(0)
            if self.options.early_stopping and "eval/loss" not in figures:
                raise StageError(
                    "train.early_stopping: no evaluator tells the loss. Add: [[evaluate]] stage = 'perplexity'"
                )
            self.sample()
            if ctx.stopping:
                raise RunStopped(0)
            return
        due = self._evaluation_is_due() and self.step not in self.evaluations
        unsampled = self._samples_are_due() and self.evaluations.sampled_step < self.step
        if due or unsampled or self.step >= self.plan.total_steps or self._ends_early():
            self.trainer._load_from_checkpoint(str(ctx.resume_from))
        if due and not ctx.stopping:
            self.evaluate()
        if unsampled and not ctx.stopping:
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

    def after_step(self, result: StepResult) -> bool:
        """Record the step and do what is due; True when training ends here."""
        self.step = result.step
        if self.step % self.options.log_every == 0 or self.step == self.plan.total_steps:
            self.record(result)
        else:
            self._busy_s += self._since_mark()
        self.ctx.progress(self.step, self.plan.total_steps, "steps")
        ends = self._stop_if_asked() or self._do_what_is_due() or self._stop_if_asked()
        self._mark = time.perf_counter()
        return ends

    def _stop_if_asked(self) -> bool:
        """A stop at the very last step lets the finished model be written."""
        if not self.ctx.stopping or self.step >= self.plan.total_steps:
            return False
        self.save()
        self.stopped = True
        return True

    def _do_what_is_due(self) -> bool:
        """Save, evaluate, sample, in this order: where all are due, a run that dies in an evaluation has its
        checkpoint. True to stop early."""
        if self.plan.is_due(self.step, self.options.save_every):
            self.save()
        evaluates = self._evaluation_is_due()
        if evaluates:
            self.evaluate()
        if self._samples_are_due():
            self.sample()
        if not evaluates or not self._ends_early():
            return False
        self.ctx.log(f"early stop: {self.evaluations.since_best} evaluations without a lower loss")
        return True

    def record(self, result: StepResult) -> None:
        """The figures of this very step, not a mean since the last: so a resumed run has the same."""
        loss, grad_norm = float(result.loss), float(result.grad_norm)  # waits for the GPU, so before the clock
        seconds = self._busy_s + self._since_mark()
        tokens = float(self.trainer.real_tokens)
        self.ctx.metric(
            result.step,
            loss=loss,
            grad_norm=grad_norm,
            learning_rate=result.learning_rate,
            tokens_per_s=tokens / seconds,
            tokens=tokens,
            seconds=seconds,
            epoch=self.plan.epoch_of(result.step),
        )
        self.trainer.real_tokens.zero_()
        self._busy_s = 0.0
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
            raise StageError(
                f"the loss has been no number for {self.options.nan_steps} steps, since step {first:,}. {kept}. "
                "Lower train.learning_rate, or set train.warmup_steps or train.grad_clip"
            )

    def _since_mark(self) -> float:
        """Seconds of training since the last step's end; evaluations and saving lie before the mark."""
        return time.perf_counter() - (self._mark or self.trainer.first_batch_at or 0.0)

    def evaluate(self) -> None:
        """Measure, remember the loss, and keep the weights of a new best where they may be wanted."""
        figures = self.measure("eval")
        if figures is None or "eval/loss" not in figures:
            return
        self.evaluations.add(self.step, figures["eval/loss"])
        if self.options.early_stopping and self.evaluations.best_step == self.step:
            self.save()

    def sample(self) -> None:
        """Let the model write, and remember that it has."""
        if self.measure("sample") is not None:
            self.evaluations.sampled(self.step)

    def measure(self, cadence: str) -> dict[str, float] | None:
        """Run the profile's evaluators of this cadence on the model as it is; training does not notice.

        None where an evaluator saw the stop: what it had not finished is done after a resume.
        """
        model = self.trainer.model
        try:
            with as_evaluated(model):
                return self.ctx.evaluate(self.step, model, self.tokenizer, cadence=cadence)
        except RunStopped:
            return None

    def save(self) -> None:
        """Seal a checkpoint of this step, then remove the oldest."""
        if self._saved_step == self.step or (self._not_finite and not self.ctx.stopping):
            return  # weights that are no numbers would take the place of the last good ones
        ctx = self.ctx
        aside = self.trainer.write_checkpoint()
        self.tokenizer.save_pretrained(aside)  # so that a checkpoint can be generated from
        folder = publish(aside, ctx.checkpoints, self.step)
        shutil.rmtree(unsealed_folder(ctx), ignore_errors=True)
        self._saved_step = self.step
        ctx.event("checkpoint", step=self.step, path=str(folder))
        best = self.evaluations.best_step
        rotate(ctx.checkpoints, ctx.keep_checkpoints, also=() if best is None else (best,))

    def finish(self) -> Path:
        """Write the final model: the last weights, or with early stopping the best."""
        best = self.evaluations.best_step
        if self.options.early_stopping and best not in (None, self.step):
            assert best is not None  # noqa: S101 - mypy cannot see it in the tuple
            self.trainer._load_from_checkpoint(str(step_folder(self.ctx.checkpoints, best)))
            self.ctx.log(f"the final model is that of step {best:,}, with the lowest evaluation loss")
            self.step = best
        self.ctx.outputs["step"] = self.step
        self.ctx.fact(model_step=self.step)
        place = self.ctx.run_dir / "model"
        save_folder(self.trainer.model, self.tokenizer, place)
        return place


@contextmanager
def as_evaluated(model: PreTrainedModel) -> Iterator[None]:
    """Inside, the model is in eval mode, without gradients and without the autocast of training.

    In bf16 the logits of GPT-2, near -100, lie 0.5 apart, and its perplexity would be wrong. The random
    numbers of training go on afterwards as if nothing had been.
    """
    training = model.training
    wrapped = model.__dict__.get("forward")
    original = model.__dict__.get("_original_forward")  # where accelerate keeps it
    if original is not None:
        model.forward = original
    model.eval()
    try:
        with kept_rng(), torch.no_grad():
            yield
    finally:
        if original is not None:
            model.forward = wrapped
        model.train(training)
