"""The playground with a real tiny model behind it, by its keys."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from textual.geometry import Region
from textual.pilot import Pilot

from tuiftune.run import played
from tuiftune.run.played import Played
from tuiftune.run.playing import BASE, TUNED, Answer, Playing, Question
from tuiftune.sampling import Sampling
from tuiftune.tui.app import TuiftuneApp
from tuiftune.tui.screens.playground import PlaygroundScreen, Wrote

TEXT = "Once upon a time"


async def type_text(pilot: Pilot[Any], text: str) -> None:
    await pilot.press(*("space" if letter == " " else letter for letter in text))


async def test_a_prompt_is_answered_by_a_checkpoint_and_the_base_and_all_of_it_by_keys(
    run_with_models: Any, workspace: Any, shown: Any
) -> None:
    run = run_with_models
    (run.checkpoints / "step-000010" / "config.json").unlink()
    played.keep(run, Played(1.0, "Asked long ago", Sampling(), 1, {}))
    app = TuiftuneApp(workspace)
    async with app.run_test(size=(80, 40), notifications=True) as pilot:
        await shown(pilot, "1 Profiles")
        await pilot.press("5")
        await shown(pilot, run.id, "final model", "loss 1.75", "Type a prompt and press Enter.", "Asked long ago")
        screen = app.screen
        assert isinstance(screen, PlaygroundScreen)

        await pilot.press("ctrl+o")
        await shown(
            pilot, "Which model answers?", "step 20      loss 1.5  best", "✗ step-000010: config.json is missing"
        )
        await pilot.press("down", "enter")
        await shown(pilot, f"{run.id}   step 20   finished", "base model  tuiftune:babyllama-105")

        await pilot.press("tab", "down", "right", "enter")  # from the prompt: 200 -> 100 tokens, then the temperature
        await shown(pilot, "tokens 100", "higher is more varied")
        await pilot.press("backspace", "backspace", "backspace", "0", ".", "0", "enter", "right", "right", "enter")
        await shown(pilot, "temperature 0 ", "only among the likeliest tokens of this total probability")
        await pilot.press("backspace", "7", "enter")
        await shown(pilot, "top-p is as it was", "'7': must be above 0 and at most 1")
        await pilot.press("escape", "shift+tab")

        await type_text(pilot, f"{TEXT} 5?q")  # digits and the keys of other places are text here
        await pilot.press("backspace", "backspace", "backspace", "backspace", "enter")
        await shown(pilot, "Once upon a time, there was a little", "100 tokens", "the model takes no longer text")
        kept = await until_kept(pilot, screen, run, 2)
        assert (kept.prompt, kept.sampling, kept.seed) == (TEXT, Sampling(100, 0.0, 50, 1.0), 1)
        assert {who: text.model for who, text in kept.texts.items()} == {
            TUNED: "step 20",
            BASE: "tuiftune:babyllama-105",
        }

        await pilot.press("up")
        await shown(pilot, "> Asked long ago")
        await pilot.press("down")
        await shown(pilot, f"> {TEXT}")
        await pilot.press("ctrl+b")
        await shown(pilot, "base off")
        await pilot.press("ctrl+n")
        await shown(pilot, "seed 2")
        kept = await until_kept(pilot, screen, run, 3)
        assert (kept.seed, list(kept.texts)) == (2, [TUNED])
        await pilot.press("ctrl+y")
        await shown(pilot, "Copied", "Also in")
        assert (run.path / "playground.txt").read_text() == f"{TEXT}{kept.texts[TUNED].text}\n"
        assert app.clipboard == f"{TEXT}{kept.texts[TUNED].text}"

        assert screen.player.has_process
        await pilot.press("escape", "1")
        await shown(pilot, "type to filter")
        await pilot.press("5", "f2")
        await shown(pilot, "✓ finished")
    assert not screen.player.has_process, "it ends with the dashboard"


async def until_kept(pilot: Pilot[Any], screen: PlaygroundScreen, run: Any, count: int) -> Played:
    """The newest of the history, once it has so many."""
    for _ in range(1000):
        if len(found := played.read(run)) >= count and not screen.player.is_writing:
            await pilot.pause()
            return found[-1]
        await pilot.pause(0.02)
    raise AssertionError(f"only {len(found)} are kept")


async def test_without_a_model_it_says_what_to_do_and_a_demo_has_none(make: Any, shown: Any) -> None:
    app = TuiftuneApp(make.workspace)
    async with app.run_test(size=(80, 24)) as pilot:
        await shown(pilot, "1 Profiles")
        await pilot.press("5")
        await shown(pilot, "There is no run here yet. Start one under 1 Profiles")
        await pilot.press("x", "enter")
        await shown(pilot, "> x")
        demo = make.new("demo")
        demo.plan(made_up=True)
        demo.finish()
        app.go("playground", demo.run.id)
        await shown(pilot, demo.run.id, "made up by the demo trainer")


async def test_tokens_that_come_repaint_only_the_rows_they_change_and_a_long_text_is_scrolled(
    run_with_models: Any, workspace: Any, shown: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = TuiftuneApp(workspace)
    async with app.run_test(size=(120, 40)) as pilot:
        await shown(pilot, "1 Profiles")
        await pilot.press("5")
        await shown(pilot, "Type a prompt")
        screen = app.screen
        assert isinstance(screen, PlaygroundScreen)
        answer = Answer(
            "final model", "writing", "\n".join(f"line {number}" for number in range(50)), 400, 2.0, device="cpu"
        )
        playing = Playing(Question("Once", screen._subject.asks(True)), {TUNED: answer, BASE: Answer("gpt2")})
        screen.post_message(Wrote(playing))
        text = await shown(pilot, "writes...  400 tokens  200 tokens/s  cpu", "line 49", "waits for its turn")
        assert "esc Stop" in text
        assert "Onceline 0" not in text, "the end is followed"

        repainted: list[Any] = []
        monkeypatch.setattr(screen.tuned, "refresh", lambda *regions, **_: repainted.extend(regions))
        monkeypatch.setattr(screen.base, "refresh", lambda *regions, **_: repainted.extend(regions))
        more = replace(answer, text=answer.text + " and on")
        screen.post_message(Wrote(replace(playing, answers={**playing.answers, TUNED: more})))
        await pilot.pause()
        last = screen.tuned.size.height - 1
        assert repainted == [Region(0, last, screen.tuned.content_size.width, 1)]
        monkeypatch.undo()

        await pilot.press("pageup", "pageup", "pageup", "pageup")
        text = await shown(pilot, "Onceline 0", "↓")
        assert "line 49" not in text


async def test_escape_leads_from_the_settings_back_to_the_prompt(make: Any, shown: Any) -> None:
    make.finished()
    app = TuiftuneApp(make.workspace)
    async with app.run_test(size=(100, 30)) as pilot:
        await shown(pilot, "? Help")
        await pilot.press("5")
        await shown(pilot, "Leave prompt", "tab Settings")
        await pilot.press("tab")
        await shown(pilot, "Type a value", "esc Prompt")
        await pilot.press("escape")
        await shown(pilot, "Leave prompt")
        await pilot.press("a", "b")
        await shown(pilot, "> ab")
        assert app.current_mode == "playground"
