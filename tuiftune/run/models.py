"""Which models a run has: what it started from, its whole checkpoints, the finished one. No torch in here."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuiftune import units
from tuiftune.errors import StoreError, TuiftuneError
from tuiftune.run.checkpoints import flaw, is_sealed, step_folders, step_of
from tuiftune.run.folder import Run
from tuiftune.run.metrics_db import MetricsReader
from tuiftune.text import one_line

CONFIG = "config.json"
"""A folder without it is no Hugging Face model."""
FINAL = "final"
WORDS = ("best", "latest", FINAL)
"""What a model of a run is called besides its step."""
MADE_UP = "its figures were made up by the demo trainer; there is no model"


@dataclass(frozen=True)
class Source:
    """A model to load: a folder, or what a run started from."""

    folder: Path | None
    """None: what `run` started from, by its profile."""
    run: Path | None = None
    """The folder of the run it belongs to; its profile tells whether Python code that comes with a model is run."""

    def to_json(self) -> dict[str, str | None]:
        return {
            "folder": None if self.folder is None else str(self.folder),
            "run": None if self.run is None else str(self.run),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Source:
        """Raises KeyError where a name is missing, ValueError where it is neither of both."""
        folder, run = (Path(data[key]) if data[key] else None for key in ("folder", "run"))
        if folder is None and run is None:
            raise ValueError("neither a folder nor a run")
        return cls(folder, run)


@dataclass(frozen=True)
class Model:
    """A model that a run has made, or what is left of one."""

    folder: Path
    step: int | None
    """Optimizer steps behind it; None of a finished model whose trainer did not say."""
    final: bool = False
    loss: float | None = None
    """On held-out text, at that step; None where nothing was measured."""
    best: bool = False
    """Whether no evaluation after step 0 had a lower loss."""
    problem: str | None = None
    """Why it cannot be used, as a sentence; None where it can."""

    @property
    def name(self) -> str:
        """`final model`, `step 200`."""
        return "final model" if self.final else f"step {self.step:,}"

    @property
    def key(self) -> str:
        """What --checkpoint takes for it."""
        return FINAL if self.final else str(self.step)


def models_of(run: Run) -> list[Model]:
    """The finished model, then the checkpoints, the newest first; those that are not whole with what is wrong.

    Whole by names and sizes: their content is looked at when one is loaded.
    """
    metrics = MetricsReader(run.metrics_file)
    try:
        facts, lowest = metrics.facts(), metrics.lowest("eval/loss", after_step=0)
        known = facts.get("model_step")
        final_step = known if isinstance(known, int) else None
        steps = [final_step, *(step_of(folder) for folder in step_folders(run.checkpoints))]
        losses = {step: metrics.at("eval/loss", step) for step in steps if step is not None}
    except StoreError:  # damaged records take the figures, not the models
        lowest, final_step, losses = None, None, {}
    finally:
        metrics.close()
    best = lowest.step if lowest else None
    found = []
    if (run.model / CONFIG).is_file():
        known_loss = None if final_step is None else losses.get(final_step)
        found.append(Model(run.model, final_step, True, known_loss, best is not None and best == final_step))
    for folder in reversed(step_folders(run.checkpoints)):
        step, problem = step_of(folder), flaw(folder, by_content=False)
        if problem is None and not (folder / CONFIG).is_file():
            continue  # sealed by a trainer that keeps something else, as the demo does
        found.append(Model(folder, step, False, losses.get(step), step == best, problem))
    return found


def has_model(run: Run) -> bool:
    """Whether there is one that can be used; quick, for a long list of runs."""
    if (run.model / CONFIG).is_file():
        return True
    return any(is_sealed(folder) and (folder / CONFIG).is_file() for folder in step_folders(run.checkpoints))


def is_made_up(run: Run) -> bool:
    """Whether its figures are a demonstration's, without a model behind them."""
    metrics = MetricsReader(run.metrics_file)
    try:
        return bool(metrics.facts().get("made_up", False))
    except StoreError:
        return False
    finally:
        metrics.close()


def choose(run: Run, wanted: str | None = None, models: Sequence[Model] | None = None) -> Model:
    """The model of a run that is meant by a step, `best`, `latest` (checkpoint) or `final`; without a word the finished
    one, else the newest whole checkpoint.

    Raises TuiftuneError, a sentence, where there is none.
    """
    found = models_of(run) if models is None else models
    whole = [model for model in found if model.problem is None]
    if not whole:
        raise TuiftuneError(f"{run.id}: {why_none(run, found)}")
    if wanted is None:
        return whole[0]
    if wanted == FINAL:
        chosen = [model for model in whole if model.final]
        reason = "it has not finished, so there is no final model"
    elif wanted == "latest":
        chosen = [model for model in whole if not model.final]
        reason = "it has no checkpoint"
    elif wanted == "best":
        chosen = [model for model in whole if model.best]
        reason = "the model of its best evaluation was not kept, or nothing was evaluated"
    else:
        chosen = [model for model in whole if wanted.isdecimal() and model.step == int(wanted)]
        chosen.sort(key=lambda model: model.final)
        broken = next((model for model in found if model.problem and str(model.step) == wanted), None)
        reason = str(broken.problem) if broken else f"there is no checkpoint of step {one_line(wanted, 20)}"
    if not chosen:
        raise TuiftuneError(f"{run.id}: {reason}. It has: {', '.join(_called(model) for model in whole)}")
    return chosen[0]


def why_none(run: Run, found: Sequence[Model]) -> str:
    """Why a run has no model, and what to do."""
    if found:
        return f"no whole checkpoint: {'; '.join(str(model.problem) for model in found)}"
    if is_made_up(run):
        return MADE_UP
    return f"no model and no checkpoint yet. See how it stands: tuiftune watch {run.id} --once"


def base_of(run: Run) -> str:
    """What a run started from, in words: a model's name, or random weights.

    Raises TuiftuneError where its profile names none.
    """
    table = profile_of(run.path).get("model") or {}
    name = table.get("name")
    if table.get("init") == "scratch":
        kind = (table.get("config") or {}).get("model_type") or name
        return f"random weights{f' ({kind})' if kind else ''}"
    if not name:
        raise TuiftuneError(f"{run.id}: its profile names no model, so there is no base model to ask")
    return str(name)


def profile_of(run: Path) -> dict[str, Any]:
    """The effective profile in a run's folder. Raises TuiftuneError where it cannot be read."""
    path = Run(run).profile_file
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TuiftuneError(f"{path}: cannot be read, so what the run started from is not known: {error}") from error


def _called(model: Model) -> str:
    figure = f" (loss {units.figure(model.loss)}{', best' if model.best else ''})" if model.loss is not None else ""
    return f"{model.key}{figure}"
