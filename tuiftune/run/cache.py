"""Prepared data by fingerprint, shared by the runs of a workspace: a stage whose inputs have not changed is not run.

cache/<key>-<files>/train, validation    as `DatasetDict.save_to_disk` writes them, memory-mapped when read
cache/<key>-<files>/manifest.json        what the stage read (by content), what it said, the sizes of its output

An entry is written aside and renamed: it is whole or not there, whoever else writes the same.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
import os
import shutil
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import tuiftune
from tuiftune.errors import StageError
from tuiftune.options import ModelOptions
from tuiftune.paths import resolve_path
from tuiftune.run.content import content_key
from tuiftune.run.data import written_files
from tuiftune.run.files import sync_folder, write_json
from tuiftune.stage import Context, Recorder, Stage

if TYPE_CHECKING:
    from datasets import DatasetDict

__all__ = ["CacheHit", "StageCache", "cached_stage"]

FORMAT = 1
"""Raise it when the layout of an entry changes."""
LIBRARIES = ("tokenizers", "transformers")
"""Another version of these may tokenize otherwise."""
TOKENIZER_SUFFIXES = (".json", ".txt", ".model", ".jinja", ".tiktoken", ".py")
ABANDONED_S = 24 * 3600
"""What a killed run left half-written is removed after this long."""
MANIFEST = "manifest.json"


class Planned(Protocol):
    """What is read of a profile's PlannedStage."""

    @property
    def kind(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def plugin(self) -> str: ...
    @property
    def plugin_version(self) -> str: ...
    @property
    def stage(self) -> Any: ...


@dataclass(frozen=True)
class FileRead:
    """A file or folder that a stage read, as it was."""

    path: str
    size: int
    """Bytes; of a folder those of all its files."""
    sha256: str
    """Of the content; of a folder that of its files' names and contents."""


@dataclass(frozen=True)
class CacheHit:
    dataset: DatasetDict
    key: str
    """The fingerprint of this output, for the stage after."""
    files: list[FileRead]
    """What the stage read when it ran."""
    messages: list[str]
    """What the stage said when it ran."""
    facts: dict[str, Any]


class StageCache:
    """The folder of prepared data of a workspace."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._known: dict[tuple[Path, tuple[int, ...]], FileRead] = {}

    def read(self, path: Path) -> FileRead:
        """Size and content of a file, or of all files of a folder; a file that stays as it is is read once.

        Raises OSError where it is gone.
        """
        return _read(path, self._known)

    def key(self, previous_key: str, stage: Stage, plugin_version: str, ctx_parts: Mapping[str, Any]) -> str:
        """A fingerprint of everything a stage's output depends on but the content of the files it reads."""
        parts = {
            "format": [FORMAT, tuiftune.__version__],
            "previous": previous_key,
            "stage": [stage.kind, stage.name, stage.version],
            "plugin": plugin_version,
            "code": _source_digest(type(stage)),
            "options": stage.options.model_dump(mode="json"),
            "libraries": {name: metadata.version(name) for name in LIBRARIES},
            **ctx_parts,
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def load(self, key: str) -> CacheHit | None:
        """The entry of `key` whose files have the content they had; None where there is none."""
        for entry in sorted(self.folder.glob(f"{key[:40]}-*")):
            hit = self._opened(entry, key)
            if hit is not None:
                return hit
        return None

    def store(
        self,
        key: str,
        dataset: DatasetDict,
        files: Iterable[FileRead],
        messages: Iterable[str] = (),
        facts: Mapping[str, Any] | None = None,
    ) -> CacheHit:
        """Keep `dataset` and return it memory-mapped from its entry.

        Raises OSError where the disk takes it not; nothing half-written is left then.
        """
        read = list(files)
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._remove_abandoned()
        aside = self.folder / f".{key[:40]}-{uuid.uuid4().hex}"
        try:
            _save(dataset, aside)
            write_json(
                aside / MANIFEST,
                {
                    "key": key,
                    "files": [asdict(file) for file in read],
                    "output": _output_sizes(aside),
                    "messages": list(messages),
                    "facts": dict(facts or {}),
                    "made": time.time(),
                },
            )
            entry = self.folder / f"{key[:40]}-{_digest_of(read)[:16]}"
            self._put(aside, entry, key)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        hit = self._opened(entry, key)
        if hit is None:
            raise OSError(f"{entry}: the entry just written cannot be read back")
        return hit

    def _put(self, aside: Path, entry: Path, key: str) -> None:
        """Rename into place; where another run was first, its entry stands, unless it is damaged."""
        if entry.exists() and self._opened(entry, key) is None:
            shutil.rmtree(entry)
        try:
            aside.rename(entry)
        except OSError:
            if not entry.is_dir():
                raise
        sync_folder(self.folder)

    def _opened(self, entry: Path, key: str) -> CacheHit | None:
        """An entry that is whole and whose files are unchanged; None otherwise."""
        import datasets

        try:
            manifest = json.loads((entry / MANIFEST).read_text(encoding="utf-8"))
            files = [FileRead(**file) for file in manifest["files"]]
            # Files that a stage has left there beside ours do no harm.
            whole = manifest["key"] == key and manifest["output"].items() <= _output_sizes(entry).items()
            if not whole or any(self.read(Path(file.path)) != file for file in files):
                return None
            dataset = datasets.load_from_disk(str(entry), keep_in_memory=False)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):  # damaged, or gone meanwhile: made anew
            return None
        return CacheHit(dataset, _chained(key, files), files, manifest["messages"], manifest["facts"])

    def _remove_abandoned(self) -> None:
        for path in self.folder.glob(".*-*"):
            if path.is_dir() and path.stat().st_mtime < time.time() - ABANDONED_S:
                shutil.rmtree(path, ignore_errors=True)


def cached_stage(
    cache: StageCache,
    planned: Planned,
    ctx: Context,
    previous_key: str,
    produce: Callable[[], DatasetDict],
    also: Any = None,
) -> tuple[DatasetDict, str, bool]:
    """(dataset, key for the next stage, whether it came from the cache). `also` is part of the key, as JSON.

    A dataset stage that opened no file through `ctx` is run every time, for nobody can tell whether its data
    changed; what comes after it goes by the content of what it gave. What the stage said when it ran is said again.
    """
    key = _stage_key(cache, planned, ctx, previous_key, also)
    if key and (hit := cache.load(key)):
        for text in hit.messages:
            ctx.log(text)
        ctx.fact(**hit.facts)
        ctx.files_read[:] = [Path(file.path) for file in hit.files]
        return hit.dataset, hit.key, True
    started = time.time()
    kept = ctx.recorder
    ctx.recorder = remembering = _Remembering(kept)
    before = set(ctx.dir.glob("*.arrow"))
    try:
        dataset = _checked(produce(), planned)
    except BaseException:
        for path in set(ctx.dir.glob("*.arrow")) - before:  # half of the data is of use to nobody, and can be large
            path.unlink(missing_ok=True)
        raise
    finally:
        ctx.recorder = kept
    key = key or _stage_key(cache, planned, ctx, previous_key, also)  # a tokenizer that had to be fetched is here now
    files = _files_read(cache, ctx, started)
    if key is None or files is None or (planned.kind == "dataset" and not files):
        return dataset, content_key(dataset), False
    try:
        hit = cache.store(key, dataset, files, remembering.messages, remembering.facts)
    except OSError as error:
        ctx.log(f"not kept in {cache.folder} for later runs: {error}")
        return dataset, _chained(key, files), False
    for path in written_files(dataset, ctx.dir):
        path.unlink(missing_ok=True)  # the cache has it now
    return hit.dataset, hit.key, False


def tokenizer_digest(model: ModelOptions, workspace: Path) -> str | None:
    """A fingerprint of the files of the model's tokenizer (in its folder, or in the hub's cache on this machine);
    None where they are not here."""
    name = model.tokenizer or model.name
    if not name:
        return "none"
    folder = resolve_path(name, workspace)
    if not folder.is_dir():
        found = _snapshot(name, model.revision if not model.tokenizer else None)
        if found is None:
            return None
        folder = found
    files = sorted(path for path in folder.iterdir() if path.suffix in TOKENIZER_SUFFIXES and path.is_file())
    return _digest_of([replace(_read(path), path=path.name) for path in files])


def _snapshot(name: str, revision: str | None) -> Path | None:
    """The folder of a hub model in this machine's cache."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        for file in ("tokenizer.json", "tokenizer_config.json", "vocab.json", "config.json"):
            found = try_to_load_from_cache(name, file, revision=revision)
            if isinstance(found, str):
                return Path(found).parent
    except HFValidationError:  # neither a folder nor an id; the stage will say so
        return None
    return None


def _stage_key(cache: StageCache, planned: Planned, ctx: Context, previous_key: str, also: Any) -> str | None:
    """None where it cannot be known what the output depends on."""
    parts: dict[str, Any] = {"seed": ctx.seed, "also": also}
    if planned.kind != "dataset":
        tokenizer = tokenizer_digest(ctx.model, ctx.workspace)
        if tokenizer is None:
            return None
        parts["model"] = ctx.model.model_dump(mode="json")
        parts["tokenizer"] = tokenizer
    return cache.key(previous_key, planned.stage, f"{planned.plugin} {planned.plugin_version}", parts)


def _checked(produced: Any, planned: Planned) -> DatasetDict:
    """Raises StageError where a stage returned something else than two filled splits."""
    import datasets

    if not isinstance(produced, datasets.DatasetDict):
        raise StageError(
            f"it returned {type(produced).__name__!r}. A {planned.kind} stage returns a datasets.DatasetDict "
            "with the splits 'train' and 'validation'"
        )
    for split in ("train", "validation"):
        if split not in produced:
            raise StageError(f"it left no split {split!r}; there are {', '.join(map(repr, produced)) or 'none'}")
        if not len(produced[split]):
            raise StageError(f"it left nothing in the split {split!r}")
    return produced


def _files_read(cache: StageCache, ctx: Context, started: float) -> list[FileRead] | None:
    """The files as they are now; None where one changed while the stage ran, so that nobody knows what it saw."""
    found = []
    for path in _outermost(ctx.files_read):
        try:
            if max(file.stat().st_mtime for file in (path, *_files_in(path))) >= started:
                ctx.log(f"{path} was written while it was read: what was made of it is not kept for later runs")
                return None
            found.append(cache.read(path))
        except OSError:
            return None
    return found


def _outermost(paths: Iterable[Path]) -> list[Path]:
    """Without files that lie in a folder that is there itself."""
    every = set(paths)
    return sorted(path for path in every if not every.intersection(path.parents))


def _read(path: Path, known: dict[tuple[Path, tuple[int, ...]], FileRead] | None = None) -> FileRead:
    """Size and content of a file, or of all files of a folder; taken from `known` where it is there as it was."""
    if not path.is_dir():
        status = path.stat()
        state = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        if known is None:
            known = {}
        if (path, state) not in known:
            known[path, state] = FileRead(str(path), status.st_size, _sha256(path))
        return known[path, state]
    inside = [replace(_read(file, known), path=str(file.relative_to(path))) for file in _files_in(path)]
    return FileRead(str(path), sum(file.size for file in inside), _digest_of(inside))


def _files_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _output_sizes(entry: Path) -> dict[str, int]:
    """Bytes of each file of an entry but its manifest: a torn one would crash who maps it into memory."""
    files = (path for path in _files_in(entry) if path != entry / MANIFEST)
    return {str(path.relative_to(entry)): path.stat().st_size for path in files}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest_of(files: Iterable[FileRead]) -> str:
    return hashlib.sha256(json.dumps([asdict(file) for file in files]).encode()).hexdigest()


def _chained(key: str, files: Iterable[FileRead]) -> str:
    return hashlib.sha256(f"{key} {_digest_of(files)}".encode()).hexdigest()


def _source_digest(kind: type[Stage]) -> str:
    """Of the package a stage is part of, or of its one file: a plugin that was edited is not the one that ran."""
    package = sys.modules.get(kind.__module__.partition(".")[0])
    folders = getattr(package, "__path__", None)
    if folders:
        return _package_digest(tuple(folders))
    try:
        source = inspect.getsourcefile(kind)
        return _sha256(Path(source)) if source else ""
    except (OSError, TypeError):
        return ""


@functools.lru_cache
def _package_digest(folders: tuple[str, ...]) -> str:
    files = sorted(path for folder in folders for path in Path(folder).rglob("*.py"))
    return _digest_of([_read(path) for path in files])


def _save(dataset: DatasetDict, folder: Path) -> None:
    import datasets

    datasets.disable_progress_bars()  # they would fill the run's log
    dataset.save_to_disk(str(folder))
    for path in _files_in(folder):
        with path.open("rb") as file:
            os.fsync(file.fileno())


@dataclass
class _Remembering:
    """A recorder that passes on, and keeps what a stage says, for the day its output comes from the cache."""

    inner: Recorder
    messages: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    def metric(self, step: int, values: Mapping[str, float]) -> None:
        self.inner.metric(step, values)

    def progress(self, stage: int, done: int, total: int | None, unit: str) -> None:
        self.inner.progress(stage, done, total, unit)

    def event(self, kind: str, data: Mapping[str, Any]) -> None:
        if kind == "message":
            self.messages.append(str(data.get("text", "")))
        self.inner.event(kind, data)

    def sample(self, step: int, prompt: str, text: str, model: str) -> None:
        self.inner.sample(step, prompt, text, model)

    def fact(self, values: Mapping[str, Any]) -> None:
        self.facts.update(values)
        self.inner.fact(values)

    def log(self, text: str) -> None:
        self.inner.log(text)
