"""The evaluator that lets the model write: from the same prompts before, during and after training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tuiftune
from tuiftune import Field
from tuiftune.errors import RunStopped
from tuiftune.sampling import Sampling

OPENING_TOKENS = 24
OPENINGS = 3


class Samples(tuiftune.Evaluator):
    """Texts the model writes after fixed prompts; also from the base model before the first step."""

    name = "samples"
    cadence = "sample"

    class Options(tuiftune.Options):
        prompts: list[str] = Field(
            default_factory=list,
            description=f"texts to go on from; when empty, the openings of {OPENINGS} held-out samples",
        )
        max_new_tokens: int = Field(
            64, ge=1, json_schema_extra={"unit": "tokens"}, description="longest continuation, in tokens"
        )
        temperature: float = Field(0.8, ge=0, description="higher is more varied; 0 takes the likeliest token")
        top_k: int = Field(50, ge=0, description="choose among so many likeliest tokens; 0 for all")
        top_p: float = Field(
            1.0, gt=0, le=1, description="choose among the likeliest tokens of this total probability; 1 for all"
        )
        seed: int | None = Field(None, ge=0, description="of the choice of tokens; the run's seed when left out")

    def evaluate(self, ctx: tuiftune.Context, model: Any, tokenizer: Any, step: int) -> Mapping[str, float]:
        self._write(ctx, model, tokenizer, step, "base" if step == 0 else f"step {step}")
        return {}

    def run(self, ctx: tuiftune.Context) -> Mapping[str, float]:
        from tuiftune.training.model import load_folder  # torch: only in the worker

        model, tokenizer = load_folder(ctx.outputs["train"])
        self._write(ctx, model, tokenizer, int(ctx.outputs.get("step", 0)), "final")
        return {}

    def _write(self, ctx: tuiftune.Context, model: Any, tokenizer: Any, step: int, label: str) -> None:
        import torch

        from tuiftune.training.generation import continue_text, prompt_ids
        from tuiftune.training.randomness import kept_rng

        options = self.options
        sampling = Sampling(options.max_new_tokens, options.temperature, options.top_k, options.top_p)
        prompts = options.prompts or _openings(ctx, tokenizer)
        with kept_rng():
            for number, prompt in enumerate(prompts, start=1):
                if ctx.stopping:
                    raise RunStopped(step)
                torch.manual_seed(ctx.seed if options.seed is None else options.seed)
                text = continue_text(model, tokenizer, prompt_ids(tokenizer, prompt), sampling)
                ctx.sample(step, prompt, text, label)
                ctx.progress(number, len(prompts), "samples")


def _openings(ctx: tuiftune.Context, tokenizer: Any) -> list[str]:
    """How the first held-out samples begin: at most half of each, so that something is left to say."""
    if ctx.input is None or "validation" not in ctx.input or len(ctx.input["validation"]) == 0:
        return [""]
    data = ctx.input["validation"]
    rows = data.select(range(min(OPENINGS, len(data))))["input_ids"]
    return [tokenizer.decode(row[: min(OPENING_TOKENS, (len(row) + 1) // 2)], skip_special_tokens=True) for row in rows]


@tuiftune.hookimpl
def register_stages() -> list[type[tuiftune.Evaluator]]:
    return [Samples]
