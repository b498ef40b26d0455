"""What the playground can ask: a run's models, what it started from, and what was asked before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tuiftune.errors import TuiftuneError
from tuiftune.paths import runs_folder
from tuiftune.run import played
from tuiftune.run.folder import Run, State, list_runs, state_of
from tuiftune.run.models import Model, Source, base_of, choose, has_model, models_of
from tuiftune.run.played import Played
from tuiftune.run.playing import BASE, TUNED, Ask

NO_RUNS = "There is no run here yet. Start one under 1 Profiles; from its first checkpoint on it can be asked here."
NO_MODELS = (
    "No run here has a model or a whole checkpoint yet. From the first checkpoint on a run can be asked here, also "
    "while it trains; one is written every train.save_every steps. A demo has none: its figures are made up."
)
LISTED = 100
"""So many runs are offered, the newest."""


@dataclass(frozen=True)
class Subject:
    """What the questions of the playground go to; a `problem` says why to nothing."""

    run: Run | None = None
    state: str = ""
    model: Model | None = None
    base: str | None = None
    """What the run started from, in words."""
    base_problem: str = ""
    """Why that cannot be asked."""
    history: Sequence[Played] = ()
    """What was asked before, the newest last."""
    problem: str = ""
    note: str = ""
    """Why it is another model than was wanted."""

    @property
    def prompts(self) -> list[str]:
        """Those of the history, each once."""
        return list(dict.fromkeys(one.prompt for one in reversed(self.history)))[::-1]

    def asks(self, with_base: bool) -> list[Ask]:
        """The tuned model first: it is the one that is looked at."""
        if self.run is None or self.model is None:
            return []
        found = [Ask(TUNED, Source(self.model.folder, self.run.path), self.model.name)]
        if with_base and self.base is not None:
            found.append(Ask(BASE, Source(None, self.run.path), self.base))
        return found


@dataclass(frozen=True)
class Offered:
    """A run that can be chosen, with its models."""

    run: Run
    state: State
    models: Sequence[Model]


def look(workspace: Path, run_id: str | None = None, wanted: str | None = None) -> Subject:
    """A run and its model `wanted` (see `models.choose`); without an id the newest run that has one."""
    if run_id is None:
        runs = list_runs(workspace)
        run = next(filter(has_model, runs), None)
        if run is None:
            return Subject(problem=NO_MODELS if runs else NO_RUNS)
    else:
        run = Run(runs_folder(workspace) / run_id)
    try:
        state, models = state_of(run).name, models_of(run)
        history = played.read(run)
    except TuiftuneError as error:
        return Subject(run, problem=str(error))
    base, base_problem = None, ""
    try:
        base = base_of(run)
    except TuiftuneError as error:
        base_problem = str(error)
    model, problem, note = None, "", ""
    try:
        model = choose(run, wanted, models)
    except TuiftuneError as error:
        problem = str(error)
        if wanted is not None and any(each.problem is None for each in models):
            model, problem, note = choose(run, None, models), "", problem
    return Subject(run, state, model, base, base_problem, history, problem, note)


def offered(workspace: Path) -> list[Offered]:
    """The newest runs that have a model, or what is left of one."""
    found = []
    for run in list_runs(workspace)[:LISTED]:
        try:
            state, models = state_of(run), models_of(run)
        except TuiftuneError:  # deleted between the listing and now
            continue
        if models:
            found.append(Offered(run, state, models))
    return found
