"""python step_memory.py CONFIG.json ROWS LENGTH: bytes by which a training step on the CPU raised the peak of this
process, on stdout."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
import transformers

from tuiftune.training.loss import NextTokenLoss
from tuiftune.training.memory_trace import micro_batch_step


def status_bytes(key: str) -> int:
    """A line of /proc/self/status, which is in kB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:")) * 1024


def new_model(**values: Any) -> Any:
    return transformers.AutoModelForCausalLM.from_config(transformers.AutoConfig.for_model(**values)).train()


def step(model: Any, optimizer: torch.optim.Optimizer, micro_batches: int, rows: int, length: int) -> None:
    """Gradients are kept from micro-batch to micro-batch, as in the trainer."""
    loss = NextTokenLoss(model)
    for _ in range(micro_batches):
        ids = torch.randint(0, model.config.vocab_size, (rows, length))
        micro_batch_step(loss, model, {"input_ids": ids, "targets": ids.clone()}, torch.float32)
    optimizer.step()


def main(config: str, rows: int, length: int) -> None:
    tiny = new_model(model_type="gpt2", n_layer=1, n_embd=8, n_head=1, vocab_size=9, bos_token_id=1, eos_token_id=2)
    step(tiny, torch.optim.AdamW(tiny.parameters(), fused=True), 1, 1, 4)  # what libraries take once
    before = status_bytes("VmRSS")
    model = new_model(**json.loads(config))
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    for _ in range(2):  # in the second there are the optimizer's averages, and memory is in use all over
        step(model, optimizer, 2, rows, length)
        model.zero_grad()
    print(status_bytes("VmHWM") - before)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
