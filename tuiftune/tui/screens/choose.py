"""A question that is answered by choosing one of a few things."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.cells import cell_len
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.content import Content
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from tuiftune.text import one_line, plain
from tuiftune.tui.screens.window import Window


class ChooseScreen(Window[str]):
    """Asks for one of `choices` (answer -> what it means); enter gives it, escape gives nothing."""

    DEFAULT_CSS = """
    ChooseScreen {
        & > #window { max-width: 76; }
        & #choices {
            height: auto; border: none; padding: 0; margin: 1 0 0 0; background: transparent;
            & > .option-list--option-highlighted { background: $primary 35%; color: $foreground; text-style: none; }
        }
        & #choices:focus { border: none; background-tint: transparent 0%; }
    }
    """
    AUTO_FOCUS = "#choices"
    BINDINGS = [Binding("escape,q", "dismiss", "Cancel")]

    def __init__(self, title: str, body_lines: Sequence[str], choices: Mapping[str, str]) -> None:
        body = Content("\n").join([Content(plain(line)) for line in body_lines])
        super().__init__(title, body, [("enter", "choose"), ("esc", "cancel")])
        self._choices = dict(choices)

    def below(self) -> ComposeResult:
        width = max([cell_len(choice) for choice in self._choices], default=0) + 2
        rows = [
            Content.assemble((one_line(choice).ljust(width), "bold"), (one_line(what), "$foreground 70%"))
            for choice, what in self._choices.items()
        ]
        yield OptionList(*(Option(row) for row in rows), id="choices", markup=False)

    @on(OptionList.OptionSelected)
    def _chosen(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(list(self._choices)[event.option_index])
