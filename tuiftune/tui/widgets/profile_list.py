"""The menu's list of profiles: grouped, filtered, the ones that only serve others dimmed at the end."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from rich.cells import cell_len, set_cell_size
from textual.binding import Binding
from textual.content import Content
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from tuiftune.catalog import ProfileInfo
from tuiftune.text import one_line

YOURS, SHIPPED, BASES = "yours", "shipped", "to build on"
"""The groups, in the order shown."""
LONGEST_NAME = 26


@dataclass(frozen=True)
class Shown:
    """What the list was last made from."""

    profiles: tuple[ProfileInfo, ...]
    active: frozenset[str]
    words: tuple[str, ...]
    message: str
    marked: tuple[str, ...] = ()


class ProfileList(OptionList):
    """Profiles to choose from."""

    help_title: ClassVar[str] = "Profiles"
    help_text: ClassVar[str] = (
        "A profile is a TOML file that says what is trained on what, and how. 'Yours' are those of this workspace "
        "and your own; the ones under 'to build on' are not run, other profiles extend them. "
        "✗ marks one with problems, ● one with an active run, a number one that is to be queued."
    )
    BINDINGS = [
        Binding("enter", "select", "Run"),
        Binding("tab", "screen.focus_runs", "Runs"),
    ]
    DEFAULT_CSS = """
    ProfileList {
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
        & > .option-list--option-disabled { color: $foreground; }
        &:focus {
            border: none;
            background-tint: transparent 0%;
            & > .option-list--option-highlighted { background: $primary 35%; color: $foreground; text-style: none; }
        }
    }
    """

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id, markup=False)
        self._profiles: list[ProfileInfo | None] = []
        """By index of the option; None for a heading."""
        self._shown: Shown | None = None
        self._marked: list[str] = []

    @property
    def marked(self) -> tuple[str, ...]:
        """The marked profiles, in the order of their marks."""
        return tuple(self._marked)

    def toggle_mark(self, name: str) -> None:
        """Mark a profile, or take its mark away; those after it move up."""
        if name in self._marked:
            self._marked.remove(name)
        else:
            self._marked.append(name)
        self._show_anew()

    def take_marks(self) -> tuple[str, ...]:
        """The marked profiles, which are marked no longer."""
        marked = self.marked
        self._marked.clear()
        if marked:
            self._show_anew()
        return marked

    def _show_anew(self) -> None:
        """Draw the marks; no row comes or goes."""
        shown = self._shown
        if shown is None:
            return
        self._shown = replace(shown, marked=self.marked)
        width = width_of([profile for profile in self._profiles if profile])
        for index, profile in enumerate(self._profiles):
            if profile is not None:
                row = _row(profile, width, shown.words, profile.name in shown.active, self._marked)
                self.replace_option_prompt_at_index(index, row)

    @property
    def profile(self) -> ProfileInfo | None:
        """The highlighted profile."""
        index = self.highlighted
        return None if index is None or index >= len(self._profiles) else self._profiles[index]

    def show(
        self, profiles: Sequence[ProfileInfo], *, active: Collection[str] = (), query: str = "", message: str = ""
    ) -> None:
        """List the profiles that match every word of `query`; `message` stands where there is none.

        The highlight stays on its profile; with a new query it goes to the best match.
        """
        words = tuple(query.lower().split())
        self._marked = [name for name in self._marked if any(profile.name == name for profile in profiles)]
        shown = Shown(tuple(profiles), frozenset(active), words, message, self.marked)
        if shown == self._shown:
            return
        keep = self.profile.name if self.profile and self._shown and self._shown.words == words else None
        self._shown = shown
        found = [profile for profile in profiles if matches(profile, words)]
        rows = list(rows_of(found, words, shown.active, self._marked)) or [
            (None, Content.styled(message, "$foreground 60%"))
        ]
        self._profiles = [profile for profile, _ in rows]
        self.set_options([Option(text, disabled=profile is None) for profile, text in rows])
        self.highlighted = best_match(self._profiles, words, keep)


def matches(profile: ProfileInfo, words: Sequence[str]) -> bool:
    """Whether each word is in the profile's name, description or pipeline."""
    text = " ".join((profile.name, profile.description, *profile.pipeline)).lower()
    return all(word in text for word in words)


def best_match(profiles: Sequence[ProfileInfo | None], words: Sequence[str], keep: str | None) -> int | None:
    """The row to highlight: the one called `keep`, else one whose name begins with the first word, else one
    whose name has it, else the first."""
    word = words[0] if words else ""

    def fit(name: str) -> int:
        return 3 if name == keep else 2 * name.lower().startswith(word) or word in name.lower()

    rows = [(fit(profile.name), -index) for index, profile in enumerate(profiles) if profile]
    return -max(rows)[1] if rows else None


def group_of(profile: ProfileInfo) -> str:
    """A broken file may have lost its stages: it stays where its owner looks for it."""
    if not profile.runnable and not profile.problems:
        return BASES
    return SHIPPED if profile.source == "shipped" else YOURS


def rows_of(
    profiles: Sequence[ProfileInfo], words: Sequence[str], active: Collection[str], marked: Sequence[str] = ()
) -> Iterator[tuple[ProfileInfo | None, Content]]:
    """(profile or None, text) of each row, headings among them."""
    width = width_of(profiles)
    first = True
    for group in (YOURS, SHIPPED, BASES):
        members = [profile for profile in profiles if group_of(profile) == group]
        if members:
            yield None, Content.styled(group if first else f"\n{group}", "$foreground 50%")
            first = False
        for profile in members:
            yield profile, _row(profile, width, words, profile.name in active, marked)


def width_of(profiles: Sequence[ProfileInfo]) -> int:
    """Cells of the column of names."""
    return min(LONGEST_NAME, max([cell_len(one_line(profile.name)) for profile in profiles], default=0))


def _row(profile: ProfileInfo, width: int, words: Sequence[str], active: bool, marked: Sequence[str]) -> Content:
    mark = ("✗ ", "$text-error") if profile.problems else ("● ", "$text-primary") if active else ("  ", "")
    if profile.name in marked:
        mark = (f"{marked.index(profile.name) + 1} ", "bold $text-accent")
    base = group_of(profile) == BASES
    name = Content(set_cell_size(one_line(profile.name), width)).stylize("$foreground 50%" if base else "bold")
    for word in words:
        at = name.plain.lower().find(word)
        if at >= 0:
            name = name.stylize("bold underline $text-accent", at, at + len(word))
    description = (one_line(profile.description), f"$foreground {'45%' if base else '70%'}")
    return Content.assemble(mark, name, "  ", description)
