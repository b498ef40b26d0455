"""A context for a stage under test, and a recorder that remembers what the stage said."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tuiftune.options import ModelOptions
from tuiftune.stage import Context, Stage


@dataclass
class Heard:
    """What stages said."""

    lines: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    progress_seen: list[tuple[int, int | None]] = field(default_factory=list)

    def metric(self, step: int, values: Mapping[str, float]) -> None: ...
    def event(self, kind: str, data: Mapping[str, Any]) -> None: ...
    def sample(self, step: int, prompt: str, text: str, model: str) -> None: ...

    def progress(self, stage: int, done: int, total: int | None, unit: str) -> None:
        self.progress_seen.append((done, total))

    def fact(self, values: Mapping[str, Any]) -> None:
        self.facts.update(values)

    def log(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def context(workspace: Path, heard: Heard) -> Callable[..., Context]:
    """Makes the context of a stage; each has a folder of its own."""
    made: list[Path] = []

    def make(stage: type[Stage] | Stage, **more: Any) -> Context:
        folder = workspace / "runs" / "test" / "stages" / f"{len(made)}-{stage.name}"
        folder.mkdir(parents=True)
        made.append(folder)
        values: dict[str, Any] = {"model": ModelOptions(name="tuiftune:babyllama-105"), "seed": 1, **more}
        return Context(
            stage_name=stage.name,
            kind=stage.kind,
            index=0,
            workspace=workspace,
            dir=folder,
            run_dir=folder.parents[1],
            recorder=heard,
            **values,
        )

    return make


@pytest.fixture
def read(workspace: Path, context: Callable[..., Context]) -> Callable[..., list[Any]]:
    """Runs a dataset stage on a file of the workspace with these bytes, and lists its documents."""

    def run(stage: type[Stage], content: bytes, name: str = "data.txt", **options: Any) -> list[Any]:
        (workspace / name).write_bytes(content)
        made = stage(stage.Options.model_validate({"path": name, **options}))
        return list(made.run(context(stage)))

    return run


@pytest.fixture
def documents() -> Callable[..., Any]:
    """Makes the DatasetDict a dataset stage leaves, from lists of texts or rows."""

    def make(train: list[Any], validation: list[Any]) -> Any:
        import datasets

        def split(rows: list[Any]) -> Any:
            return datasets.Dataset.from_list([row if isinstance(row, dict) else {"text": row} for row in rows])

        return datasets.DatasetDict(train=split(train), validation=split(validation))

    return make
