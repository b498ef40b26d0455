"""The question before a run: the values that matter, each to be changed here, and what is worth a look."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.cells import cell_len
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding
from textual.content import Content

from tuiftune import units
from tuiftune.catalog import ResolvedProfile
from tuiftune.paths import ASSET_PREFIX
from tuiftune.text import one_line, plain
from tuiftune.tui.panes.rows import Row, Rows, fit_end
from tuiftune.tui.screens.ask import AskScreen
from tuiftune.tui.screens.window import Window
from tuiftune.tui.widgets.glyphs import short_path

MATTERS = (
    "dataset.path",
    "dataset.name",
    "model.name",
    "tokenize.max_length",
    "train.epochs",
    "train.max_steps",
    "train.batch_size",
    "train.grad_accum",
    "train.batch_tokens",
    "train.learning_rate",
    "train.precision",
)
"""Keys that are shown where a profile has them, in this order; `tokenize` stands for the stage of that name."""


OWN_FILE = "Its text comes with tuiftune; e on dataset.path takes yours."
TEXT_ROWS = 3
"""At least so many are left to what a profile is for and what is worth a look, which scrolls."""


@dataclass(frozen=True)
class Chosen:
    """What was answered: these overrides in all, and whether the run waits for its turn."""

    overrides: Sequence[str]
    queued: bool = False
    at: int = 0
    """The row that was highlighted."""


@dataclass(frozen=True)
class Value:
    """A value that matters."""

    key: str
    value: Any
    origin: str
    """'profiles/x.toml:7', 'default' or '--set'."""


class ValuesPane(Rows, can_focus=True):
    """The values, one of them highlighted."""

    DEFAULT_CSS = "ValuesPane { height: auto; margin: 1 0 0 0; }"
    BINDINGS = [
        Binding("up,k", "move(-1)", "Up", show=False),
        Binding("down,j", "move(1)", "Down", show=False),
    ]

    def __init__(self, values: Sequence[Value], at: int) -> None:
        super().__init__()
        self.values = values
        self.at = max(0, min(len(values) - 1, at))
        self.give_rows(len(values))

    def give_rows(self, rows: int) -> None:
        """Be at most so high; the values then scroll."""
        self.styles.height = max(1, min(rows, len(self.values)))

    def rows(self, width: int, height: int) -> Sequence[Row]:
        if not self.values:
            return [[("its values are those of its stages' defaults", "muted")]]
        column = 2 + max(cell_len(one_line(value.key)) for value in self.values)
        rows = [self._row(number, value, column, width) for number, value in enumerate(self.values)]
        first = self._first(height)
        return rows[first : first + height]

    def _first(self, height: int) -> int:
        """The first value that is shown where there is no room for all."""
        return max(0, min(self.at - height // 2, len(self.values) - height))

    def _row(self, number: int, value: Value, column: int, width: int) -> Row:
        here = number == self.at
        changed = value.origin == "--set"
        text = fit_end(one_line(shown(value.value), 500), max(8, width - column - 12))
        note = "  changed here" if changed else ""
        return [
            ("▸ " if here else "  ", "accent"),
            (one_line(value.key).ljust(column), "strong" if here else "muted"),
            (text, "accent" if changed else "strong" if here else ""),
            (note, "muted"),
        ]

    def action_move(self, rows: int) -> None:
        self.at = max(0, min(len(self.values) - 1, self.at + rows))
        self.redraw()

    def on_click(self, event: events.Click) -> None:
        self.at = max(0, min(len(self.values) - 1, self._first(self.size.height) + event.y))
        self.redraw()


class CheckingScreen(Window[None]):
    """Stands where the question was while its answer is checked; takes the keys that are meant for it."""

    BINDINGS = [Binding("escape", "dismiss", "Cancel")]

    def __init__(self, question: str) -> None:
        super().__init__(question, Content("it is checked..."), [("esc", "cancel")])


class StartScreen(Window[Chosen]):
    """Enter starts; a value is changed with e; escape goes back."""

    DEFAULT_CSS = "StartScreen > #window { max-width: 84; }"
    AUTO_FOCUS = "ValuesPane"
    BINDINGS = [
        Binding("enter,y", "start", "Start"),
        Binding("e", "change", "Change the value"),
        Binding("plus,o", "other", "Another value"),
        Binding("a", "queue", "Add to the queue"),
        Binding("escape,n,q", "dismiss", "Cancel"),
    ]

    def __init__(self, question: str, resolved: ResolvedProfile, overrides: Sequence[str], at: int = 0) -> None:
        """`at`: the row to begin on."""
        steps = steps_of_a_batch(resolved.effective)
        own = [OWN_FILE] if str(_value_at(resolved.effective, ["dataset", "path"])).startswith(ASSET_PREFIX) else []
        lines = [*own, *(plain(note) for note in resolved.notes)]
        about = [one_line(resolved.description)] if resolved.description else []
        text = "\n".join([*about, *([steps] if steps else []), *([""] if lines and about else []), *lines])
        keys = [("enter", "start"), ("e", "change"), ("+", "another value"), ("a", "queue it"), ("esc", "cancel")]
        super().__init__(question, Content(text), keys)
        self._overrides = list(overrides)
        self.values = ValuesPane(values_of(resolved), at)

    def below(self) -> ComposeResult:
        yield self.values

    def rows_for_text(self, rows: int) -> int:
        """The values and the text share them; the keys that answer are always there."""
        self.values.give_rows(rows - TEXT_ROWS)
        return rows - 1 - min(len(self.values.values), rows - TEXT_ROWS)

    def action_start(self) -> None:
        self.dismiss(Chosen(self._overrides))

    def action_queue(self) -> None:
        self.dismiss(Chosen(self._overrides, queued=True))

    def action_change(self) -> None:
        """Ask for another value of the highlighted key."""
        if not self.values.values:
            return
        value = self.values.values[self.values.at]
        title, lines = f"{value.key}", [f"now {shown(value.value)}, from {value.origin}"]

        def answered(text: str | None) -> None:
            if text is not None:
                self._set(value.key, text)

        files = value.key.endswith("path")
        self.app.push_screen(AskScreen(title, lines, "another value", shown(value.value), files=files), answered)

    def action_other(self) -> None:
        """Ask for a key and its value, as --set has them."""

        def answered(text: str | None) -> None:
            if text is not None:
                key, _, value = text.partition("=")
                self._set(key.strip(), value.strip())

        self.app.push_screen(
            AskScreen("Another value", ["KEY=VALUE, as in train.weight_decay=0.1"], "KEY=VALUE"), answered
        )

    def _set(self, key: str, value: str) -> None:
        kept = [one for one in self._overrides if one.partition("=")[0].strip() != key]
        self.dismiss(Chosen([*kept, f"{key}={value}"], at=self.values.at))


def values_of(resolved: ResolvedProfile) -> list[Value]:
    """Those of MATTERS that a profile has, with where each comes from."""
    origin, changed = resolved.origin, [key for key, source in resolved.origin.items() if source == "--set"]
    places = {_place_of(resolved.effective, key): key for key in MATTERS}
    found = []
    for place in dict.fromkeys([*places, *changed]):
        value = _value_at(resolved.effective, place.split("."))
        if value is not None:
            found.append(Value(places.get(place, place), value, origin.get(place, "default")))
    return found


def _place_of(effective: Mapping[str, Any], key: str) -> str:
    """`tokenize.max_length` -> `preprocess.0.max_length`, as the effective profile and its origins have it."""
    table, _, option = key.partition(".")
    stages = [stage.get("stage") for stage in effective.get("preprocess") or () if isinstance(stage, Mapping)]
    return f"preprocess.{stages.index(table)}.{option}" if table in stages else key


def _value_at(table: Any, path: Sequence[str]) -> Any:
    for part in path:
        if isinstance(table, Mapping):
            table = table.get(part)
        elif isinstance(table, Sequence) and part.isdigit() and int(part) < len(table):
            table = table[int(part)]
        else:
            return None
    return table


def shown(value: Any) -> str:
    """As it is written in a profile, text without its quotes."""
    if isinstance(value, str):
        return short_path(value) if value.startswith("/") else value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return units.figure(value) if 0.01 <= abs(value) < 1e6 else f"{value:g}"
    return json.dumps(value, ensure_ascii=False, default=str)


def steps_of_a_batch(effective: Mapping[str, Any]) -> str:
    """`16 samples a step` in words; nothing where the trainer has no such options."""
    train = effective.get("train") or {}
    size, times = train.get("batch_size"), train.get("grad_accum")
    if not isinstance(size, int) or not isinstance(times, int):
        return ""
    return f"{size} x {times} = {size * times} samples a step"
