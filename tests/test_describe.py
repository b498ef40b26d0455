"""The child that lists plugins, stages and profiles, and its reader."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tuiftune.catalog import read_catalog, resolve_profile
from tuiftune.errors import Problem

HEAVY = {"torch", "transformers", "datasets", "accelerate", "numpy", "pandas", "pyarrow"}


def describe(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "tuiftune.describe", *arguments], capture_output=True, text=True, check=True
    )


def test_every_option_has_a_type_in_tomls_words_and_a_description(workspace: Path) -> None:
    found = read_catalog(workspace)
    words = {"integer", "float", "string", "boolean", "array", "table"}
    tables = [*(stage.options for stage in found.stages), *found.sections.values()]
    for option in (option for table in tables for option in table):
        assert option.description, option
        parts = option.type.split(" | ")
        assert all(part in words or part.startswith("'") for part in parts), option


def test_the_options_of_a_stage_are_those_of_its_class_and_of_the_core(workspace: Path) -> None:
    found = {(stage.kind, stage.name): stage for stage in read_catalog(workspace).stages}
    text = {option.name: option for option in found["dataset", "text"].options}
    assert (text["path"].type, text["path"].required, text["path"].default) == ("string", True, None)
    assert text["unit"].type == "'line' | 'paragraph' | 'file'"
    assert (text["validation"].type, text["validation"].default) == ("float | integer | string", 0.1)
    assert (text["streaming"].type, text["streaming"].default) == ("boolean", False)
    train = {option.name: option for option in found["train", "causal_lm"].options}
    assert (train["max_steps"].type, train["max_steps"].default) == ("integer", None)
    assert "validation" not in train
    assert all(stage.summary for stage in found.values())


def test_an_option_tells_its_bounds_its_choices_and_its_unit(workspace: Path) -> None:
    found = read_catalog(workspace)
    train = {option.name: option for option in found.options_of("causal_lm")}
    assert train["schedule"].choices == ["linear", "cosine", "constant"]
    assert (train["batch_tokens"].choices, train["batch_tokens"].minimum) == (["auto"], 1)
    assert (train["epochs"].more_than, train["epochs"].minimum) == (0, None)
    assert (train["max_steps"].unit, train["epochs"].unit) == ("steps", "")
    assert {option.name: option.bounds for option in found.sections["profile"]} == {
        "description": "",
        "seed": "at least 0 and less than 4294967296",
    }


def test_a_stages_options_without_a_json_schema_are_listed_all_the_same(workspace: Path) -> None:
    (workspace / "plugins" / "odd.py").write_text(
        "import tuiftune\nfrom typing import Any\nfrom pydantic import ConfigDict\n\n"
        "class Thing: pass\n\n"
        "class Odd(tuiftune.DatasetLoader):\n    name = 'odd'\n"
        "    class Options(tuiftune.Options):\n"
        "        model_config = ConfigDict(arbitrary_types_allowed=True)\n"
        "        thing: Thing = Thing()\n"
        "    def run(self, ctx): ...\n\n"
        "@tuiftune.hookimpl\ndef register_stages():\n    return [Odd]\n"
    )
    (odd,) = [stage for stage in read_catalog(workspace).stages if stage.name == "odd"]
    assert [(option.name, option.type) for option in odd.options] == [
        ("thing", "value"),
        ("validation", "float | integer | string"),
        ("streaming", "boolean"),
    ]


def test_a_profile_is_listed_with_its_pipeline_and_its_problems(workspace: Path) -> None:
    (workspace / "profiles" / "mine.toml").write_text(
        'description = "Mine"\n[dataset]\nstage = "text"\npath = "a"\nunt = 1\n[train]\nstage = "demo"\n'
    )
    (workspace / "profiles" / "demo.toml").write_text("seed = 1\n")
    found = {profile.name: profile for profile in read_catalog(workspace).profiles}
    mine = found["mine"]
    assert (mine.description, mine.source, mine.pipeline, mine.runnable) == (
        "Mine",
        "workspace",
        ["text", "demo"],
        True,
    )
    assert mine.problems == [
        Problem(
            what="not an option of dataset stage 'text' (plugin text)",
            file="profiles/mine.toml",
            line=5,
            where="dataset.unt",
            hint="Did you mean 'unit'?",
        )
    ]
    assert [Path(path).name for path in found["demo"].hides] == ["demo.toml"]
    assert not found["base"].runnable


def test_a_profile_is_resolved_with_its_overrides(workspace: Path) -> None:
    resolved = resolve_profile(workspace, "demo", ["train.steps=7", "description=a = 'b'"])
    assert not resolved.problems
    assert resolved.effective["train"]["steps"] == 7
    assert resolved.description == "a = 'b'"
    assert resolved.origin["train.steps"] == "--set"
    assert resolved.runnable


def test_the_child_prints_json_and_nothing_else(workspace: Path) -> None:
    done = describe("resolve", str(workspace), "no-such-profile")
    assert json.loads(done.stdout)["problems"]
    assert done.stderr == ""


def test_listing_imports_no_torch(workspace: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tuiftune import describe, plugins;"
        f" w = Path({str(workspace)!r}); describe.catalog(w, plugins.load_registry(w)); print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & HEAVY


@pytest.mark.slow
def test_listing_takes_little_of_the_processor(workspace: Path) -> None:
    """0.3 s on an idle core; the time of other processes is not counted."""
    import resource

    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.monotonic()
    describe("catalog", str(workspace))
    assert time.monotonic() - start < 30
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.5
