"""What an export has in it, and what it leaves alone."""

from __future__ import annotations

import csv
import json
import math
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tuiftune import secrets
from tuiftune.errors import TuiftuneError
from tuiftune.run.export import export
from tuiftune.run.folder import Run, State, write_state
from tuiftune.run.metrics_db import MetricsWriter

SECRET = "xyzzy-plugh-1234"  # noqa: S105
RECORDS = {"metrics.csv", "metrics.jsonl", "profile.toml", "summary.json", "card.json", "card.txt", "origin.json"}


@pytest.fixture
def run(new_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> Run:
    """One that has finished; its log and its samples have a secret of the environment in them."""
    monkeypatch.setenv("MY_TOKEN", SECRET)
    secrets._of_environment.cache_clear()
    run, now = new_run(), time.time()
    writer = MetricsWriter(run.metrics_file)
    with writer.batch():
        writer.metric(0, {"eval/loss": 3.0, "eval/perplexity": math.exp(3)}, now)
        for step in range(1, 6):
            writer.metric(step, {"train/loss": math.nan if step == 3 else 2 / step}, now + step)
        writer.sample(5, "Once", f" upon a {SECRET}", "final", now)
    writer.close()
    run.worker_log.write_text(f"logged in with {SECRET}\n")
    write_state(run, State("failed", since=now, started=now - 60, ended=now, reason=f"no {SECRET} any more"))
    (run.model / "sub").mkdir(parents=True)
    (run.model / "config.json").write_text("{}")
    (run.model / "model.safetensors").write_bytes(bytes(range(256)) * 1000)
    (run.model / "sub" / "x.txt").write_text("x")
    (run.model / "outside").symlink_to("/etc/hostname")
    return run


def test_all_of_it_is_the_records_without_secrets_and_the_model_as_it_is(run: Run, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    made = export(run, tmp_path / "new" / "out", progress=lambda done, total: told.append((done, total)))
    place = tmp_path / "new" / "out"
    assert made.place == place
    assert {path.name for path in place.iterdir()} == {*RECORDS, "samples.jsonl", "model"}
    assert (place / "model" / "model.safetensors").read_bytes() == (run.model / "model.safetensors").read_bytes()
    assert (place / "model" / "sub" / "x.txt").read_text() == "x"
    assert made.left_out == ["model/outside is a link and was left out"]
    assert told[-1] == (made.size_bytes, made.size_bytes)
    for path in place.iterdir():
        if path.is_file():
            assert SECRET not in path.read_text(), path.name
    assert "no *** any more" in (place / "card.txt").read_text()
    rows = list(csv.reader((place / "metrics.csv").open()))
    lines = [json.loads(line) for line in (place / "metrics.jsonl").read_text().splitlines()]
    assert rows[0] == ["series", "step", "value", "time"]
    assert len(rows) - 1 == len(lines) == 7
    assert [line["value"] for line in lines if line["series"] == "train/loss"] == [2.0, 1.0, "nan", 0.5, 0.4]
    assert [path.name for path in place.parent.iterdir()] == ["out"], "nothing is left of what was written aside"


def test_into_a_folder_that_is_there_it_goes_under_its_id_and_nothing_is_written_over(run: Run, tmp_path: Path) -> None:
    made = export(run, tmp_path, "model")
    assert made.place == tmp_path / run.id
    assert {path.name for path in made.place.iterdir()} == {"config.json", "model.safetensors", "sub"}
    file = tmp_path / "out.tar.gz"
    file.write_text("mine")
    for taken in (tmp_path, tmp_path / run.id, file):
        with pytest.raises(TuiftuneError, match="is there already, and nothing is written over"):
            export(run, taken)
    assert file.read_text() == "mine"


def test_one_file_has_one_folder_in_it_and_no_owner(run: Run, tmp_path: Path) -> None:
    made = export(run, tmp_path / "mine.tar.gz", "metrics")
    with tarfile.open(made.place) as tar:
        members = tar.getmembers()
        assert {member.name for member in members} == {f"mine/{name}" for name in (*RECORDS, "samples.jsonl")}
        assert {(member.uid, member.uname) for member in members} == {(0, "")}
        found = tar.extractfile("mine/summary.json")
        assert found is not None
        assert json.load(found)["id"] == run.id


def test_without_a_model_its_export_is_refused_and_all_is_the_records(
    new_run: Callable[..., Run], tmp_path: Path
) -> None:
    run = new_run()
    with pytest.raises(TuiftuneError, match=r"no finished model to export .*--what metrics"):
        export(run, tmp_path / "out", "model")
    assert not (tmp_path / "out").exists()
    assert export(run, tmp_path / "out").left_out == ["there is no finished model"]
    assert {path.name for path in (tmp_path / "out").iterdir()} == RECORDS
