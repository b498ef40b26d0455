"""The app: where it opens, what its keys ask for, and how it is left."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from textual.app import App

from tuiftune.catalog import Catalog, ProfileInfo, ResolvedProfile
from tuiftune.errors import PluginError, Problem, RunFailed, RunNotFound, TuiftuneError
from tuiftune.run import launch, logind, logout
from tuiftune.run.folder import Run
from tuiftune.tui import starting, watch
from tuiftune.tui.app import TuiftuneApp, run_dashboard
from tuiftune.tui.screens.profiles import RunOpened
from tuiftune.tui.screens.start import StartScreen

SIZE = (100, 30)
HEAVY = ("torch", "transformers", "datasets", "numpy", "pluggy", "pydantic", "accelerate", "pynvml")


def profile(name: str) -> ProfileInfo:
    return ProfileInfo(name, f"profiles/{name}.toml", "workspace", f"what {name} does", ["text", "causal_lm"], True)


@pytest.fixture
def catalog(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two profiles, without the child that reads them."""
    found = Catalog([], [], {}, [profile("quickstart"), profile("other")])
    monkeypatch.setattr(watch, "read_catalog", lambda _workspace: found)


def resolved(name: str, *problems: Problem, notes: tuple[str, ...] = ()) -> ResolvedProfile:
    return ResolvedProfile(name, f"profiles/{name}.toml", "", {}, {}, [], list(problems), list(notes), {})


@pytest.mark.usefixtures("catalog")
async def test_without_an_active_run_the_profiles_are_shown(make: Any, shown: Any) -> None:
    make.finished()
    app = TuiftuneApp(make.workspace)
    async with app.run_test(size=SIZE) as pilot:
        await shown(pilot, "quickstart", "other", "what quickstart does")
        assert app.screen is app.profiles


async def test_with_several_active_runs_the_newest_is_opened_and_the_others_counted(make: Any, shown: Any) -> None:
    make.running(10, profile="older")
    time.sleep(1.1)  # the order of runs is that of the seconds in their ids
    newest = make.running(20, profile="newer")
    app = TuiftuneApp(make.workspace)
    async with app.run_test(size=SIZE) as pilot:
        await shown(pilot, newest.run.id, "20/600 steps", "● 2")


def test_a_run_that_is_not_there_is_said_before_anything_is_drawn(make: Any) -> None:
    make.finished()
    with pytest.raises(RunNotFound, match="'nothing' is no run of this workspace"):
        TuiftuneApp(make.workspace, "nothing")


@pytest.mark.usefixtures("catalog")
async def test_p_and_escape_lead_to_the_profiles_and_enter_on_a_run_leads_back(make: Any, shown: Any) -> None:
    recorded = make.running(60)
    app = TuiftuneApp(make.workspace)
    async with app.run_test(size=SIZE) as pilot:
        await shown(pilot, "60/600 steps")
        await pilot.press("p")
        await shown(pilot, "what quickstart does", "● running  quickstart  1 min ago  60/600")
        app.profiles.post_message(RunOpened(recorded.run.id))
        await shown(pilot, "60/600 steps", "causal_lm")
        await pilot.press("escape")
        await shown(pilot, "what quickstart does")


@pytest.mark.usefixtures("catalog")
async def test_the_run_of_yesterday_is_opened_from_the_menu(make: Any, shown: Any) -> None:
    recorded = make.finished()
    app = TuiftuneApp(make.workspace)
    async with app.run_test(size=SIZE) as pilot:
        await shown(pilot, "what quickstart does", "✓ finished  quickstart", "tab Runs")
        await pilot.press("tab")
        await shown(pilot, recorded.run.id, "enter opens it")
        await pilot.press("enter")
        await shown(pilot, "below baseline", f"tuiftune generate {recorded.run.id}")


@pytest.mark.usefixtures("catalog")
async def test_enter_on_a_profile_starts_it_once_and_shows_the_run(
    make: Any, shown: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Run] = []

    def start(_workspace: Path, found: ResolvedProfile, **_more: object) -> Run:
        started.append(make.running(30, profile=found.name).run)
        return started[-1]

    monkeypatch.setattr(starting, "resolve_profile", lambda _workspace, name, _overrides=(): resolved(name))
    monkeypatch.setattr(launch, "start", start)
    app = TuiftuneApp(make.workspace)
    async with app.run_test(size=SIZE) as pilot:
        await shown(pilot, "what quickstart does")
        await pilot.press("enter")
        await shown(pilot, "Start quickstart?")
        await pilot.press("enter", "enter")
        await shown(pilot, "● running", "30/600 steps")
        assert len(started) == 1


@pytest.mark.usefixtures("catalog")
async def test_a_profile_for_any_file_asks_which_and_starts_with_it(
    make: Any, shown: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []
    absent = Problem("data/input.txt: no such file (looked for /x)", "p.toml", 3, "dataset.path", "Set it")

    def resolve(_workspace: Path, name: str, overrides: Sequence[str] = ()) -> ResolvedProfile:
        asked.append(list(overrides))
        return dataclasses.replace(resolved(name), absent=[] if overrides else [absent])

    monkeypatch.setattr(starting, "resolve_profile", resolve)
    monkeypatch.setattr(launch, "start", lambda *_found, **_more: make.running(30).run)
    app = TuiftuneApp(make.workspace)
    async with app.run_test(size=SIZE) as pilot:
        await shown(pilot, "what quickstart does")
        await pilot.press("enter")
        await shown(pilot, "What is quickstart to be run on?", "data/input.txt: no such file")
        await pilot.press("escape")
        await shown(pilot, "what quickstart does")
        await pilot.press("enter")
        await shown(pilot, "What is quickstart to be run on?")
        await pilot.press(*"my mails.txt", "enter")
        await shown(pilot, "Start quickstart?")
        await pilot.press("enter")
        await shown(pilot, "● running", "30/600 steps")
    assert asked == [[], [], ['dataset.path="my mails.txt"']]


@pytest.mark.usefixtures("catalog")
async def test_a_value_is_changed_before_the_start_checked_anew_and_the_run_queued(
    make: Any, shown: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []
    waiting: list[tuple[int, Sequence[str]]] = []

    def resolve(_workspace: Path, name: str, overrides: Sequence[str] = ()) -> ResolvedProfile:
        asked.append(list(overrides))
        if overrides:
            time.sleep(0.5)
        given = dict(one.split("=") for one in overrides)
        train = {"epochs": int(given.get("train.epochs", 3)), "batch_size": 4, "grad_accum": 2}
        origin = dict.fromkeys(given, "--set")
        wrong = [Problem("no such option", "--set", None, key) for key in given if key.startswith("x.")]
        found = dataclasses.replace(resolved(name, *wrong), effective={"train": train}, origin=origin)
        return found if not wrong else dataclasses.replace(found, effective={})

    def start(_workspace: Path, one: ResolvedProfile, *, command: Sequence[str], queued: bool, **_more: object) -> Run:
        assert queued
        waiting.append((one.effective["train"]["epochs"], command))
        run: Run = make.running(30).run
        return run

    monkeypatch.setattr(starting, "resolve_profile", resolve)
    monkeypatch.setattr(launch, "start", start)
    app = TuiftuneApp(make.workspace)
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await shown(pilot, "what quickstart does")
        await pilot.press("enter")
        await shown(pilot, "Start quickstart?", "4 x 2 = 8 samples a step", "train.epochs      3")
        await pilot.press("e")
        await shown(pilot, "now 3, from default")
        await pilot.press("backspace", "5", "enter", "q", "D", "3")
        await shown(pilot, "train.epochs      5  changed here")
        assert app.current_mode == "profiles", "keys while it is checked are for nothing below"
        await pilot.press("plus", *"x.y=1", "enter")
        await shown(pilot, "quickstart cannot be started so", "x.y: no such option")
        await pilot.press("escape")
        await shown(pilot, "train.epochs      5  changed here")
        await pilot.press("a")
        await shown(pilot, "In the queue")
        await pilot.press("space", "space", "enter")
        await shown(pilot, "2 runs, one after the other")
    assert asked == [[], ["train.epochs=5"], ["train.epochs=5", "x.y=1"], [], []]
    run = ["tuiftune", "run"]
    assert waiting == [
        (5, [*run, "quickstart", "--set", "train.epochs=5", "--queue"]),
        (3, [*run, "quickstart", "--queue"]),
        (3, [*run, "other", "--queue"]),
    ]


async def test_a_file_that_is_mistyped_in_the_start_window_is_asked_for_again(
    make: Any, shown: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the real check: quickstart's own text, a name that there is not, one that Tab completes."""
    monkeypatch.chdir(make.workspace)
    (make.workspace / "mine.txt").write_text("a line of mine\n" * 30)
    app = TuiftuneApp(make.workspace)
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        await shown(pilot, "quickstart")
        await pilot.press("/", *"quicks", "down", "enter")
        await shown(pilot, "Start quickstart?", "e on dataset.path takes yours", "▸ dataset.path")
        await pilot.press("e")
        await shown(pilot, "tab completes the name")
        await pilot.press(*"nofile.txt", "enter")
        await shown(pilot, "nofile.txt: no such file", "What is quickstart to be run on?")
        await pilot.press(*["backspace"] * 10, *"mi", "tab")
        await shown(pilot, "mine.txt")
        await pilot.press("enter")
        await shown(pilot, "Start quickstart?", "mine.txt  changed here")


@pytest.mark.parametrize("height", [24, 14])
async def test_the_keys_that_answer_the_start_are_there_however_much_there_is_to_say(shown: Any, height: int) -> None:
    train = {"epochs": 3, "batch_size": 4, "grad_accum": 2, "learning_rate": 1e-3, "precision": "auto", "max_steps": 9}
    about = dataclasses.replace(
        resolved("x", notes=("code of the model's author will run. " * 12,)),
        effective={"train": train, "dataset": {"path": "a.txt"}, "model": {"name": "gpt2"}},
    )
    app: App[None] = App()
    async with app.run_test(size=(80, height)) as pilot:
        app.push_screen(StartScreen("Start x?", about, ()))
        await pilot.pause()
        await pilot.press(*["down"] * 7)
        await shown(pilot, "Start x?", "enter start   e change", "▸ train.precision")


@pytest.mark.usefixtures("catalog")
async def test_every_problem_of_a_profile_is_shown_and_nothing_started(
    make: Any, shown: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    problems = [
        Problem("not an option", "profiles/quickstart.toml", 7, "dataset.pth", "Did you mean 'path'?"),
        Problem("must be an integer", "profiles/quickstart.toml", 9, "train.epochs"),
    ]
    monkeypatch.setattr(starting, "resolve_profile", lambda _workspace, name, _overrides=(): resolved(name, *problems))
    app = TuiftuneApp(make.workspace)
    async with app.run_test(size=SIZE) as pilot:
        await shown(pilot, "what quickstart does")
        await pilot.press("enter")
        text = await shown(pilot, "quickstart cannot be started")
        assert "profiles/quickstart.toml:7: dataset.pth: not an option. Did you mean 'path'?" in " ".join(text.split())
        assert "profiles/quickstart.toml:9: train.epochs: must be an integer" in " ".join(text.split())


@pytest.mark.usefixtures("catalog")
async def test_what_a_profile_allows_is_agreed_to_before_it_starts(
    make: Any, shown: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    note = "model.trust_remote_code is true: code of the model's author will run"
    monkeypatch.setattr(
        starting, "resolve_profile", lambda _workspace, name, _overrides=(): resolved(name, notes=(note,))
    )
    monkeypatch.setattr(launch, "start", lambda *_, **__: pytest.fail("started without a yes"))
    app = TuiftuneApp(make.workspace)
    async with app.run_test(size=SIZE) as pilot:
        await shown(pilot, "what quickstart does")
        await pilot.press("enter")
        await shown(pilot, "Start quickstart?", "code of the model's author will run")
        await pilot.press("escape")
        await shown(pilot, "what quickstart does")


@pytest.mark.usefixtures("catalog")
async def test_a_run_that_a_logout_would_end_is_not_started_before_that_is_said(
    make: Any, shown: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(starting, "resolve_profile", lambda _workspace, name, _overrides=(): resolved(name))
    monkeypatch.setattr(logout, "_place", lambda: ("manager", os.getuid()))
    answers = iter([False, True])  # asked anew at each start: the user has done as told
    monkeypatch.setattr(logind, "lingers", lambda _uid, _name: next(answers))
    started: list[str] = []

    def start(_workspace: Path, one: ResolvedProfile, **_: Any) -> Any:
        started.append(one.name)
        raise TuiftuneError("so much is enough here")

    monkeypatch.setattr(launch, "start", start)
    app = TuiftuneApp(make.workspace)
    try:
        async with app.run_test(size=SIZE) as pilot:
            await shown(pilot, "what quickstart does")
            await pilot.press("enter")
            await shown(pilot, "Start quickstart?", "this run will not survive your logout", "loginctl enable-linger")
            assert started == []
            await pilot.press("escape")
            await shown(pilot, "what quickstart does")
            await pilot.press("enter")
            await shown(pilot, "Start quickstart?")
            await pilot.press("enter")
            await shown(pilot, "so much is enough here")
            assert started == ["quickstart"]
    finally:
        logout.look.cache_clear()


@pytest.mark.usefixtures("catalog")
@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PluginError("plugin 'x' was still loading after 30 s"), "plugin 'x' was still loading after 30 s"),
        (ZeroDivisionError("oops"), "ZeroDivisionError: oops"),
    ],
)
async def test_what_fails_in_a_thread_is_shown_and_the_app_stays_up(
    make: Any, shown: Any, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    def fail(_workspace: Path, _name: str, _overrides: Sequence[str] = ()) -> None:
        raise error

    monkeypatch.setattr(starting, "resolve_profile", fail)
    app = TuiftuneApp(make.workspace)
    async with app.run_test(size=SIZE) as pilot:
        await shown(pilot, "what quickstart does")
        await pilot.press("enter")
        await shown(pilot, said)
        await pilot.press("escape")
        await shown(pilot, "what quickstart does")


async def test_s_asks_and_then_stops_the_run(make: Any, shown: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = make.running(60)
    monkeypatch.setattr(launch, "ask", lambda _run, kind: recorded.finish("stopped", f"{kind} as asked") or "done")
    app = TuiftuneApp(make.workspace)
    async with app.run_test(size=SIZE) as pilot:
        await shown(pilot, "60/600 steps")
        await pilot.press("s")
        await shown(pilot, f"Stop {recorded.run.id}?", "It writes a checkpoint first")
        await pilot.press("enter")
        await shown(pilot, "■ stopped", "stop as asked")


async def test_r_goes_on_with_a_run_or_says_why_not(make: Any, shown: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = make.running(60)
    recorded.finish("stopped")

    def refuse(_run: Run, _force: bool = False) -> None:
        raise RunFailed("the supervisor did not come up")

    monkeypatch.setattr(launch, "resume", refuse)
    app = TuiftuneApp(make.workspace, recorded.run.id)
    async with app.run_test(size=SIZE) as pilot:
        await shown(pilot, "■ stopped", "r Resume")
        await pilot.press("r")
        await shown(pilot, "cannot be resumed", "the supervisor did not come up")
        await pilot.press("escape")
        monkeypatch.setattr(launch, "resume", lambda _run, _force: recorded.state("running", attempt=2))
        await pilot.press("r")
        await shown(pilot, "● running  attempt 2")


async def test_space_and_c_ask_the_run_and_show_its_answer(
    make: Any, shown: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded = make.running(60)
    asked: list[str] = []

    def ask(_run: Run, kind: str, _timeout_s: float | None = None) -> str:
        asked.append(kind)
        if kind == "checkpoint":
            return "refused: the disk is full"
        recorded.state(
            "paused" if kind == "pause" else "running", reason="paused as asked" if kind == "pause" else None
        )
        return "done: it waits at step 60" if kind == "pause" else "done"

    monkeypatch.setattr(launch, "ask", ask)
    app = TuiftuneApp(make.workspace)
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        await shown(pilot, "60/600 steps")
        await pilot.press("c")
        await shown(pilot, f"Checkpoint {recorded.run.id}", "refused: the disk is full")
        await pilot.press("space")
        await shown(pilot, f"Pause {recorded.run.id}", "done: it waits at step 60", "‖ paused", "r Resume")
        await pilot.press("space")
        await shown(pilot, f"Resume {recorded.run.id}", "● running", "space Pause")
        await pilot.press("space")
        await shown(pilot, "‖ paused")
        await pilot.press("r")
        await shown(pilot, "● running")
        assert asked == ["checkpoint", "pause", "resume", "pause", "resume"]


async def test_a_key_pressed_twice_asks_once_and_no_answer_is_said(
    make: Any, shown: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded = make.running(60)
    asked: list[str] = []
    waiting = threading.Event()

    def ask(_run: Run, kind: str) -> str:
        asked.append(kind)
        waiting.wait(20)
        raise RunFailed("asked to pause, and no answer within 50 s")

    monkeypatch.setattr(launch, "ask", ask)
    app = TuiftuneApp(make.workspace)
    async with app.run_test(size=SIZE) as pilot:
        await shown(pilot, "60/600 steps")
        await pilot.press("space", "space")
        await pilot.pause()
        waiting.set()
        await shown(pilot, f"{recorded.run.id}: no pause yet", "no answer within 50 s")
        assert asked == ["pause"]


async def test_help_lists_keys_and_what_the_panes_say(make: Any, shown: Any) -> None:
    make.running(60)
    app = TuiftuneApp(make.workspace)
    async with app.run_test(size=(120, 60)) as pilot:
        await shown(pilot, "60/600 steps")
        await pilot.press("question_mark")
        await shown(pilot, "This screen only looks", "Stop", "The stages of the profile in order")


@pytest.mark.usefixtures("catalog")
async def test_a_run_deleted_while_it_is_shown_is_said(make: Any, shown: Any) -> None:
    recorded = make.running(60)
    app = TuiftuneApp(make.workspace)
    async with app.run_test(size=SIZE) as pilot:
        await shown(pilot, "60/600 steps")
        shutil.rmtree(recorded.run.path)
        await shown(pilot, "the folder of this run was deleted")
        await pilot.press("escape")
        await pilot.pause()
        assert app.screen is app.profiles


async def test_q_leaves_and_the_run_goes_on(
    make: Any, shown: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded = make.running(60)
    app = TuiftuneApp(make.workspace)
    async with app.run_test(size=SIZE) as pilot:
        await shown(pilot, "60/600 steps")
        await pilot.press("q")
        await pilot.pause()
    assert app.return_code == 0
    monkeypatch.setattr(TuiftuneApp, "run", lambda self, **_: self.exit(return_code=0))
    assert run_dashboard(make.workspace) == 0
    assert capsys.readouterr().err == f"run {recorded.run.id} goes on; come back with: tuiftune\n"


def test_the_dashboard_imports_nothing_heavy() -> None:
    code = f"import sys, tuiftune.tui.app; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.usefixtures("catalog")
async def test_the_palette_names_each_action_once_and_has_no_second_word_for_leaving(make: Any, shown: Any) -> None:
    make.running(60)
    app = TuiftuneApp(make.workspace)
    async with app.run_test(size=(80, 40)) as pilot:
        await shown(pilot, "60/600 steps")
        await pilot.press("question_mark", "ctrl+p")
        text = await shown(pilot, "Close", "Theme")
        assert text.count("Close\n") == 1
        assert "Quit" not in text
