"""The trainer: fine-tune any causal language model of Hugging Face."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import tuiftune
from tuiftune import Field


class CausalLM(tuiftune.Trainer):
    """Fine-tune a causal language model, or train one from scratch."""

    name = "causal_lm"

    class Options(tuiftune.Options):
        epochs: float = Field(3.0, gt=0, description="passes over the training data; parts of one are allowed")
        max_steps: int | None = Field(
            None,
            ge=1,
            json_schema_extra={"unit": "steps"},
            description="optimizer steps in all, in place of epochs; data is repeated as needed",
        )
        batch_size: int = Field(4, ge=1, description="batch_size x grad_accum are the samples of an optimizer step")
        grad_accum: int = Field(
            4,
            ge=1,
            description="the other factor; how a step is cut up changes no figure, but for which units dropout drops",
        )
        processes: int = Field(
            1, ge=1, description="processes that train side by side, one a GPU, each on its share of a step's samples"
        )
        tokens_per_step: int | None = Field(
            None,
            ge=1,
            json_schema_extra={"unit": "tokens"},
            description="tokens of an optimizer step, about, in place of batch_size x grad_accum x processes samples",
        )
        batch_tokens: Annotated[int, Field(ge=1)] | Literal["auto"] | None = Field(
            None,
            json_schema_extra={"unit": "tokens"},
            description="tokens, padding included, that go through the model at once; changes memory and speed only. "
            "When left out: 1,024 on a CPU; on a GPU what batch_size of the longest samples take, at least 2,048. "
            "'auto' for as many as the memory takes, tried before the first step",
        )
        learning_rate: float = Field(5e-5, gt=0, description="AdamW's highest learning rate")
        weight_decay: float = Field(0.01, ge=0, description="AdamW's weight decay; biases and norms have none")
        warmup_steps: float = Field(
            0,
            ge=0,
            json_schema_extra={"unit": "steps"},
            description="steps over which the learning rate rises; below 1, that part of all steps",
        )
        schedule: Literal["linear", "cosine", "constant"] = Field(
            "linear", description="how the learning rate falls to 0 after the warm-up, or that it does not"
        )
        grad_clip: float = Field(1.0, ge=0, description="longest gradient norm; longer ones are scaled; 0 for none")
        optimizer: Literal["adamw", "adamw_8bit"] = Field(
            "adamw", description="adamw_8bit keeps its two averages in 8 bits: a quarter of the memory; needs a GPU"
        )
        precision: Literal["auto", "bf16", "fp16", "tf32", "fp32"] = Field(
            "auto", description="of the matmuls; auto is bf16 where the GPU has it, else fp16, and fp32 on a CPU"
        )
        compile: bool = Field(
            False, description="compile the model with torch.compile: faster steps after a first one of minutes"
        )
        gradient_checkpointing: bool = Field(
            False, description="compute activations again in the backward pass: less memory, some 30% slower"
        )
        eval_every: int = Field(
            0, ge=0, json_schema_extra={"unit": "steps"}, description="steps between evaluations; 0 for one each epoch"
        )
        sample_every: int = Field(
            0,
            ge=0,
            json_schema_extra={"unit": "steps"},
            description="steps between samples; 0 for some with each evaluation",
        )
        save_every: int = Field(
            0, ge=0, json_schema_extra={"unit": "steps"}, description="steps between checkpoints; 0 for one each epoch"
        )
        log_every: int = Field(
            1,
            ge=1,
            json_schema_extra={"unit": "steps"},
            description="steps between figures; each is that of its step, not a mean over several",
        )
        nan_steps: int = Field(
            20,
            ge=0,
            json_schema_extra={"unit": "steps"},
            description="end the run after so many recorded steps in a row whose loss is no finite number; 0 for never",
        )
        early_stopping: int = Field(
            0,
            ge=0,
            json_schema_extra={"unit": "evaluations"},
            description="stop after so many evaluations without a lower loss, and keep the best weights; 0 for never",
        )

    def run(self, ctx: tuiftune.Context) -> Path:
        import gc

        import torch  # and transformers: seconds, in the worker alone

        from tuiftune.training.trainer import train

        try:
            return train(self.options, ctx)
        finally:
            gc.collect()  # what holds itself in a circle would stay on the GPU
            if torch.cuda.is_available():
                torch.cuda.empty_cache()


@tuiftune.hookimpl
def register_stages() -> list[type[tuiftune.Trainer]]:
    return [CausalLM]
