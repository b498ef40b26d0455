"""Fine-tune a causal language model: read it top to bottom."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from tuiftune.errors import RunStopped, StageError
from tuiftune.options import ModelOptions
from tuiftune.run.checkpoints import discard_after, publish, rotate, step_folder, step_folders, step_of
from tuiftune.run.stream import TokenStream
from tuiftune.training.batches import check_fits, row_lengths, token_rows
from tuiftune.training.budget import planned_slots, rehearsed
from tuiftune.training.evaluations import Evaluations
from tuiftune.training.feed import Feed, steps_of, steps_of_stream
from tuiftune.training.memory import available_bytes
from tuiftune.training.model import load_model, load_tokenizer, save_folder
from tuiftune.training.plan import Plan
from tuiftune.training.precision import choose_device, choose_precision, device_name, float32_products
from tuiftune.training.processes import Alone, joined, others
from tuiftune.training.state import read_state, read_weights, write_state
from tuiftune.training.steps import Stepper, StepResult

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from tuiftune.stage import Context
    from tuiftune.stages.causal_lm import CausalLM


def train(options: CausalLM.Options, ctx: Context) -> Path:
    """Train on `ctx.input["train"]` and return the folder of the finished model.

    Raises RunStopped when `ctx.stopping`, its checkpoint sealed; StageError for what the user can mend.
    """
    device = choose_device(options.processes)
    job = Job(options, ctx.model, ctx.workspace, ctx.seed, choose_precision(options.precision, device), ctx.resume_from)
    data = _train_data(ctx)
    plan, longest = _plan(options, data, device)
    tokenizer = load_tokenizer(ctx.model, ctx.workspace)
    model = job.new_model(tokenizer)
    if options.batch_tokens == "auto":
        free, _ = available_bytes(device)
        slots = planned_slots(model.config, options, job.precision, longest, device.type, free)
        plan = replace(plan, slots=slots)
    _say_facts(ctx, options, plan, model, device, job.precision, data)
    with ExitStack() as open_:
        processes = open_.enter_context(with_others(job, plan, data, device, ctx.dir))
        stepper = Stepper(model.to(device), options, plan, job.precision, ctx.seed, processes)
        if not stepper.loss.is_chunked:
            ctx.log("this model's logits are more than a linear layer's output: they are computed at every position")
        if options.batch_tokens == "auto":
            plan = rehearsed(stepper, plan, longest, ctx.log)
        position = job.resume(stepper) if ctx.resume_from else None
        run = TrainingRun(ctx, options, plan, stepper, tokenizer, position)
        run.begin()
        if not ctx.resume_from:
            stepper.forget_rehearsal()
        if isinstance(data, TokenStream):
            steps = steps_of_stream(data, plan, options.tokens_per_step, position)
        else:
            steps = steps_of(data, plan, ctx.seed, run.step, 0, processes.count)
        feed = open_.enter_context(closing(Feed(steps, pinned=device.type == "cuda")))
        if isinstance(data, TokenStream):
            open_.callback(data.close)  # first, for the feed may be waiting for it
        while processes.agree(not run.is_over):
            run.after_step(stepper.take(next(feed)))
    if run.stopped:
        raise RunStopped(run.step)
    return run.finish()


@dataclass(frozen=True)
class Job:
    """What every process of a training knows."""

    options: CausalLM.Options
    model: ModelOptions
    workspace: Path
    seed: int
    precision: str
    resume_from: Path | None

    def new_model(self, tokenizer: PreTrainedTokenizerBase | None = None) -> PreTrainedModel:
        """float32 whatever the precision: small updates of bf16 weights are rounded away. Autocast does the rest."""
        torch.manual_seed(self.seed)
        return load_model(self.model, self.workspace, torch.float32, tokenizer)

    def resume(self, stepper: Stepper) -> Any:
        """Weights, optimizer and step of the checkpoint; returns where a stream of data stood."""
        assert self.resume_from is not None  # noqa: S101
        read_weights(stepper.model, self.resume_from)
        state = read_state(self.resume_from)
        stepper.restore(state)
        return state["position"]


@contextmanager
def with_others(
    job: Job, plan: Plan, data: Dataset | TokenStream, device: torch.device, folder: Path
) -> Iterator[Alone]:
    """Inside, the other processes of `train.processes` are at work on their share of every step."""
    count = job.options.processes
    if count == 1:
        yield Alone()
        return
    if isinstance(data, TokenStream):
        raise StageError(f"train.processes: a stream is read by one process, not by {count}. Set it to 1")
    meeting = folder / "meeting"
    meeting.unlink(missing_ok=True)
    with others(count, help_train, (job, plan, data, meeting)), joined(0, count, device, meeting) as group:
        yield group


def help_train(rank: int, job: Job, plan: Plan, data: Dataset, meeting: Path) -> None:
    """A process beside the first: the same steps, and nothing else."""
    device = choose_device(job.options.processes, rank)
    with joined(rank, job.options.processes, device, meeting) as group:
        stepper = Stepper(job.new_model().to(device), job.options, plan, job.precision, job.seed, group)
        if job.options.batch_tokens == "auto":  # how many it takes at once is its own affair
            plan = rehearsed(stepper, plan, int(row_lengths(data).max()), lambda text: print(f"{rank}: {text}"))
            stepper.forget_rehearsal()
        if job.resume_from is not None:
            job.resume(stepper)
        steps = steps_of(data, plan, job.seed, stepper.step, rank, group.count)
        with closing(Feed(steps, pinned=device.type == "cuda")) as feed:
            while group.agree(True):
                stepper.take(next(feed))


def _plan(options: CausalLM.Options, data: Dataset | TokenStream, device: torch.device) -> tuple[Plan, int]:
    """The plan, and the tokens of the longest row."""
    if not isinstance(data, TokenStream):
        lengths = row_lengths(data)
        return Plan.of(options, lengths, device), int(lengths.max())
    if data.longest_row is None:
        raise StageError("how long a row of the stream may be is not known. Add a preprocess stage: 'tokenize'")
    return Plan.of_stream(options, data.longest_row, device), data.longest_row


def _train_data(ctx: Context) -> Dataset | TokenStream:
    if ctx.input is not None and isinstance(ctx.input.get("train"), TokenStream):
        return ctx.input["train"]
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
    data: Dataset | TokenStream,
) -> None:
    """Check the rows against the model, and print each derived quantity once."""
    lengths = {} if isinstance(data, TokenStream) else {"train": row_lengths(data)}
    if ctx.input is not None and "validation" in ctx.input and "input_ids" in ctx.input["validation"].column_names:
        lengths["validation"] = row_lengths(ctx.input["validation"])
    check_fits(model.config, lengths)
    tokens = {f"{split}_tokens": int(found.sum()) for split, found in lengths.items()}
    ctx.fact(
        total_steps=plan.total_steps,
        device=device.type,
        device_name=device_name(device),
        precision=precision,
        parameters=model.num_parameters(),
        **tokens,
        **_known(epochs=plan.epoch_of(plan.total_steps), samples_per_step=plan.samples_per_step),
    )
    if isinstance(data, TokenStream):
        samples, steps = "a stream of samples", f"{plan.total_steps:,} steps"
    else:
        samples = f"{len(data):,} samples of {tokens['train_tokens']:,} tokens"
        steps = f"{plan.steps_per_epoch:,} steps an epoch, {plan.total_steps:,} in all"
    ctx.log(
        f"{model.num_parameters():,} parameters on {device_name(device)} in {precision}; "
        f"{samples}; {_step_in_words(options, plan)} a step, at most {plan.slots:,} tokens at once; {steps}"
    )
    if plan.warmup_steps >= plan.total_steps:
        ctx.log(
            f"the warm-up of {plan.warmup_steps:,} steps is as long as the run of {plan.total_steps:,}: "
            "the learning rate asked for is never reached. Lower train.warmup_steps"
        )


def _known(**values: float | None) -> dict[str, float]:
    """Without what a stream does not tell."""
    return {name: value for name, value in values.items() if value is not None}


def _step_in_words(options: CausalLM.Options, plan: Plan) -> str:
    if plan.samples_per_step is None:
        return f"about {options.tokens_per_step:,} tokens"
    processes = f" x {options.processes} processes" if options.processes > 1 else ""
    return f"{options.batch_size} x {options.grad_accum}{processes} = {plan.samples_per_step} samples"


class TrainingRun:
    """What happens between the steps: figures, evaluations, checkpoints, stopping."""

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
        self._not_finite: list[int] = []
        """The steps in a row, up to now, whose loss was no number."""
        self._busy_s, self._tokens = 0.0, 0
        """Of training since the last figures."""
        self._mark = 0.0
        """When training last went on."""
        self._position = position
        """Where a stream of data stands."""

    @property
    def _unsealed(self) -> Path:
        """Where a checkpoint is written before it is sealed and moved to its place."""
        return self.ctx.checkpoints / ".unsealed"

    def begin(self) -> None:
        """The baseline of the untouched model, or what the interrupted run still owes."""
        ctx = self.ctx
        ctx.checkpoints.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(self._unsealed, ignore_errors=True)
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
        self._position = result.position
        if self.step % self.options.log_every == 0 or self.step == self.plan.total_steps:
            self.record(result)
        else:
            self._busy_s += self._since_mark()
        self.ctx.progress(self.step, self.plan.total_steps, "steps")
        self._stop_if_asked()
        if not self.stopped:
            self._do_what_is_due()
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
            **_known(epoch=self.plan.epoch_of(result.step)),
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
            raise StageError(
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
        model = self.stepper.model
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
        state = self.stepper.state() | {"position": self._position}
        write_state(self._unsealed, self.stepper.model, self.tokenizer, state)
        folder = publish(self._unsealed, ctx.checkpoints, self.step)
        self._saved_step = self.step
        ctx.event("checkpoint", step=self.step, path=str(folder))
        best = self.evaluations.best_step
        rotate(ctx.checkpoints, ctx.keep_checkpoints, also=() if best is None else (best,))

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
        place = self.ctx.run_dir / "model"
        save_folder(self.stepper.model, self.tokenizer, place)
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
