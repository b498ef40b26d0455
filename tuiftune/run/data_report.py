"""python -m tuiftune.run.data_report WORKSPACE PROFILE.toml [ROWS]: what a profile will train on.

Prints it as JSON on stdout, what stages say on stderr; of the rows of the first step only ROWS are told token by
token. Status 2 with {"error": sentence} when it cannot be done. A process of its own, since it imports torch.
"""

from __future__ import annotations

import json
import sys
import tempfile
import tomllib
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuiftune.errors import TuiftuneError
from tuiftune.plugins import load_registry
from tuiftune.profile import Pipeline, build
from tuiftune.run import doing
from tuiftune.run.evaluate import PrintedRecorder
from tuiftune.run.pipeline import PipelineRun
from tuiftune.run.process import end_with_parent

if TYPE_CHECKING:
    from datasets import DatasetDict
    from transformers import PreTrainedTokenizerBase


class CountingRecorder(PrintedRecorder):
    """Keeps what stages counted."""

    def __init__(self) -> None:
        super().__init__()
        self.facts: dict[str, Any] = {}

    def fact(self, values: Mapping[str, Any]) -> None:
        self.facts |= values


def main(arguments: list[str]) -> int:
    workspace, profile, *rows = arguments
    if doing.asked():
        end_with_parent()
    try:
        with redirect_stdout(sys.stderr):  # what a plugin prints is not part of the report
            report = describe(Path(workspace), tomllib.loads(Path(profile).read_text()), int(rows[0]) if rows else None)
    except TuiftuneError as error:
        print(json.dumps({"error": str(error)}))
        return TuiftuneError.exit_status
    except KeyboardInterrupt:
        return 130
    print(json.dumps(report))
    return 0


def describe(workspace: Path, effective: dict[str, Any], shown: int | None) -> dict[str, Any]:
    """Prepare the data of a profile in force, through the workspace's cache, and measure it.

    Raises TuiftuneError where data, profile or tokenizer cannot be used.
    """
    doing.tell("loading plugins")
    registry = load_registry(workspace)
    pipeline = build(effective, registry)
    if pipeline.streaming:
        raise TuiftuneError(
            "dataset.streaming: a stream is never seen whole, so there is nothing to count before it ends"
        )
    with tempfile.TemporaryDirectory(prefix="tuiftune-") as folder:
        recorder = CountingRecorder()
        doing.tell("loading libraries")
        run = PipelineRun(workspace, Path(folder), pipeline, registry, recorder)
        dataset = run.prepare_data()

        doing.tell("loading the tokenizer")
        from tuiftune.training.batches import token_rows
        from tuiftune.training.model import load_tokenizer
        from tuiftune.training.report import measure

        token_rows(dataset["train"])  # without tokens there may be no tokenizer either
        tokenizer = load_tokenizer(pipeline.model, workspace)
        doing.tell("measuring lengths, repeats and leaks")
        measured = measure(dataset, run.documents, tokenizer, recorder.facts)
        doing.tell("taking the first step apart")
        steps = _steps(pipeline, dataset, tokenizer, shown)
        return {"pipeline": [planned.name for planned in pipeline.stages], **measured, **steps}


def _steps(
    pipeline: Pipeline, dataset: DatasetDict, tokenizer: PreTrainedTokenizerBase, shown: int | None
) -> dict[str, Any]:
    """`padding` and `first_step`; both None where the trainer is not ours: how it takes its steps is not known."""
    from tuiftune.stages.causal_lm import CausalLM
    from tuiftune.training.batches import row_lengths
    from tuiftune.training.first_step import Steps, first_step, padding
    from tuiftune.training.plan import Plan
    from tuiftune.training.precision import choose_device

    trainer = next(planned.stage for planned in pipeline.stages if planned.kind == "train")
    if not isinstance(trainer.options, CausalLM.Options):
        return {"padding": None, "first_step": None}
    lengths = row_lengths(dataset["train"])
    plan = Plan.of(trainer.options, lengths, choose_device())
    steps = Steps.of(plan, pipeline.seed, lengths, trainer.options.processes)
    return {
        "padding": {"slots_at_once": plan.slots, **padding(lengths, steps, _length_asked_for(pipeline))},
        "first_step": first_step(dataset["train"], steps, tokenizer, shown),
    }


def _length_asked_for(pipeline: Pipeline) -> int:
    """What rows would be padded to: the length the last preprocess stage that has one was told; else 0."""
    for planned in reversed(pipeline.stages):
        for option in ("block_size", "max_length"):
            length = getattr(planned.stage.options, option, None) if planned.kind == "preprocess" else None
            if isinstance(length, int):
                return length
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
