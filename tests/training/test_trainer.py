"""The gradient and the loss of a step are those of all its tokens, however it is cut."""

from __future__ import annotations

import copy
import itertools
import math
import random
import threading

import numpy as np
import pytest
import torch
import transformers

from tuiftune.errors import StageError
from tuiftune.options import ModelOptions
from tuiftune.stages.causal_lm import CausalLM
from tuiftune.training import head
from tuiftune.training.batches import collate, collate_step, token_rows
from tuiftune.training.feed import Feed, steps_of
from tuiftune.training.lookup import add_where_looked_up
from tuiftune.training.loss import NextTokenLoss
from tuiftune.training.model import load_model
from tuiftune.training.optimizer import learning_rate_factor
from tuiftune.training.plan import Plan
from tuiftune.training.state import read_weights
from tuiftune.training.steps import Stepper

EOS = 2
CPU = torch.device("cpu")


def some_rows(count: int) -> list[list[int]]:
    """Rows of 2 to 30 tokens; each ends with EOS, which is the tokenizer's pad too."""
    draw = random.Random(0)  # noqa: S311
    return [[draw.randrange(3, 105) for _ in range(draw.randrange(1, 30))] + [EOS] for _ in range(count)]


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
def test_the_gradient_of_a_step_is_that_of_its_rows_one_at_a_time(tokenised, model, slots, chunk_bytes, monkeypatch):
    """One row at a time, a few together, all at once; the logits in chunks of 64 positions and all at once."""
    monkeypatch.setattr(head, "CHUNK_BYTES", chunk_bytes)
    monkeypatch.setattr(head, "CPU_COLUMNS", 50)
    rows = some_rows(7)
    masks = [[1] * len(row) for row in rows[:-1]] + [[0] * (len(rows[-1]) - 1) + [1]]
    options = CausalLM.Options(batch_size=7, grad_accum=1, batch_tokens=slots, epochs=1, grad_clip=0)
    plan = Plan.of(options, np.array([len(row) for row in rows]), CPU)
    expected_loss, expected = one_row_at_a_time(model, rows, masks)

    stepper = Stepper(model, options, plan, "fp32", seed=1)
    assert stepper.loss.is_chunked
    data = token_rows(tokenised(rows, loss_mask=masks)["train"])
    for _ in range(2):  # the second writes over the gradients of the first
        batches = next(steps_of(data, plan, seed=1, after_step=0))
        result = stepper.take(batches)
        for name, value in model.named_parameters():
            torch.testing.assert_close(
                value.grad, expected[name], rtol=1e-4, atol=1e-5, msg=lambda text, n=name: f"{n}: {text}"
            )
        assert float(result.loss) == pytest.approx(expected_loss, rel=1e-5)
        norm = torch.cat([gradient.flatten() for gradient in expected.values()]).norm()
        assert float(result.grad_norm) == pytest.approx(float(norm), rel=1e-4)
        expected_loss, expected = one_row_at_a_time(model, rows, masks)


def test_a_step_in_which_nothing_counts_changes_no_weight(model):
    """The gradients of the step before are still in memory, and must not be taken for its own."""
    options = CausalLM.Options(batch_size=4, grad_accum=1, weight_decay=0, schedule="constant")
    stepper = Stepper(model, options, Plan.of(options, np.full(8, 30), CPU), "fp32", seed=1)
    stepper.take(collate_step([{"input_ids": row} for row in some_rows(4)], 2048))
    stepper.optimizer.state.clear()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    nothing = collate_step([{"input_ids": [5, 6, EOS], "loss_mask": [1, 0, 0]}], 2048)
    result = stepper.take(nothing)
    assert (float(result.loss), float(result.grad_norm)) == (0.0, 0.0)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_rehearsal_leaves_training_as_it_would_have_been(model):
    options = CausalLM.Options(batch_size=4, grad_accum=1, learning_rate=1e-3)
    rows = [{"input_ids": row} for row in some_rows(8)]
    states = []
    start = {name: value.clone() for name, value in model.state_dict().items()}
    for rehearsed in (False, True):
        model.load_state_dict(start)
        stepper = Stepper(model, options, Plan.of(options, np.full(8, 30), CPU), "fp32", seed=1)
        if rehearsed:
            stepper.rehearse(collate(rows))
            assert stepper.optimizer.state
            stepper.forget_rehearsal()
        stepper.take(collate_step(rows[:4], 2048))
        stepper.take(collate_step(rows[4:], 2048))
        states.append({name: value.clone() for name, value in model.state_dict().items()})
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_documents_kept_apart_in_one_row_have_the_gradient_of_documents_alone(model):
    rows = some_rows(5)
    together = {"input_ids": [token for row in rows for token in row][:60], "lengths": []}
    left = 60
    for row in rows:
        together["lengths"] += [min(left, len(row))] if left > 0 else []
        left -= len(row)
    found = {}
    for name, batch in (
        ("apart", collate([together])),
        ("alone", collate([{"input_ids": part} for part in parts_of(together)])),
    ):
        model.zero_grad(set_to_none=True)
        nll = NextTokenLoss(model).add_gradients(batch, 0.1)
        found[name] = (float(nll), {key: value.grad.clone() for key, value in model.named_parameters()})
    assert found["apart"][0] == pytest.approx(found["alone"][0], rel=1e-5)
    for key, gradient in found["alone"][1].items():
        torch.testing.assert_close(found["apart"][1][key], gradient, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("config", "kept_apart"),
    [
        (transformers.GPT2Config(n_embd=16, n_head=2, n_layer=1, vocab_size=50), True),
        (transformers.BloomConfig(hidden_size=16, n_head=2, n_layer=1, vocab_size=50), False),
        (transformers.MambaConfig(hidden_size=16, num_hidden_layers=1, vocab_size=50, state_size=4), False),
    ],
)
def test_whether_a_model_keeps_documents_apart_is_found_out(config, kept_apart):
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config)
    found = NextTokenLoss(model)
    assert found.keeps_documents_apart() is kept_apart
    batch = collate([{"input_ids": [5, 6, 7, 8], "lengths": [2, 2]}])
    if kept_apart:
        assert found.exact_sum(batch) > 0
    else:
        with pytest.raises(StageError, match="this model lets documents in one row see each other"):
            found.exact_sum(batch)


def parts_of(row) -> list[list[int]]:
    ends = np.cumsum(row["lengths"])
    return [row["input_ids"][end - length : end] for end, length in zip(ends, row["lengths"], strict=True)]


def test_steps_come_in_the_order_of_their_epoch_whatever_step_one_begins_at(tokenised):
    rows = [[number + 3, EOS] for number in range(10)]
    options = CausalLM.Options(batch_size=2, grad_accum=2, epochs=2)
    plan = Plan.of(options, np.full(10, 2), CPU)
    data = token_rows(tokenised(rows)["train"])

    def samples(after_step: int, count: int) -> list[list[int]]:
        steps = itertools.islice(steps_of(data, plan, 7, after_step), count)
        return [sorted(int(row[0]) - 3 for batch in step.micro_batches for row in batch["input_ids"]) for step in steps]

    whole = samples(0, 6)
    assert [len(step) for step in whole] == [4, 4, 2, 4, 4, 2]
    assert sorted(itertools.chain(*whole[:3])) == sorted(itertools.chain(*whole[3:])) == list(range(10))
    assert whole[:3] != whole[3:]
    assert [samples(step, 6 - step) for step in range(6)] == [whole[step:] for step in range(6)]
    assert [plan.epoch_of(step) for step in range(1, 7)] == [0.4, 0.8, 1.0, 1.4, 1.8, 2.0]


def test_steps_of_so_many_tokens_hold_each_sample_once_and_are_of_like_size(tokenised):
    draw = random.Random(1)  # noqa: S311
    rows = [[5] * draw.randrange(1, 40) + [EOS] for _ in range(200)]
    lengths = np.array([len(row) for row in rows])
    options = CausalLM.Options(tokens_per_step=200, epochs=2.0)
    plan = Plan.of(options, lengths, CPU)
    assert plan.steps_per_epoch == lengths.sum() // 200
    order, bounds = plan.epoch_order(1, 7, lengths)
    assert sorted(order) == list(range(200))
    steps = [order[start:stop] for start, stop in itertools.pairwise(bounds)]
    assert sorted(np.concatenate(steps)) == list(range(200))
    sizes = [int(lengths[step].sum()) for step in steps]
    assert all(150 < size < 255 for size in sizes), sizes
    taken = list(itertools.islice(steps_of(token_rows(tokenised(rows)["train"]), plan, 7, 0), plan.total_steps))
    assert [step.tokens for step in taken[plan.steps_per_epoch :]] == sizes
    assert plan.epoch_of(plan.total_steps) == 2.0
    with pytest.raises(StageError, match=r"tokens_per_step: 20, but the longest sample has 4\d tokens"):
        Plan.of(CausalLM.Options(tokens_per_step=20), lengths, CPU)


def test_the_rows_of_a_step_are_shared_out_so_that_processes_have_as_much_to_do():
    rows = [{"input_ids": row} for row in some_rows(16)]
    whole = collate_step(rows, 2048)
    shares = [collate_step(rows, 2048, rank, 3) for rank in range(3)]
    assert {share.counted for share in shares} == {whole.counted} == {sum(len(row["input_ids"]) - 1 for row in rows)}
    tokens = [sum(int(batch["targets"].ne(-100).sum()) for batch in share.micro_batches) for share in shares]
    assert sum(tokens) == whole.counted
    assert max(tokens) - min(tokens) <= 30
    assert collate_step(rows[:1], 2048, 1, 3).micro_batches == []


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
    total = found.add_gradients(batch, 1.0)
    assert float(total) == pytest.approx(float(expected.detach()), rel=1e-5)
    for name, value in model.named_parameters():
        if name in gradients:
            torch.testing.assert_close(value.grad, gradients[name], rtol=1e-3, atol=1e-5)
    assert found.exact_sum(batch) == pytest.approx(float(expected.detach()), rel=1e-5)


def test_in_fp16_an_infinite_gradient_is_passed_over_and_a_restored_training_goes_on_alike(tiny_gpt2):
    folder = tiny_gpt2(resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)
    options = CausalLM.Options(batch_size=4, grad_accum=1, learning_rate=1e-3)
    plan = Plan.of(options, np.full(40, 30), CPU)

    def stepper() -> Stepper:
        return Stepper(load_model(ModelOptions(name=str(folder)), folder, torch.float32), options, plan, "fp16", seed=1)

    steps = [collate_step([{"input_ids": row} for row in some_rows(40)[start : start + 4]], 2048) for start in range(9)]
    first, exact = (
        stepper(),
        Stepper(load_model(ModelOptions(name=str(folder)), folder, torch.float32), options, plan, "fp32", 1),
    )
    first._scaler.update(2.0**40)  # far too much: the gradient of the first steps is infinite
    before = {name: value.clone() for name, value in first.model.state_dict().items()}
    result = first.take(steps[0])
    assert not math.isfinite(float(result.grad_norm))
    assert float(result.loss) == pytest.approx(float(exact.take(steps[0]).loss), rel=1e-2)
    assert all(torch.equal(value, before[name]) for name, value in first.model.state_dict().items())
    first._scaler.update(2.0**10)
    for step in steps[1:5]:
        assert math.isfinite(float(first.take(step).grad_norm))
    second = stepper()
    second.model.load_state_dict(first.model.state_dict())
    second.restore(copy.deepcopy(first.state()))
    for step in steps[5:]:
        assert torch.equal(first.take(step).loss, second.take(step).loss)


def test_the_learning_rate_is_that_of_transformers_schedules():
    names = {"linear": "linear", "cosine": "cosine", "constant": "constant_with_warmup"}
    for (total, warmup), (ours, theirs) in itertools.product(
        [(10, 0), (10, 3), (7, 7), (1, 0), (20, 1)], names.items()
    ):
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        scheduler = transformers.get_scheduler(theirs, optimizer, warmup, total)
        for step in range(total):
            assert learning_rate_factor(ours, step, warmup, total) == pytest.approx(
                scheduler.get_last_lr()[0], abs=1e-9
            )
            optimizer.step()
            scheduler.step()


@pytest.mark.parametrize("kind", ["gpt_neox", "mixtral", "gpt2"])
def test_weights_are_read_back_whatever_names_they_are_written_under(kind, tmp_path, tiny_gpt2):
    small = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "vocab_size": 50,
    }
    shape = {"n_embd": 16, "n_layer": 1, "n_head": 2, "vocab_size": 50} if kind == "gpt2" else small
    config = transformers.AutoConfig.for_model(kind, **shape)
    one, other = (transformers.AutoModelForCausalLM.from_config(config) for _ in range(2))
    one.save_pretrained(tmp_path)
    read_weights(other, tmp_path)
    expected = one.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in other.state_dict().items())
    larger = transformers.AutoModelForCausalLM.from_config(
        transformers.AutoConfig.for_model(kind, **(shape | {"vocab_size": 60}))
    )
    before = {name: value.clone() for name, value in larger.state_dict().items()}
    with pytest.raises(StageError, match=r"the checkpoint is not of this model"):
        read_weights(larger, tmp_path)
    assert all(torch.equal(value, before[name]) for name, value in larger.state_dict().items())


def test_a_model_that_is_broken_is_taken_apart_like_any_other(model):
    next(model.parameters()).data.fill_(math.nan)
    assert NextTokenLoss(model).is_chunked


def test_what_goes_wrong_while_data_is_made_ready_is_told_to_who_waits_each_time():
    def steps():
        yield collate_step([{"input_ids": [5, 6]}], 8)
        raise StageError("the data ends in the middle of a line")

    feed = Feed(steps())
    assert next(feed).tokens == 2
    for _ in range(2):
        with pytest.raises(StageError, match="the data ends in the middle of a line"):
            next(feed)
    feed.close()


def test_a_feed_that_is_full_is_closed_without_waiting_for_its_end():
    feed = Feed(itertools.repeat(collate_step([{"input_ids": [5, 6]}], 8)))
    next(feed)
    feed.close()
    assert not any(thread.name == "feed" and thread.is_alive() for thread in threading.enumerate())


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, 2e-3), (torch.bfloat16, 2e-2)])
def test_in_half_precision_the_heads_gradient_is_that_of_float32_to_rounding(dtype, tolerance):
    """In a step of a billion tokens, whose slopes of 1e-9 each float16 does not hold."""
    torch.manual_seed(1)
    layer, hidden, targets = torch.nn.Linear(16, 105), torch.randn(116, 16), torch.randint(0, 105, (116,))
    found = {}
    for kind in (torch.float32, dtype):
        layer.weight.grad = layer.bias.grad = None
        nll, hidden_grad = head.Head(layer).add_gradients(hidden, targets, 1e-9 * 512, kind)  # as a GradScaler does
        found[kind] = (nll, hidden_grad.float(), layer.weight.grad, layer.bias.grad)
    for value, exact in zip(found[dtype], found[torch.float32], strict=True):
        assert float((value - exact).norm() / exact.norm()) < tolerance


def test_an_embedding_that_adds_for_itself_has_the_gradient_of_one_that_does_not():
    torch.manual_seed(1)
    own, plain = (torch.nn.Embedding(50, 8, padding_idx=3) for _ in range(2))
    plain.load_state_dict(own.state_dict())
    assert add_where_looked_up(own)
    for _ in range(2):
        ids = torch.randint(0, 10, (4, 9))
        for layer in (own, plain):
            (layer(ids) ** 3).sum().backward()
    torch.testing.assert_close(own.weight.grad, plain.weight.grad)
    assert not own.weight.grad[3].any()
    with torch.no_grad():
        assert torch.equal(own(ids), plain(ids))
    zeroed = copy.deepcopy(own)
    zeroed.weight.data.zero_()
    assert not zeroed(ids).any(), "a copy reads its own weights"
    assert not add_where_looked_up(torch.nn.Embedding(5, 2, max_norm=1.0)), "that changes its weights: left as it is"
