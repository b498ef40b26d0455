"""Which models a run has, which one is meant by a word, and what is said where there is none."""

from __future__ import annotations

import json
import shutil
from typing import Any

import pytest
from click.testing import CliRunner

from tuiftune.cli import commands
from tuiftune.errors import RunNotFound, TuiftuneError
from tuiftune.run import models, playable, played, tools
from tuiftune.run.folder import State, create, write_state
from tuiftune.run.models import base_of, choose, models_of
from tuiftune.run.played import Played, Text
from tuiftune.sampling import Sampling


def test_models_are_told_by_step_loss_and_which_is_best_and_broken_ones_by_what_is_wrong(run_with_models: Any) -> None:
    run = run_with_models
    (run.checkpoints / "step-000010" / "config.json").unlink()
    shutil.copytree(run.model, run.checkpoints / "step-000030")  # as a copy that was killed leaves it
    found = models_of(run)
    assert [(model.name, model.step, model.loss, model.best) for model in found] == [
        ("final model", 30, 1.75, False),
        ("step 30", 30, 1.75, False),
        ("step 20", 20, 1.5, True),
        ("step 10", 10, 2.5, False),
    ]
    assert [model.problem for model in found] == [
        None,
        "step-000030 was never finished (no complete.json)",
        None,
        "step-000010: config.json is missing",
    ]

    for wanted, folder in ((None, run.model), ("final", run.model), ("latest", "20"), ("best", "20"), ("20", "20")):
        chosen = choose(run, wanted).folder
        assert chosen == (folder if folder == run.model else run.checkpoints / f"step-0000{folder}")
    has = "It has: final (loss 1.75), 20 (loss 1.5, best)"
    for wanted, reason in (
        ("10", "step-000010: config.json is missing"),
        ("7", "there is no checkpoint of step 7"),
        ("worst", "there is no checkpoint of step worst"),
    ):
        with pytest.raises(TuiftuneError) as error:
            choose(run, wanted)
        assert str(error.value) == f"{run.id}: {reason}. {has}"
    shutil.rmtree(run.model)
    with pytest.raises(TuiftuneError, match="it has not finished, so there is no final model"):
        choose(run, "final")
    assert choose(run).step == 20


def test_the_base_is_told_in_words_and_a_run_without_one_or_without_models_says_so(workspace: Any) -> None:
    def run_of(profile: dict[str, Any]) -> Any:
        made = create(workspace, "x", profile, {})
        write_state(made, State("failed", since=1, started=1, ended=2))
        return made

    assert base_of(run_of({"model": {"name": "gpt2", "init": "pretrained"}})) == "gpt2"
    scratch = {"model": {"init": "scratch", "config": {"model_type": "llama"}}}
    assert base_of(run_of(scratch)) == "random weights (llama)"
    run = run_of({"train": {"stage": "demo"}})
    with pytest.raises(TuiftuneError, match="its profile names no model"):
        base_of(run)
    with pytest.raises(
        TuiftuneError, match=f"no model and no checkpoint yet. See how it stands: tuiftune watch {run.id}"
    ):
        choose(run)
    assert playable.look(workspace).problem == playable.NO_MODELS
    shutil.rmtree(workspace / "runs")
    assert playable.look(workspace).problem == playable.NO_RUNS


def test_history_is_printed_and_options_that_contradict_each_other_are_refused(
    run_with_models: Any, workspace: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_with_models
    monkeypatch.chdir(workspace)

    def generate(*arguments: str) -> Any:
        return CliRunner().invoke(commands, ["generate", run.id, *arguments])

    assert "nothing was asked in the playground yet" in str(generate("--history").exception)
    text = Text("step 20", ", there\x1b[31m was", 2, 0.5, "end", "cpu")
    played.keep(run, Played(86400.0, "Once", Sampling(5), 3, {"tuned": text}))
    assert generate("--history").stdout.endswith(
        "  seed 3  max-new-tokens 5  temperature 0.8  top-k 50  top-p 1\n"
        "-- step 20: 2 tokens in 0.5 s on cpu, 4 tokens/s: the model ended the text\n"
        "Once, there was\n"
    )
    [found] = json.loads(generate("--history", "--json").stdout)
    assert (found["prompt"], found["seed"], found["texts"]["tuned"]["model"]) == ("Once", 3, "step 20")
    for arguments, words in (
        (("--history", "x"), "leave the prompt out"),
        (("x", "--base", "--checkpoint", "20"), "leave --checkpoint out"),
        ((), "Missing argument 'PROMPT'"),
    ):
        done = generate(*arguments)
        assert (done.exit_code, words in done.stderr) == (2, True)


def test_generate_refuses_in_a_sentence_what_only_a_run_has(run_with_models: Any, workspace: Any) -> None:
    run = run_with_models
    for more in ({"base": True}, {"checkpoint": "20"}):
        with pytest.raises(TuiftuneError, match=r"a model's folder, and --(base|checkpoint) is for a run"):
            tools.generate(workspace, str(run.model), "x", [], **more)
    with pytest.raises(RunNotFound):
        tools.generate(workspace, "nothing", "x", [], base=True)
    run.profile_file.write_text("broken = ")
    with pytest.raises(TuiftuneError, match="what the run started from is not known"):
        tools.generate(workspace, run.id, "x", [], base=True)
    assert playable.look(workspace, run.id).base_problem
    assert playable.look(workspace, run.id, "77").note.startswith(f"{run.id}: there is no checkpoint of step 77.")
    assert [one.run for one in playable.offered(workspace)] == [run]
    assert models.has_model(run)
