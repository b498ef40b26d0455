"""Fine-tune a causal language model: read it top to bottom."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from tuiftune.errors import RunStopped, StageError
from tuiftune.options import ModelOptions
from tuiftune.run.stream import TokenStream
from tuiftune.training.batches import check_fits, row_lengths, token_rows
from tuiftune.training.budget import planned_slots, rehearsed
from tuiftune.training.device_peaks import flops_per_token, peak_flops
from tuiftune.training.feed import Feed, steps_of, steps_of_stream
from tuiftune.training.memory import available_bytes
from tuiftune.training.model import load_model, load_tokenizer
from tuiftune.training.plan import Plan
from tuiftune.training.precision import choose_device, choose_precision, device_name
from tuiftune.training.processes import Alone, PeerLost, joined, others
from tuiftune.training.state import read_state, read_weights
from tuiftune.training.steps import Stepper
from tuiftune.training.training_run import TrainingRun, known

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
        plan = replace(plan, slots=job.slots(model, longest, device))
    _tell_memory(ctx, options, plan, longest)
    _say_facts(ctx, options, plan, model, device, job.precision, data)
    with ExitStack() as open_:
        processes = open_.enter_context(with_others(job, plan, data, device, ctx.dir))
        stepper = Stepper(model.to(device), options, plan, job.precision, ctx.seed, processes)
        if not stepper.loss.is_chunked:
            ctx.log("this model's logits are more than a linear layer's output: they are computed at every position")
        if options.batch_tokens == "auto":
            plan = rehearsed(stepper, plan, longest, ctx.log)
            _tell_memory(ctx, options, plan, longest)
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

    def slots(self, model: PreTrainedModel, longest: int, device: torch.device) -> int:
        """Tokens at once for `batch_tokens = "auto"`; those of the checkpoint, for dropout goes by how rows are cut."""
        if self.resume_from is not None:
            return int(read_state(self.resume_from)["slots"])
        free, _ = available_bytes(device)
        return planned_slots(model.config, self.options, self.precision, longest, device.type, free)

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
    with (
        others(count, help_train, (job, plan, data, meeting)) as end_others,
        joined(0, count, device, meeting) as group,
    ):
        try:
            yield group
        except PeerLost:
            raise
        except BaseException:  # a stop, or what failed here: they would only complain that this one is gone
            end_others()
            raise


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


def _tell_memory(ctx: Context, options: CausalLM.Options, plan: Plan, longest: int) -> None:
    ctx.tell_memory(batch_tokens=plan.slots, longest=longest, gradient_checkpointing=options.gradient_checkpointing)


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
    peak = peak_flops(device_name(device), precision)
    ctx.fact(
        total_steps=plan.total_steps,
        device=device.type,
        device_name=device_name(device),
        precision=precision,
        parameters=model.num_parameters(),
        **tokens,
        flops_per_token=flops_per_token(model.num_parameters()),
        **known(
            epochs=plan.epoch_of(plan.total_steps),
            samples_per_step=plan.samples_per_step,
            peak_flops=peak * options.processes if peak is not None else None,
        ),
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


def _step_in_words(options: CausalLM.Options, plan: Plan) -> str:
    if plan.samples_per_step is None:
        return f"about {options.tokens_per_step:,} tokens"
    processes = f" x {options.processes} processes" if options.processes > 1 else ""
    return f"{options.batch_size} x {options.grad_accum}{processes} = {plan.samples_per_step} samples"
