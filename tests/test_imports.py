"""What starts fast stays fast: the dashboard and the command line load nothing heavy."""

from __future__ import annotations

import subprocess
import sys

import pytest

import tuiftune

HEAVY = {"torch", "transformers", "datasets", "accelerate", "numpy", "pandas", "pyarrow", "pydantic", "pluggy"}


def modules_after(code: str) -> set[str]:
    """The modules loaded in a fresh interpreter that has run `code`."""
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules, file=sys.stderr)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stderr.split("\n")[-2].split())


def test_help_is_printed_without_torch_or_textual() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "tuiftune.cli", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines() if "|" in line}
    assert "Usage:" in done.stdout
    assert "click" in loaded
    assert not loaded & (HEAVY | {"textual", "rich", "pynvml"})


@pytest.mark.parametrize(
    "module",
    [
        "tuiftune",
        "tuiftune.cli",
        "tuiftune.tui.app",
        "tuiftune.tui.screens.playground",
        "tuiftune.tui.edit",
        "tuiftune.commands.editing",
        "tuiftune.editing.files",
        "tuiftune.catalog",
        "tuiftune.data_frame",
        "tuiftune.completing",
        "tuiftune.tui.screens.plugins",
        "tuiftune.tui.frame",
        "tuiftune.planned",
        "tuiftune.comparison",
        "tuiftune.run.launch",
        "tuiftune.run.follow",
        "tuiftune.run.tools",
        "tuiftune.run.plan_cache",
        "tuiftune.tui.screens.data",
        "tuiftune.run.supervisor",
    ],
)
def test_imports_nothing_heavy(module: str) -> None:
    assert not modules_after(f"import {module}") & HEAVY


def test_a_torch_plugin_costs_the_listing_child_and_not_this_process(workspace) -> None:
    (workspace / "plugins" / "heavy.py").write_text("import torch\n")
    loaded = modules_after(
        f"from pathlib import Path; from tuiftune import catalog; found = catalog.read_catalog(Path('{workspace}'));"
        " assert any(plugin.name == 'heavy' and not plugin.problem for plugin in found.plugins), found.plugins"
    )
    assert not loaded & HEAVY


def test_the_public_names_are_these() -> None:
    assert sorted(tuiftune.__all__) == [
        "Context",
        "DatasetLoader",
        "Evaluator",
        "Field",
        "Options",
        "Preprocessor",
        "RunStopped",
        "Stage",
        "StageError",
        "Trainer",
        "__version__",
        "hookimpl",
    ]
    for name in tuiftune.__all__:
        assert getattr(tuiftune, name) is not None
