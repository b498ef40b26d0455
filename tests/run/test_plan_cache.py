"""A plan is made once, and holds as long as what it was made from."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from tuiftune import __version__, planned
from tuiftune.catalog import ResolvedProfile
from tuiftune.errors import ProfileError
from tuiftune.paths import runs_folder
from tuiftune.run import plan_cache
from tuiftune.run.child import Child
from tuiftune.run.plan_cache import TooMuchData, find, known

PROFILE = """
extends = "below"
[dataset]
path = "text.txt"
"""
BELOW = """
[model]
init = "scratch"
tokenizer = "tuiftune:babyllama-105"
config = {model_type = "gpt2", n_layer = 1, n_embd = 32, n_head = 2}
[dataset]
stage = "text"
validation = 0.5
[[preprocess]]
stage = "tokenize"
max_length = 32
[train]
stage = "causal_lm"
batch_size = 2
"""
HOUR_S = 3600.0


@pytest.fixture
def written(workspace: Path) -> Path:
    (workspace / "profiles" / "mine.toml").write_text(PROFILE)
    (workspace / "profiles" / "below.toml").write_text(BELOW)
    (workspace / "text.txt").write_text("".join(f"a line of text, number {number}\n" for number in range(20)))
    return workspace


def test_a_plan_is_known_until_what_it_was_made_from_changes(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def plan_of(workspace: Path, resolved: ResolvedProfile, child: Child) -> dict[str, Any]:
        """In place of the planner, which takes seconds (tests/run/test_plan_report.py)."""
        asked.append(resolved.effective["dataset"]["path"])
        return facts(tokens_per_s=None)

    monkeypatch.setattr(plan_cache.tools, "plan_of", plan_of)
    assert known(written, "mine") is None
    found = find(written, "mine", child=Child())
    assert found.or_raise() == facts(tokens_per_s=None)
    assert known(written, "mine") == found
    assert asked == ["text.txt"]
    assert known(written, "mine", ["train.epochs=1"]) is None

    for name, added in (
        ("text.txt", "more\n"),
        ("profiles/mine.toml", "validation = 0.4\n"),
        ("profiles/below.toml", "grad_accum = 2\n"),
    ):
        path = written / name
        text, time_ns = path.read_text(), path.stat().st_mtime_ns
        path.write_text(text + added)
        assert known(written, "mine") is None, name
        path.write_text(text)
        os.utime(path, ns=(time_ns, time_ns))
        assert known(written, "mine") == found, name
    (written / "plugins" / "new.py").write_text("")
    assert known(written, "mine") is None
    (written / "plugins" / "new.py").unlink()

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    assert known(written, "mine") is None
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert known(written, "mine") == found
    runs_folder(written).mkdir()  # a run was made: it tells how fast the next one is
    assert known(written, "mine") is None

    (file,) = (written / "cache" / "plans").iterdir()
    file.write_text(file.read_text()[:100])
    assert known(written, "mine") is None


def keep(workspace: Path, profile: str, plan: dict[str, Any] | None, age_s: float) -> None:
    """As `find` leaves it."""
    file = plan_cache._file(workspace, profile, ())
    found = plan_cache.Known(plan, "" if plan else "no model", time.time() - age_s)
    made_from = {"machine": plan_cache._machine(), "runs": 0, "inputs": {"version": __version__, "files": {}}}
    plan_cache._keep(file, found, made_from)


def test_a_good_plan_holds_for_a_day_and_a_bad_one_for_minutes(workspace: Path) -> None:
    good = {"fits": True, "tokens_per_s": 100.0}
    for plan, hours in ((good, 24), (good | {"tokens_per_s": None}, 1), (good | {"fits": False}, 0.17), (None, 0.17)):
        keep(workspace, "mine", plan, hours * HOUR_S - 60)
        assert known(workspace, "mine") is not None, plan
        keep(workspace, "mine", plan, hours * HOUR_S + 60)
        assert known(workspace, "mine") is None, plan


def test_only_so_many_are_kept_the_newest(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_cache, "KEPT", 3)
    for number in range(6):
        keep(workspace, f"profile-{number}", {"fits": True, "tokens_per_s": 1.0}, 0)
        file = plan_cache._file(workspace, f"profile-{number}", ())
        os.utime(file, (number, number))
    keep(workspace, "last", {"fits": True, "tokens_per_s": 1.0}, 0)
    left = [known(workspace, f"profile-{number}") is not None for number in range(6)]
    assert left == [False, False, False, False, True, True]


def test_neither_problems_nor_masses_of_data_start_the_planner(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_cache.tools, "plan_of", lambda *_, **__: pytest.fail("it was started"))
    with pytest.raises(TooMuchData, match=r"tuiftune plan mine"):
        find(written, "mine", most_data_bytes=100)
    (written / "profiles" / "mine.toml").write_text(PROFILE + "encodin = 'utf-8'\n")
    with pytest.raises(ProfileError, match="encoding"):
        find(written, "mine")
    assert not (written / "cache").exists()


def facts(**more: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "device": {"type": "cuda", "available_bytes": int(11.6 * 2**30)},
        "memory": {"total_bytes": int(3.1 * 2**30)},
        "fits": True,
        "largest_batch_tokens": 4096,
        "data_problem": None,
        "seconds_per_epoch": 290.0,
        "steps_per_epoch": 100,
        "total_steps": 300,
    }
    return values | more


@pytest.mark.parametrize(
    ("found", "line"),
    [
        (facts(), "fits: 3.1 of 11.6 GiB · about 14 min"),
        (facts(memory={"total_bytes": 600 << 20}), "fits: 600.0 MiB of 11.6 GiB · about 14 min"),
        (facts(seconds_per_epoch=4000.0), "fits: 3.1 of 11.6 GiB · about 3 h 20 min"),
        (facts(seconds_per_epoch=10.0), "fits: 3.1 of 11.6 GiB · less than a minute"),
        (facts(seconds_per_epoch=None), "fits: 3.1 of 11.6 GiB · 300 steps, how long is known after a first run"),
        (facts(data_problem="no such file"), "fits: 3.1 of 11.6 GiB · how long depends on the data"),
        (
            facts(fits=False, memory={"total_bytes": 20 << 30}),
            "does not fit: 20.0 of 11.6 GiB · it would with train.batch_tokens = 4096",
        ),
        (
            facts(
                fits=False,
                largest_batch_tokens=None,
                memory={"total_bytes": 20 << 30},
                device={"type": "cpu", "available_bytes": 2 << 30},
            ),
            "does not fit: 20.0 of 2.0 GiB RAM · not even one row does",
        ),
    ],
)
def test_a_plan_in_one_line(found: dict[str, Any], line: str) -> None:
    assert planned.plan_line(found) == line
    assert json.loads(json.dumps(found)) == found
