"""The places of the dashboard: where a digit, the palette or a click in the top row leads."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tuiftune.tui.screens.place import Place


@dataclass(frozen=True)
class PlaceInfo:
    """A place, and the screen that is made at the first visit."""

    key: str
    name: str
    """Of its mode; also its module in tuiftune.tui.screens."""
    title: str
    screen: str
    """The class of its screen."""
    short: str = ""
    """The title where there is little room."""
    about: str = ""
    """What is there, for the palette."""


PLACES = (
    PlaceInfo("1", "profiles", "Profiles", "ProfilesScreen", about="choose what is trained, and start it"),
    PlaceInfo("2", "run", "Run", "RunScreen", about="one run, live or as it was"),
    PlaceInfo("3", "runs", "Runs", "RunsScreen", about="all runs, compared, kept in order; the queue"),
    PlaceInfo("4", "data", "Data", "DataScreen", about="what a profile would train on"),
    PlaceInfo("5", "playground", "Playground", "PlaygroundScreen", "Play", about="ask a run's models and its base"),
    PlaceInfo("6", "plugins", "Plugins", "PluginsScreen", about="stages with their options; a plugin of your own"),
    PlaceInfo(
        "7", "system", "System", "SystemScreen", about="this machine: GPUs, who is on them, what the doctor says"
    ),
)
BY_NAME = {place.name: place for place in PLACES}


def make(info: PlaceInfo, workspace: Path) -> Place:
    """Its screen. Imported here: nobody waits at the start for a place that is not visited."""
    module = importlib.import_module(f"tuiftune.tui.screens.{info.name}")
    place: Place = getattr(module, info.screen)(workspace)
    return place
