"""Profiles: found, extended, overridden, and every problem told at once with its line."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from tuiftune.catalog import ResolvedProfile
from tuiftune.errors import ProfileError
from tuiftune.plugins import Registry, load_registry
from tuiftune.profile import build, list_profiles, resolve

DATA = Path(__file__).parent / "data" / "profiles"
JOB = """\
[model]
name = "gpt2"

[dataset]
stage = "text"
path = "a.txt"

[[preprocess]]
stage = "clean"

[[preprocess]]
stage = "tokenize"
max_length = 128

[train]
stage = "causal_lm"
epochs = 2

[[evaluate]]
stage = "perplexity"
"""


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    """The built-in stages."""
    loaded = load_registry(tmp_path_factory.mktemp("nothing"))
    assert not loaded.problems
    return loaded


@pytest.fixture
def job(workspace: Path) -> Path:
    write(workspace, job=JOB)
    return workspace


def write(workspace: Path, **profiles: str) -> None:
    for name, text in profiles.items():
        (workspace / "profiles" / f"{name}.toml").write_text(text)


def sentences(resolved: ResolvedProfile) -> list[str]:
    return [str(problem) for problem in resolved.problems]


def effective(workspace: Path, registry: Registry, *overrides: str, name: str = "job") -> dict[str, Any]:
    resolved = resolve(workspace, name, registry, overrides)
    assert not resolved.problems, sentences(resolved)
    return resolved.effective


# Problems


@pytest.mark.parametrize("expected", sorted(DATA.glob("*.expected")), ids=lambda path: path.stem)
def test_every_problem_of_a_bad_profile_is_told(workspace: Path, registry: Registry, expected: Path) -> None:
    shutil.copytree(DATA, workspace / "profiles", dirs_exist_ok=True)
    resolved = resolve(workspace, expected.stem, registry)
    assert "\n".join(sentences(resolved)) + "\n" == expected.read_text()
    assert resolved.effective == {}


def test_no_secret_is_repeated_in_what_is_said_about_it(registry: Registry, workspace: Path) -> None:
    shutil.copytree(DATA, workspace / "profiles", dirs_exist_ok=True)
    resolved = resolve(workspace, "secrets", registry, ["train.hub_token=sesame-5", "sesame.token=sesame-6"])
    assert len(resolved.problems) == 6
    assert "sesame-" not in str(resolved)


def test_three_mistakes_are_reported_by_the_command_with_exit_status_2(workspace: Path) -> None:
    shutil.copy(DATA / "three_mistakes.toml", workspace / "profiles")
    done = subprocess.run(
        [sys.executable, "-P", "-m", "tuiftune.cli", "check", "three_mistakes"],
        cwd=workspace,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    for line in (DATA / "three_mistakes.expected").read_text().splitlines():
        assert line in done.stderr


def test_a_file_inside_the_current_folder_is_named_from_there(
    job: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(job, job="seed = ''\n")
    monkeypatch.chdir(job / "profiles")
    assert sentences(resolve(job, "job", registry))[0].startswith("job.toml:1: seed: ")


def test_an_unknown_profile_is_answered_with_the_nearest_or_all(job: Path, registry: Registry) -> None:
    assert sentences(resolve(job, "jbo", registry)) == ["there is no profile 'jbo'. Did you mean 'job'?"]
    (told,) = sentences(resolve(job, "xxxxxxx", registry))
    assert told.startswith("there is no profile 'xxxxxxx'. There are: job, ")


# Finding


def test_the_nearest_profile_of_a_name_wins_and_says_what_it_hides(
    job: Path, registry: Registry, own_home: Path
) -> None:
    user = own_home / ".local" / "share" / "tuiftune" / "profiles"
    user.mkdir(parents=True)
    (user / "job.toml").write_text(JOB)
    (user / "demo.toml").write_text(JOB)
    profiles = {profile.name: profile for profile in list_profiles(job)}
    assert (profiles["job"].source, profiles["job"].hides) == ("workspace", [user / "job.toml"])
    assert profiles["demo"].source == "user"
    assert [path.name for path in profiles["demo"].hides] == ["demo.toml"]
    assert profiles["quickstart"].source == "shipped"


def test_a_path_to_a_file_is_a_profile_too(
    workspace: Path, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.toml").write_text(JOB)
    assert effective(workspace, registry, name=str(tmp_path / "mine.toml"))["train"]["epochs"] == 2
    monkeypatch.chdir(tmp_path)
    assert resolve(workspace, "mine.toml", registry).path == "mine.toml"
    assert not resolve(workspace, "./mine.toml", registry).problems


# Extending


def test_tables_merge_key_by_key_and_all_else_is_replaced(job: Path, registry: Registry) -> None:
    write(
        job,
        child='extends = "job"\n[train]\nepochs = 5\n[model.config]\n[[preprocess]]\nstage = "tokenize"\n',
    )
    found = effective(job, registry, name="child")
    assert found["train"]["epochs"] == 5
    assert found["train"]["stage"] == "causal_lm"
    assert found["dataset"]["path"] == "a.txt"
    assert [(stage["stage"], stage["max_length"]) for stage in found["preprocess"]] == [("tokenize", 512)]


def test_a_table_that_names_another_stage_starts_afresh(job: Path, registry: Registry) -> None:
    write(job, child='extends = "job"\n[train]\nstage = "demo"\nsteps = 3\n')
    found = effective(job, registry, name="child")
    assert found["train"]["steps"] == 3
    assert found["train"]["epochs"] == 3  # demo's own default, not the 2 of causal_lm


def test_a_table_that_names_the_same_stage_again_keeps_what_the_base_says(job: Path, registry: Registry) -> None:
    write(job, child='extends = "job"\n[train]\nstage = "causal_lm"\n')
    assert effective(job, registry, name="child")["train"]["epochs"] == 2


def test_a_profile_may_extend_a_file_beside_it_and_the_farther_one_of_its_own_name(
    job: Path, registry: Registry
) -> None:
    write(job, child='extends = "./job.toml"\nseed = 7\n', demo='extends = "demo"\n[train]\nsteps = 7\n')
    assert effective(job, registry, name="child")["seed"] == 7
    found = effective(job, registry, name="demo")
    assert (found["train"]["stage"], found["train"]["steps"]) == ("demo", 7)


def test_a_description_is_not_inherited(job: Path, registry: Registry) -> None:
    write(job, job='description = "mine"\n' + JOB, child='extends = "job"\n')
    assert resolve(job, "job", registry).description == "mine"
    assert resolve(job, "child", registry).description == ""


def test_a_base_without_data_is_good_and_cannot_be_run(workspace: Path, registry: Registry) -> None:
    write(workspace, half='[train]\nstage = "causal_lm"\n')
    resolved = resolve(workspace, "half", registry)
    assert (resolved.problems, resolved.runnable) == ([], False)
    assert resolved.notes == ["it names no dataset stage: others extend it, it cannot be run itself"]
    with pytest.raises(ProfileError, match=r"^dataset: the profile names no such stage. Add \[dataset\]"):
        build(resolved.effective, registry)


# Overriding


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("train.epochs=5", "train.epochs", 5.0),
        ("train.epochs = 0.5", "train.epochs", 0.5),
        ("train.learning_rate=3e-4", "train.learning_rate", 3e-4),
        ("train.schedule=cosine", "train.schedule", "cosine"),
        ('train.schedule="cosine"', "train.schedule", "cosine"),
        ("train.gradient_checkpointing=true", "train.gradient_checkpointing", True),
        ("preprocess.1.max_length=64", "preprocess.1.max_length", 64),
        ("preprocess.tokenize.max_length=64", "preprocess.1.max_length", 64),
        ("tokenize.max_length=64", "preprocess.1.max_length", 64),
        ("causal_lm.epochs=1", "train.epochs", 1.0),
        ("text.unit=file", "dataset.unit", "file"),
        ("dataset.validation=val", "dataset.validation", "val"),
        ("dataset.path=a=b.txt", "dataset.path", "a=b.txt"),
        ("dataset.path=my file, ü.txt", "dataset.path", "my file, ü.txt"),
        ("run.devices=0,1", "run.devices", "0,1"),
        ("run.devices=", "run.devices", ""),
        ("seed=7", "seed", 7),
        ('train={stage="demo", steps=2}', "train.steps", 2),
        ('preprocess=[{stage="tokenize"}]', "preprocess.0.stage", "tokenize"),
    ],
)
def test_an_override_is_the_last_word(job: Path, registry: Registry, override: str, path: str, value: Any) -> None:
    resolved = resolve(job, "job", registry, [override])
    assert not resolved.problems, sentences(resolved)
    found: Any = resolved.effective
    for part in path.split("."):
        found = found[int(part)] if part.isdecimal() else found[part]
    assert found == value
    assert type(found) is type(value)
    assert resolved.origin[path] == "--set"


def test_an_override_of_a_stage_starts_afresh_in_whatever_order_it_is_given(job: Path, registry: Registry) -> None:
    found = effective(
        job, registry, "train.steps=9", "train.stage=demo", "preprocess.0.stage=pack", "pack.block_size=32"
    )
    assert (found["train"]["steps"], found["train"]["epochs"]) == (9, 3)
    assert found["preprocess"][0] == {"stage": "pack", "block_size": 32, "documents": "joined", "validation": False}


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("train.epochs", "--set: train.epochs: has no KEY=VALUE. E.g. --set train.epochs=1"),
        ("=3", "--set: has no KEY=VALUE. E.g. --set train.epochs=1"),
        ("a..b=3", "--set: a..b: is not a dotted key. E.g. --set train.epochs=1"),
        ("a." * 3000 + "a=3", "is not a dotted key. E.g. --set train.epochs=1"),
        ("train.epochs=many", "--set: train.epochs: must be a number, got the string 'many'"),
        (
            "train.epoch=1",
            "--set: train.epoch: not an option of train stage 'causal_lm' (plugin causal_lm). Did you mean 'epochs'?",
        ),
        ("epochs=1", "--set: epochs: not a section of a profile. Did you mean 'train.epochs'?"),
        ("max_length=1", "--set: max_length: not a section of a profile. Did you mean 'preprocess.1.max_length'?"),
        ("trian.epochs=1", "--set: trian: not a section of a profile. Did you mean 'train'?"),
        (
            "preprocess.2.max_length=1",
            "--set: preprocess.2.max_length: the profile has no preprocess stage number 2, counted from 0. "
            "It has 2: clean, tokenize",
        ),
        (
            "preprocess.tokenise.max_length=1",
            "--set: preprocess.tokenise.max_length: the profile has no preprocess stage 'tokenise'. "
            "Did you mean 'tokenize'?",
        ),
        ("extends=demo", "--set: extends: cannot be set here. Write it in the profile"),
        (
            "run.devices=0",
            "--set: run.devices: must be a string, got the integer 0. To give it as a text: --set 'run.devices=\"0\"'",
        ),
        (
            "train.gradient_checkpointing=True",
            "--set: train.gradient_checkpointing: must be true or false, got the string 'True'. TOML writes true",
        ),
        ("dataset.path=\udcff.txt", "--set: dataset.path: its value is not UTF-8"),
        (
            "tokenize.special_token=true",
            "--set: preprocess.1.special_token: not an option of preprocess stage 'tokenize' (plugin tokenize). "
            "Did you mean 'special_tokens'?",
        ),
        ("seed.x=1", "--set: seed: must be an integer, got a table"),
    ],
)
def test_an_override_that_cannot_be_is_one_sentence(
    job: Path, registry: Registry, override: str, sentence: str
) -> None:
    (told,) = sentences(resolve(job, "job", registry, [override]))
    assert told == sentence or (len(override) > 5000 and told.endswith(sentence))


def test_a_stage_named_twice_is_addressed_by_its_number(job: Path, registry: Registry) -> None:
    write(job, job=JOB + '\n[[evaluate]]\nstage = "perplexity"\n')
    (told,) = sentences(resolve(job, "job", registry, ["perplexity.batch_tokens=64"]))
    assert told == "--set: perplexity.batch_tokens: 2 stages are called 'perplexity'. Say which: evaluate.0"
    found = effective(job, registry, "evaluate.1.batch_tokens=64")
    assert [stage["batch_tokens"] for stage in found["evaluate"]] == [2048, 64]


def test_a_file_of_the_current_folder_is_made_absolute_and_others_are_left(
    job: Path, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    (here / "folder").mkdir(parents=True)
    (here / "b.txt").write_text("text")
    monkeypatch.chdir(here)
    found = effective(
        job,
        registry,
        "dataset.path=b.txt",
        "dataset.validation=./b.txt",
        "model.name=folder",
        "model.tokenizer=gpt2",
        "description=b.txt",
    )
    assert found["dataset"]["path"] == str(here / "b.txt")
    assert found["dataset"]["validation"] == str(here / "b.txt")
    assert found["model"] | {"config": {}} == found["model"] | {"name": str(here / "folder"), "tokenizer": "gpt2"}
    assert found["description"] == "b.txt"
    assert effective(job, registry, "dataset.path=a.txt")["dataset"]["path"] == "a.txt"


# What is in force


def test_the_effective_profile_has_every_default_and_where_each_value_is_from(job: Path, registry: Registry) -> None:
    write(job, child='extends = "job"\n\n[train]\nbatch_size = 8\n')
    resolved = resolve(job, "child", registry, ["train.grad_accum=2"])
    assert resolved.origin["train.batch_size"] == "profiles/child.toml:4"
    assert resolved.origin["train.epochs"] == "profiles/job.toml:17"
    assert resolved.origin["preprocess.1.max_length"] == "profiles/job.toml:13"
    assert resolved.origin["train.grad_accum"] == "--set"
    assert resolved.origin["train.weight_decay"] == "default"
    assert resolved.origin["dataset.validation"] == "default"
    assert resolved.effective["train"]["weight_decay"] == 0.01
    assert resolved.effective["run"]["keep_checkpoints"] == 2
    assert resolved.effective["seed"] == 42
    assert resolved.pipeline == ["text", "clean", "tokenize", "causal_lm", "perplexity"]
    assert set(resolved.plugins) == set(resolved.pipeline)
    assert (resolved.runnable, resolved.notes) == (True, [])


def test_the_effective_profile_is_toml_that_builds_the_same_pipeline(job: Path, registry: Registry) -> None:
    found = effective(job, registry, "model.revision=main")
    again = tomllib.loads(tomli_w.dumps(found))
    assert again == found
    pipeline = build(again, registry)
    assert [(stage.index, stage.kind, stage.name) for stage in pipeline.stages] == [
        (0, "dataset", "text"),
        (1, "preprocess", "clean"),
        (2, "preprocess", "tokenize"),
        (3, "train", "causal_lm"),
        (4, "evaluate", "perplexity"),
    ]
    assert pipeline.stages[2].stage.options.max_length == 128
    assert pipeline.stages[3].stage.options.max_steps is None
    assert (pipeline.model.name, pipeline.seed, pipeline.validation) == ("gpt2", 42, 0.1)
    assert pipeline.run.keep_checkpoints == 2
    assert pipeline.stages[0].plugin == "text"
    assert pipeline.stages[0].plugin_version


def test_remote_code_is_noted(job: Path, registry: Registry) -> None:
    resolved = resolve(job, "job", registry, ["model.trust_remote_code=true"])
    assert resolved.notes == ["model.trust_remote_code is true: Python code that comes with the model runs as you"]


def test_the_demo_needs_no_model_and_a_model_from_scratch_none_of_a_name(job: Path, registry: Registry) -> None:
    write(
        job,
        demo=JOB.replace('[model]\nname = "gpt2"\n', ""),
        scratch=JOB.replace('name = "gpt2"', 'init = "scratch"\ntokenizer = "t"\nconfig.model_type = "gpt2"'),
    )
    assert effective(job, registry, "train.stage=demo", name="demo")["train"]["stage"] == "demo"
    assert effective(job, registry, name="scratch")["model"]["config"] == {"model_type": "gpt2"}


PICKY = """
import tuiftune
from pydantic import field_validator

class Picky(tuiftune.DatasetLoader):
    name = "picky"

    class Options(tuiftune.Options):
        eos_token: str = "</s>"
        every: int | str = tuiftune.Field(1)
        parts: list[dict[str, float]] = []
        size: int | None = tuiftune.Field(None, ge=1)
        odd: int = 1

        @field_validator("odd")
        @classmethod
        def is_odd(cls, value):
            if value == 13:
                raise KeyError("a bug")
            if value % 2 == 0:
                raise ValueError("must be odd")
            return value

    def run(self, ctx): ...

@tuiftune.hookimpl
def register_stages():
    return [Picky]
"""


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ('eos_token = "<eos>"', None),
        ("every = 1.5", "profiles/picky.toml:3: dataset.every: must be an integer or a string, got the float 1.5"),
        ("size = 0", "profiles/picky.toml:3: dataset.size: must be at least 1, got 0"),
        ("odd = 2", "profiles/picky.toml:3: dataset.odd: must be odd, got the integer 2"),
        (
            'parts = [{a = 1}, {b = "x"}]',
            "profiles/picky.toml:3: dataset.parts.1.b: must be a number, got the string 'x'",
        ),
        ("odd = 13", "profiles/picky.toml:1: dataset: its options cannot be checked: KeyError: 'a bug'"),
    ],
)
def test_a_strangers_options_are_told_of_in_tomls_words(workspace: Path, option: str, sentence: str | None) -> None:
    (workspace / "plugins" / "picky.py").write_text(PICKY)
    write(workspace, picky=f'[dataset]\nstage = "picky"\n{option}\n')
    resolved = resolve(workspace, "picky", load_registry(workspace))
    assert sentences(resolved) == ([sentence] if sentence else [])
