"""What the places of the dashboard have in common: the top row, the row of keys, and the way back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.screen import Screen

from tuiftune.catalog import Catalog
from tuiftune.run.summary import RunSummary
from tuiftune.tui.messages import Glance
from tuiftune.tui.panes.keys import KeysPane
from tuiftune.tui.panes.top import TopPane


class Place(Screen[None]):
    """Base of the screens that a digit leads to. `body` is what a place is made of."""

    help_text: ClassVar[str] = ""

    def __init__(self, workspace: Path | None = None) -> None:
        """`workspace`: where its profiles, plugins and runs are; the current folder by default."""
        super().__init__()
        self.workspace = workspace or Path.cwd()
        self.top = TopPane()

    def compose(self) -> ComposeResult:
        yield self.top
        yield from self.body()
        yield KeysPane()

    def body(self) -> ComposeResult:
        """What lies between the top row and the keys."""
        yield from ()

    def on_mount(self) -> None:
        set_size_classes(self)

    # What the app hands to every place; each takes what it shows.

    def glance(self, glance: Glance) -> None:
        """The machine and the active runs, for the top row."""
        self.top.show(glance)

    def about(self, subject: str | None) -> None:
        """Somebody comes with a subject: a profile's name, a run's id; None where there is none."""

    def show_runs(self, runs: Sequence[RunSummary]) -> None:
        """All runs of the workspace, the newest first."""

    def show_catalog(self, catalog: Catalog | None, error: str | None) -> None:
        """Profiles and plugins; None while they are read, or where `error` says why they cannot be."""

    def left(self) -> None:
        """Another place is shown now."""


def set_size_classes(screen: Screen[Any]) -> None:
    """For `on_mount`: Textual sets the classes of size after a first layout and frame; before it they save that one."""
    app = screen.app
    for size, breakpoints in (
        (app.size.width, screen.HORIZONTAL_BREAKPOINTS or app.HORIZONTAL_BREAKPOINTS),
        (app.size.height, screen.VERTICAL_BREAKPOINTS or app.VERTICAL_BREAKPOINTS),
    ):
        screen.add_class(*[name for least, name in breakpoints or () if size >= least][-1:])
