"""A stage, its four kinds, and the one object a stage is handed: the Context."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, ClassVar, Protocol

from tuiftune import units
from tuiftune.errors import StageError
from tuiftune.options import ModelOptions, Options
from tuiftune.paths import resolve_path
from tuiftune.run.control import Granted

if TYPE_CHECKING:
    from datasets import DatasetDict

__all__ = ["Context", "DatasetLoader", "Evaluator", "Preprocessor", "Recorder", "Signals", "Stage", "Trainer"]

HOLD_S = 0.1
"""How soon a run that waits goes on."""

CORE_OPTIONS = {"dataset": ("validation", "streaming")}
"""Keys of a stage's table that the core reads, whatever the stage is; `stage` is one of every kind."""


class Recorder(Protocol):
    """Where a stage's facts go: the run's store in a worker, lists in a test."""

    def metric(self, step: int, values: Mapping[str, float]) -> None: ...
    def progress(self, stage: int, done: int, total: int | None, unit: str) -> None: ...
    def event(self, kind: str, data: Mapping[str, Any]) -> None: ...
    def sample(self, step: int, prompt: str, text: str, model: str) -> None: ...
    def fact(self, values: Mapping[str, Any]) -> None: ...
    def log(self, text: str) -> None: ...


def no_history(place: Path) -> None:
    """Nothing is recorded: a stage that runs by itself."""


def _say_nothing(**news: Any) -> None:
    """Nobody listens: a stage that runs by itself."""


@dataclass
class Signals:
    """What has been asked of the run; looked at between steps, set by the worker's signal handler and its desk."""

    stopping: bool = False
    holds: Mapping[str, str] = field(default_factory=dict)
    """By cause: why the run is to wait at its next step boundary. Empty: it goes on."""
    wishes: Mapping[str, int] = field(default_factory=dict)
    """By kind ('checkpoint', 'evaluate', 'sample'): how often it was asked for."""
    granted: dict[str, Granted] = field(default_factory=dict)
    """By kind: the newest that was answered."""
    say: Callable[..., None] = _say_nothing
    """Tells the supervisor: see tuiftune.run.control.Said for the words."""


class LiveEvaluate(Protocol):
    """Runs the profile's evaluators on a model in memory and records what they find."""

    def __call__(self, step: int, model: Any, tokenizer: Any, *, cadence: str) -> dict[str, float]: ...


def _no_evaluators(step: int, model: Any, tokenizer: Any, *, cadence: str) -> dict[str, float]:
    return {}


@dataclass
class Context:
    """What a stage may see and say. Everything a plugin needs is here."""

    stage_name: str
    kind: str
    index: int
    """Position in the pipeline, from 0."""
    workspace: Path
    dir: Path
    """A folder of this stage's own, inside the run."""
    run_dir: Path
    seed: int
    model: ModelOptions
    recorder: Recorder
    input: DatasetDict | None = None
    """Splits `train` and `validation`, as the stage before left them; None for a dataset stage. With `streaming`,
    `train` is a chunk of the stream for a preprocessor, and a tuiftune.run.stream.TokenStream for a trainer."""
    streaming: bool = False
    """`dataset.streaming`: a dataset stage yields documents without loading them all first; that a chunk is small, or
    that a preprocessor leaves nothing of it, is no mistake."""
    outputs: dict[str, Any] = field(default_factory=dict)
    """What earlier kinds returned: `outputs["train"]` is the folder of the trained model."""
    signals: Signals = field(default_factory=Signals)
    resume_from: Path | None = None
    """A sealed checkpoint to go on from, or None."""
    keep_checkpoints: int = 2
    """How many of the newest checkpoints a trainer keeps."""
    keep_best: bool = False
    """Whether a trainer writes a checkpoint of each new best evaluation, and keeps that of the best."""
    disk_reserve_bytes: int = 0
    """Room that a checkpoint must leave on the disk."""
    checkpoint_space_bytes: int | None = None
    """Most that all checkpoints may take; None for as much as there is."""
    proof: Mapping[str, Any] = field(default_factory=dict)
    """What a checkpoint is to say of where it comes from: see tuiftune.run.proof."""
    copy_history: Callable[[Path], None] = no_history
    """Writes a copy of what the run has recorded to a new file, for a checkpoint."""
    most_tokens: int | None = None
    """Tokens an evaluator may put through the model at once, whatever its options say: memory ran out before."""
    evaluate: LiveEvaluate = _no_evaluators
    """For trainers: `ctx.evaluate(step, model, tokenizer, cadence="eval")` before step 1 and during training.
    Returns the figures by series name, e.g. `eval/loss`."""
    files_read: list[Path] = field(default_factory=list)
    """Files and folders asked for through this context: their content is part of the cache's key."""

    @property
    def stopping(self) -> bool:
        """A stop was asked for: checkpoint and return at the next step boundary."""
        return self.signals.stopping

    @property
    def pausing(self) -> bool:
        """The run is to wait at its next step boundary."""
        return bool(self.signals.holds)

    @property
    def checkpoint_wanted(self) -> bool:
        """A checkpoint was asked for that is not written yet."""
        return self._is_wanted("checkpoint")

    def _is_wanted(self, kind: str) -> bool:
        granted = self.signals.granted.get(kind)
        return self.signals.wishes.get(kind, 0) > (granted.number if granted else 0)

    def step_boundary(
        self,
        step: int,
        save: Callable[[], str | None],
        *,
        evaluate: Callable[[], str] | None = None,
        sample: Callable[[], str] | None = None,
    ) -> None:
        """For trainers, between two steps, after what is due: write the checkpoint somebody asked for, measure the
        model or let it write, and wait while the run is paused. Returns at once where nothing was asked, and when a
        stop is: that is the caller's to obey.

        `save` writes a checkpoint of `step` and returns None, or a sentence why there is none. `evaluate` and `sample`
        return the answer, 'done: how' or 'refused: why'; without them the answer is that this trainer cannot.
        """

        def saved() -> str:
            problem = save()
            return f"refused: {problem}" if problem else f"done: the checkpoint of step {step:,}"

        def serve() -> None:
            for kind, do in (("checkpoint", saved), ("evaluate", evaluate), ("sample", sample)):
                if self._is_wanted(kind) and not self.stopping:
                    asked = self.signals.wishes[kind]
                    answer = do() if do else f"refused: trainer {self.stage_name!r} cannot do that between two steps"
                    self.signals.granted[kind] = Granted(asked, answer)
                    self.signals.say(granted=dict(self.signals.granted))

        serve()
        self.wait_while(lambda: next(iter(self.signals.holds.values()), None), step, meanwhile=serve)

    def wait_while(
        self, reason: Callable[[], str | None], step: int, meanwhile: Callable[[], None] = lambda: None
    ) -> None:
        """Wait at `step` as long as `reason` gives a sentence why, and no stop is asked for. Viewers see the sentence.
        `meanwhile` is called some times a second."""
        why = reason()
        if why is None or self.stopping:
            return
        begun, said = time.monotonic(), None
        self.event("held", step=step, reason=why)
        self.recorder.log(f"waiting at step {step:,}: {why}")
        while why is not None and not self.stopping:
            if why != said:
                self.signals.say(hold=why, step=step)
                said = why
            time.sleep(HOLD_S)
            meanwhile()
            why = reason()
        seconds = time.monotonic() - begun
        self.signals.say(hold=None, step=step)
        self.event("released", step=step, seconds=round(seconds, 3))
        if not self.stopping:
            self.recorder.log(f"going on at step {step:,}, after {units.duration(seconds)}")

    def save_checkpoint(
        self, step: int, write: Callable[[Path], None], size_bytes: int = 0, also: Collection[int] = ()
    ) -> Path | None:
        """For trainers: `write` fills the empty folder it is given, which then becomes the sealed checkpoint of `step`;
        older ones are removed as the profile says, but for the steps in `also`. `size_bytes`: about what the first
        will take. Waits where the disk is full; None where a stop was asked for meanwhile.
        """
        from tuiftune.run.keeping import save_checkpoint  # it needs this module's words

        return save_checkpoint(self, step, write, size_bytes, also)

    def tell_memory(self, *, batch_tokens: int, longest: int, gradient_checkpointing: bool) -> None:
        """For trainers that have the options `batch_tokens` and `gradient_checkpointing`: what is in force, and the
        tokens of the longest row. Where memory runs out, the run goes on with less of it."""
        self.signals.say(
            memory={
                "batch_tokens": batch_tokens,
                "longest": longest,
                "gradient_checkpointing": gradient_checkpointing,
            }
        )

    @property
    def checkpoints(self) -> Path:
        """The run's folder of checkpoints, `step-000200` and so on."""
        return self.run_dir / "checkpoints"

    def path(self, text: str) -> Path:
        """The existing file or folder a profile means by `text`, relative to the workspace.

        Raises StageError where nothing is there.
        """
        found = resolve_path(text, self.workspace)
        if not found.exists():
            raise StageError(
                f"{text}: no such file or folder (looked for {found}). Set it with: --set dataset.path=FILE"
                if self.kind == "dataset"
                else f"{text}: no such file or folder (looked for {found})"
            )
        if found not in self.files_read:
            self.files_read.append(found)
        return found

    def open(self, text: str, encoding: str = "utf-8") -> IO[str]:
        """Open a text file of the profile for reading, line ends made `\\n`."""
        return self.path(text).open(encoding=encoding)

    def metric(self, step: int, **values: float) -> None:
        """Record values at an optimizer step; a name without a slash gets this stage's prefix:
        `loss` of a trainer is series `train/loss`, of an evaluator `eval/loss`."""
        prefix = "eval/" if self.kind == "evaluate" else f"{self.kind}/"
        self.recorder.metric(
            int(step), {name if "/" in name else prefix + name: float(value) for name, value in values.items()}
        )

    def progress(self, done: int, total: int | None = None, unit: str = "") -> None:
        """How far this stage is: `done` of `total` `unit`s (steps, documents, ...)."""
        # int(): SQLite stores NumPy's integers as bytes.
        self.recorder.progress(self.index, int(done), None if total is None else int(total), unit)

    def log(self, text: str) -> None:
        """A line for the person who watches: in the log, and as an event."""
        self.recorder.log(text)
        self.recorder.event("message", {"stage": self.stage_name, "text": text})

    def event(self, kind: str, **data: Any) -> None:
        """Something that happened, for the event log."""
        self.recorder.event(kind, data)

    def sample(self, step: int, prompt: str, text: str, model: str = "") -> None:
        """A text the model wrote after `prompt`; `model` says which ('base', 'step 200', 'final')."""
        self.recorder.sample(int(step), prompt, text, model)

    def fact(self, **values: Any) -> None:
        """Something true of the whole run, such as `total_steps`, `device`, `precision`, `parameters`."""
        self.recorder.fact(values)


class Stage:
    """One step of the pipeline. A subclass sets `name`, nests `Options` and defines `run`."""

    name: ClassVar[str] = ""
    kind: ClassVar[str] = ""
    version: ClassVar[str] = "1"
    """Raise it when the stage's output changes: cached results of the old version are not used again."""

    required_files: ClassVar[tuple[str, ...]] = ()
    """Options that name a file or folder which must be there: a run is not started before it is."""

    class Options(Options):
        """No options."""

    def __init__(self, options: Options | None = None) -> None:
        self.options: Any = options if options is not None else self.Options()

    def run(self, ctx: Context) -> Any:
        raise TypeError(f"stage {self.name!r} defines no run(ctx)")


class DatasetLoader(Stage):
    """Returns documents: an iterable of `str`, of `{"text": str}`, of
    `{"segments": [{"text": str, "loss": bool}, ...]}`, or a `datasets.Dataset` / `DatasetDict`.

    With `ctx.streaming`, `run` is called once for each pass over the documents, which must come in the same order each
    time. An iterable with `state_dict` and `load_state_dict`, as `datasets.IterableDataset` has them (a state is JSON),
    is entered in the middle when a run is resumed; another is read up to there.
    """

    kind = "dataset"


class Preprocessor(Stage):
    """Takes `ctx.input` (a `DatasetDict` of train and validation) and returns another."""

    kind = "preprocess"
    needs_validation: ClassVar[bool] = True
    """False where what becomes of train does not depend on validation: a chunk of a stream then comes as `train`
    alone, so that validation is not prepared again with each."""


class Trainer(Stage):
    """Trains on `ctx.input` and returns the folder of the finished model.

    When `ctx.stopping`, it seals a checkpoint and raises RunStopped.
    """

    kind = "train"
    makes_model: ClassVar[bool] = True
    """False for a trainer whose figures are made up: no evaluator can measure what it returns."""


class Evaluator(Stage):
    """Measures a model: defines `evaluate`, which also runs before step 1 and during training, or `run`,
    which is called once with the finished model's folder in `ctx.outputs["train"]`."""

    kind = "evaluate"
    cadence: ClassVar[str] = "eval"
    """When it runs during training: 'eval' (with train.eval_every) or 'sample' (with train.sample_every)."""

    @classmethod
    def is_live(cls) -> bool:
        """Whether it can measure a model in memory."""
        return cls.evaluate is not Evaluator.evaluate

    def evaluate(self, ctx: Context, model: Any, tokenizer: Any, step: int) -> Mapping[str, float]:
        """Figures of a loaded model (in eval mode, on its device) on `ctx.input["validation"]`."""
        raise TypeError(f"evaluator {self.name!r} defines no evaluate(ctx, model, tokenizer, step)")

    def run(self, ctx: Context) -> Mapping[str, float]:
        """Load the trained model and measure it."""
        from tuiftune.training.model import load_folder  # torch: only in the worker

        model, tokenizer = load_folder(ctx.outputs["train"])
        return self.evaluate(ctx, model, tokenizer, int(ctx.outputs.get("step", 0)))


def stage_summary(stage: type[Stage]) -> str:
    """The first line of a stage's docstring."""
    lines: Iterable[str] = (stage.__doc__ or "").strip().splitlines()
    return next(iter(lines), "")
