"""python step_memory.py CONFIG.json ROWS LENGTH: bytes by which a training step on the CPU raised the peak of this
process, on stdout."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
import transformers

from tuiftune.stages.causal_lm import CausalLM
from tuiftune.training.batches import StepBatches
from tuiftune.training.plan import Plan
from tuiftune.training.steps import Stepper


def status_bytes(key: str) -> int:
    """A line of /proc/self/status, which is in kB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:")) * 1024


def new_model(**values: Any) -> Any:
    return transformers.AutoModelForCausalLM.from_config(transformers.AutoConfig.for_model(**values)).train()


def step(stepper: Stepper, micro_batches: int, rows: int, length: int) -> None:
    ids = torch.randint(0, stepper.model.config.vocab_size, (rows, length))
    batch = {"input_ids": ids, "targets": ids.clone()}
    counted = micro_batches * ids.numel()
    stepper.take(StepBatches([batch] * micro_batches, tokens=counted, counted=counted))


def new_stepper(**values: Any) -> Stepper:
    options = CausalLM.Options(max_steps=9)
    plan = Plan.of_stream(options, 512, torch.device("cpu"))
    return Stepper(new_model(**values), options, plan, "fp32", seed=1)


def main(config: str, rows: int, length: int) -> None:
    tiny = {"model_type": "gpt2", "n_layer": 1, "n_embd": 8, "n_head": 1, "vocab_size": 9}
    step(new_stepper(**tiny, bos_token_id=1, eos_token_id=2), 1, 1, 4)  # what libraries take once
    before = status_bytes("VmRSS")
    stepper = new_stepper(**json.loads(config))
    for _ in range(2):  # in the second there are the optimizer's averages, and memory is in use all over
        step(stepper, 2, rows, length)
    print(status_bytes("VmHWM") - before)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
