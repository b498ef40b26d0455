"""The loop: `transformers.Trainer`, with the loss of the whole step and a call at every step boundary."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import transformers
from transformers.trainer_callback import PrinterCallback

from tuiftune.errors import StageError
from tuiftune.training.batches import collate_step
from tuiftune.training.loss import NextTokenLoss, counted_tokens

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel

    from tuiftune.stage import Context
    from tuiftune.stages.causal_lm import CausalLM
    from tuiftune.training.plan import Plan


SCHEDULES = {"linear": "linear", "cosine": "cosine", "constant": "constant_with_warmup"}


def arguments_of(
    options: CausalLM.Options, ctx: Context, plan: Plan, device: torch.device, precision: str
) -> transformers.TrainingArguments:
    """Only the loop itself is the Trainer's: logging, evaluation, saving and rotation are done here."""
    found = transformers.TrainingArguments(
        output_dir=str(unsealed_folder(ctx)),
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
    _ = found.device  # sets the number of GPUs
    found._n_gpu = min(1, found.n_gpu)  # with more, Trainer would wrap the model in DataParallel
    return found


def unsealed_folder(ctx: Context) -> Path:
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

    def __init__(
        self,
        model: PreTrainedModel,
        arguments: transformers.TrainingArguments,
        rows: Dataset,
        slots: int,
        **more: Any,
    ) -> None:
        """`slots`: padded tokens of a micro-batch at most."""
        super().__init__(
            model=model, args=arguments, train_dataset=rows, data_collator=partial(collate_step, slots=slots), **more
        )
        self.remove_callback(PrinterCallback)  # it prints a train_loss that leaves out all before a resume
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
