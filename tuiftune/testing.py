"""For authors of plugins: run one stage, load one plugin file, see what a module imports.

from tuiftune.testing import load_plugin, run_stage

def test_chats_become_documents(tmp_path):
    (tmp_path / "chats.jsonl").write_text('{"user": "Hi", "assistant": "Hello"}\\n')
    plugin = load_plugin("plugins/jsonl_chat.py")
    result = run_stage(plugin.stages["dataset", "jsonl_chat"].cls, tmp_path, path="chats.jsonl")
    assert result.value == ["Hi\\nHello"]
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tuiftune.check import DEFAULT_SEED, check_options
from tuiftune.errors import PluginError, ProfileError
from tuiftune.options import ModelOptions
from tuiftune.plugins import Registry, load_file
from tuiftune.stage import Context, Stage

__all__ = ["ListRecorder", "StageResult", "imports_of", "load_plugin", "run_stage"]


@dataclass
class ListRecorder:
    """A stage.Recorder that keeps everything in lists."""

    metrics: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    """(step, {series: value}), as recorded."""
    samples: list[tuple[int, str, str, str]] = field(default_factory=list)
    """(step, prompt, text, model)."""
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    """(kind, data)."""
    lines: list[str] = field(default_factory=list)
    """What the stage logged."""
    progressed: list[tuple[int, int | None, str]] = field(default_factory=list)
    """(done, total, unit)."""
    facts: dict[str, Any] = field(default_factory=dict)

    def metric(self, step: int, values: Mapping[str, float]) -> None:
        self.metrics.append((step, dict(values)))

    def progress(self, stage: int, done: int, total: int | None, unit: str) -> None:  # noqa: ARG002
        self.progressed.append((done, total, unit))

    def event(self, kind: str, data: Mapping[str, Any]) -> None:
        self.events.append((kind, dict(data)))

    def sample(self, step: int, prompt: str, text: str, model: str) -> None:
        self.samples.append((step, prompt, text, model))

    def fact(self, values: Mapping[str, Any]) -> None:
        self.facts |= values

    def log(self, text: str) -> None:
        self.lines.append(text)

    def series(self, name: str) -> dict[int, float]:
        """The values of one series by step, in the order they came; of one recorded twice the later."""
        return {step: values[name] for step, values in self.metrics if name in values}


@dataclass(frozen=True)
class StageResult:
    """What a stage returned and said."""

    value: Any
    """What `run` returned; a generator's items as a list."""
    metrics: list[tuple[int, dict[str, float]]]
    samples: list[tuple[int, str, str, str]]
    events: list[tuple[str, dict[str, Any]]]
    log: list[str]
    progress: list[tuple[int, int | None, str]]
    facts: dict[str, Any]


def run_stage(
    stage_cls: type[Stage],
    workspace: Path,
    input: Any = None,  # noqa: A002 - as in ctx.input
    *,
    model: ModelOptions | None = None,
    outputs: Mapping[str, Any] | None = None,
    seed: int = DEFAULT_SEED,
    **options: Any,
) -> StageResult:
    """Run one stage with options as a profile would give them; relative paths count from `workspace`.

    `input` is the DatasetDict a preprocessor, trainer or evaluator gets, `outputs` what earlier kinds
    returned. Raises ProfileError for options that do not fit, and what the stage raises.
    """
    checked, problems = check_options(stage_cls, options)
    if problems:
        raise ProfileError(problems)
    recorder = ListRecorder()
    run_dir = workspace / "runs" / "testing"
    folder = run_dir / "stages" / f"0-{stage_cls.name}"
    folder.mkdir(parents=True, exist_ok=True)
    ctx = Context(
        stage_name=stage_cls.name,
        kind=stage_cls.kind,
        index=0,
        workspace=workspace,
        dir=folder,
        run_dir=run_dir,
        seed=seed,
        model=model or ModelOptions(),
        recorder=recorder,
        input=input,
        outputs=dict(outputs or {}),
    )
    make: Callable[[Any], Stage] = stage_cls
    value = make(checked).run(ctx)
    return StageResult(
        value=list(value) if isinstance(value, Iterator) else value,
        metrics=recorder.metrics,
        samples=recorder.samples,
        events=recorder.events,
        log=recorder.lines,
        progress=recorder.progressed,
        facts=recorder.facts,
    )


def load_plugin(path: str | Path) -> Registry:
    """The stages and hooks of one plugin file, checked as tuiftune checks them. Raises PluginError."""
    registry = load_file(Path(path))
    if registry.problems:
        raise PluginError("\n".join(str(problem) for problem in registry.problems))
    return registry


def imports_of(module: str) -> set[str]:
    """Every module that importing `module` brings, found in a process of its own.

    A plugin should not bring torch: `assert "torch" not in imports_of("my_plugin")`. Raises PluginError
    where it cannot be imported.
    """
    code = "import importlib, sys; importlib.import_module(sys.argv[1]); print(*sys.modules, sep='\\n')"
    done = subprocess.run([sys.executable, "-c", code, module], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()
        raise PluginError(f"{module} cannot be imported: {said[-1] if said else f'exit status {done.returncode}'}")
    return set(done.stdout.split())
