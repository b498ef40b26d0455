"""What is typed while the dashboard opens is not lost, whenever it comes."""

from __future__ import annotations

from typing import Any

import pytest
from textual import events
from textual.screen import Screen

from tuiftune.tui.app import TuiftuneApp
from tuiftune.tui.opening import Opening


@pytest.fixture
def opening(monkeypatch: pytest.MonkeyPatch) -> list[Opening]:
    """The first screens of the apps that are made."""
    made: list[Opening] = []

    def get_default_screen(app: TuiftuneApp) -> Screen[None]:
        made.append(Opening(app._move_in))
        return made[-1]

    monkeypatch.setattr(TuiftuneApp, "get_default_screen", get_default_screen)
    return made


async def test_a_key_that_reaches_the_first_screen_late_goes_to_the_place_that_is_there_by_then(
    make: Any, shown: Any, opening: list[Opening]
) -> None:
    app = TuiftuneApp(make.workspace)
    async with app.run_test(size=(80, 24)) as pilot:
        await shown(pilot, "type to filter")
        opening[0].post_message(events.Key("3", "3"))
        await shown(pilot, "no runs yet")


async def test_a_key_before_that_waits_for_it(make: Any, shown: Any, opening: list[Opening]) -> None:
    app = TuiftuneApp(make.workspace)
    async with app.run_test(size=(80, 24)) as pilot:
        opening[0].on_key(events.Key("3", "3"))
        await shown(pilot, "no runs yet")
