"""The watcher: what it reads from a run's folder, and what it says when something is wrong there."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from textual.message import Message

from tuiftune.errors import PluginError
from tuiftune.run import launch
from tuiftune.run.process import Lock
from tuiftune.run.smoothing import smooth
from tuiftune.tui import watch
from tuiftune.tui.device_history import bucketed
from tuiftune.tui.log_tail import LOG_BYTES, LOG_LINES, LogTail
from tuiftune.tui.messages import CatalogLoaded, RunGone, RunsChanged, RunSnapshot, RunView
from tuiftune.tui.reading import RunReader


@pytest.fixture
def posted() -> list[Message]:
    return []


@pytest.fixture
def watcher(workspace: Path, posted: list[Message]) -> Iterator[watch.Watcher]:
    made = watch.Watcher(workspace, posted.append)
    yield made
    made.stop()


def wait_for(condition: Callable[[], Any], timeout_s: float = 15.0) -> Any:
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < deadline, "did not come about"
        time.sleep(0.02)
    return found


def look(recorded: Any) -> RunView:
    reader = RunReader(recorded.run, points=256)
    view = reader.look()
    reader.close()
    assert view is not None
    return view


def test_a_view_holds_the_stages_curves_and_baseline_of_a_running_run(make: Any) -> None:
    recorded = make.running(120)
    view = look(recorded)
    assert [(stage.name, stage.status) for stage in view.stages] == [
        ("text", "done"),
        ("tokenize", "done"),
        ("causal_lm", "running"),
        ("perplexity", "waiting"),
    ]
    assert view.stages[1].cached
    assert view.stages[2].fraction == 120 / 600
    assert view.baseline == pytest.approx(math.exp(3.27))
    assert view.best is not None
    assert view.best.step == 100
    assert view.curves["eval/loss"].steps == [0, 50, 100]
    assert len(view.smoothed["train/loss"]) == len(view.curves["train/loss"]) == 120
    assert view.log[-1] == "12:00:05 step 120"
    assert view.elapsed_s == pytest.approx(65, abs=5)


def test_the_time_to_go_follows_the_speed_of_the_stage(make: Any) -> None:
    recorded = make.running(300)  # 300 steps in 48 s
    eta_s = look(recorded).stages[2].eta_s
    assert eta_s is not None
    assert 30 < eta_s < 50


def test_a_stage_that_was_running_when_the_run_failed_is_shown_as_failed(make: Any) -> None:
    recorded = make.running(50)
    recorded.finish("failed", "the worker was killed")
    view = look(recorded)
    assert view.stages[2].status == "failed"
    assert view.state.reason == "the worker was killed"


def test_the_stages_are_known_from_the_profile_before_the_worker_tells(make: Any) -> None:
    recorded = make.new()
    assert [stage.name for stage in look(recorded).stages] == ["text", "tokenize", "causal_lm", "perplexity"]


def test_a_finished_run_is_read_once(make: Any) -> None:
    reader = RunReader(make.finished().run, points=256)
    first = reader.look()
    assert first is not None
    assert first.summary is not None
    assert first.model is not None
    assert reader.look() is None


def test_a_later_look_has_the_new_steps(make: Any) -> None:
    recorded = make.running(20)
    reader = RunReader(recorded.run, points=256)
    reader.look()
    recorded.train(21, 30)
    view = reader.look()
    assert view is not None
    assert view.curves["train/loss"].steps == list(range(1, 31))


def test_after_a_resume_the_steps_done_again_replace_the_old_ones(make: Any) -> None:
    recorded = make.running(100)
    reader = RunReader(recorded.run, points=256)
    reader.look()
    recorded.metrics.rewind(40)
    recorded.metrics.event("run_started", {"attempt": 2}, time.time())
    recorded.metrics.event("resumed", {"step": 40}, time.time())
    recorded.stage(2)
    recorded.train(41, 45)
    recorded.sample(45, "a second time")
    recorded.state("running", attempt=2)
    view = reader.look()
    assert view is not None
    assert view.curves["train/loss"].steps == list(range(1, 46))
    assert view.stages[0].status == "waiting"
    assert view.samples[0].tuned[0].text == "a second time"
    assert view.elapsed_s is not None
    assert view.elapsed_s < 30  # of this attempt


def test_a_loss_that_is_not_a_number_is_a_marked_gap(make: Any) -> None:
    recorded = make.running(10)
    recorded.metrics.metric(11, {"train/loss": math.nan}, time.time())
    view = look(recorded)
    assert math.isnan(view.curves["train/loss"].means[-1])
    assert view.curves["train/loss"].bad[-1]
    assert math.isfinite(view.smoothed["train/loss"][-2])


def test_escape_sequences_do_not_come_through_samples_log_and_reason(make: Any) -> None:
    recorded = make.running(10)
    recorded.sample(10, "red \x1b[31mtext\x1b]0;title\x07\u202e")
    recorded.log("\x1b[2Jcleared")
    recorded.finish("failed", "because of \x1b[5mthis")
    view = look(recorded)
    assert view.samples[0].tuned[0].text == "red text"
    assert view.log[-1] == "cleared"
    assert view.state.reason == "because of this"


def test_a_damaged_metrics_file_is_told_and_the_rest_is_shown(make: Any) -> None:
    recorded = make.new()
    recorded.metrics.close()
    recorded.log("still here")
    for path in recorded.run.path.glob("metrics.db*"):
        path.write_bytes(b"no database " * 1000)
    view = look(recorded)
    assert view.problem is not None
    assert "metrics.db: cannot be read" in view.problem
    assert view.log == ("still here",)


def test_a_metrics_file_made_anew_is_read_from_its_start(make: Any) -> None:
    recorded = make.running(100)
    reader = RunReader(recorded.run, points=256)
    reader.look()
    recorded.metrics.close()
    for path in recorded.run.path.glob("metrics.db*"):
        path.rename(path.with_name(f"set-aside-{path.name}"))
    other = make.new()
    other.train(1, 7)
    other.metrics.close()
    shutil.copy(other.run.metrics_file, recorded.run.metrics_file)
    view = reader.look()
    assert view is not None
    assert view.curves["train/loss"].steps == list(range(1, 8))


def test_a_log_is_read_line_by_line_as_it_grows(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    tail = LogTail(path)
    assert not tail.update()
    path.write_bytes(b"one\ntw")
    assert tail.update()
    assert list(tail.lines) == ["one"]
    with path.open("ab") as file:
        file.write(b"o\n 10%\r 50%\r100%\n")
    tail.update()
    assert list(tail.lines) == ["one", "two", "100%"]
    assert not tail.update()


def test_a_log_that_was_begun_anew_is_read_from_its_start_and_goes_on_after_what_was_shown(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    tail = LogTail(path)
    path.write_text("first\nsecond\n")
    tail.update()
    path.write_text("new\n")
    tail.update()
    assert list(tail.lines) == ["first", "second", "new"]


def test_a_flood_in_a_log_is_skipped_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    path.write_text("x" * (20 * LOG_BYTES) + "\nlast\n")
    tail = LogTail(path)
    tail.update()
    assert [line[:1] for line in tail.lines] == ["…", "l"]
    assert "4.8 MiB that are not shown here" in tail.lines[0]
    path.write_bytes(path.read_bytes() + b"y" * 1_000_000)
    tail.update()
    with path.open("ab") as file:
        file.writelines([b"\nafter\n", *(b"%d\n" % number for number in range(LOG_LINES))])
    tail.update()
    assert max(map(len, tail.lines)) <= 2000
    assert len(tail.lines) == len(tail.levels) == LOG_LINES
    assert tail.lines[-1] == str(LOG_LINES - 1)
    assert tail.first == tail.count - LOG_LINES


def test_smoothing_keeps_a_constant_and_skips_what_is_not_a_number() -> None:
    smoothed = smooth([0, 1, 2, 3], [2.0, 2.0, math.nan, 2.0])
    assert smoothed[:2] == pytest.approx([2.0, 2.0])
    assert math.isnan(smoothed[2])
    assert smoothed[3] == pytest.approx(2.0)


def test_a_history_has_a_value_for_every_five_seconds() -> None:
    assert list(bucketed([(100.0, 1.0), (104.0, 3.0), (106.0, 5.0), (121.0, 7.0)])) == [2.0, 5.0, 7.0]


def test_the_watcher_posts_the_run_it_follows_and_the_list_of_runs(
    make: Any, watcher: watch.Watcher, posted: list[Message]
) -> None:
    recorded = make.running(10)
    watcher.follow(recorded.run)
    watcher.start()
    snapshot = wait_for(lambda: next((m for m in posted if isinstance(m, RunSnapshot)), None))
    assert snapshot.view.run == recorded.run
    listed = wait_for(lambda: next((m for m in posted if isinstance(m, RunsChanged)), None))
    assert [(run.id, run.state) for run in listed.runs] == [(recorded.run.id, "running")]
    recorded.finish()
    watcher.look_now()
    wait_for(lambda: [m for m in posted if isinstance(m, RunsChanged) and m.runs[0].state == "finished"])


def test_a_run_deleted_under_the_watcher_is_said(make: Any, watcher: watch.Watcher, posted: list[Message]) -> None:
    recorded = make.running(10)
    watcher.follow(recorded.run)
    watcher.start()
    wait_for(lambda: [m for m in posted if isinstance(m, RunSnapshot)])
    shutil.rmtree(recorded.run.path)
    gone = wait_for(lambda: next((m for m in posted if isinstance(m, RunGone)), None))
    assert "the folder of this run was deleted" in gone.reason


def test_a_worker_without_a_supervisor_is_given_one(
    make: Any,
    watcher: watch.Watcher,
    posted: list[Message],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(launch, "ensure_supervised", lambda run: asked.append(run.id))
    recorded = make.running(10)
    recorded.release()
    worker = Lock(recorded.run.worker_lock)
    assert worker.take()
    recorded.locks.append(worker)
    watcher.start()
    wait_for(lambda: asked)
    assert asked == [recorded.run.id]


def test_a_catalog_that_cannot_be_read_travels_as_a_sentence(
    watcher: watch.Watcher, posted: list[Message], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_workspace: Path) -> None:
        raise PluginError("plugin 'x' was still loading after 30 s")

    monkeypatch.setattr(watch, "read_catalog", fail)
    watcher.load_catalog()
    loaded = wait_for(lambda: next((m for m in posted if isinstance(m, CatalogLoaded)), None))
    assert loaded.catalog is None
    assert loaded.error == "plugin 'x' was still loading after 30 s"
