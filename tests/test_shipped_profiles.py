"""Every profile that ships checks clean, and begins with the command that runs it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tuiftune.plugins import Registry, load_registry
from tuiftune.profile import build, resolve

SHIPPED = sorted((Path(__file__).parents[1] / "profiles").glob("*.toml"))
BASES = {"base"}


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    return load_registry(tmp_path_factory.mktemp("nothing"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_profile_checks_clean(workspace: Path, registry: Registry, path: Path) -> None:
    resolved = resolve(workspace, path.stem, registry)
    assert [str(problem) for problem in resolved.problems] == []
    assert resolved.runnable == (path.stem not in BASES)
    assert resolved.description
    if resolved.runnable:
        assert resolved.notes == []
        assert [stage.name for stage in build(resolved.effective, registry).stages] == resolved.pipeline


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_profile_begins_with_a_command_that_checks_clean(
    workspace: Path, registry: Registry, path: Path
) -> None:
    head = "".join(line for line in path.read_text().splitlines(keepends=True)[:5] if line.startswith("#"))
    commands = re.findall(r"^#\s+tuiftune (run|show) (\S+)(.*)$", head, re.MULTILINE)
    assert commands
    for _verb, name, rest in commands:
        assert name == path.stem
        overrides = [one or other for one, other in re.findall(r"--set (?:'([^']*)'|(\S+))", rest)]
        assert [str(problem) for problem in resolve(workspace, name, registry, overrides).problems] == []


def test_gpt2_text_is_the_seed_recipe(workspace: Path, registry: Registry) -> None:
    found = resolve(workspace, "gpt2-text", registry).effective
    assert found["model"]["name"] == "gpt2"
    assert [stage["stage"] for stage in found["preprocess"]] == ["tokenize"]
    assert found["preprocess"][0]["max_length"] == 512
    assert found["dataset"]["validation"] == 0.1
    recipe = {"batch_size": 4, "grad_accum": 4, "learning_rate": 5e-5, "weight_decay": 0.01, "epochs": 3}
    assert recipe | {"save_every": 1000, "eval_every": 0} == {
        key: found["train"][key] for key in (*recipe, "save_every", "eval_every")
    }


def test_the_quickstart_needs_nothing_that_does_not_ship(workspace: Path, registry: Registry) -> None:
    from tuiftune.paths import resolve_path

    found = resolve(workspace, "quickstart", registry).effective
    for text in (found["model"]["name"], found["dataset"]["path"]):
        assert text.startswith("tuiftune:")
        assert resolve_path(text, workspace).exists()
