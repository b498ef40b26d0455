"""The plan of the highlighted profile: found out in the background, one at a time, and never in the way."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from textual.message import Message

from tuiftune.catalog import Catalog, ProfileInfo
from tuiftune.errors import RunFailed
from tuiftune.run import plan_cache
from tuiftune.run.child import Child
from tuiftune.run.plan_cache import Known
from tuiftune.run.process import python
from tuiftune.tui import watch
from tuiftune.tui.app import TuiftuneApp
from tuiftune.tui.messages import PlanKnown
from tuiftune.tui.plans import BEING_MADE, LEFT_OUT, NOT_HERE, TRAINING, PlanFiller

PLAN = {"fits": True}


def until(condition: Callable[[], object], deadline_s: float = 20.0) -> None:
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


class Planner:
    """In place of the planner: answers at once, or holds a real child until it is given up."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.kept: dict[str, Known] = {}
        self.children: list[Child] = []
        self.holds: set[str] = set()
        self.answers: dict[str, Known | Exception] = {}

    def known(self, workspace: Path, profile: str) -> Known | None:
        return self.kept.get(profile)

    def find(self, workspace: Path, profile: str, child: Child, most_data_bytes: int) -> Known:
        self.asked.append(profile)
        self.children.append(child)
        if profile in self.holds:
            child.run(python("-c", "import time; time.sleep(600)"))
        answer = self.answers.get(profile, Known(PLAN, "", 1.0))
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def planner(monkeypatch: pytest.MonkeyPatch) -> Planner:
    made = Planner()
    monkeypatch.delenv(LEFT_OUT)
    monkeypatch.setattr(plan_cache, "known", made.known)
    monkeypatch.setattr(plan_cache, "find", made.find)
    monkeypatch.setattr(plan_cache, "has_gpu", lambda: False)
    return made


class Filled:
    """A filler, and what it posted."""

    def __init__(self, workspace: Path, stays_s: float) -> None:
        self.posted: list[PlanKnown] = []
        self.filler = PlanFiller(workspace, self._post, stays_s=stays_s)

    def _post(self, message: Message) -> None:
        assert isinstance(message, PlanKnown)
        self.posted.append(message)

    @property
    def told(self) -> list[tuple[str, Any]]:
        return [(message.profile, message.plan or message.sentence) for message in self.posted]


@pytest.fixture
def fill(workspace: Path) -> Iterator[Callable[..., Filled]]:
    made: list[Filled] = []

    def start(stays_s: float = 0.0) -> Filled:
        made.append(Filled(workspace, stays_s))
        return made[-1]

    yield start
    for one in made:
        one.filler.stop()


def test_what_is_known_is_told_at_once_and_what_is_not_is_found_out(
    planner: Planner, fill: Callable[..., Filled]
) -> None:
    planner.kept["known"] = Known(PLAN, "", 1.0)
    at_once = fill(stays_s=600.0)
    at_once.filler.want("known")
    until(lambda: at_once.told == [("known", PLAN)])
    assert planner.asked == []
    found = fill()
    found.filler.want("other")
    until(lambda: found.told == [("other", BEING_MADE), ("other", PLAN)])


def test_one_that_is_passed_by_is_not_planned(planner: Planner, fill: Callable[..., Filled]) -> None:
    planner.kept["last"] = Known(PLAN, "", 1.0)
    filled = fill(stays_s=600.0)
    for name in ("one", "two", "three", "last"):
        filled.filler.want(name)
    until(lambda: filled.told == [("last", PLAN)])
    assert planner.asked == []


def test_a_plan_that_is_wanted_no_longer_ends_with_its_process(planner: Planner, fill: Callable[..., Filled]) -> None:
    planner.holds = {"slow", "slower"}
    filled = fill()
    filled.filler.want("slow")
    until(lambda: planner.children and planner.children[0]._process is not None)
    first = planner.children[0]._process
    assert first is not None
    filled.filler.want("other")
    until(lambda: ("other", PLAN) in filled.told)
    assert first.returncode is not None
    filled.filler.want("slower")
    until(lambda: len(planner.children) == 3 and planner.children[2]._process is not None)
    last = planner.children[2]._process
    assert last is not None
    filled.filler.stop()
    until(lambda: last.returncode is not None)
    assert [told for told in filled.told if told[0] == "slower"] == [("slower", BEING_MADE)]
    filled.filler.want("after the stop")
    assert planner.asked == ["slow", "other", "slower"]


def test_nothing_is_planned_beside_a_run_that_trains_on_the_same_cpu(
    planner: Planner, fill: Callable[..., Filled], monkeypatch: pytest.MonkeyPatch
) -> None:
    filled = fill()
    filled.filler.want("mine", training=True)
    until(lambda: filled.told == [("mine", TRAINING)])
    filled.filler.want("mine", training=False)  # it has ended
    until(lambda: filled.told[-1] == ("mine", PLAN))
    monkeypatch.setattr(plan_cache, "has_gpu", lambda: True)
    filled.filler.want("other", training=True)
    until(lambda: filled.told[-1] == ("other", PLAN))


def test_why_there_is_no_plan_is_a_sentence(planner: Planner, fill: Callable[..., Filled]) -> None:
    planner.answers = {
        "broken": RunFailed("it broke\nin two lines"),
        "bug": KeyError("key"),
        "fetched": Known(None, "model.name: the Hugging Face hub cannot be reached", 1.0),
        "none": Known(None, "there is no plan for 'demo'", 1.0),
    }
    filled = fill()
    for name, words in {
        "broken": "it broke",
        "bug": "a bug in tuiftune: KeyError: 'key'",
        "fetched": NOT_HERE,
        "none": "",  # nothing that anybody could do about it
    }.items():
        filled.filler.want(name)
        until(lambda name=name, words=words: (name, words) in filled.told)


def test_who_asks_for_none_has_no_thread(workspace: Path, planner: Planner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LEFT_OUT, "1")
    threads = threading.active_count()
    filler = PlanFiller(workspace, lambda message: pytest.fail(str(message)))
    filler.want("mine")
    filler.again()
    filler.stop()
    assert threading.active_count() == threads


async def test_the_card_of_the_highlighted_profile_tells_it(
    planner: Planner, make: Any, shown: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("big", "small", "unknown")
    listed = [ProfileInfo(name, f"{name}.toml", "workspace", "", ["causal_lm"], True) for name in names]
    monkeypatch.setattr(watch, "read_catalog", lambda _: Catalog([], [], {}, listed))
    facts: dict[str, Any] = {
        "device": {"type": "cuda", "available_bytes": 12 << 30},
        "memory": {"total_bytes": 3 << 30},
        "fits": True,
        "largest_batch_tokens": 2044,
        "data_problem": None,
        "seconds_per_epoch": 840.0,
        "steps_per_epoch": 10,
        "total_steps": 10,
    }
    big = {**facts, "fits": False, "memory": {"total_bytes": 30 << 30}}
    planner.kept = {"big": Known(big, "", 1.0), "small": Known(facts, "", 1.0)}
    app = TuiftuneApp(make.workspace)
    async with app.run_test(size=(100, 30)) as pilot:
        await shown(pilot, "does not fit: 30.0 of 12.0 GiB · it would with", "train.batch_tokens = 2044")
        await pilot.press("down")
        await shown(pilot, "fits: 3.0 of 12.0 GiB · about 14 min")
        make.running(10, profile="small")
        app._watcher.look_now()
        await shown(pilot, "● 1")
        await pilot.press("down")
        await shown(pilot, TRAINING)
        await pilot.press("2")
        await pilot.pause()
        assert app.profiles._filler._wanted is None
    assert planner.asked == []
