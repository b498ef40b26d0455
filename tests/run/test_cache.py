"""A stage whose inputs have not changed is not run again; one whose inputs changed is, however small the change."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tuiftune.errors import StageError
from tuiftune.options import ModelOptions, Options
from tuiftune.paths import assets
from tuiftune.run.cache import ABANDONED_S, StageCache, cached_stage
from tuiftune.run.data import load_documents
from tuiftune.stage import Context, DatasetLoader, Preprocessor, Stage


@dataclass
class Heard:
    """What was said."""

    lines: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    events: list[str] = field(default_factory=list)

    def metric(self, step: int, values: Mapping[str, float]) -> None: ...
    def progress(self, stage: int, done: int, total: int | None, unit: str) -> None: ...
    def sample(self, step: int, prompt: str, text: str, model: str) -> None: ...

    def event(self, kind: str, data: Mapping[str, Any]) -> None:
        self.events.append(kind)

    def fact(self, values: Mapping[str, Any]) -> None:
        self.facts.update(values)

    def log(self, text: str) -> None:
        self.lines.append(text)


@dataclass
class Plan:
    """As the profile plans a stage."""

    stage: Stage
    plugin: str = "test"
    plugin_version: str = "1"

    @property
    def kind(self) -> str:
        return self.stage.kind

    @property
    def name(self) -> str:
        return self.stage.name


class Lines(DatasetLoader):
    """The lines of a file or of all files of a folder."""

    name = "lines"

    class Options(Options):
        path: str = "data.txt"

    def run(self, ctx: Context) -> Iterator[str]:
        path = ctx.path(self.options.path)
        for file in sorted(path.iterdir()) if path.is_dir() else [path]:
            yield from file.read_text().splitlines()


class Unseen(DatasetLoader):
    """Documents from nowhere that the context knows of."""

    name = "unseen"
    documents: Iterable[str] = ("a", "b", "c")

    def run(self, ctx: Context) -> Any:
        return list(self.documents)


class Upper(Preprocessor):
    """Capitals; says what it does."""

    name = "upper"

    class Options(Options):
        suffix: str = ""

    def run(self, ctx: Context) -> Any:
        import datasets

        assert ctx.input is not None
        ctx.log("made capitals")
        ctx.fact(train_tokens=3)
        return datasets.DatasetDict(
            {
                split: datasets.Dataset.from_dict(
                    {"text": [text.upper() + self.options.suffix for text in rows["text"]]}
                )
                for split, rows in ctx.input.items()
            }
        )


Cached = tuple[Any, str, bool]


@pytest.fixture
def run(workspace: Path) -> Callable[..., Cached]:
    """One stage through the workspace's cache, as a run of its own."""
    made: list[Path] = []

    def through(
        stage: Stage,
        source: Cached | None = None,
        *,
        heard: Heard | None = None,
        seed: int = 1,
        model: Any = None,
        version: str = "1",
    ) -> Cached:
        folder = workspace / "runs" / f"run-{len(made)}" / "stages" / "0"
        folder.mkdir(parents=True)
        made.append(folder)
        ctx = Context(
            stage.name,
            stage.kind,
            0,
            workspace,
            folder,
            folder.parents[1],
            seed,
            model or ModelOptions(name="tuiftune:babyllama-105"),
            heard or Heard(),
            input=source[0] if source else None,
        )
        plan = Plan(stage, plugin_version=version)

        def produce() -> Any:
            return load_documents(stage, ctx, 0.25) if isinstance(stage, DatasetLoader) else stage.run(ctx)

        return cached_stage(StageCache(workspace / "cache"), plan, ctx, source[1] if source else "", produce, also=0.25)

    return through


@pytest.fixture
def data(workspace: Path) -> Path:
    path = workspace / "data.txt"
    path.write_text("one\ntwo\nthree\nfour\n")
    os.utime(path, (1_000, 1_000))
    return path


def texts(cached: Cached) -> list[str]:
    return sorted(text for split in cached[0].values() for text in split["text"])


def test_a_second_run_takes_what_the_first_made(data: Path, run: Callable[..., Cached]) -> None:
    first = run(Lines())
    second = run(Lines())
    assert (first[2], second[2]) == (False, True)
    assert first[1] == second[1]
    assert texts(first) == texts(second) == ["four", "one", "three", "two"]
    assert list(second[0]["train"]["text"]) == list(first[0]["train"]["text"])


def test_what_a_run_made_lies_in_the_cache_alone(data: Path, workspace: Path, run: Callable[..., Cached]) -> None:
    made = run(Lines())
    assert not list((workspace / "runs").rglob("*.arrow"))
    files = [Path(file["filename"]) for split in made[0].values() for file in split.cache_files]
    assert files
    assert all(workspace / "cache" in file.parents for file in files)


def test_a_changed_byte_is_seen_though_size_and_time_are_the_same(data: Path, run: Callable[..., Cached]) -> None:
    first = run(Lines())
    before = data.stat()
    data.write_text("one\ntwo\nthree\nfive\n")
    os.utime(data, (1_000, 1_000))
    assert (data.stat().st_size, data.stat().st_mtime) == (before.st_size, before.st_mtime)
    second = run(Lines())
    assert not second[2]
    assert second[1] != first[1]
    assert "five" in texts(second)


def test_going_back_to_the_old_data_finds_its_old_result(data: Path, run: Callable[..., Cached]) -> None:
    old = data.read_text()
    first = run(Lines())
    data.write_text("other\ntext\nfor\nonce\n")
    os.utime(data, (1_000, 1_000))
    run(Lines())
    data.write_text(old)
    again = run(Lines())
    assert again[2]
    assert again[1] == first[1]


def test_a_file_added_to_a_folder_is_seen(workspace: Path, run: Callable[..., Cached]) -> None:
    folder = workspace / "books"
    folder.mkdir()
    (folder / "a.txt").write_text("one\ntwo\n")
    for path in (folder / "a.txt", folder):
        os.utime(path, (1_000, 1_000))
    assert [run(Lines(Lines.Options(path="books")))[2] for _ in range(2)] == [False, True]
    (folder / "b.txt").write_text("three\n")
    for path in (folder / "b.txt", folder):
        os.utime(path, (1_000, 1_000))
    added = run(Lines(Lines.Options(path="books")))
    assert not added[2]
    assert texts(added) == ["one", "three", "two"]


def test_a_file_written_while_it_was_read_is_not_kept(data: Path, workspace: Path, run: Callable[..., Cached]) -> None:
    class Writes(Lines):
        """Changes its file when it has read it."""

        name = "writes"

        def run(self, ctx: Context) -> Iterator[str]:
            yield from super().run(ctx)
            data.write_text("something\nelse\n")

    heard = Heard()
    assert not run(Writes(), heard=heard)[2]
    assert heard.lines[-1].endswith("was written while it was read: what was made of it is not kept for later runs")
    assert not (workspace / "cache").exists()


def test_options_seed_and_versions_are_part_of_the_key(data: Path, run: Callable[..., Cached]) -> None:
    source = run(Lines())
    run(Upper(), source)
    assert run(Upper(), source)[2]
    assert not run(Upper(Upper.Options(suffix="!")), source)[2]
    assert not run(Upper(), source, seed=2)[2]
    assert not run(Upper(), source, version="2")[2]
    assert not run(Upper(), source, model=ModelOptions(name="tuiftune:babyllama-105", tokenizer="other"))[2]

    class Newer(Upper):
        """Another version of the stage."""

        version = "2"

    assert not run(Newer(), source)[2]


def test_a_stage_goes_by_what_went_before_it(data: Path, run: Callable[..., Cached]) -> None:
    run(Upper(), run(Lines()))
    data.write_text("5\n6\n7\n")
    os.utime(data, (1_000, 1_000))
    changed = run(Upper(), run(Lines()))
    assert not changed[2]
    assert texts(changed) == ["5", "6", "7"]


def test_a_changed_tokenizer_is_seen(data: Path, workspace: Path, run: Callable[..., Cached]) -> None:
    shutil.copytree(assets() / "babyllama-105", workspace / "model")
    source, model = run(Lines()), ModelOptions(name="model")
    assert [run(Upper(), source, model=model)[2] for _ in range(2)] == [False, True]
    tokenizer = workspace / "model" / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text().replace('"version": "1.0"', '"version": "1.0" '))
    assert not run(Upper(), source, model=model)[2]


def test_data_that_nobody_can_fingerprint_is_read_every_time(
    run: Callable[..., Cached], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(Unseen())
    assert not run(Unseen())[2]
    assert run(Unseen())[1] == first[1], "what comes after goes by its content"
    run(Upper(), first)
    assert run(Upper(), run(Unseen()))[2]
    monkeypatch.setattr(Unseen, "documents", ("a", "b", "d"))
    changed = run(Upper(), run(Unseen()))
    assert not changed[2]
    assert texts(changed) == ["A", "B", "D"]


def test_what_a_stage_said_is_said_again(data: Path, run: Callable[..., Cached]) -> None:
    source = run(Lines())
    first, second = Heard(), Heard()
    run(Upper(), source, heard=first)
    assert run(Upper(), source, heard=second)[2]
    assert first.lines == second.lines == ["made capitals"]
    assert first.facts == second.facts == {"train_tokens": 3}
    assert second.events == ["message"]


def test_a_damaged_entry_is_made_anew(data: Path, workspace: Path, run: Callable[..., Cached]) -> None:
    run(Lines())
    arrow = next((workspace / "cache").rglob("*.arrow"))
    arrow.write_bytes(arrow.read_bytes()[:100])
    again = run(Lines())
    assert not again[2]
    assert texts(again) == ["four", "one", "three", "two"]
    assert run(Lines())[2], "the entry was mended"


def test_a_file_that_a_stage_leaves_in_an_entry_does_it_no_harm(
    data: Path, workspace: Path, run: Callable[..., Cached]
) -> None:
    run(Lines())
    arrow = next((workspace / "cache").rglob("*.arrow"))
    (arrow.parent / "cache-0123.arrow").write_text("what datasets.map leaves")
    assert run(Lines())[2]


def test_two_runs_that_store_the_same_do_no_harm(data: Path, workspace: Path, run: Callable[..., Cached]) -> None:
    first = run(Lines())
    cache = StageCache(workspace / "cache")
    entries = sorted((workspace / "cache").iterdir())
    key = "0" * 64
    one, two = cache.store(key, first[0], []), cache.store(key, first[0], [])
    assert one.key == two.key
    assert len(sorted((workspace / "cache").iterdir())) == len(entries) + 1, "nothing half-written is left"


def test_a_disk_that_takes_nothing_does_not_stop_a_run(data: Path, workspace: Path, run: Callable[..., Cached]) -> None:
    (workspace / "cache").write_text("in the way")
    heard = Heard()
    made = run(Lines(), heard=heard)
    assert texts(made) == ["four", "one", "three", "two"]
    assert heard.lines[-1].startswith(f"not kept in {workspace / 'cache'} for later runs: ")


@pytest.mark.parametrize(
    ("returned", "sentence"),
    [
        (None, "it returned 'NoneType'. A preprocess stage returns a datasets.DatasetDict"),
        ({"train": ["a"]}, "it left no split 'validation'; there are 'train'"),
        ({"train": ["a"], "validation": []}, "it left nothing in the split 'validation'"),
    ],
)
def test_a_stage_that_returns_no_data_is_told(
    run: Callable[..., Cached], returned: dict[str, list[str]] | None, sentence: str
) -> None:
    import datasets

    class Wrong(Preprocessor):
        """Returns something else."""

        name = "wrong"

        def run(self, ctx: Context) -> Any:
            if returned is None:
                return None
            return datasets.DatasetDict(
                {split: datasets.Dataset.from_dict({"text": rows}) for split, rows in returned.items()}
            )

    with pytest.raises(StageError) as caught:
        run(Wrong(), run(Unseen()))
    assert str(caught.value).startswith(sentence)


STORES = """
import sys
from pathlib import Path
import datasets
from tuiftune.run import cache

def written_but_not_renamed(path, data):
    print("written", flush=True)
    sys.stdin.read()

cache.write_json = written_but_not_renamed
one = datasets.Dataset.from_dict({"text": ["half"]})
cache.StageCache(Path(sys.argv[1])).store("1" * 64, datasets.DatasetDict(train=one, validation=one), [])
"""


def test_what_a_killed_run_left_half_written_is_never_seen(workspace: Path, interpreter: str) -> None:
    import datasets

    cache = StageCache(workspace / "cache")
    arguments = [interpreter, "-c", STORES, str(cache.folder)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as killed:
        assert killed.stdout is not None
        assert killed.stdout.readline() == "written\n"
        assert cache.load("1" * 64) is None
        killed.kill()
    assert cache.load("1" * 64) is None
    whole = datasets.Dataset.from_dict({"text": ["whole"]})
    cache.store("1" * 64, datasets.DatasetDict(train=whole, validation=whole), [])
    found = cache.load("1" * 64)
    assert found is not None
    assert list(found.dataset["train"]["text"]) == ["whole"]
    (left,) = cache.folder.glob(".*")
    long_ago = left.stat().st_mtime - 2 * ABANDONED_S
    os.utime(left, (long_ago, long_ago))
    cache.store("2" * 64, found.dataset, [])
    assert not left.exists(), "what a killed run left is cleared away in time"
