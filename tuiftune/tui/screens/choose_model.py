"""The window in which the playground's run and checkpoint are chosen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.cells import cell_len
from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.content import Content
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from tuiftune import units
from tuiftune.run.models import Model
from tuiftune.run.playable import Offered
from tuiftune.text import one_line
from tuiftune.tui.screens.window import Window
from tuiftune.tui.widgets.glyphs import STATE_MARKS

Choice = tuple[str, str]
"""A run's id, and what `models.choose` takes for its model."""


class ChooseModelScreen(Window[Choice]):
    """Runs, and under each its models; enter takes one."""

    DEFAULT_CSS = """
    ChooseModelScreen {
        & #window-scroll { display: none; }
        & OptionList {
            height: auto;
            border: none;
            padding: 0;
            background: transparent;
            text-wrap: nowrap;
            text-overflow: ellipsis;
            scrollbar-size-vertical: 1;
            & > .option-list--option { padding: 0 1; }
            & > .option-list--option-disabled { color: $foreground; }
            & > .option-list--option-highlighted { background: $primary 35%; color: $foreground; text-style: none; }
            & > .option-list--option-hover { background: $primary 8%; }
            &:focus { border: none; background-tint: transparent 0%; }
        }
    }
    """
    AUTO_FOCUS = "OptionList"
    BINDINGS = [Binding("escape,q", "dismiss", "Cancel")]

    def __init__(self, offered: Sequence[Offered], current: Choice | None) -> None:
        keys = [("enter", "take it"), ("↑ ↓", "choose"), ("esc", "cancel")]
        super().__init__("Which model answers?", Content(), keys)
        rows = list(rows_of(offered))
        self._choices = [choice for choice, _ in rows]
        self._list = OptionList(*(Option(text, disabled=choice is None) for choice, text in rows), markup=False)
        usable = [index for index, choice in enumerate(self._choices) if choice is not None]
        now = self._choices.index(current) if current in self._choices else None
        self._list.highlighted = now if now is not None else usable[0] if usable else None

    def below(self) -> ComposeResult:
        yield self._list

    def on_resize(self, event: events.Resize) -> None:
        self._list.styles.max_height = max(1, event.size.height - self.AROUND)

    @on(OptionList.OptionSelected)
    def _taken(self, event: OptionList.OptionSelected) -> None:
        choice = self._choices[event.option_index]
        if choice is not None:
            self.dismiss(choice)


def rows_of(offered: Sequence[Offered]) -> Iterator[tuple[Choice | None, Content]]:
    """(what it stands for or None, text) of each row: a heading for each run, its models below."""
    for number, one in enumerate(offered):
        sign, colour = STATE_MARKS.get(one.state.name, ("·", "foreground"))
        style = f"$text-{colour}" if colour not in ("muted", "foreground") else "$foreground 60%"
        yield (
            None,
            Content.assemble(
                "\n" if number else "",
                (f"{sign} ", style),
                (one_line(one.run.id), "bold"),
                (f"  {one.state.name}, {units.ago(one.state.started)}", "$foreground 60%"),
            ),
        )
        names = [model.name for model in one.models]
        width = max(map(cell_len, names))
        for model in one.models:
            choice = None if model.problem else (one.run.id, model.key)
            yield choice, _row(model, width)


def _row(model: Model, width: int) -> Content:
    if model.problem:
        return Content.assemble((f"  ✗ {one_line(model.problem)}", "$text-warning"))
    return Content.assemble("  ", model.name.ljust(width), (f"  {figures(model)}", "$foreground 70%"))


def figures(model: Model) -> str:
    """`step 600  loss 1.425  best`: what is known of a model beside its name."""
    parts = [f"step {model.step:,}"] if model.final and model.step is not None else []
    parts += [f"loss {units.figure(model.loss)}"] if model.loss is not None else []
    return "  ".join([*parts, *(["best"] if model.best else [])])
