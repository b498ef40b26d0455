"""python -m tuiftune.run.evaluate WORKSPACE PROFILE.toml MODEL [RUN]: the profile's evaluators on a model folder.

RUN is the folder of the run that made the model, where it is measured with that run's own profile.

Prints {"<stage>": {"<figure>": value}} as JSON on stdout, what stages say on stderr; status 2 with a sentence
when it cannot be done. A process of its own, since it imports torch.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tuiftune.errors import TuiftuneError
from tuiftune.options import ModelOptions
from tuiftune.plugins import load_registry
from tuiftune.profile import build
from tuiftune.run import doing
from tuiftune.run.folder import Run
from tuiftune.run.pipeline import PipelineRun, other_data
from tuiftune.run.summary import json_number
from tuiftune.text import one_line


class PrintedRecorder:
    """Figures are returned, not stored: what stages say is shown, and how far they are where that is asked for."""

    def __init__(self) -> None:
        self._teller = doing.Teller()

    def metric(self, step: int, values: Mapping[str, float]) -> None: ...
    def fact(self, values: Mapping[str, Any]) -> None: ...

    def event(self, kind: str, data: Mapping[str, Any]) -> None:
        self._teller.event(kind, data)

    def progress(self, stage: int, done: int, total: int | None, unit: str) -> None:
        self._teller.progress(stage, done, total, unit)

    def sample(self, step: int, prompt: str, text: str, model: str) -> None:  # noqa: ARG002
        print(f"{one_line(prompt)} | {one_line(text, 2000)}", file=sys.stderr)

    def log(self, text: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {one_line(text)}", file=sys.stderr)


def main(arguments: list[str]) -> int:
    workspace, profile, model, *run = (Path(argument) for argument in arguments)
    try:
        figures = evaluate(workspace, tomllib.loads(profile.read_text()), model, Run(run[0]) if run else None)
    except TuiftuneError as error:
        print(error, file=sys.stderr)
        return error.exit_status
    print(json.dumps({name: {key: json_number(v) for key, v in found.items()} for name, found in figures.items()}))
    return 0


def evaluate(
    workspace: Path, effective: dict[str, Any], model: Path, made_by: Run | None
) -> dict[str, dict[str, float]]:
    """Run the evaluate stages of a profile in force on the model in a folder, on the profile's own data.

    A model is read with its own tokenizer. Where it was `made_by` a run and the data is no longer what that run
    trained on, this is said. Raises TuiftuneError where data, profile or model cannot be used.
    """
    registry = load_registry(workspace)
    pipeline = build(effective, registry)
    if made_by is None:
        own = ModelOptions(name=str(model.resolve()), trust_remote_code=pipeline.model.trust_remote_code)
        pipeline = replace(pipeline, model=own)
    with tempfile.TemporaryDirectory(prefix="tuiftune-") as folder:
        run = PipelineRun(workspace, Path(folder), pipeline, registry, PrintedRecorder())
        dataset = run.prepare_data()
        if made_by is not None and other_data(made_by.data_file, dataset):
            print(
                f"{made_by.id}: the data is no longer what this run trained on; some of the text it is measured on "
                "here may have been trained on",
                file=sys.stderr,
            )
        return run.evaluate(dataset, {"train": model})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
