"""`tuiftune new-plugin` writes stages that work, and `tuiftune plugin check` says what is wrong with a file."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tuiftune.catalog import Catalog, read_catalog
from tuiftune.errors import PluginError
from tuiftune.new_plugin import TEMPLATES, make
from tuiftune.options import ModelOptions
from tuiftune.plugin_check import look_through
from tuiftune.testing import load_plugin, run_stage

Cli = Callable[..., subprocess.CompletedProcess[str]]
NOTHING = Catalog([], [], {}, [])

HEAVY = '''\
"""A plugin that could be better."""
import tuiftune
import numpy.linalg

class Plain(tuiftune.DatasetLoader):
    name = "plain"
    class Options(tuiftune.Options):
        path: str = tuiftune.Field(description="the file")
        often: int = 3
    def run(self, ctx):
        yield "a"

@tuiftune.hookimpl
def register_stages():
    return [Plain]
'''


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The stage class that each template makes."""
    folder = tmp_path_factory.mktemp("made")
    made = {kind: load_plugin(make(folder, f"my_{kind}", kind, NOTHING)) for kind in TEMPLATES}
    return {kind: registry.stages[kind, f"my_{kind}"].cls for kind, registry in made.items()}


def test_each_template_is_short_and_found_clean(tmp_path: Path) -> None:
    for kind, template in TEMPLATES.items():
        found = look_through(make(tmp_path, f"my_{kind}", kind, NOTHING), 10)
        assert (found.problems, found.notes) == ([], [])
        assert found.plugin.stages == [f"{kind}/my_{kind}"]
        assert len(template.splitlines()) < 50


def test_the_templates_documents_are_read_dropped_trained_on_and_measured(
    stages: dict[str, Any], tmp_path: Path, tokenised: Callable[..., Any], tiny_gpt2: Callable[..., Path]
) -> None:
    import datasets

    (tmp_path / "a.txt").write_text("one\n\n  a longer line of text \n")
    documents = run_stage(stages["dataset"], tmp_path, path="a.txt").value
    assert documents == ["one", "a longer line of text"]
    split = datasets.Dataset.from_dict({"text": documents})
    kept = run_stage(stages["preprocess"], tmp_path, datasets.DatasetDict(train=split, validation=split)).value
    assert kept["train"]["text"][:] == ["a longer line of text"]
    rows = tokenised([[5, 6, 7, 8, 2]] * 4, [[5, 6, 7, 8, 2]])
    model = ModelOptions(name=str(tiny_gpt2()))
    trained = run_stage(stages["train"], tmp_path, rows, model=model, steps=40, learning_rate=0.01)
    losses = list(trained_losses(trained.metrics))
    assert losses[-1] < 0.1 < losses[0]
    measured = run_stage(stages["evaluate"], tmp_path, rows, outputs={"train": trained.value})
    assert measured.value == {"my_evaluate": 1.0}, "it has learnt the one row"


def trained_losses(metrics: list[tuple[int, dict[str, float]]]) -> list[float]:
    return [values["train/loss"] for _, values in metrics]


def test_nothing_is_overwritten_and_no_name_is_taken_twice(workspace: Path) -> None:
    path = make(workspace, "mails", "dataset", NOTHING)
    path.write_text("mine")
    with pytest.raises(PluginError, match=r"plugins/mails\.py: is there already"):
        make(workspace, "mails", "train", NOTHING)
    assert path.read_text() == "mine"
    path.unlink()
    catalog = read_catalog(workspace)
    with pytest.raises(PluginError, match="'text' is a dataset stage of plugin 'text' already"):
        make(workspace, "text", "dataset", catalog)
    with pytest.raises(PluginError, match="'text' is a plugin already"):
        make(workspace, "text", "train", catalog)
    for name in ("_hidden", "a-b", "../a", "class", "", "a" * 65, "\u00e9t\u00e9"):
        with pytest.raises(PluginError, match="is no name for a plugin"):
            make(workspace, name, "dataset", catalog)
    assert list((workspace / "plugins").iterdir()) == []


def test_a_plugin_is_made_and_looked_through_from_the_command_line(command_line: Cli, workspace: Path) -> None:
    done = command_line("new-plugin", "mails", "--kind", "evaluate")
    assert done.stdout == f"{workspace / 'plugins' / 'mails.py'}\n"
    assert "tuiftune plugin check plugins/mails.py" in done.stderr
    (workspace / "plugins" / "heavy.py").write_text(HEAVY)
    done = command_line("plugin", "check", "plugins/heavy.py")
    assert done.returncode == 0, "what could be better is no reason to refuse it"
    assert done.stdout.startswith("plugins/heavy.py: ok: dataset/plain; loaded in ")
    assert done.stderr.splitlines() == [
        "plugins/heavy.py:3: numpy is imported as soon as plugins are listed. Import it inside run()",
        "plugins/heavy.py:5: dataset stage 'plain': has no docstring. Its first line is what lists of stages show",
        "plugins/heavy.py:9: dataset stage 'plain': option 'often' has no description."
        " often: ... = tuiftune.Field(..., description=...)",
    ]
    (workspace / "plugins" / "heavy.py").write_text(HEAVY.replace('"plain"', '"text"'))
    done = command_line("plugin", "check", "plugins/heavy.py", "--json")
    assert done.returncode == 2
    assert json.loads(done.stdout)["problems"][0]["line"] == 5
    assert "its dataset stage 'text' is already one of plugin 'text', which is kept" in done.stderr
    assert command_line("plugin", "check", "none.py").stderr.startswith("none.py: no such file.")


def test_a_wait_is_told_on_a_terminal_and_leaves_nothing_behind(
    workspace: Path, open_terminal: Callable[..., Any], interpreter: str
) -> None:
    slow = workspace / "plugins" / "slow.py"
    slow.write_text("import time\ntime.sleep(2.5)\n")
    terminal = open_terminal([interpreter, "-P", "-m", "tuiftune.cli", "plugin", "check", str(slow)], workspace)
    terminal.wait_for(f"0:01 loading {slow}"[:70])
    assert terminal.wait() == 0
    text = terminal.wait_for("watches only")
    assert "loading" not in text
    assert b"\x1b" not in terminal.raw
