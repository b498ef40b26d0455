"""What is to go through the model at once is planned from the memory there is, and tried before the first step."""

from __future__ import annotations

import json
import math
import subprocess
from pathlib import Path

import pytest

from tuiftune.options import ModelOptions
from tuiftune.stages.causal_lm import CausalLM

CAPPED = """
import json, resource, sys
from pathlib import Path
import torch
from tuiftune.errors import StageError
from tuiftune.options import ModelOptions
from tuiftune.stages.causal_lm import CausalLM
from tuiftune.training.budget import rehearsed
from tuiftune.training.model import load_model
from tuiftune.training.plan import Plan
from tuiftune.training.steps import Stepper

slots, spare_mib = map(int, sys.argv[2:])
options = CausalLM.Options(max_steps=9, batch_tokens=slots)
model = load_model(ModelOptions(name=sys.argv[1]), Path("/"), torch.float32)
plan = Plan.of_stream(options, 256, torch.device("cpu"))
stepper = Stepper(model, options, plan, "fp32", seed=1)
size = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmSize")) * 1024
resource.setrlimit(resource.RLIMIT_AS, (size + (spare_mib << 20),) * 2)
said = []
try:
    print(json.dumps({"slots": rehearsed(stepper, plan, 256, said.append).slots, "said": said}))
except StageError as error:
    print(json.dumps({"error": str(error), "said": said}))
"""


def capped(interpreter: str, slots: int, spare_mib: int) -> dict:
    """What a process says that may take so much more memory."""
    name = "tuiftune:babyllama-105"
    done = subprocess.run(
        [interpreter, "-P", "-c", CAPPED, name, str(slots), str(spare_mib)],
        capture_output=True,
        text=True,
        env={"OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1", "PATH": ""},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.long
def test_where_the_memory_is_too_small_half_as_many_tokens_are_tried_until_they_fit(interpreter: str) -> None:
    found = capped(interpreter, 128 * 255, 400)
    halvings = math.log2(128 * 255 / found["slots"])
    assert halvings >= 1
    assert halvings == int(halvings)
    assert found["said"][0] == "out of memory with 128 rows of 256 tokens at once: trying 16,320 tokens"
    rows = found["slots"] // 255
    assert found["said"][-1] == (
        f"{found['slots']:,} tokens at once were tried: {rows} rows of 256, and the optimizer's step"
    )
    assert len(found["said"]) == halvings + 1


@pytest.mark.slow
def test_where_not_even_a_row_fits_the_way_out_is_said(interpreter: str) -> None:
    found = capped(interpreter, 4 * 255, 8)
    assert found["error"].startswith("a single row of 256 tokens does not fit the memory. Set train.gradient_check")


def test_auto_changes_nothing_but_what_goes_through_at_once(context_for, tokenised, tiny_gpt2) -> None:
    rows = [[5 + number % 90] * (3 + number % 20) + [2] for number in range(24)]
    losses = {}
    for name, batch_tokens in (("set", 512), ("auto", "auto")):
        ctx = context_for("train", name, model=ModelOptions(name=str(tiny_gpt2())), input=tokenised(rows, rows[:2]))
        CausalLM(CausalLM.Options(batch_size=4, grad_accum=2, epochs=1, batch_tokens=batch_tokens)).run(ctx)
        losses[name] = ctx.recorder.series("train/loss")
    assert losses["auto"] == pytest.approx(losses["set"], rel=1e-5)
    assert any("tokens at once were tried" in line for line in ctx.recorder.lines)
    assert Path(ctx.run_dir, "model", "model.safetensors").is_file()
