"""Plugins: found, loaded whole or not at all, named when they fail; the rest works."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tuiftune import plugins
from tuiftune.catalog import Catalog, read_catalog
from tuiftune.errors import PluginError
from tuiftune.plugins import BUILTINS, Registry, load_registry

GOOD = '''
import tuiftune

class Letters(tuiftune.DatasetLoader):
    """The alphabet."""
    name = "letters"

    def run(self, ctx):
        yield from "abc"

@tuiftune.hookimpl
def register_stages():
    return [Letters]
'''


def stage_plugin(stage: str, returned: str = "[S]") -> str:
    return f"import tuiftune\n\n{stage}\n\n@tuiftune.hookimpl\ndef register_stages():\n    return {returned}\n"


def write(workspace: Path, **files: str) -> None:
    for name, text in files.items():
        (workspace / "plugins" / f"{name}.py").write_text(text)


def problems(registry: Registry) -> list[str]:
    return [str(problem) for problem in registry.problems]


def test_built_in_stages_are_registered_through_the_hook(workspace: Path) -> None:
    registry = load_registry(workspace)
    assert not registry.problems
    assert [plugin.name for plugin in registry.plugins] == [name.rpartition(".")[2] for name in BUILTINS]
    assert {plugin.source for plugin in registry.plugins} == {"built-in"}
    assert registry.stages["train", "causal_lm"].plugin == "causal_lm"


BAD = {
    "syntax": ("x = 1\ndef f(:\n", "plugins/syntax.py:2: plugin 'syntax': SyntaxError: invalid syntax"),
    "nulls": ("x = 1\0", "plugins/nulls.py"),
    "imports": (
        "import os\n\nimport no_such_module\n",
        "plugins/imports.py:3: plugin 'imports': ModuleNotFoundError: No module named 'no_such_module'",
    ),
    "raises": (
        "import json\ndef read():\n    json.loads('{')\n\nread()\n",
        "plugins/raises.py:3: plugin 'raises': JSONDecodeError: Expecting property name enclosed in double quotes: "
        "line 1 column 2 (char 1)",
    ),
    "exits": (
        "import sys\nsys.exit(0)\n",
        "plugins/exits.py:2: plugin 'exits': it called sys.exit(0). Raise tuiftune.StageError from a stage instead",
    ),
    "hook": (
        "import tuiftune\n\n@tuiftune.hookimpl\ndef stage_finish(ctx):\n    pass\n",
        "plugins/hook.py:3: plugin 'hook': 'stage_finish' is no hook of tuiftune. Did you mean 'stage_finished'?",
    ),
    "argument": (
        "import tuiftune\n\n@tuiftune.hookimpl\ndef stage_started(context):\n    pass\n",
        "plugins/argument.py:3: plugin 'argument': hook 'stage_started' has no argument 'context'. It has: ctx",
    ),
    "unmarked": (
        "def register_stages():\n    return []\n",
        "plugins/unmarked.py:1: plugin 'unmarked': register_stages is not marked as a hook. "
        "Put @tuiftune.hookimpl above it",
    ),
    "no_list": (
        stage_plugin("", "None"),
        "plugins/no_list.py:5: plugin 'no_list': register_stages must return a list of stage classes, not None",
    ),
    "no_stage": (
        stage_plugin("", "[dict]"),
        "plugins/no_stage.py:5: plugin 'no_stage': register_stages must return subclasses of tuiftune.Stage, "
        "not the class dict",
    ),
    "no_kind": (
        stage_plugin("class S(tuiftune.Stage):\n    name = 's'\n    def run(self, ctx): pass"),
        "plugins/no_kind.py:3: plugin 'no_kind': stage class S: kind '' is none of dataset, preprocess, train, "
        "evaluate. Derive it from tuiftune.DatasetLoader, Preprocessor, Trainer or Evaluator",
    ),
    "bad_name": (
        stage_plugin("class S(tuiftune.Trainer):\n    name = '../s'\n    def run(self, ctx): pass"),
        "plugins/bad_name.py:3: plugin 'bad_name': stage class S: name '../s' is not a name. "
        "Use letters, digits, _ and -",
    ),
    "no_run": (
        stage_plugin("class S(tuiftune.Trainer):\n    name = 's'"),
        "plugins/no_run.py:3: plugin 'no_run': stage class S: defines no run(ctx)",
    ),
    "no_evaluate": (
        stage_plugin("class S(tuiftune.Evaluator):\n    name = 's'"),
        "plugins/no_evaluate.py:3: plugin 'no_evaluate': stage class S: defines no run(ctx)",
    ),
    "options": (
        stage_plugin(
            "class S(tuiftune.Trainer):\n    name = 's'\n    class Options: pass\n    def run(self, ctx): pass"
        ),
        "plugins/options.py:3: plugin 'options': stage class S: its Options must be a subclass of tuiftune.Options",
    ),
    "reserved": (
        stage_plugin(
            "class S(tuiftune.DatasetLoader):\n    name = 's'\n"
            "    class Options(tuiftune.Options):\n        validation: str\n    def run(self, ctx): pass"
        ),
        "plugins/reserved.py:3: plugin 'reserved': stage class S: option 'validation' is read by tuiftune itself. "
        "Call it something else",
    ),
    "taken": (
        stage_plugin("class S(tuiftune.DatasetLoader):\n    name = 'text'\n    def run(self, ctx): pass"),
        "plugins/taken.py:3: plugin 'taken': its dataset stage 'text' is already one of plugin 'text', "
        "which is kept. Give it another name",
    ),
    "text": (
        GOOD,
        "plugins/text.py: plugin 'text': a plugin of that name is loaded already. Give this one another name",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_broken_plugin_is_named_with_its_line_and_the_rest_works(workspace: Path, name: str) -> None:
    text, sentence = BAD[name]
    write(workspace, **{name: text, "zz_letters": GOOD})
    registry = load_registry(workspace)
    (problem,) = problems(registry)
    assert problem == sentence or (name == "nulls" and problem.startswith(sentence))
    assert ("dataset", "letters") in registry.stages
    assert ("dataset", "text") in registry.stages
    assert not any(kept.cls.__name__ == "S" for kept in registry.stages.values())
    assert [plugin.problem for plugin in registry.plugins if plugin.problem] == [problem]


def test_a_plugin_that_fails_after_its_first_stage_leaves_none(workspace: Path) -> None:
    write(workspace, half=GOOD.replace("[Letters]", "[Letters, None]"))
    registry = load_registry(workspace)
    assert ("dataset", "letters") not in registry.stages
    registry.watch("stage_started", lambda plugin, error: pytest.fail(f"{plugin}: {error}"), ctx=None)


def test_plugins_load_by_file_so_that_one_named_like_a_module_hides_nothing(workspace: Path) -> None:
    write(workspace, json=GOOD)
    registry = load_registry(workspace)
    assert registry.stages["dataset", "letters"].plugin == "json"
    assert str(workspace / "plugins") not in sys.path
    import json

    assert json.loads("1") == 1


def test_a_file_that_begins_with_an_underscore_is_not_loaded(workspace: Path) -> None:
    write(workspace, _helper="raise SystemExit(1)")
    assert not load_registry(workspace).problems


def test_the_version_of_a_drop_in_is_its_content(workspace: Path) -> None:
    write(workspace, letters=GOOD)
    first = load_registry(workspace).stages["dataset", "letters"].plugin_version
    assert load_registry(workspace).stages["dataset", "letters"].plugin_version == first
    write(workspace, letters=GOOD.replace('"abc"', '"abd"'))  # same size, same second: no .pyc may be believed
    changed = load_registry(workspace).stages["dataset", "letters"]
    assert changed.plugin_version != first
    assert list(changed.cls().run(None)) == ["a", "b", "d"]  # type: ignore[arg-type]


def test_future_imports_of_ours_do_not_reach_a_plugin(workspace: Path) -> None:
    write(workspace, plain=GOOD + "\ndef f(x: int) -> None: ...\nassert f.__annotations__['x'] is int\n")
    assert not load_registry(workspace).problems


@pytest.mark.parametrize(
    ("named", "loaded", "sentences"),
    [
        ("", [], []),
        ("letters", ["letters"], []),
        (" letters , other", ["letters", "other"], []),
        ("leters", [], ["TUIFTUNE_PLUGINS: 'leters' is no plugin here. Did you mean 'letters'?"]),
    ],
)
def test_tuiftune_plugins_names_those_to_load(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, named: str, loaded: list[str], sentences: list[str]
) -> None:
    write(workspace, letters=GOOD, other="")
    monkeypatch.setenv("TUIFTUNE_PLUGINS", named)
    registry = load_registry(workspace)
    assert [plugin.name for plugin in registry.plugins if plugin.source == "drop-in"] == loaded
    if named:
        assert problems(registry) == sentences


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with an entry point of our group, as pip leaves it."""
    site = tmp_path / "site"
    (site / "chatty").mkdir(parents=True)
    (site / "chatty" / "__init__.py").write_text("")
    (site / "chatty" / "stages.py").write_text(GOOD.replace("letters", "chatty_letters"))
    info = site / "chatty-1.4.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: chatty\nVersion: 1.4\n")
    (info / "entry_points.txt").write_text("[tuiftune]\nchatty = chatty.stages\n")
    monkeypatch.syspath_prepend(str(site))
    for name in ("chatty", "chatty.stages"):
        sys.modules.pop(name, None)
    return site


def test_an_installed_package_is_found_by_its_entry_point(workspace: Path, installed: Path) -> None:
    registry = load_registry(workspace)
    loaded = registry.stages["dataset", "chatty_letters"]
    assert (loaded.plugin, loaded.plugin_version) == ("chatty", "1.4")
    assert [plugin.source for plugin in registry.plugins if plugin.name == "chatty"] == ["entry point"]


def test_an_installed_package_that_fails_is_named_with_the_line_of_its_own_code(
    workspace: Path, installed: Path
) -> None:
    (installed / "chatty" / "stages.py").write_text("import json\n\njson.loads('')\n")
    (problem,) = problems(load_registry(workspace))
    where = f"{installed / 'chatty' / 'stages.py'}:3: plugin 'chatty': "
    assert problem == where + "JSONDecodeError: Expecting value: line 1 column 1 (char 0)"


WATCHING = """
import tuiftune

seen = []

@tuiftune.hookimpl
def event_written(event):
    seen.append(event)
    {body}
"""


def test_a_watching_hook_that_raises_is_told_once_and_the_others_go_on(workspace: Path) -> None:
    write(
        workspace,
        bad=WATCHING.format(body="1 / 0"),
        exits=WATCHING.format(body="exit()"),
        good=WATCHING.format(body=""),
    )
    registry = load_registry(workspace)
    told: list[str] = []
    for event in ("first", "second"):
        registry.watch("event_written", lambda plugin, error: told.append(f"{plugin}: {error}"), run=None, event=event)
    assert sorted(told) == [
        "bad: plugins/bad.py:9: plugin 'bad': event_written: ZeroDivisionError: division by zero",
        "exits: plugins/exits.py:9: plugin 'exits': event_written: it called sys.exit(None). "
        "Raise tuiftune.StageError from a stage instead",
    ]
    assert sys.modules["_tuiftune_plugin_good"].seen == ["first", "second"]
    assert sys.modules["_tuiftune_plugin_bad"].seen == ["first"]


# In the child that lists them, as a viewer sees it


def listed(catalog: Catalog) -> dict[str, str | None]:
    return {plugin.name: plugin.problem for plugin in catalog.plugins if plugin.source == "drop-in"}


def test_what_a_plugin_prints_does_not_reach_the_listing(workspace: Path) -> None:
    noisy = 'import os, subprocess\nprint("{")\nos.write(1, b"}")\nsubprocess.run(["echo", "["])\n'
    write(workspace, noisy=noisy + GOOD)
    assert listed(read_catalog(workspace)) == {"noisy": None}


def test_a_thread_that_a_plugin_leaves_behind_does_not_hold_up_the_listing(workspace: Path) -> None:
    write(workspace, thread="import threading, time\nthreading.Thread(target=time.sleep, args=(600,)).start()\n" + GOOD)
    start = time.monotonic()
    assert listed(read_catalog(workspace)) == {"thread": None}
    assert time.monotonic() - start < 20


def test_a_plugin_that_hangs_is_named_after_its_limit_and_the_others_are_listed(workspace: Path) -> None:
    write(workspace, hangs="while True:\n    pass\n", letters=GOOD)
    found = read_catalog(workspace, timeout_s=6)
    assert listed(found) == {
        "hangs": "plugins/hangs.py:2: plugin 'hangs': it was still loading after 2 s. Import what is slow inside run()",
        "letters": None,
    } or listed(found)["hangs"].startswith("plugins/hangs.py:1:")  # type: ignore[union-attr]
    assert "letters" in [stage.name for stage in found.stages]


def test_a_plugin_that_cannot_even_be_interrupted_is_named(workspace: Path) -> None:
    stuck = "import signal, time\nsignal.signal(signal.SIGALRM, signal.SIG_IGN)\ntime.sleep(600)\n"
    write(workspace, stuck=stuck, letters=GOOD)
    with pytest.raises(PluginError, match=r"the process that loads plugin 'stuck' had not come back after 3 s"):
        read_catalog(workspace, timeout_s=3)


def test_a_plugin_that_ends_the_process_is_named(workspace: Path) -> None:
    write(workspace, dies="import os\nos._exit(7)\n")
    with pytest.raises(PluginError, match=r"the process that loads plugin 'dies' ended with status 7"):
        read_catalog(workspace)


def test_the_command_lists_a_broken_plugin_and_the_rest(workspace: Path) -> None:
    write(workspace, syntax=BAD["syntax"][0], letters=GOOD)
    done = subprocess.run(
        [sys.executable, "-P", "-m", "tuiftune.cli", "plugins"], cwd=workspace, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert BAD["syntax"][1] in done.stdout
    assert "dataset/letters" in done.stdout


def test_a_plugin_that_hangs_does_not_hold_up_a_run(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (workspace / "plugins" / "hangs.py").write_text("import time\ntime.sleep(1000)\n")
    monkeypatch.setattr(plugins, "LIMIT_S", 0.3)
    registry = load_registry(workspace)
    assert [str(problem) for problem in registry.problems] == [
        "plugins/hangs.py:2: plugin 'hangs': it was still loading after 0 s. Import what is slow inside run()"
    ]
    assert ("train", "demo") in registry.stages
