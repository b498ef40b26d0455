"""How the next token is chosen, in a row that keys change."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from textual import events
from textual.binding import Binding
from textual.message import Message

from tuiftune.run.playing import DEVICES
from tuiftune.sampling import Sampling
from tuiftune.tui.panes.rows import Row, Rows, Span, row_cells

GAP = "   "


@dataclass(frozen=True)
class Settings:
    """All that a question has beside its prompt."""

    sampling: Sampling = field(default_factory=Sampling)
    seed: int = 1
    device: str = "auto"
    base: bool = True
    """Whether the base model answers too."""


@dataclass(frozen=True)
class Setting:
    """One of them."""

    name: str
    short: str
    """The name where there is little room."""
    about: str
    steps: Sequence[float | str] = ()
    """What up and down go through."""
    parse: Callable[[str], float | str] = str

    def of(self, settings: Settings) -> float | str | bool:
        found: float | str | bool = getattr(
            settings if hasattr(settings, self.field) else settings.sampling, self.field
        )
        return found

    @property
    def field(self) -> str:
        return {"tokens": "max_new_tokens"}.get(self.name, self.name.replace("-", "_"))

    def changed(self, settings: Settings, value: float | str) -> Settings:
        values: dict[str, Any] = {self.field: value == "on" if self.name == "base" else value}
        if hasattr(settings, self.field):
            return replace(settings, **values)
        return replace(settings, sampling=replace(settings.sampling, **values))

    def shown(self, settings: Settings) -> str:
        value = self.of(settings)
        if isinstance(value, bool):
            return "on" if value else "off"
        if self.name == "top-k" and value == 0:
            return "all"
        return f"{value:g}" if isinstance(value, float) else str(value)

    def stepped(self, settings: Settings, by: int) -> Settings:
        """The next greater (1) or smaller (-1) of its steps; of words the next in turn."""
        now = self.of(settings)
        if isinstance(now, bool | str):
            words = list(self.steps)
            here = words.index(self.shown(settings)) if self.shown(settings) in words else 0
            return self.changed(settings, words[(here + by) % len(words)])
        if not self.steps:
            return self.changed(settings, max(0, int(now) + by))
        values = [float(step) for step in self.steps if not isinstance(step, str)]
        further = [value for value in values if (value > now if by > 0 else value < now)]
        if not further:
            return settings
        value = min(further) if by > 0 else max(further)
        return self.changed(settings, int(value) if isinstance(now, int) else value)


def _whole(least: int) -> Callable[[str], float]:
    def parse(text: str) -> float:
        value = int(text.replace(",", "").strip())
        if not least <= value < 2**63:
            raise ValueError(f"must be a whole number of at least {least}")
        return value

    return parse


def _number(text: str) -> float:
    value = float(text)
    if not (math.isfinite(value) and value >= 0):
        raise ValueError("must be a number of at least 0")
    return value


def _probability(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1:
        raise ValueError("must be above 0 and at most 1")
    return value


def _device(text: str) -> str:
    if text.strip() not in DEVICES:
        raise ValueError(f"must be one of {', '.join(DEVICES)}")
    return text.strip()


def _on_or_off(text: str) -> str:
    if text.strip() not in ("on", "off"):
        raise ValueError("must be on or off")
    return text.strip()


SETTINGS = (
    Setting("tokens", "tok", "most new tokens", (16, 32, 64, 100, 200, 300, 500, 1000, 2000, 4000), _whole(1)),
    Setting(
        "temperature",
        "temp",
        "higher is more varied; 0 takes the likeliest token",
        (0.0, *(tenth / 10 for tenth in range(1, 16)), 2.0),
        _number,
    ),
    Setting(
        "top-k",
        "k",
        "only among so many likeliest tokens; 0 for all",
        (0, 1, 2, 3, 5, 10, 20, 30, 40, 50, 100, 200, 500, 1000),
        _whole(0),
    ),
    Setting(
        "top-p",
        "p",
        "only among the likeliest tokens of this total probability; 1 for all",
        (*(tenth / 10 for tenth in range(1, 10)), 0.95, 0.99, 1.0),
        _probability,
    ),
    Setting("seed", "seed", "the same seed gives the same text", (), _whole(0)),
    Setting("device", "on", "auto: the GPU where it has room for the model, else the CPU", DEVICES, _device),
    Setting("base", "base", "whether the base model answers too", ("on", "off"), _on_or_off),
)


class SettingsPane(Rows, can_focus=True):
    """The settings; with the focus one of them is highlighted."""

    help_title = "Settings"
    help_text: ClassVar[str] = (
        "Tab goes from the prompt to the settings and back. There left and right choose one, up and down change it, "
        "Enter lets you type a value. " + " ".join(f"{each.name}: {each.about}." for each in SETTINGS)
    )
    DEFAULT_CSS = "SettingsPane { height: 1; padding: 0 1; }"
    BINDINGS = [
        Binding("left,h", "move(-1)", "Before", show=False),
        Binding("right,l", "move(1)", "Next", show=False),
        Binding("up", "step(1)", "More"),
        Binding("down", "step(-1)", "Less"),
        Binding("k,plus,equals_sign", "step(1)", show=False),
        Binding("j,minus", "step(-1)", show=False),
        Binding("enter", "type", "Type a value"),
        Binding("escape", "screen.type", "Prompt"),
    ]

    @dataclass
    class Changed(Message):
        """They are others now."""

        settings: Settings

    @dataclass
    class ValueWanted(Message):
        """A value is to be typed."""

        setting: Setting

    def __init__(self) -> None:
        super().__init__()
        self.settings = Settings()
        self.at = 0
        self._columns: list[tuple[int, int]] = []

    def set(self, settings: Settings) -> None:
        if settings != self.settings:
            self.settings = settings
            self.redraw()
            self.post_message(self.Changed(settings))

    def rows(self, width: int, height: int) -> Sequence[Row]:  # noqa: ARG002
        for names, gap in ((True, GAP), (True, "  "), (False, "  "), (False, " ")):
            row = self._row(names, gap)
            if row_cells(row) <= width:
                break
        return [row]

    def _row(self, names: bool, gap: str) -> list[Span]:
        row: list[Span] = []
        self._columns, column = [], 0
        for number, setting in enumerate(SETTINGS):
            here = self.has_focus and number == self.at
            name, value = f"{setting.name if names else setting.short} ", setting.shown(self.settings)
            mark = "▸" if here else ""
            row += [*([(gap, "")] if number else []), (mark, "accent"), (name, "strong" if here else "muted")]
            row.append((value, "accent" if here else ""))
            column += len(gap) * bool(number)
            last = column + len(mark) + len(name) + len(value)
            self._columns.append((column, last))
            column = last
        return row

    def watch_has_focus(self, has_focus: bool) -> None:
        super().watch_has_focus(has_focus)
        self.redraw()

    def action_move(self, by: int) -> None:
        self.at = (self.at + by) % len(SETTINGS)
        self.redraw()

    def action_step(self, by: int) -> None:
        self.set(SETTINGS[self.at].stepped(self.settings, by))

    def action_type(self) -> None:
        self.post_message(self.ValueWanted(SETTINGS[self.at]))

    def on_click(self, event: events.Click) -> None:
        for number, (first, last) in enumerate(self._columns):
            if first <= event.x - 1 < last:
                self.at = number
                self.redraw()
