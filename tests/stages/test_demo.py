"""The demo trainer behaves as a trainer does, and says everywhere that it is made up."""

from __future__ import annotations

import json
import math

import pytest

from tuiftune.errors import RunStopped, StageError
from tuiftune.run.checkpoints import newest_sealed, step_folders
from tuiftune.stage import Signals
from tuiftune.stages.demo import Demo


@pytest.fixture
def demo(context_for):
    """Run the demo trainer and give back its context."""

    def run(ctx=None, **options):
        ctx = ctx or context_for("train")
        Demo(Demo.Options(**{"steps": 30, "seconds_per_step": 0.0, **options})).run(ctx)
        return ctx

    return run


def test_its_figures_fall_and_are_said_to_be_made_up(demo):
    ctx = demo()
    losses = ctx.recorder.series("train/loss")
    assert list(losses) == list(range(1, 31))
    assert losses[30] < losses[1]
    assert list(ctx.recorder.series("eval/perplexity")) == [0, 10, 20, 30]
    assert ctx.recorder.series("eval/perplexity")[30] < ctx.recorder.series("eval/perplexity")[0]
    assert ctx.recorder.facts["made_up"] is True
    assert ctx.recorder.facts["total_steps"] == 30
    assert {model for *_, model in ctx.recorder.samples} == {"made-up"}
    assert any("every figure is made up" in text for text in ctx.recorder.lines)
    assert json.loads((ctx.run_dir / "model" / "made-up.json").read_text()) == {"made_up": True, "step": 30}
    assert not Demo.makes_model
    assert ctx.outputs["step"] == 30


def test_it_stops_with_a_sealed_checkpoint_and_goes_on_where_it_was(demo, context_for):
    whole = demo(context_for("train", "whole"))
    ctx = context_for("train")
    record = ctx.recorder.metric
    ctx.recorder.metric = lambda step, values: (record(step, values), setattr(ctx.signals, "stopping", step >= 13))
    with pytest.raises(RunStopped) as stopped:
        demo(ctx)
    assert stopped.value.step == 13
    found, reasons = newest_sealed(ctx.checkpoints)
    assert found is not None
    assert (found.name, reasons) == ("step-000013", [])
    again = demo(context_for("train", resume_from=found))
    joined = ctx.recorder.series("train/loss") | again.recorder.series("train/loss")
    assert joined == whole.recorder.series("train/loss")


def test_it_keeps_as_many_checkpoints_as_it_is_told(demo, context_for):
    ctx = demo(context_for("train", keep_checkpoints=1))
    assert [folder.name for folder in step_folders(ctx.checkpoints)] == ["step-000030"]


def test_a_stop_asked_for_before_the_start_is_obeyed(demo, context_for):
    with pytest.raises(RunStopped):
        demo(context_for("train", signals=Signals(stopping=True)))


def test_it_can_fail_with_a_sentence_or_a_traceback(demo):
    with pytest.raises(StageError, match=r"train.fail_at: step 3 was asked to fail"):
        demo(fail_at=3)
    with pytest.raises(RuntimeError, match="step 4 was asked to crash"):
        demo(crash_at=4)


def test_its_figures_fit_together(demo):
    ctx = demo(steps=7, epochs=3)
    losses = ctx.recorder.series("eval/loss")
    assert list(losses) == [0, 3, 6, 7]
    assert ctx.recorder.series("eval/perplexity")[7] == pytest.approx(math.exp(losses[7]))
    assert ctx.recorder.series("train/epoch")[7] == 3
