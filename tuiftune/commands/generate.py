"""`tuiftune generate`: let a model of a run, what it started from, or the model in a folder write."""

from __future__ import annotations

import sys
from typing import Any

import click

from tuiftune.commands.common import json_option
from tuiftune.errors import TuiftuneError
from tuiftune.paths import find_workspace
from tuiftune.sampling import Sampling


@click.command()
@click.argument("model", metavar="RUN|FOLDER")
@click.argument("prompt", required=False)
@click.option(
    "--checkpoint",
    metavar="STEP|best|latest|final",
    help="Which model of the run: its checkpoint of STEP, that of its best evaluation, its newest checkpoint, "
    "or the finished model. By default that, else the newest checkpoint.",
)
@click.option("--base", is_flag=True, help="The untouched model that the run started from.")
@click.option("--max-new-tokens", type=click.IntRange(min=1), default=Sampling.max_new_tokens, show_default=True)
@click.option(
    "--temperature",
    type=click.FloatRange(min=0),
    default=Sampling.temperature,
    show_default=True,
    help="0: always the likeliest token.",
)
@click.option("--top-k", type=click.IntRange(min=0), default=Sampling.top_k, show_default=True, help="0: all tokens.")
@click.option("--top-p", type=click.FloatRange(0, 1, min_open=True), default=Sampling.top_p, show_default=True)
@click.option("--seed", type=click.IntRange(min=0), help="The same seed gives the same text.")
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="auto: the GPU where it has room for the model, else the CPU.",
)
@click.option("--history", is_flag=True, help="Print what the playground of the dashboard has asked of RUN's models.")
@json_option
def generate(
    model: str,
    prompt: str | None,
    checkpoint: str | None,
    base: bool,
    history: bool,
    json_wanted: bool,
    **sampling: Any,
) -> None:
    """Let a run's model, or the model in a folder, go on from PROMPT."""
    from tuiftune.run import tools

    if history:
        if prompt is not None:
            raise click.UsageError("--history prints what was asked before: leave the prompt out")
        _print_history(model, json_wanted)
        return
    if prompt is None:
        raise click.UsageError("Missing argument 'PROMPT'.")
    if base and checkpoint is not None:
        raise click.UsageError("--base is the model before any step: leave --checkpoint out")
    if any(value != value for value in sampling.values()):
        raise click.UsageError("nan is no number to sample with")
    arguments = [f"--{name.replace('_', '-')}={value}" for name, value in sampling.items() if value is not None]
    arguments += ["--json"] if json_wanted else []
    sys.exit(tools.generate(find_workspace(), model, prompt, arguments, checkpoint, base))


def _print_history(reference: str, json_wanted: bool) -> None:
    from tuiftune import output
    from tuiftune.run import played
    from tuiftune.run.folder import find_run

    run = find_run(find_workspace(), reference)
    found = played.read(run)
    if json_wanted:
        output.as_json([one.to_json() for one in found])
    elif found:
        output.fact("\n\n".join(played.text(one) for one in found))
    else:
        raise TuiftuneError(f"{run.id}: nothing was asked in the playground yet. It is in the dashboard: tuiftune")
