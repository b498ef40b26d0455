"""Run the stages of a profile in order: data, training, evaluation."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuiftune import units
from tuiftune.errors import ResumeRefused, RunStopped, StageError, TuiftuneError
from tuiftune.paths import cache_folder
from tuiftune.plugins import Registry
from tuiftune.profile import Pipeline, PlannedStage
from tuiftune.run.cache import StageCache, cached_stage
from tuiftune.run.checkpoints import step_of
from tuiftune.run.content import content_key
from tuiftune.run.data import load_documents
from tuiftune.run.files import write_json
from tuiftune.run.folder import Run
from tuiftune.run.proof import as_json, compare, proof_of, read_proof
from tuiftune.run.stream import TokenStream, load_head
from tuiftune.stage import Context, DatasetLoader, Evaluator, Recorder, Signals, Stage, Trainer, no_history

if TYPE_CHECKING:
    from datasets import DatasetDict


@dataclass
class PipelineRun:
    """The stages of one run, with what they share."""

    workspace: Path
    run_dir: Path
    pipeline: Pipeline
    registry: Registry
    recorder: Recorder
    signals: Signals = field(default_factory=Signals)
    resume_from: Path | None = None
    profile: Mapping[str, Any] = field(default_factory=dict)
    """The effective profile, before anything was changed to save memory."""
    begin: Callable[[], None] = lambda: None
    """Called once it is sure that training begins, or goes on from `resume_from`."""
    forced: bool = False
    """A person has said to go on from the checkpoint whatever differs."""
    proof: Mapping[str, Any] = field(default_factory=dict)
    """See Context.proof."""
    copy_history: Callable[[Path], None] = no_history
    """See Context.copy_history."""
    most_tokens: int | None = None
    """See Context.most_tokens."""
    current: PlannedStage | None = None
    """The stage that runs, for the sentence about what failed."""
    place: str | None = None
    """`plugins/chat.py:12`: the deepest line of a stranger's stage that led to an error which is no sentence."""
    documents: DatasetDict | None = None
    """The data as it last was while it had text: what was tokenized. None before, and where it never had any."""

    def run(self) -> None:
        """All stages. What a stage raises is passed on after it is written down."""
        dataset = self.prepare_data()
        self._prove(dataset)
        self.begin()  # not before: a run that is refused keeps all that it has recorded
        trainer = next(planned for planned in self.pipeline.stages if planned.kind == "train")
        outputs: dict[str, Any] = {}
        try:
            outputs["train"] = self._timed(trainer, lambda: self._train(trainer, dataset, outputs))
        finally:
            if isinstance(dataset["train"], TokenStream):
                dataset["train"].close()
        if isinstance(trainer.stage, Trainer) and trainer.stage.makes_model:
            self.evaluate(dataset, outputs)

    def prepare_data(self) -> Mapping[str, Any]:
        """Dataset and preprocess stages, each from the cache where nothing it depends on has changed.

        `train` is a Dataset, or with `dataset.streaming` a TokenStream; `validation` is a Dataset.
        """
        import datasets

        # `ctx.input.map` would leave its files in the entries of our cache; so it does in a temporary folder.
        datasets.disable_caching()
        dataset: DatasetDict | None = None
        key = ""
        done: list[tuple[Stage, Context]] = []
        cache = StageCache(cache_folder(self.workspace))
        for planned in self.pipeline.stages:
            if planned.kind not in ("dataset", "preprocess"):
                continue
            ctx = self.context(planned, dataset)
            dataset, key = self._timed(planned, lambda: self._through_cache(cache, planned, ctx, key))  # noqa: B023
            done.append((planned.stage, ctx))
            if all("text" in split.column_names for split in dataset.values()):
                self.documents = dataset
        if dataset is None:
            raise StageError("the profile names no dataset stage. Add a [dataset] table")
        return self._streamed(cache, dataset, done) if self.pipeline.streaming else dataset

    def _streamed(self, cache: StageCache, head: DatasetDict, done: list[tuple[Stage, Context]]) -> dict[str, Any]:
        """The stream that `head` is the first chunk of; its fingerprint is of that and, where the documents are read
        from files, of these, else of the dataset stage's options."""
        (loader, ctx), *preprocess = done
        files = [(file.size, file.sha256) for file in map(cache.read, ctx.files_read)]
        source = json.dumps([content_key(head), files or loader.options.model_dump(mode="json")], sort_keys=True)
        first = self.pipeline.validation if isinstance(self.pipeline.validation, int) else 0
        fingerprint = hashlib.sha256(source.encode()).hexdigest()
        return {
            "train": TokenStream(loader, ctx, preprocess, first, fingerprint),
            "validation": head["validation"],
        }

    def _prove(self, dataset: Mapping[str, Any]) -> None:
        """Note what training begins with, for its checkpoints; say how a resumed run compares with the one it resumes.

        Raises ResumeRefused where it would be another: the place in other data would mean nothing, and text that was
        trained on could be held out now.
        """
        data, data_file = content_key(dataset), Run(self.run_dir).data_file
        now = proof_of(self.profile, data)
        self.proof = as_json(now)
        if self.resume_from is None:
            write_json(data_file, {"rows": data})
            return
        step, name = step_of(self.resume_from), self.resume_from.name
        then, step_then = read_proof(self.resume_from) or (replace(now, data=_began_with(data_file) or data), step)
        verdict = compare(then, now, step, step_then)
        if verdict.refused and not self.forced:
            self.current = None  # it is no stage's
            raise ResumeRefused(
                f"{'; '.join(verdict.refused)}. Put it back as it was, start another run, or go on all the same: "
                f"tuiftune resume {self.run_dir.name} --force"
            )
        self.recorder.event(
            "proved",
            {"step": step, "agree": verdict.agree, "noted": verdict.noted, "forced": verdict.refused},
        )
        self.recorder.log(f"{name}: {verdict.sentence}")
        for difference in [*verdict.refused, *verdict.noted]:
            self.recorder.log(f"{name}: {difference}{' (as forced)' if difference in verdict.refused else ''}")

    def evaluate(self, dataset: Mapping[str, Any], outputs: dict[str, Any]) -> dict[str, dict[str, float]]:
        """Every evaluate stage on the model in `outputs["train"]`; its figures by stage name."""
        found = {}
        for planned in self.pipeline.stages:
            if planned.kind != "evaluate":
                continue
            ctx = replace(self.context(planned, dataset), outputs=outputs)
            figures = self._timed(planned, lambda: dict(planned.stage.run(ctx) or {}))  # noqa: B023
            self.recorder.event("evaluated", {"stage": planned.name, "figures": figures, "model": "final"})
            if figures:
                ctx.log(", ".join(f"{name} {value:.6g}" for name, value in figures.items()))
            if isinstance(planned.stage, Evaluator) and not planned.stage.is_live():
                ctx.metric(int(outputs.get("step", 0)), **figures)  # the others' were recorded during training
            found[planned.name] = figures
        return found

    def context(self, planned: PlannedStage, dataset: Mapping[str, Any] | None) -> Context:
        """What a stage is handed."""
        folder = self.run_dir / "stages" / f"{planned.index}-{planned.name}"
        folder.mkdir(parents=True, exist_ok=True)
        options, space = self.pipeline.run, self.pipeline.run.checkpoint_space
        return Context(
            stage_name=planned.name,
            kind=planned.kind,
            index=planned.index,
            workspace=self.workspace,
            dir=folder,
            run_dir=self.run_dir,
            seed=self.pipeline.seed,
            model=self.pipeline.model,
            recorder=self.recorder,
            input=dataset,
            streaming=self.pipeline.streaming,
            signals=self.signals,
            keep_checkpoints=options.keep_checkpoints,
            keep_best=options.keep_best,
            disk_reserve_bytes=units.parse_size(options.disk_reserve, least=0),
            checkpoint_space_bytes=None if space is None else units.parse_size(space, least=0),
            most_tokens=self.most_tokens,
            proof=self.proof,
            copy_history=self.copy_history,
        )

    def _through_cache(
        self, cache: StageCache, planned: PlannedStage, ctx: Context, key: str
    ) -> tuple[DatasetDict, str]:
        def produce() -> DatasetDict:
            if not isinstance(planned.stage, DatasetLoader):
                return planned.stage.run(ctx)
            if not streaming:
                return load_documents(planned.stage, ctx, split)
            return load_head(planned.stage, ctx, split if isinstance(split, str) else int(split))

        streaming, split = self.pipeline.streaming, self.pipeline.validation
        also = [*([split] if planned.kind == "dataset" else []), *(["streaming"] if streaming else [])]
        dataset, key, self._cached = cached_stage(cache, planned, ctx, key, produce, also)
        return dataset, key

    _cached: bool = False

    def _train(self, planned: PlannedStage, dataset: Mapping[str, Any], outputs: dict[str, Any]) -> Path:
        ctx = replace(
            self.context(planned, dataset),
            outputs=outputs,
            resume_from=self.resume_from,
            evaluate=self._live_evaluate(dataset),
        )
        return Path(planned.stage.run(ctx))

    def _live_evaluate(self, dataset: Mapping[str, Any]) -> Callable[..., dict[str, float]]:
        """The profile's evaluators as a function of a model in memory, for trainers."""
        evaluators = [
            (planned, planned.stage)
            for planned in self.pipeline.stages
            if isinstance(planned.stage, Evaluator) and planned.stage.is_live()
        ]

        def evaluate(step: int, model: Any, tokenizer: Any, *, cadence: str) -> dict[str, float]:
            found: dict[str, float] = {}
            for planned, stage in evaluators:
                if stage.cadence != cadence:
                    continue
                ctx = self.context(planned, dataset)
                figures: Mapping[str, float] = stage.evaluate(ctx, model, tokenizer, step)
                ctx.metric(step, **figures)
                found |= {name if "/" in name else f"eval/{name}": value for name, value in figures.items()}
            return found

        return evaluate

    def _timed(self, planned: PlannedStage, body: Callable[[], Any]) -> Any:
        """Run one stage between its two events and its two hooks."""
        about = {"index": planned.index, "kind": planned.kind, "name": planned.name, "plugin": planned.plugin}
        self.current, self.place, self._cached = planned, None, False
        ctx = self.context(planned, None)
        self.recorder.event("stage_started", about)
        self.registry.watch("stage_started", self.plugin_failed, ctx=ctx)
        start = time.monotonic()
        error: BaseException | None = None
        try:
            return body()
        except SystemExit as left:  # it must not end the worker without a word
            self.place = self.registry.place(planned.plugin, left)
            error = StageError(f"it called sys.exit({left.code!r}). Raise tuiftune.StageError instead")
            raise error from left
        except BaseException as raised:
            error = raised
            if not isinstance(raised, TuiftuneError | RunStopped):
                self.place = self.registry.place(planned.plugin, raised)
            raise
        finally:
            done = {"seconds": round(time.monotonic() - start, 3), "cached": self._cached}
            self.recorder.event(
                "stage_finished", {**about, **done, "error": None if error is None else f"{error}" or repr(error)}
            )
            self.registry.watch("stage_finished", self.plugin_failed, ctx=ctx, error=error)

    def plugin_failed(self, plugin: str, error: BaseException) -> None:
        self.recorder.event("plugin_error", {"plugin": plugin, "error": str(error)})
        self.recorder.log(f"{error}. This hook is not called again in this run")


def other_data(data_file: Path, dataset: Mapping[str, Any]) -> bool:
    """Whether `dataset` is known to be another than the one written down in a run's data.json."""
    began_with = _began_with(data_file)
    return began_with is not None and began_with != content_key(dataset)


def _began_with(data_file: Path) -> str | None:
    try:
        return str(json.loads(data_file.read_text(encoding="utf-8"))["rows"])
    except (OSError, ValueError, KeyError, TypeError):  # not there, or damaged: nobody knows
        return None
