"""python -m tuiftune.run.plan_report WORKSPACE PROFILE.toml [--vram BYTES]: what a profile's training will take.

Prints it as JSON on stdout, what stages say on stderr; status 2 with a sentence when it cannot be done. A process
of its own, since it imports torch. No weights are read and no GPU is used.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import tomllib
from contextlib import redirect_stdout
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuiftune.errors import StageError, TuiftuneError
from tuiftune.planned import NO_PLAN
from tuiftune.plugins import load_registry
from tuiftune.profile import build
from tuiftune.run import doing
from tuiftune.run.evaluate import PrintedRecorder
from tuiftune.run.folder import list_runs
from tuiftune.run.metrics_db import MetricsReader
from tuiftune.run.pipeline import PipelineRun
from tuiftune.run.process import end_with_parent
from tuiftune.text import brief

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from tuiftune.plugins import Registry
    from tuiftune.profile import Pipeline
    from tuiftune.stages.causal_lm import CausalLM
    from tuiftune.training.memory import MemoryEstimate

Facts = dict[str, Any]


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tuiftune.run.plan_report", description=__doc__)
    parser.add_argument("workspace", type=Path)
    parser.add_argument("profile", type=Path)
    parser.add_argument("--vram", type=int)
    asked = parser.parse_args(arguments)
    if doing.asked():
        end_with_parent()
    try:
        with redirect_stdout(sys.stderr):  # what a plugin prints is not part of the plan
            found = report(asked.workspace, tomllib.loads(asked.profile.read_text()), asked.vram)
    except TuiftuneError as error:
        print(json.dumps({"error": str(error)}))
        return TuiftuneError.exit_status
    print(json.dumps(found))
    return 0


def report(workspace: Path, effective: Facts, vram_bytes: int | None) -> Facts:
    """Memory, fit, steps and time of a profile in force. Raises TuiftuneError where profile or model cannot be used."""
    devices = effective.get("run", {}).get("devices")
    if devices is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = str(devices)  # before torch looks
    doing.tell("loading plugins")
    registry = load_registry(workspace)
    pipeline = build(effective, registry)
    options = _options_of(pipeline)
    doing.tell("loading libraries")

    from tuiftune.training.budget import planned_slots
    from tuiftune.training.memory import as_meta_model, estimate_budget, largest_budget
    from tuiftune.training.meta import planned_config
    from tuiftune.training.model import quiet

    quiet()
    model = as_meta_model(planned_config(pipeline.model, workspace))
    device = _device(vram_bytes)
    precision = _precision(options, device)
    data = _data(workspace, pipeline, registry)
    doing.tell("tracing the memory of a step")
    row_tokens, row_source = _row_tokens(pipeline, model, data)
    how = (precision, options.gradient_checkpointing, device["type"])
    free = device["available_bytes"]
    steps = _steps(options, data, row_tokens, device["type"])
    if options.batch_tokens == "auto":
        steps["batch_tokens"] = planned_slots(model, options, precision, row_tokens, device["type"], free)
    found = estimate_budget(model, row_tokens, steps["batch_tokens"], *how, optimizer=options.optimizer)
    doing.tell("looking for the largest micro-batch that fits")
    most = largest_budget(model, row_tokens, *how, free, optimizer=options.optimizer)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return {
        "model": {"type": model.config.model_type, "parameters": parameters},
        "device": device,
        "precision": precision,
        "gradient_checkpointing": options.gradient_checkpointing,
        "row_tokens": row_tokens,
        "row_tokens_source": row_source,
        "memory": _memory(found),
        "fits": found.total_bytes <= free,
        "largest_batch_tokens": most,
        "largest_memory": None
        if most is None
        else _memory(estimate_budget(model, row_tokens, most, *how, optimizer=options.optimizer)),
        **steps,
        **_time(workspace, effective, device, precision, parameters, steps["train_tokens"]),
    }


def _options_of(pipeline: Pipeline) -> CausalLM.Options:
    from tuiftune.stages.causal_lm import CausalLM

    planned = next(planned for planned in pipeline.stages if planned.kind == "train")
    if not isinstance(planned.stage.options, CausalLM.Options):
        raise StageError(f"train.stage: {NO_PLAN} {planned.name!r}, only for 'causal_lm'")
    return planned.stage.options


def _device(vram_bytes: int | None) -> Facts:
    """What is planned for, and the bytes that training may take of it."""
    from tuiftune.training.memory import available_bytes
    from tuiftune.training.precision import choose_device, device_name

    if vram_bytes is not None:
        return {"type": "cuda", "name": None, "available_bytes": vram_bytes, "source": "--vram"}
    device = choose_device()
    available, source = available_bytes(device)
    return {"type": device.type, "name": device_name(device), "available_bytes": available, "source": source}


def _precision(options: CausalLM.Options, device: Facts) -> str:
    from tuiftune.training.precision import choose_device, choose_precision

    if device["name"] is None:  # a GPU that is not here
        return "bf16" if options.precision == "auto" else options.precision
    return choose_precision(options.precision, choose_device())


def _data(workspace: Path, pipeline: Pipeline, registry: Registry) -> Facts:
    """Lengths of the training rows, prepared as a run would (and kept for it); or why they are not known."""
    from tuiftune.training.batches import row_lengths, token_rows

    if pipeline.streaming:
        return {"lengths": None, "data_problem": "a stream is not seen whole before training"}
    with tempfile.TemporaryDirectory(prefix="tuiftune-") as folder:
        try:
            prepared = PipelineRun(workspace, Path(folder), pipeline, registry, PrintedRecorder()).prepare_data()
            return {"lengths": row_lengths(token_rows(prepared["train"])), "data_problem": None}
        except TuiftuneError as error:
            return {"lengths": None, "data_problem": brief(error)}


def _row_tokens(pipeline: Pipeline, model: PreTrainedModel, data: Facts) -> tuple[int, str]:
    """Tokens of the longest row, and where that is known from."""
    from tuiftune.training.positions import position_limit

    if data["lengths"] is not None:
        return int(data["lengths"].max()), "longest sample"
    for planned in reversed(pipeline.stages):
        for name in ("block_size", "max_length"):
            value = getattr(planned.stage.options, name, None)
            if planned.kind == "preprocess" and isinstance(value, int):
                return value, f"{planned.name}.{name}"
    limit = position_limit(model.config)
    if limit is None:
        raise StageError("no preprocess stage says how long a row may be. Add a preprocess stage: 'tokenize'")
    return limit, "the model's positions"


def _steps(options: CausalLM.Options, data: Facts, row_tokens: int, device_type: str) -> Facts:
    """What depends on the data is None where there is none."""
    import numpy as np
    import torch

    from tuiftune.training.plan import Plan

    lengths = data["lengths"]
    known = lengths is not None
    plan = Plan.of(options, lengths if known else np.array([row_tokens]), torch.device(device_type))
    tokens = int(lengths.sum()) if known else None
    return {
        "batch_tokens": plan.slots,
        "samples_per_step": plan.samples_per_step,
        "tokens_per_step": tokens / plan.steps_per_epoch if tokens is not None else None,
        "train_tokens": tokens,
        "steps_per_epoch": plan.steps_per_epoch if known else None,
        "total_steps": plan.total_steps if known or options.max_steps else None,
        "data_problem": data["data_problem"],
    }


def _time(
    workspace: Path, effective: Facts, device: Facts, precision: str, parameters: int, train_tokens: int | None
) -> Facts:
    """Tokens a second, measured or estimated, and seconds an epoch; None where nothing is known."""
    from tuiftune.training.device_peaks import ASSUMED_UTILISATION, flops_per_token, peak_flops

    speed, source = _measured_speed(workspace, effective, device["name"])
    peak = peak_flops(device["name"], precision) if device["name"] else None
    if speed is None and peak is not None:
        speed = peak * ASSUMED_UTILISATION / flops_per_token(parameters)
        source = f"{peak / 1e12:.0f} TFLOP/s by the data sheet x {ASSUMED_UTILISATION:.0%} assumed utilisation"
    if speed is None:
        source = "no run of this model on this device here, and its peak is not known"
    seconds = train_tokens / speed if speed and train_tokens is not None else None
    return {"tokens_per_s": speed, "tokens_per_s_source": source, "seconds_per_epoch": seconds}


def _measured_speed(workspace: Path, effective: Facts, device_name: str | None) -> tuple[float | None, str]:
    """The median of train/tokens_per_s of the newest run with the same model on the same device."""
    for run in list_runs(workspace):
        try:
            profile = tomllib.loads(run.profile_file.read_text())
        except (OSError, ValueError):  # a damaged run tells nothing
            continue
        same = profile.get("model") == effective.get("model") and profile.get("train", {}).get("stage") == "causal_lm"
        if not same or not run.metrics_file.is_file():
            continue
        reader = MetricsReader(run.metrics_file)
        values = [row.value for row in reader.rows("train/tokens_per_s") if row.value > 0]
        if values and device_name is not None and reader.facts().get("device_name") == device_name:
            return statistics.median(values), f"measured in run {run.id}"
    return None, ""


def _memory(found: MemoryEstimate) -> Facts:
    return {**asdict(found), "peak_bytes": found.peak_bytes, "total_bytes": found.total_bytes}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
