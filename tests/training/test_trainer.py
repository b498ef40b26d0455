"""The gradient and the loss of a step are those of all its tokens, however it is cut."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
import transformers

from tuiftune.options import ModelOptions
from tuiftune.stages.causal_lm import CausalLM
from tuiftune.training import loss
from tuiftune.training.batches import token_rows
from tuiftune.training.loss import NextTokenLoss
from tuiftune.training.model import load_model
from tuiftune.training.plan import Plan
from tuiftune.training.steps import StepResult, StepTrainer, arguments_of
from tuiftune.training.trainer import as_evaluated

EOS = 2
CPU = torch.device("cpu")


def some_rows(count: int) -> list[list[int]]:
    """Rows of 2 to 30 tokens; each ends with EOS, which is the tokenizer's pad too."""
    draw = random.Random(0)  # noqa: S311
    return [[draw.randrange(3, 105) for _ in range(draw.randrange(1, 30))] + [EOS] for _ in range(count)]


class KeepGradients(transformers.TrainerCallback):
    """Copies the gradients of each step before the optimizer uses them."""

    def __init__(self) -> None:
        self.steps: list[dict[str, torch.Tensor]] = []

    def on_pre_optimizer_step(self, args, state, control, model=None, **more):
        self.steps.append({name: value.grad.clone() for name, value in model.named_parameters()})


def one_row_at_a_time(model, rows, masks) -> tuple[float, dict[str, torch.Tensor]]:
    """The loss and the gradient by the definition: summed NLL of all counted tokens over their number."""
    total, counted = torch.zeros(()), 0
    for row, mask in zip(rows, masks, strict=True):
        odds = torch.log_softmax(model(torch.tensor([row])).logits[0], dim=-1)
        for position in range(1, len(row)):
            if mask[position]:
                total = total - odds[position - 1, row[position]]
                counted += 1
    loss = total / counted
    model.zero_grad()
    loss.backward()
    return float(loss.detach()), {name: value.grad.clone() for name, value in model.named_parameters()}


@pytest.fixture(params=["gpt2", "llama"])
def model(request, tiny_gpt2, workspace):
    """A model whose loss transformers' Trainer gets wrong, and one whose it gets right; no dropout."""
    no_dropout = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    name = str(tiny_gpt2(**no_dropout)) if request.param == "gpt2" else "tuiftune:babyllama-105"
    return load_model(ModelOptions(name=name), workspace, torch.float32)


@pytest.mark.parametrize("slots", [1, 40, 2048])
@pytest.mark.parametrize("chunk_bytes", [4 * 105 * 64, 2**26])
def test_the_gradient_of_a_step_is_that_of_its_rows_one_at_a_time(
    context_for, tokenised, model, slots, chunk_bytes, monkeypatch
):
    """One row at a time, a few together, all at once; the logits in chunks of 64 positions and all at once."""
    monkeypatch.setattr(loss, "CHUNK_BYTES", chunk_bytes)
    rows = some_rows(7)
    masks = [[1] * len(row) for row in rows[:-1]] + [[0] * (len(rows[-1]) - 1) + [1]]
    ctx = context_for("train", input=tokenised(rows, loss_mask=masks))
    options = CausalLM.Options(batch_size=7, grad_accum=1, batch_tokens=slots, epochs=1, grad_clip=0)
    plan = Plan.of(options, np.array([len(row) for row in rows]), CPU)
    expected_loss, expected = one_row_at_a_time(model, rows, masks)

    kept, results = KeepGradients(), []
    trainer = StepTrainer(
        model,
        arguments_of(options, ctx, plan, CPU, "fp32"),
        token_rows(ctx.input["train"]),
        plan.slots,
        callbacks=[kept],
    )
    trainer.on_step = lambda result: results.append((float(result.loss), float(result.grad_norm))) is not None
    trainer.train()

    assert len(kept.steps) == len(results) == plan.total_steps == 1
    assert trainer.loss.is_chunked
    found, norm = results[0]
    assert found == pytest.approx(expected_loss, rel=1e-5)
    assert norm == pytest.approx(float(torch.cat([g.flatten() for g in expected.values()]).norm()), rel=1e-4)
    for name, gradient in kept.steps[0].items():
        torch.testing.assert_close(
            gradient, expected[name], rtol=1e-4, atol=1e-5, msg=lambda text, n=name: f"{n}: {text}"
        )


def test_a_step_boundary_comes_once_a_step_also_at_the_end_of_an_epoch(context_for, tokenised, model):
    ctx = context_for("train", input=tokenised(some_rows(10)))
    options = CausalLM.Options(batch_size=2, grad_accum=2, epochs=2)
    plan = Plan.of(options, np.full(10, 30), CPU)
    seen: list[StepResult] = []
    trainer = StepTrainer(
        model, arguments_of(options, ctx, plan, CPU, "fp32"), token_rows(ctx.input["train"]), slots=60
    )
    trainer.on_step = lambda result: seen.append(result) is not None
    trainer.train()
    assert [result.step for result in seen] == [1, 2, 3, 4, 5, 6]
    assert [plan.epoch_of(result.step) for result in seen] == [0.4, 0.8, 1.0, 1.4, 1.8, 2.0]
    assert [result.learning_rate for result in seen] == pytest.approx([5e-5 * (6 - n) / 6 for n in range(6)])


def test_a_model_is_evaluated_as_it_is_without_the_autocast_of_training(model):
    """accelerate replaces `forward` by one in bf16; figures are measured in float32."""
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)  # another test of this process has set it
    tokens = torch.tensor([some_rows(1)[0]])
    with torch.no_grad():
        exact = model.eval()(tokens).logits
        Accelerator(cpu=True, mixed_precision="bf16").prepare_model(model.train())
        wrapped = model.forward
        assert not torch.equal(model(tokens).logits, exact)
        with as_evaluated(model):
            assert not model.training
            assert torch.equal(model(tokens).logits, exact)
    assert model.forward is wrapped
    assert model.training


def test_the_plan_counts_as_the_options_say():
    def plan(rows: int, longest: int = 20, device: str = "cpu", **options) -> Plan:
        return Plan.of(CausalLM.Options(**options), np.array([longest] * rows), torch.device(device))

    assert plan(100, epochs=3.0) == Plan(
        samples=100, samples_per_step=16, steps_per_epoch=7, total_steps=21, warmup_steps=0, slots=1024
    )
    assert plan(100, epochs=0.5).total_steps == 4
    assert plan(100, max_steps=500, warmup_steps=0.1) == Plan(100, 16, 7, 500, 50, 1024)
    assert plan(100, warmup_steps=10.0).warmup_steps == 10
    assert plan(3).steps_per_epoch == 1
    assert plan(3, longest=2000).slots == 1024
    assert plan(3, longest=1024, device="cuda").slots == 4096
    assert plan(3, device="cuda").slots == 2048
    assert plan(3, longest=1024, device="cuda", batch_tokens=512).slots == 512


def test_what_is_due_is_due_each_epoch_or_each_few_steps_and_at_the_end():
    plan = Plan(samples=64, samples_per_step=16, steps_per_epoch=4, total_steps=10, warmup_steps=0, slots=2048)
    assert [step for step in range(1, 11) if plan.is_due(step, 0)] == [4, 8, 10]
    assert [step for step in range(1, 11) if plan.is_due(step, 3)] == [3, 6, 9, 10]


CAPPED = {"vocab_size": 50, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "head_dim": 8}
HEADS = {
    "gemma2 caps its logits": (transformers.Gemma2Config, {}),
    "cohere scales its logits": (transformers.CohereConfig, {"logit_scale": 0.0625}),
    "phi has a bias": (transformers.PhiConfig, {}),
    "gpt2 ties its head to its embedding": (transformers.GPT2Config, {"n_embd": 16, "n_head": 2, "n_layer": 1}),
}


@pytest.mark.parametrize("case", HEADS)
def test_the_loss_is_that_of_the_whole_logits_whatever_the_head(case):
    config, values = HEADS[case]
    shape = {} if "gpt2" in case else CAPPED | {"num_attention_heads": 2, "num_key_value_heads": 2}
    if "phi" in case:
        del shape["head_dim"]
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config(**(shape | {"vocab_size": 50} | values))).eval()
    if "phi" in case:
        torch.nn.init.normal_(model.lm_head.bias)
    found = NextTokenLoss(model)
    assert found.is_chunked == ("logits" not in case)
    ids = torch.randint(0, 50, (3, 9))
    batch = {"input_ids": ids[:, :-1], "targets": ids[:, 1:].clone()}
    batch["targets"][0, 4:] = -100
    logits = model(input_ids=ids[:, :-1]).logits
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch["targets"].flatten(), reduction="sum")
    expected.backward()
    gradients = {name: value.grad.clone() for name, value in model.named_parameters() if value.grad is not None}
    model.zero_grad()
    total = 3 * found.sum(model, batch, torch.tensor(1 / 3))
    total.backward()
    assert float(total.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    for name, value in model.named_parameters():
        if name in gradients:
            torch.testing.assert_close(value.grad, gradients[name], rtol=1e-3, atol=1e-5)
    with torch.no_grad():
        assert found.exact_sum(model, batch) == pytest.approx(float(expected.detach()), rel=1e-5)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, 2e-3), (torch.bfloat16, 2e-2)])
def test_in_half_precision_the_gradient_is_that_of_float32_to_rounding(tiny_gpt2, dtype, tolerance):
    """In a step of a billion tokens, whose slopes of 1e-9 each float16 does not hold."""
    model = transformers.AutoModelForCausalLM.from_pretrained(tiny_gpt2()).eval()
    ids = torch.randint(0, 105, (4, 30), generator=torch.Generator().manual_seed(1))
    batch = {"input_ids": ids[:, :-1], "targets": ids[:, 1:]}
    scale, found = torch.tensor(1e-9), {}
    for kind in (torch.float32, dtype):
        model.zero_grad()
        (NextTokenLoss(model).sum(model, batch, scale, kind) * 512).backward()  # as a GradScaler does
        found[kind] = model.transformer.wte.weight.grad.clone()
    error = (found[dtype] - found[torch.float32]).norm() / found[torch.float32].norm()
    assert float(error) < tolerance
