"""Fine-tune a causal language model on `transformers.Trainer`; read it top to bottom."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import transformers
from transformers.trainer_callback import PrinterCallback

from tuiftune.errors import RunStopped, StageError
from tuiftune.run.checkpoints import discard_after, publish, rotate, step_folder, step_of
from tuiftune.training.batches import check_fits, collate_step, row_lengths, token_rows
from tuiftune.training.evaluations import Evaluations
from tuiftune.training.loss import NextTokenLoss, counted_tokens
from tuiftune.training.model import load_model, load_tokenizer, save_folder
from tuiftune.training.precision import choose_device, choose_precision, device_name
from tuiftune.training.randomness import kept_rng

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from tuiftune.stage import Context
    from tuiftune.stages.causal_lm import CausalLM
    from tuiftune.training.batches import IntArray


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

    trainer = StepTrainer(
        model=model,
        args=_arguments(options, ctx, plan, device, precision),
        train_dataset=data,
        data_collator=partial(collate_step, slots=plan.slots),
    )
    if not trainer.loss.is_chunked:
        ctx.log("this model's logits are more than a linear layer's output: they are computed at every position")
    trainer.remove_callback(PrinterCallback)  # it prints a train_loss that leaves out all before a resume
    run = TrainingRun(ctx, options, plan, trainer, tokenizer)
    run.begin()
    if run.step < plan.total_steps and not run.ended_early:
        trainer.train(resume_from_checkpoint=None if ctx.resume_from is None else str(ctx.resume_from))
    if run.stopped:
        raise RunStopped(run.step)
    return run.finish()


CPU_SLOTS = 1024
"""Tokens at once. Measured on 2 cores: 2,048 are no faster and take 200 MB more, 512 are 10% slower."""
GPU_SLOTS = 2048
"""Fewer leave a GPU idle."""


@dataclass(frozen=True)
class Plan:
    """How many steps there are and where the epochs end."""

    samples: int
    """Of an epoch."""
    samples_per_step: int
    steps_per_epoch: int
    total_steps: int
    warmup_steps: int
    slots: int
    """Padded tokens that go through the model at once."""

    @classmethod
    def of(cls, options: CausalLM.Options, lengths: IntArray, device: torch.device) -> Plan:
        """Of rows with so many tokens each."""
        slots = CPU_SLOTS if device.type == "cpu" else max(GPU_SLOTS, options.batch_size * int(lengths.max()))
        steps_per_epoch = math.ceil(len(lengths) / (options.batch_size * options.grad_accum))
        total = options.max_steps or math.ceil(options.epochs * steps_per_epoch)
        warmup = options.warmup_steps
        return cls(
            samples=len(lengths),
            samples_per_step=options.batch_size * options.grad_accum,
            steps_per_epoch=steps_per_epoch,
            total_steps=total,
            warmup_steps=int(warmup) if warmup >= 1 else math.ceil(warmup * total),
            slots=options.batch_tokens or slots,
        )

    def epoch_of(self, step: int) -> float:
        """Passes over the data up to a step; the last step of an epoch may be short."""
        whole, more = divmod(step, self.steps_per_epoch)
        return whole + more * self.samples_per_step / self.samples

    def is_due(self, step: int, every: int) -> bool:
        """Whether what happens `every` steps (0: each epoch) happens now; at the very end it always does."""
        return step == self.total_steps or step % (every or self.steps_per_epoch) == 0


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


SCHEDULES = {"linear": "linear", "cosine": "cosine", "constant": "constant_with_warmup"}


def _arguments(
    options: CausalLM.Options, ctx: Context, plan: Plan, device: torch.device, precision: str
) -> transformers.TrainingArguments:
    """Only the loop itself is the Trainer's: logging, evaluation, saving and rotation are done here."""
    arguments = transformers.TrainingArguments(
        output_dir=str(_aside(ctx)),
        max_steps=plan.total_steps,
        per_device_train_batch_size=plan.samples_per_step,  # cut up in training_step
        gradient_accumulation_steps=1,
        learning_rate=options.learning_rate,
        weight_decay=options.weight_decay,
        lr_scheduler_type=SCHEDULES[options.schedule],
        warmup_steps=plan.warmup_steps,
        max_grad_norm=options.grad_clip,
        bf16=precision == "bf16",
        fp16=precision == "fp16",
        use_cpu=device.type == "cpu",
        activation_checkpointing=options.gradient_checkpointing,
        seed=ctx.seed,
        data_seed=ctx.seed,
        remove_unused_columns=False,
        dataloader_pin_memory=device.type == "cuda",
        logging_strategy="no",
        eval_strategy="no",
        save_strategy="no",
        save_total_limit=None,  # it would delete by the clock, before the new one is known to be good
        logging_nan_inf_filter=False,  # it shows 0.0 while the weights are NaN
        disable_tqdm=True,
        report_to="none",
        log_level="warning",
    )
    _ = arguments.device  # sets the number of GPUs
    arguments._n_gpu = min(1, arguments.n_gpu)  # with more, Trainer would wrap the model in DataParallel
    return arguments


def _aside(ctx: Context) -> Path:
    """Where a checkpoint is written before it is sealed and moved to its place."""
    return ctx.checkpoints / ".unsealed"


@dataclass(frozen=True)
class StepResult:
    """What one optimizer step was."""

    step: int
    loss: torch.Tensor
    """A scalar on the device; its mean is over all counted tokens of the step."""
    grad_norm: torch.Tensor | float
    """Before clipping."""
    learning_rate: float
    """That of this step."""


class StepTrainer(transformers.Trainer):  # type: ignore[misc]
    """The Trainer's loop, with the loss of the whole step and a call at every step boundary."""

    on_step: Callable[[StepResult], bool]
    """Called once after each optimizer step; True ends the training."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.real_tokens = torch.zeros((), dtype=torch.long, device=self.args.device)
        """Tokens that are not padding, since they were last set to 0."""
        self.loss = NextTokenLoss(self.model)
        self._dtype = torch.bfloat16 if self.args.bf16 else torch.float16 if self.args.fp16 else torch.float32
        self.first_batch_at: float | None = None
        self.last_step = 0
        """The last step that on_step was called for."""

    def get_batch_samples(self, *arguments: Any, **named: Any) -> Any:
        if self.first_batch_at is None:
            self.first_batch_at = time.perf_counter()
        return super().get_batch_samples(*arguments, **named)

    def _get_num_items_in_batch(self, batch_samples: list[dict[str, Any]], device: torch.device) -> torch.Tensor:
        """Counted tokens of the step."""
        counted = torch.zeros((), dtype=torch.long, device=device)
        for step in batch_samples:
            self.real_tokens += step["tokens"].to(device)
            for batch in step["micro_batches"]:
                counted += counted_tokens(batch["targets"]).to(device)
        return counted

    def training_step(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        """Forward and backward of each micro-batch; the loss of the step is the mean over its counted tokens, so
        it does not depend on how it is cut."""
        model.train()
        counted = torch.as_tensor(1 if num_items_in_batch is None else num_items_in_batch, device=self.args.device)
        scale = counted.clamp(min=1).float().reciprocal()
        total = torch.zeros((), device=self.args.device)
        batches = inputs["micro_batches"]
        for number, batch in enumerate(batches, start=1):
            batch = self._prepare_inputs(batch)
            last = number == len(batches)
            with nullcontext() if last else self.accelerator.no_sync(model):
                share = self.loss.sum(model, batch, scale, self._dtype)
                self.accelerator.backward(share)
            total += share.detach()
        return total

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:  # noqa: ARG002
        """Not counted here."""
        return 0

    def _maybe_log_save_evaluate(
        self,
        tr_loss: torch.Tensor,
        grad_norm: torch.Tensor | float,
        model: torch.nn.Module,  # noqa: ARG002
        trial: Any,  # noqa: ARG002
        epoch: float,  # noqa: ARG002
        ignore_keys_for_eval: Any,  # noqa: ARG002
        start_time: float,  # noqa: ARG002
        learning_rate: float | None = None,
    ) -> None:
        """The Trainer comes here after each step, and once more at the end of an epoch."""
        if self.state.global_step == self.last_step:
            return
        self.last_step = self.state.global_step
        result = StepResult(self.last_step, tr_loss, grad_norm, learning_rate or 0.0)
        if self.on_step(result):
            self.control.should_training_stop = True
        tr_loss.zero_()  # `-=`, as the Trainer does, would keep a NaN for ever

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        """A tied weight is written once and so is never missing; anything else would be made up in silence."""
        weights = dict(self.model.named_parameters(remove_duplicate=False))
        there = {id(weight) for name, weight in weights.items() if name not in load_result.missing_keys}
        missing = [name for name in load_result.missing_keys if name in weights and id(weights[name]) not in there]
        if missing or load_result.unexpected_keys:
            raise StageError(
                f"the checkpoint is not of this model: {len(missing)} of its weights are not in it, and "
                f"{len(load_result.unexpected_keys)} others are. Was model.name changed? Start another run"
            )

    def write_checkpoint(self) -> Path:
        """Everything needed to go on, in a folder aside; not sealed yet."""
        self._save_checkpoint(self.model, trial=None)
        folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        (folder / "training_args.bin").unlink()  # a pickle, and nothing reads it
        return folder


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
        self._busy_s = 0.0
        self._mark: float | None = None
        """When training last went on; before the first step it is the trainer's first_batch_at."""
        trainer.on_step = self.after_step
        trainer.last_step = self.step

    def begin(self) -> None:
        """The baseline of the untouched model, or what the interrupted run still owes."""
        ctx = self.ctx
        ctx.checkpoints.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(_aside(ctx), ignore_errors=True)
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
        if self._saved_step == self.step:
            return
        ctx = self.ctx
        aside = self.trainer.write_checkpoint()
        self.tokenizer.save_pretrained(aside)  # so that a checkpoint can be generated from
        folder = publish(aside, ctx.checkpoints, self.step)
        shutil.rmtree(_aside(ctx), ignore_errors=True)
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
