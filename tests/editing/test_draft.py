"""A profile that is being changed: it says what is different from its parent and nothing else."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from tuiftune.editing.draft import MISSING, Change, Draft
from tuiftune.editing.files import file_text, open_new
from tuiftune.errors import ProfileError

PARENT = """\
extends = "base"
description = "the parent"

[dataset]
stage = "text"
path = "a.txt"
unit = "paragraph"

[train]
epochs = 2
learning_rate = 1e-3

[[evaluate]]
stage = "perplexity"

[[evaluate]]
stage = "samples"
prompts = ["Once"]
max_new_tokens = 100
"""


@pytest.fixture
def draft(workspace: Path) -> Draft:
    (workspace / "profiles" / "parent.toml").write_text(PARENT)
    return open_new(workspace, "parent").draft


def test_only_what_differs_from_the_parent_is_kept(draft: Draft) -> None:
    draft.set(("train", "epochs"), 5)
    draft.set(("train", "learning_rate"), 1e-3)  # the parent's
    draft.set(("seed",), 7)
    assert draft.own == {"seed": 7, "train": {"epochs": 5}}
    assert draft.merged["train"] | {"stage": "causal_lm"} == draft.merged["train"]
    assert (draft.origin(("train", "epochs")), draft.origin(("seed",))) == ("this profile", "this profile")
    assert draft.origin(("train", "learning_rate")) == str(Path("profiles/parent.toml:11"))
    assert draft.origin(("train", "compile")) == "default"
    draft.set(("train", "epochs"), 2)
    assert draft.own == {"seed": 7}
    draft.set(("train", "epochs"), 2.0)  # TOML writes it otherwise
    assert draft.own["train"] == {"epochs": 2.0}


def test_a_key_goes_back_to_the_parents_and_a_description_is_ones_own(draft: Draft) -> None:
    assert draft.value(("description",)) is MISSING
    draft.set(("train", "epochs"), 5)
    draft.set(("train", "seed_of_mine"), 5)
    draft.unset(("train", "epochs"))
    assert draft.value(("train", "epochs")) == 2
    draft.unset(("train",))
    assert draft.own == {}


def test_a_change_in_a_stage_of_an_array_takes_all_its_stages_over_and_gives_them_back(draft: Draft) -> None:
    draft.set(("evaluate", 1, "max_new_tokens"), 9)
    assert draft.own["evaluate"] == [
        {"stage": "perplexity"},
        {"stage": "samples", "prompts": ["Once"], "max_new_tokens": 9},
    ]
    assert draft.changes() == [Change(("evaluate", 1, "max_new_tokens"), 100, 9)]
    assert draft.inherited(("evaluate", 1, "prompts")) == ["Once"]
    draft.unset(("evaluate", 1, "max_new_tokens"))
    assert draft.own == {}


def test_stages_of_an_array_are_added_moved_removed_and_replaced(draft: Draft) -> None:
    assert draft.add("evaluate", "samples", 0) == 0
    assert [stage["stage"] for stage in draft.merged["evaluate"]] == ["samples", "perplexity", "samples"]
    # The first of a name is the parent's first, so its options are what the parent says differently.
    assert draft.inherited(("evaluate", 0, "max_new_tokens")) == 100
    assert draft.inherited(("evaluate", 2, "max_new_tokens")) is MISSING
    assert draft.move("evaluate", 0, 2) == 2
    assert draft.move("evaluate", 2, 1) == 2
    draft.remove("evaluate", 2)
    assert draft.own == {}, "as the parent has it again"
    draft.move("evaluate", 0, 1)
    assert draft.changes() == [Change(("evaluate",), ["perplexity", "samples"], ["samples", "perplexity"])]
    draft.unset(("evaluate", 0))
    draft.replace("evaluate", 1, "perplexity", keep={"prompts"})
    assert draft.merged["evaluate"][1] == {"stage": "perplexity", "prompts": ["Once"]}
    draft.remove("evaluate", 0)
    draft.remove("evaluate", 0)
    assert draft.own == {"evaluate": []}
    assert {change.after for change in draft.changes()} == {MISSING}


def test_another_stage_starts_afresh_and_the_parents_own_needs_no_word(draft: Draft) -> None:
    draft.set(("dataset", "path"), "b.csv")
    draft.set(("dataset", "unit"), "line")
    draft.choose("dataset", "table", keep={"path"})
    assert draft.own == {"dataset": {"stage": "table", "path": "b.csv"}}
    assert draft.merged["dataset"] == {"stage": "table", "path": "b.csv"}
    assert draft.inherited(("dataset", "path")) is MISSING
    draft.choose("dataset", "text", keep={"path"})
    assert draft.own == {"dataset": {"path": "b.csv"}}
    draft.choose("train", "demo")
    assert draft.own["train"] == {"stage": "demo"}
    draft.choose("train", "causal_lm")
    assert "train" not in draft.own


def test_changes_are_undone_and_done_again_and_a_new_one_forgets_those_undone(draft: Draft) -> None:
    draft.set(("train", "epochs"), 5)
    draft.set(("train", "epochs"), 5)  # nothing new
    draft.set(("model", "config", "n_layer"), 6)
    assert draft.unsaved
    assert draft.undo() == ("model", "config", "n_layer")
    assert draft.undo() == ("train", "epochs")
    assert draft.undo() is None
    assert not draft.unsaved
    assert draft.redo() == ("train", "epochs")
    assert draft.own == {"train": {"epochs": 5}}
    draft.set(("train", "epochs"), 6)
    assert draft.redo() is None
    draft.saved()
    assert not draft.unsaved
    draft.undo()
    assert draft.unsaved


@pytest.mark.parametrize(
    ("overrides", "own"),
    [
        (["train.epochs=5", "samples.max_new_tokens=7"], {"train": {"epochs": 5}}),
        (["dataset.stage=table", "dataset.path=x.csv"], {"dataset": {"stage": "table", "path": "x.csv"}}),
        (["evaluate.0.stage=samples"], {}),
    ],
)
def test_values_of_a_command_line_go_into_the_draft(
    draft: Draft, workspace: Path, overrides: list[str], own: dict[str, Any]
) -> None:
    found = open_new(workspace, "parent", overrides)
    assert {key: value for key, value in found.draft.own.items() if key != "evaluate"} == own
    if "evaluate.0.stage=samples" in overrides:
        assert found.draft.own["evaluate"][0] == {"stage": "samples"}
    written = tomllib.loads(file_text("mine", "parent", found.draft.own))
    assert written == {"extends": "parent", **found.draft.own}


def test_every_wrong_override_is_told_at_once(draft: Draft, workspace: Path) -> None:
    with pytest.raises(ProfileError) as caught:
        open_new(workspace, "parent", ["train", "evaluate.7.x=1", "train.epochs=1"])
    assert [problem.where for problem in caught.value.problems] == ["train", "evaluate.7.x"]
