"""Take a run's model, or what was recorded of it, out of the workspace: a folder, or one file to send."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from tuiftune.errors import StoreError, TuiftuneError, WorkspaceError
from tuiftune.run import why
from tuiftune.run.folder import Run
from tuiftune.run.metrics_db import MetricsReader, SampleRow
from tuiftune.run.summary import json_number, summarize
from tuiftune.secrets import masked

WHAT = ("all", "model", "metrics")
"""`all`: the records, and the model where there is one."""
ARCHIVES = (".tar.gz", ".tgz")
CHUNK = 4 << 20
LEAST_GZIP = 1
"""Weights hardly shrink; more effort only costs time."""

Progress = Callable[[int, int], None]
"""Told (bytes done, bytes in all)."""


@dataclass(frozen=True)
class Item:
    """A file of an export."""

    name: str
    """Where it goes, from the top of the export."""
    path: Path
    size_bytes: int


@dataclass(frozen=True)
class Exported:
    place: Path
    files: int
    size_bytes: int
    """Of the files, before any packing."""
    left_out: list[str]
    """A sentence for each thing that was not taken along."""


def export(run: Run, to: Path, what: str = "all", progress: Progress | None = None) -> Exported:
    """Write a run's model, its records, or both, to a folder or a .tar.gz that is not there yet.

    Into a folder that is there it goes under the run's id. Written aside and renamed: it is there whole or not at all,
    and nothing that exists is touched. The model's files are copied byte for byte; in all text of the records secrets
    are masked. Raises TuiftuneError.
    """
    place = _place(run, to)
    left_out: list[str] = []
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{place.name[:40]}.", dir=place.parent) as aside:
            items = list(_items(run, what, Path(aside) / "records", left_out))
            told = _Told(progress, sum(item.size_bytes for item in items))
            if is_archive(place):
                made = Path(aside) / "archive"
                _pack(items, made, place.name.removesuffix(".gz").removesuffix(".tar").removesuffix(".tgz"), told)
            else:
                made = Path(aside) / "folder"
                _copy(items, made, told)
            _publish(made, place)
    except OSError as error:
        raise WorkspaceError(f"{error.filename or place}: cannot be exported: {error.strerror}") from error
    except StoreError as error:
        raise TuiftuneError(f"{run.id} cannot be exported: {error}") from error
    return Exported(place, len(items), told.total, left_out)


def is_archive(path: Path) -> bool:
    return path.name.endswith(ARCHIVES)


def _place(run: Run, to: Path) -> Path:
    """Where it goes. Raises TuiftuneError where something is there already."""
    place = to.expanduser().absolute()
    if place.is_dir() and place.name != run.id:  # else it was exported there before
        place = place / run.id
    if os.path.lexists(place):
        raise TuiftuneError(f"{place}: is there already, and nothing is written over. Say where else with --to")
    return place


def _publish(made: Path, place: Path) -> None:
    """Rename it to its place, unless something has come to be there meanwhile."""
    if made.is_dir():
        place.mkdir()  # fails where there is something, which renaming a folder over an empty one does not
        os.replace(made, place)
        return
    try:
        os.link(made, place)  # fails where there is something; renaming a file would write over it
    except FileExistsError:
        raise
    except OSError:  # a file system without second names
        made.rename(place)


def _items(run: Run, what: str, records: Path, left_out: list[str]) -> Iterator[Item]:
    """The files there are to take. Raises TuiftuneError where there is no model and it was asked for."""
    there = (run.model / "config.json").is_file()
    if what == "model" and not there:
        raise TuiftuneError(
            f"{run.id}: no finished model to export (the run is {summarize(run).state}). "
            "Its records can be had with: --what metrics"
        )
    if what in ("all", "metrics"):
        records.mkdir()
        for path in _records(run, records):
            yield Item(path.name, path, path.stat().st_size)
    if what == "metrics":
        return
    if not there:
        left_out.append("there is no finished model")
        return
    prefix = "" if what == "model" else "model/"
    for path in sorted(run.model.rglob("*")):
        if path.is_symlink():
            left_out.append(f"{path.relative_to(run.path)} is a link and was left out")
        elif path.is_file():
            yield Item(f"{prefix}{path.relative_to(run.model).as_posix()}", path, path.stat().st_size)


def _records(run: Run, folder: Path) -> Iterator[Path]:
    """What was recorded, as files anybody can read: figures, texts, profile, and how it went."""
    summary, card = summarize(run), why.look(run)
    reader = MetricsReader(run.metrics_file)
    try:
        yield from _metrics(reader, folder)
        samples = [_sample(row) for row in reader.samples()]
    finally:
        reader.close()
    texts = {"profile.toml": run.profile_file.read_text(encoding="utf-8"), "card.txt": why.text(card, 100) + "\n"}
    objects = {"summary.json": summary.to_json(), "card.json": card.to_json(), "origin.json": run.origin()}
    texts |= {name: json.dumps(data, ensure_ascii=False, indent=1) + "\n" for name, data in objects.items()}
    if samples:
        texts["samples.jsonl"] = "".join(f"{line}\n" for line in samples)
    for name, text in texts.items():
        (folder / name).write_text(masked(text), encoding="utf-8")
        yield folder / name


def _metrics(reader: MetricsReader, folder: Path) -> Iterator[Path]:
    """Every recorded value twice: as a table, and as a line of JSON each; as `tuiftune metrics` prints them."""
    table, lines = folder / "metrics.csv", folder / "metrics.jsonl"
    with table.open("w", newline="", encoding="utf-8") as csv_file, lines.open("w", encoding="utf-8") as json_file:
        write_csv(reader, csv_file)
        write_jsonl(reader, json_file)
    yield from (table, lines)


def write_csv(reader: MetricsReader, file: TextIO, series: str | None = None) -> None:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(("series", "step", "value", "time"))
    writer.writerows((row.series, row.step, row.value, row.time) for row in reader.rows(series))


def write_jsonl(reader: MetricsReader, file: TextIO, series: str | None = None) -> None:
    for row in reader.rows(series):
        data = {"series": row.series, "step": row.step, "value": json_number(row.value), "time": row.time}
        file.write(json.dumps(data) + "\n")


def _sample(row: SampleRow) -> str:
    data = {"step": row.step, "model": row.model, "prompt": row.prompt, "text": row.text, "time": row.time}
    return json.dumps(data, ensure_ascii=False)


class _Told:
    """How far it is."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress, self._done, self.total = progress, 0, total

    def add(self, size_bytes: int) -> None:
        self._done += size_bytes
        if self._progress is not None:
            self._progress(min(self._done, self.total), self.total)


class _Counted(io.RawIOBase):
    """A file that tells how much of it was read."""

    def __init__(self, path: Path, told: _Told) -> None:
        self._file, self._told = path.open("rb"), told

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size if 0 <= size < CHUNK else CHUNK)
        self._told.add(len(data))
        return data

    def close(self) -> None:
        self._file.close()
        super().close()


def _copy(items: list[Item], folder: Path, told: _Told) -> None:
    folder.mkdir()
    for item in items:
        target = folder / item.name
        target.parent.mkdir(parents=True, exist_ok=True)
        with _Counted(item.path, told) as source, target.open("xb") as file:
            shutil.copyfileobj(source, file, CHUNK)
            file.flush()
            os.fsync(file.fileno())


def _pack(items: list[Item], archive: Path, top: str, told: _Told) -> None:
    """One folder called `top` in the archive; whose files they were is nobody's business."""
    with archive.open("xb") as file:
        with tarfile.open(fileobj=file, mode="w:gz", compresslevel=LEAST_GZIP) as tar:
            for item in items:
                info = tarfile.TarInfo(f"{top}/{item.name}")
                info.size, info.mode, info.mtime = item.size_bytes, 0o644, int(time.time())
                with _Counted(item.path, told) as source:
                    tar.addfile(info, source)
        file.flush()
        os.fsync(file.fileno())
