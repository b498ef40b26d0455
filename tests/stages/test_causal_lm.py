"""A run is the same however it is watched, stopped and resumed, and ends with a model that anyone can load."""

from __future__ import annotations

import json
import math
import multiprocessing
import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from tuiftune.errors import RunStopped, StageError
from tuiftune.options import ModelOptions
from tuiftune.run.checkpoints import SEAL, newest_sealed, step_folders
from tuiftune.stage import Context, Evaluator, Signals
from tuiftune.stages.causal_lm import CausalLM
from tuiftune.stages.perplexity import Perplexity
from tuiftune.stages.samples import Samples
from tuiftune.training import precision
from tuiftune.training.training_run import TrainingRun

EOS = 2
QUICK = {"batch_size": 2, "grad_accum": 2, "epochs": 2.0, "learning_rate": 1e-3}
STEPS = 14
"""26 rows are 13 micro-batches, 7 steps an epoch with a short last one; two epochs."""


def some_rows(count: int, seed: int = 0) -> list[list[int]]:
    draw = random.Random(seed)  # noqa: S311
    return [[draw.randrange(3, 105) for _ in range(draw.randrange(1, 20))] + [EOS] for _ in range(count)]


@pytest.fixture
def new_run(context_for, tokenised, tiny_gpt2) -> Callable[..., Context]:
    """Make the context of a run: a GPT-2 with dropout, 26 rows, and live evaluators."""
    folder = tiny_gpt2()

    def make(name: str = "run", evaluators: Sequence[Evaluator] = (Perplexity(),), **values: Any) -> Context:
        values = {"model": ModelOptions(name=str(folder)), "input": tokenised(some_rows(26), some_rows(6, 1))} | values
        ctx: Context = context_for("train", name, **values)

        def evaluate(step: int, model: Any, tokenizer: Any, *, cadence: str) -> dict[str, float]:
            found: dict[str, float] = {}
            for stage in evaluators:
                if stage.cadence == cadence:
                    figures = stage.evaluate(replace(ctx, kind="evaluate"), model, tokenizer, step)
                    found |= {f"eval/{key}": value for key, value in figures.items()}
            ctx.metric(step, **found)
            return found

        ctx.evaluate = evaluate
        return ctx

    return make


def train(ctx: Context, **options: Any) -> Path:
    return CausalLM(CausalLM.Options(**{**QUICK, **options})).run(ctx)


def stop_at(ctx: Context, step: int) -> None:
    """Ask for a stop when the figures of `step` are recorded."""
    record = ctx.recorder.metric

    def metric(at: int, values: Any) -> None:
        record(at, values)
        if at == step:
            ctx.signals.stopping = True

    ctx.recorder.metric = metric


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def assert_same_weights(one: Path, other: Path) -> None:
    expected = weights(other)
    for name, value in weights(one).items():
        assert torch.equal(value, expected[name]), name


def test_every_step_is_recorded_once_in_order_with_its_figures(new_run):
    ctx = new_run()
    train(ctx)
    for series in ("train/loss", "train/learning_rate", "train/grad_norm", "train/tokens_per_s", "train/epoch"):
        assert [step for step, values in ctx.recorder.metrics if series in values] == list(range(1, STEPS + 1)), series
    assert ctx.recorder.series("train/epoch")[7] == 1.0
    assert all(value > 0 for value in ctx.recorder.series("train/tokens_per_s").values())
    steps = [done for done, total, unit in ctx.recorder.progressed if (total, unit) == (STEPS, "steps")]
    assert steps == list(range(STEPS + 1))
    facts = ctx.recorder.facts
    assert facts["total_steps"] == STEPS
    assert facts["epochs"] == 2.0
    assert facts["samples_per_step"] == 4
    assert facts["precision"] == "fp32"
    assert facts["device"] == "cpu"
    assert facts["train_tokens"] == sum(map(len, some_rows(26)))
    assert facts["validation_tokens"] == sum(map(len, some_rows(6, 1)))


def test_figures_every_few_steps_are_those_of_their_step(new_run):
    each, few = new_run("each"), new_run("few")
    train(each)
    train(few, log_every=4)
    every_step = each.recorder.series("train/loss")
    assert few.recorder.series("train/loss") == {step: every_step[step] for step in (4, 8, 12, 14)}


def test_the_model_is_evaluated_untouched_then_each_epoch(new_run):
    ctx = new_run()
    train(ctx)
    losses = ctx.recorder.series("eval/loss")
    assert list(losses) == [0, 7, 14]
    untouched = Perplexity().run(replace(ctx, kind="evaluate", outputs={"train": Path(str(ctx.model.name))}))
    assert losses[0] == pytest.approx(untouched["loss"], rel=1e-6)
    finished = Perplexity().run(replace(ctx, kind="evaluate", outputs={"train": ctx.run_dir / "model"}))
    assert losses[14] == pytest.approx(finished["loss"], rel=1e-6)


def test_watching_changes_nothing(new_run):
    watched, alone = (
        new_run("watched", [Perplexity(), Samples(Samples.Options(max_new_tokens=5))]),
        new_run("alone", []),
    )
    record, answers = watched.recorder.metric, []

    def asked_at_five(at: int, values: Any) -> None:
        record(at, values)
        if at == 5:
            watched.signals.wishes = {"evaluate": 1, "sample": 1}

    watched.recorder.metric = asked_at_five
    watched.signals.say = lambda **news: answers.append(news.get("granted"))
    train(watched, eval_every=3, sample_every=2, save_every=2)
    train(alone)
    answers = [told for told in answers if told]
    assert answers[-1]["evaluate"].answer.startswith("done: perplexity ")
    assert answers[-1]["evaluate"].answer.endswith(" at step 5")
    assert answers[-1]["sample"].answer == "done: what it writes after step 5 is among the samples"
    assert watched.recorder.series("train/loss") == alone.recorder.series("train/loss")
    assert [step for step, *_ in watched.recorder.samples][::3] == [0, 2, 4, 5, 6, 8, 10, 12, 14]
    assert list(watched.recorder.series("eval/loss")) == [0, 3, 5, 6, 9, 12, 14]
    assert_same_weights(watched.run_dir / "model", alone.run_dir / "model")


@pytest.mark.parametrize("step", [3, 7, 10])
def test_a_run_that_is_stopped_and_resumed_equals_one_that_was_not(new_run, step):
    whole = new_run("whole")
    train(whole, schedule="cosine", warmup_steps=0.2)
    first = new_run("parts")
    stop_at(first, step)
    with pytest.raises(RunStopped) as stopped:
        train(first, schedule="cosine", warmup_steps=0.2)
    assert stopped.value.step == step
    found, reasons = newest_sealed(first.checkpoints)
    assert found is not None
    assert (found.name, reasons) == (f"step-{step:06d}", [])

    second = new_run("parts", resume_from=found)
    train(second, schedule="cosine", warmup_steps=0.2)
    for series in ("train/loss", "train/learning_rate", "train/grad_norm", "train/epoch", "eval/loss"):
        joined = first.recorder.series(series) | second.recorder.series(series)
        assert joined == whole.recorder.series(series), series
    assert list(second.recorder.series("train/loss")) == list(range(step + 1, STEPS + 1))
    assert 0 not in second.recorder.series("eval/loss")
    assert_same_weights(second.run_dir / "model", whole.run_dir / "model")


class Writer(Evaluator):
    """Notes the steps at which it was asked for samples; a stop may come while it writes."""

    name = "writer"
    cadence = "sample"

    def __init__(self, stopped_at: int = -1) -> None:
        super().__init__()
        self.stopped_at = stopped_at
        self.steps: list[int] = []

    def evaluate(self, ctx: Context, model: Any, tokenizer: Any, step: int) -> dict[str, float]:
        if step == self.stopped_at:
            ctx.signals.stopping = True
            raise RunStopped(step)
        self.steps.append(step)
        return {}


def test_samples_that_a_stop_cut_short_are_written_after_a_resume(new_run):
    first, second = Writer(stopped_at=7), Writer()
    ctx = new_run(evaluators=[Perplexity(), first])
    with pytest.raises(RunStopped):
        train(ctx)
    train(new_run(evaluators=[Perplexity(), second], resume_from=newest_sealed(ctx.checkpoints)[0]))
    assert (first.steps, second.steps) == ([0], [7, 14])


def test_a_finished_training_resumes_to_its_model_without_another_step(new_run):
    ctx = new_run()
    train(ctx, epochs=1.5)
    kept = weights(ctx.run_dir / "model")
    again = new_run(resume_from=newest_sealed(ctx.checkpoints)[0])
    train(again, epochs=1.5)
    assert again.recorder.metrics == []
    assert all(torch.equal(value, kept[name]) for name, value in weights(ctx.run_dir / "model").items())
    assert again.outputs["step"] == 11


def test_a_stop_before_the_first_step_trains_nothing(new_run):
    ctx = new_run(signals=Signals(stopping=True))
    with pytest.raises(RunStopped) as stopped:
        train(ctx)
    assert stopped.value.step == 0
    assert ctx.recorder.metrics == []
    assert step_folders(ctx.checkpoints) == []


def test_checkpoints_are_sealed_rotated_by_step_and_hold_no_pickled_code(new_run):
    ctx = new_run(keep_checkpoints=2)
    train(ctx, save_every=3, eval_every=100)
    assert [folder.name for folder in step_folders(ctx.checkpoints)] == ["step-000012", "step-000014"]
    assert [data["step"] for kind, data in ctx.recorder.events if kind == "checkpoint"] == [3, 6, 9, 12, 14]
    newest = ctx.checkpoints / "step-000014"
    held = set(json.loads((newest / SEAL).read_text())["files"])
    assert {"model.safetensors", "training.pt", "config.json", "tokenizer.json"} <= held
    torch.load(newest / "training.pt", weights_only=True)
    assert sorted(path.name for path in ctx.checkpoints.iterdir()) == ["evaluations.json", "step-000012", "step-000014"]


def test_a_damaged_checkpoint_is_passed_over_and_written_again(new_run):
    ctx = new_run()
    train(ctx, save_every=5)
    damaged = ctx.checkpoints / "step-000014" / "model.safetensors"
    damaged.write_bytes(b"\0" * damaged.stat().st_size)
    found, reasons = newest_sealed(ctx.checkpoints)
    assert found is not None
    assert found.name == "step-000010"
    assert reasons == ["step-000014: model.safetensors is damaged (its sha256 is another)"]
    again = new_run(resume_from=found)
    train(again, save_every=5)
    assert again.recorder.series("train/loss") == {
        step: loss for step, loss in ctx.recorder.series("train/loss").items() if step > 10
    }
    assert newest_sealed(ctx.checkpoints) == (ctx.checkpoints / "step-000014", [])


class Scripted(Evaluator):
    """Tells the losses it was given, one after another."""

    name = "scripted"

    def __init__(self, losses: list[float]) -> None:
        super().__init__()
        self.losses = losses

    def evaluate(self, ctx: Context, model: Any, tokenizer: Any, step: int) -> dict[str, float]:
        return {"loss": self.losses.pop(0)}


def test_early_stopping_ends_the_run_and_keeps_the_best_weights(new_run):
    ctx = new_run(evaluators=[Scripted([9.0, 4.0, 3.0, math.nan, 3.5, 1.0])], keep_checkpoints=1)
    train(ctx, eval_every=2, save_every=1, early_stopping=2)
    assert list(ctx.recorder.series("train/loss")) == list(range(1, 9))
    assert ctx.outputs["step"] == 4
    assert [folder.name for folder in step_folders(ctx.checkpoints)] == ["step-000004", "step-000008"]
    assert_same_weights(ctx.run_dir / "model", ctx.checkpoints / "step-000004")
    assert "early stop: 2 evaluations without a lower loss" in ctx.recorder.lines


def test_early_stopping_has_the_best_weights_though_no_checkpoint_was_due(new_run):
    ctx = new_run(evaluators=[Scripted([9.0, 4.0, 3.0, 5.0, 5.0])])
    train(ctx, eval_every=3, save_every=1000, early_stopping=2)
    assert ctx.outputs["step"] == 6
    assert_same_weights(ctx.run_dir / "model", ctx.checkpoints / "step-000006")


def test_the_best_evaluation_has_its_checkpoint_kept_though_none_was_due(new_run):
    ctx = new_run(evaluators=[Scripted([9.0, 4.0, 3.0, 5.0, 5.0])], keep_checkpoints=1, keep_best=True)
    train(ctx, eval_every=3, save_every=1000, max_steps=12)
    assert ctx.outputs["step"] == 12
    assert [folder.name for folder in step_folders(ctx.checkpoints)] == ["step-000006", "step-000012"]


def test_a_run_that_stopped_early_does_not_train_on_when_resumed(new_run):
    losses = [9.0, 4.0, 3.0, 5.0, 5.0]
    ctx = new_run(evaluators=[Scripted(list(losses))])
    train(ctx, eval_every=2, save_every=2, early_stopping=2)
    assert ctx.recorder.facts["model_step"] == 4
    last = newest_sealed(ctx.checkpoints)[0]
    again = new_run(evaluators=[Scripted([])], resume_from=last)
    train(again, eval_every=2, save_every=2, early_stopping=2)
    assert again.recorder.series("train/loss") == {}
    assert again.outputs["step"] == 4
    assert_same_weights(again.run_dir / "model", ctx.checkpoints / "step-000004")


def test_early_stopping_without_a_loss_to_watch_is_said_at_the_start(new_run):
    ctx = new_run(evaluators=[])
    with pytest.raises(StageError, match=r"train.early_stopping: no evaluator tells the loss"):
        train(ctx, early_stopping=2)


def test_a_loss_that_is_no_number_is_shown_as_such(new_run, tiny_gpt2):
    folder = tiny_gpt2("broken")
    broken = weights(folder)
    broken["transformer.ln_f.weight"][0] = math.nan
    save_file(broken, folder / "model.safetensors", metadata={"format": "pt"})
    ctx = new_run(model=ModelOptions(name=str(folder)))
    train(ctx, max_steps=2)
    assert all(math.isnan(loss) for loss in ctx.recorder.series("train/loss").values())
    assert all(math.isnan(loss) for loss in ctx.recorder.series("eval/loss").values())


def test_a_loss_that_stays_no_number_ends_the_run_with_the_last_good_checkpoint_kept(new_run):
    ctx = new_run(keep_checkpoints=1)
    patch = spoilt_after(ctx, 4)
    with pytest.raises(StageError) as said:
        train(ctx, nan_steps=3, save_every=2)
    patch.undo()
    assert str(said.value).startswith(
        "the loss has been no number for 3 steps, since step 5. The last checkpoint from before is step-000004."
    )
    losses = ctx.recorder.series("train/loss")
    assert [step for step, loss in losses.items() if math.isnan(loss)] == [5, 6, 7]
    assert [folder.name for folder in step_folders(ctx.checkpoints)] == ["step-000004"]
    assert "step 5: the loss is nan, the gradient's norm nan" in ctx.recorder.lines


def spoilt_after(ctx: Context, step: int) -> Any:
    """Patches a run so that its weights are no numbers once the checkpoint of `step` is safe."""
    write_event, runs, begin = ctx.recorder.event, [], TrainingRun.begin

    def spoil(kind: str, data: Any) -> None:
        write_event(kind, data)
        if (kind, data.get("step")) == ("checkpoint", step):
            with torch.no_grad():
                runs[0].stepper.model.transformer.ln_f.weight.fill_(math.nan)

    ctx.recorder.event = spoil
    patch = pytest.MonkeyPatch()
    patch.setattr(TrainingRun, "begin", lambda run: (runs.append(run), begin(run))[1])
    return patch


@pytest.mark.parametrize("log_every", [1, 7])
def test_weights_that_are_no_numbers_take_no_good_checkpoints_place_not_even_at_a_stop(new_run, log_every):
    ctx = new_run(keep_checkpoints=1)
    patch = spoilt_after(ctx, 4)
    stop_at(ctx, 7)
    with pytest.raises(RunStopped):
        train(ctx, nan_steps=9, save_every=2, log_every=log_every, eval_every=100)
    patch.undo()
    assert [folder.name for folder in step_folders(ctx.checkpoints)] == ["step-000004"]
    assert "no checkpoint of step 7: its loss or gradient is no number" in ctx.recorder.lines


def test_the_finished_model_loads_with_plain_transformers(new_run):
    ctx = new_run()
    folder = train(ctx)
    assert folder == ctx.run_dir / "model"
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    assert model.dtype == torch.float32
    assert model.config.use_cache
    assert len(tokenizer) == 105
    assert ctx.outputs["step"] == STEPS
    assert not list(ctx.run_dir.glob(".model*"))


def test_a_model_learns_to_end_its_text(new_run, tokenised):
    """GPT-2's pad is its EOS: masked by id instead of position, its end would never be learned."""
    rows = [[5, 6, 7, EOS], [5, 6, 7, 8, 9, 5, 6, 7, EOS]] * 8
    ctx = new_run(input=tokenised(rows, rows[:2]))
    folder = train(ctx, epochs=8.0, learning_rate=2e-2, eval_every=1000)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    with torch.no_grad():
        odds = torch.softmax(model(torch.tensor([[5, 6, 7, 8, 9, 5, 6, 7]])).logits[0, -1], dim=-1)
    assert float(odds[EOS]) > 0.9


def test_training_from_scratch_with_a_schedule_and_checkpointed_activations_falls(new_run):
    config = {"model_type": "gpt2", "n_layer": 2, "n_embd": 32, "n_head": 2, "n_positions": 64}
    model = ModelOptions(init="scratch", tokenizer="tuiftune:babyllama-105", config=config)
    plain, checkpointed = new_run("plain", model=model), new_run("checkpointed", model=model)
    for ctx, value in ((plain, False), (checkpointed, True)):
        train(ctx, schedule="constant", gradient_checkpointing=value, grad_clip=0.5)
    losses = plain.recorder.series("train/loss")
    assert losses[1] == pytest.approx(math.log(105), rel=0.05)
    assert losses[STEPS] < losses[1]
    assert set(plain.recorder.series("train/learning_rate").values()) == {1e-3}
    assert checkpointed.recorder.series("train/loss") == pytest.approx(losses, rel=1e-5)


def test_bf16_trains_with_float32_weights_where_the_cpu_has_it(new_run, monkeypatch, tmp_path):
    flags = tmp_path / "cpuinfo"
    flags.write_text("flags : avx512_bf16\n")
    monkeypatch.setattr(precision, "CPUINFO", flags)
    half, full = new_run("half"), new_run("full")
    train(half, precision="bf16", max_steps=2)
    train(full, precision="fp32", max_steps=2)
    assert half.recorder.facts["precision"] == "bf16"
    losses, exact = half.recorder.series("train/loss"), full.recorder.series("train/loss")
    assert losses != exact
    assert losses == pytest.approx(exact, rel=0.05)
    assert weights(half.run_dir / "model")["transformer.wte.weight"].dtype == torch.float32
    assert half.recorder.series("eval/loss")[0] == full.recorder.series("eval/loss")[0]


@pytest.mark.long
@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_two_processes_take_the_steps_of_one(new_run, tiny_gpt2, kind):
    """The same samples in each step, so the same losses, gradients and, to rounding, weights."""
    no_dropout = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    name = str(tiny_gpt2("no-dropout", **no_dropout)) if kind == "gpt2" else "tuiftune:babyllama-105"
    one, two = (new_run(number, model=ModelOptions(name=name)) for number in ("one", "two"))
    train(one, batch_size=4, grad_accum=1)
    train(two, batch_size=2, grad_accum=1, processes=2)
    for series in ("train/loss", "train/grad_norm", "train/tokens"):
        expected = one.recorder.series(series)
        assert len(expected) == STEPS
        assert two.recorder.series(series) == pytest.approx(expected, rel=1e-4), series
    assert_close_weights(two.run_dir / "model", one.run_dir / "model")
    assert multiprocessing.active_children() == []


@pytest.mark.long
def test_two_processes_are_stopped_and_resumed_as_one_is(new_run):
    """With dropout: each process has its own random numbers, the same after a resume."""
    whole, first = new_run("whole"), new_run("parts")
    train(whole, batch_size=1, processes=2)
    stop_at(first, 5)
    with pytest.raises(RunStopped):
        train(first, batch_size=1, processes=2)
    assert multiprocessing.active_children() == []
    second = new_run("parts", resume_from=newest_sealed(first.checkpoints)[0])
    train(second, batch_size=1, processes=2)
    joined = first.recorder.series("train/loss") | second.recorder.series("train/loss")
    assert joined == whole.recorder.series("train/loss")
    assert_same_weights(second.run_dir / "model", whole.run_dir / "model")


@pytest.mark.long
def test_a_process_that_dies_ends_the_training_with_a_sentence(new_run, tmp_path):
    """The worker is a process of its own here: it is taken along."""
    script = tmp_path / "train.py"
    ctx = new_run()
    ctx.input.save_to_disk(tmp_path / "data")
    script.write_text(
        f"""
import multiprocessing, os, signal, threading, time
from pathlib import Path
import datasets
from tuiftune.options import ModelOptions
from tuiftune.stage import Context
from tuiftune.stages.causal_lm import CausalLM
from tuiftune.testing import ListRecorder

class Killing(ListRecorder):
    def metric(self, step, values):
        if step == 3:
            os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)

if __name__ == "__main__":
    folder = Path({str(tmp_path)!r})
    ctx = Context("causal_lm", "train", 0, folder, folder, folder, 1, ModelOptions(name={ctx.model.name!r}), Killing(),
                  input=datasets.load_from_disk(str(folder / "data")))
    CausalLM(CausalLM.Options(batch_size=1, grad_accum=1, processes=2, epochs=1000.0)).run(ctx)
"""
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode != 0
    assert "ProcessLost: process 1 of the training was killed by signal 9" in done.stderr, done.stderr[-2000:]


@pytest.mark.long
def test_a_compiled_model_takes_the_steps_of_one_that_is_not(new_run, tiny_gpt2):
    folder = tiny_gpt2("no-dropout", resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)
    plain, compiled = (new_run(name, model=ModelOptions(name=str(folder))) for name in ("plain", "compiled"))
    train(plain, max_steps=3)
    train(compiled, max_steps=3, compile=True)
    expected = plain.recorder.series("train/loss")
    assert compiled.recorder.series("train/loss") == pytest.approx(expected, rel=1e-5)
    assert_close_weights(compiled.run_dir / "model", plain.run_dir / "model")


def assert_close_weights(one: Path, other: Path) -> None:
    expected = weights(other)
    for key, value in weights(one).items():
        if key.endswith(
            "c_attn.bias"
        ):  # the keys' part has no gradient but rounding, which AdamW makes as large as any
            continue
        torch.testing.assert_close(value, expected[key], rtol=1e-3, atol=1e-4)


def test_the_same_profile_has_the_same_losses_bit_for_bit(new_run):
    one, other = new_run("one"), new_run("other")
    train(one)
    train(other)
    assert one.recorder.series("train/loss") == other.recorder.series("train/loss")
    assert_same_weights(one.run_dir / "model", other.run_dir / "model")


def test_8_bit_averages_without_a_gpu_are_refused_in_a_sentence(new_run):
    with pytest.raises(StageError, match=r"train.optimizer: 'adamw_8bit' needs a GPU, and none is seen here"):
        train(new_run(), optimizer="adamw_8bit")


def test_an_empty_train_split_is_said(new_run, tokenised):
    with pytest.raises(StageError, match="there is no text to train on: the train split is empty"):
        train(new_run(input=tokenised([], [[5, EOS]])))


def test_samples_of_one_token_are_said(new_run, tokenised):
    with pytest.raises(StageError, match="no sample has two tokens, so there is nothing to predict"):
        train(new_run(input=tokenised([[EOS]] * 4, [[5, EOS]])))


def test_a_sample_longer_than_the_model_is_said_before_training(new_run, tokenised):
    ctx = new_run(input=tokenised([[5] * 65], [[5, EOS]]))
    with pytest.raises(StageError, match=r"the longest row of train has 65 tokens, but the model takes 64."):
        train(ctx)
    assert ctx.recorder.metrics == []


def test_a_warm_up_as_long_as_the_run_is_pointed_out(new_run):
    ctx = new_run()
    train(ctx, max_steps=2, warmup_steps=500.0)
    assert any("the warm-up of 500 steps is as long as the run of 2" in text for text in ctx.recorder.lines)


def test_the_stage_imports_no_torch_before_it_runs(interpreter):
    code = (
        "import sys, tuiftune.stages.causal_lm, tuiftune.stages.perplexity, tuiftune.stages.samples;"
        "print([name for name in ('torch', 'numpy', 'transformers', 'datasets') if name in sys.modules])"
    )
    done = subprocess.run([interpreter, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
