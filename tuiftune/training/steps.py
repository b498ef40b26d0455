"""One optimizer step after another: micro-batches through the model, gradients added up, AdamW."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from tuiftune.training.activations import fuse_activations
from tuiftune.training.lookup import add_where_looked_up
from tuiftune.training.loss import NextTokenLoss
from tuiftune.training.optimizer import learning_rate_factor, new_optimizer
from tuiftune.training.precision import float32_products
from tuiftune.training.processes import Alone

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from tuiftune.stages.causal_lm import CausalLM
    from tuiftune.training.batches import StepBatches
    from tuiftune.training.plan import Plan

DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""Of the matrix products, by train.precision; the weights are float32."""


@dataclass(frozen=True)
class StepResult:
    """What one optimizer step was."""

    step: int
    loss: torch.Tensor
    """A scalar on the device: the mean over all counted tokens of the step, of all processes."""
    grad_norm: torch.Tensor
    """Before clipping; a scalar on the device."""
    learning_rate: float
    """That of this step."""
    tokens: int
    """Real ones of the step, of all processes."""
    position: Any
    """Where the data stands after it, for a source that keeps a place of its own."""


def ready_to_train(model: PreTrainedModel, compiled: bool = False) -> tuple[NextTokenLoss, Any]:
    """The loss of a model that does the same in less time and memory from now on, and the weight of its embedding
    where that one adds to its gradient itself (else None)."""
    fuse_activations(model)
    loss, embedding = NextTokenLoss(model), model.get_input_embeddings()
    if compiled:  # a compiled program would not see what is added behind its back
        loss.compile()
        return loss, None
    return loss, embedding.weight if add_where_looked_up(embedding) else None


class Stepper:
    """A model, its loss and its optimizer, taken step by step."""

    def __init__(
        self,
        model: PreTrainedModel,
        options: CausalLM.Options,
        plan: Plan,
        precision: str,
        seed: int,
        processes: Alone | None = None,
    ) -> None:
        """`model` is on its device, its weights float32."""
        self.model, self.options, self.plan, self.seed = model, options, plan, seed
        self.processes = processes or Alone()
        self.step = 0
        self._device = next(model.parameters()).device
        self._dtype = DTYPES[precision]
        self._tf32 = precision == "tf32"
        if options.gradient_checkpointing:
            model.activation_checkpointing_enable({"use_reentrant": False})
        self.loss, self._looked_up = ready_to_train(model, options.compile)
        self.optimizer = new_optimizer(model, options)
        self._scaler = torch.amp.GradScaler(self._device.type, enabled=precision == "fp16")
        self._scaler.scale(torch.zeros((), device=self._device))  # it makes its own scale when it is first used
        self.processes.same_weights([*model.parameters(), *model.buffers()])

    def take(self, batches: StepBatches) -> StepResult:
        """Forward and backward of each micro-batch, then the optimizer. The loss of the step is the mean over its
        counted tokens, so it does not depend on how it is cut, nor on how many processes share it."""
        self._seed()
        self.model.train()
        learning_rate = self._set_learning_rate()
        total = self._gradients(batches.micro_batches, 1 / max(1, batches.counted))
        self.processes.add_up(total, self.model.parameters())
        grad_norm = self._clip()
        self._scaler.step(self.optimizer)
        self._scaler.update()
        self.step += 1
        return StepResult(self.step, total, grad_norm, learning_rate, batches.tokens, batches.position)

    def rehearse(self, batch: Mapping[str, torch.Tensor]) -> None:
        """Forward, backward and optimizer on one micro-batch, leaving the weights as they are: what memory training
        takes, it has after this. Raises torch.OutOfMemoryError (or RuntimeError, on a CPU) where there is
        too little."""
        self._seed()
        self.model.train()
        self._gradients([batch, batch], 0.0)  # the second meets the gradients of the first
        for group in self.optimizer.param_groups:
            group["lr"] = 0.0
        self.optimizer.step()

    def forget_rehearsal(self) -> None:
        """The averages are those of no step; until now they took the memory that they will take."""
        self.optimizer.state.clear()

    def state(self) -> dict[str, Any]:
        """What `restore` takes; the model's weights are kept apart."""
        return {"step": self.step, "optimizer": self.optimizer.state_dict(), "scaler": self._scaler.state_dict()}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.step = state["step"]
        self.optimizer.load_state_dict(state["optimizer"])
        self._scaler.load_state_dict(state["scaler"])

    def _seed(self) -> None:
        """The random numbers of a step, those of dropout, depend on nothing but seed, step and process: whatever is
        evaluated or saved in between changes nothing, and a run that goes on needs no state of them."""
        number = random.Random(f"{self.seed} {self.step} {self.processes.rank}").getrandbits(63)  # noqa: S311
        # Not torch.manual_seed: for devices that are not there it keeps every call, with its stack, for later.
        torch.default_generator.manual_seed(number)
        if self._device.type == "cuda":
            torch.cuda.manual_seed(number)

    def _set_learning_rate(self) -> float:
        plan, options = self.plan, self.options
        factor = learning_rate_factor(options.schedule, self.step, plan.warmup_steps, plan.total_steps)
        for group in self.optimizer.param_groups:
            group["lr"] = options.learning_rate * factor
        return options.learning_rate * factor

    def _gradients(self, micro_batches: list[Any], scale: float) -> torch.Tensor:
        """Fill every `grad` with the gradient of `scale` times the summed NLL (and times what fp16 is scaled by);
        returns `scale` times the NLL of the micro-batches, a float32 scalar."""
        head = self.loss.head.layer.weight if self.loss.head else None
        for parameter in self.model.parameters():
            if parameter is head:
                continue
            if parameter is self._looked_up and parameter.grad is not None:
                parameter.grad.zero_()
            else:
                parameter.grad = None
        if self.loss.head:
            self.loss.head.begin()
        slope = scale * self._scaler.get_scale() if self._scaler.is_enabled() else scale
        total = torch.zeros((), device=self._device)
        with float32_products(tf32=self._tf32):
            for batch in micro_batches:
                on_device = {name: value.to(self._device, non_blocking=True) for name, value in batch.items()}
                total += self.loss.add_gradients(on_device, slope, self._dtype) * scale
        if self.loss.head:
            self.loss.head.end()
        return total

    def _clip(self) -> torch.Tensor:
        """The norm of all gradients; where it is above grad_clip (if any) they are scaled down to it."""
        self._scaler.unscale_(self.optimizer)
        grads = [parameter.grad for parameter in self.model.parameters() if parameter.grad is not None]
        norm = torch.nn.utils.get_total_norm(grads)
        longest = self.options.grad_clip
        if longest and (norm.device.type != "cpu" or norm > longest):  # on a GPU, to look would be to wait
            torch.nn.utils.clip_grads_with_norm_(self.model.parameters(), longest, norm)
        return norm
