"""A short list of profiles to choose one from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.cells import cell_len, set_cell_size
from textual.binding import Binding
from textual.content import Content
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from tuiftune.catalog import ProfileInfo
from tuiftune.text import one_line

LONGEST_NAME = 26


class ProfileChoice(OptionList):
    """Profiles that can be run; the one used last is the first."""

    help_title: ClassVar[str] = "Profiles"
    help_text: ClassVar[str] = "Those that can be run, the one that was run last first. Enter chooses."
    BINDINGS = [Binding("enter", "select", "Choose")]
    DEFAULT_CSS = """
    ProfileChoice {
        height: 1fr;
        border: none;
        padding: 0;
        background: transparent;
        text-wrap: nowrap;
        text-overflow: ellipsis;
        scrollbar-size-vertical: 1;
        & > .option-list--option { padding: 0 1; }
        & > .option-list--option-highlighted { background: $primary 15%; color: $foreground; text-style: none; }
        & > .option-list--option-hover { background: $primary 8%; }
        &:focus {
            border: none;
            background-tint: transparent 0%;
            & > .option-list--option-highlighted { background: $primary 35%; color: $foreground; text-style: none; }
        }
    }
    """

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id, markup=False)
        self._names: list[str] = []
        self._shown: tuple[object, ...] = ()

    @property
    def name_chosen(self) -> str | None:
        """The highlighted profile's."""
        index = self.highlighted
        return None if index is None or index >= len(self._names) else self._names[index]

    def show(self, profiles: Sequence[ProfileInfo], last_used: str | None) -> None:
        """List those that can be run; drawn anew only where that differs."""
        listed = [profile for profile in profiles if profile.runnable or profile.problems]
        listed.sort(key=lambda profile: profile.name != last_used)  # stable: the others stay as they are
        shown = (*listed, last_used)
        if shown == self._shown:
            return
        keep, self._shown = self.name_chosen, shown
        self._names = [profile.name for profile in listed]
        width = min(LONGEST_NAME, max([cell_len(one_line(name)) for name in self._names], default=0))
        self.set_options([Option(_row(profile, width, profile.name == last_used)) for profile in listed])
        if self._names:
            self.highlighted = self._names.index(keep) if keep in self._names else 0


def _row(profile: ProfileInfo, width: int, last: bool) -> Content:
    mark = ("✗ ", "$text-error") if profile.problems else ("  ", "")
    name = (set_cell_size(one_line(profile.name), width), "bold")
    note = "run last · " if last else ""
    return Content.assemble(mark, name, "  ", (note + one_line(profile.description), "$foreground 70%"))
