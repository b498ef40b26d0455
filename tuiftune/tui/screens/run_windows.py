"""The questions that the table of runs asks: a name, a note, where to export to, and whether to delete."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.content import Content
from textual.widgets import Input, Static

from tuiftune.run.export import WHAT
from tuiftune.text import plain
from tuiftune.tui.screens.window import Answer, Window
from tuiftune.tui.widgets.glyphs import pointer, short_path
from tuiftune.tui.widgets.in_order import LineField

WORD = "delete"
"""What is typed to delete runs."""
WHAT_WORDS = {
    "all": "the records, and the finished model where there is one",
    "model": "the finished model alone, a Hugging Face folder",
    "metrics": "the records alone: figures, texts and the profile",
}


class LineWindow(Window[Answer]):
    """A window with a line to write in; what is wrong with it is said below."""

    DEFAULT_CSS = """
    LineWindow {
        & > #window { max-width: 80; }
        & #line { height: 1; border: none; padding: 0 1; margin: 1 0 0 0; background: $foreground 8%; }
        & #line:focus { border: none; background-tint: transparent 0%; }
        & #wrong { height: auto; color: $text-error; }
    }
    """
    AUTO_FOCUS = "#line"
    BINDINGS = [Binding("escape", "dismiss", "Cancel")]
    AROUND = 11

    def __init__(self, title: str, lines: Sequence[str], value: str, placeholder: str, enter: str) -> None:
        body = Content("\n").join([Content(plain(line)) for line in lines])
        super().__init__(title, body, [("enter", enter), *self.more_keys(), ("esc", "cancel")])
        self._value, self._placeholder = value, placeholder

    def more_keys(self) -> Sequence[tuple[str, str]]:
        return ()

    def below(self) -> ComposeResult:
        yield LineField(self._value, placeholder=self._placeholder, id="line")
        yield Static(id="wrong")

    def say(self, text: str) -> None:
        """What is wrong with the line."""
        self.query_one("#wrong", Static).update(Content(plain(text)))


class TextScreen(LineWindow[str]):
    """A name or a note; an empty line takes it away."""

    @on(Input.Submitted)
    def _given(self, event: Input.Submitted) -> None:
        self.dismiss(event.value.strip())


class DeleteScreen(LineWindow[bool]):
    """Enter deletes once the word, or the run's id, is written out."""

    DEFAULT_CSS = "DeleteScreen > #window { border: round $error; }"

    def __init__(self, ids: Sequence[str], sizes: str) -> None:
        many = f"{len(ids)} runs" if len(ids) > 1 else ids[0]
        accepted = f"'{WORD}'" if len(ids) > 1 else f"'{WORD}' or its id"
        lines = [*(ids if len(ids) > 1 else ()), f"It goes to the trash{sizes}, and u has it back from there."]
        lines[-1] = lines[-1].replace("It goes", "They go").replace("has it", "has them") if len(ids) > 1 else lines[-1]
        super().__init__(f"Delete {many}?", [*lines, f"Write {accepted}:"], "", WORD, "delete")
        self._accepted = {WORD, *(ids if len(ids) == 1 else ())}
        self._wanted = accepted

    @on(Input.Submitted)
    def _given(self, event: Input.Submitted) -> None:
        if event.value.strip() in self._accepted:
            self.dismiss(True)
        else:
            self.say(f"nothing is deleted before {self._wanted} stands there")


@dataclass(frozen=True)
class ExportWanted:
    """What was answered."""

    to: Path
    what: str
    """One of tuiftune.run.export.WHAT."""


class ExportScreen(LineWindow[ExportWanted]):
    """Where to, and what: up and down choose."""

    BINDINGS = [Binding("up", "choose(-1)", "What", show=False), Binding("down", "choose(1)", "What", show=False)]

    def __init__(self, ids: Sequence[str], to: str) -> None:
        many = len(ids) > 1
        one = "A folder, or a file that ends in .tar.gz. Into a folder that is there it goes under the run's id."
        lines = [
            "A folder that is there; each run goes into it under its id." if many else one,
            f"Nothing that exists is written over. From {short_path(str(Path.cwd()))}, or whole:",
        ]
        super().__init__(f"Export {f'{len(ids)} runs' if many else ids[0]}", lines, to, "FOLDER", "export")
        self._what = 0

    def more_keys(self) -> Sequence[tuple[str, str]]:
        return [("↑ ↓", "what")]

    def below(self) -> ComposeResult:
        yield from super().below()
        yield Static(self._choices(), id="choices")

    def _choices(self) -> Content:
        rows = [
            Content.assemble(
                (f"{pointer()} " if place == self._what else "  ", "$text-accent"),
                (name.ljust(9), "bold" if place == self._what else "$foreground 60%"),
                (WHAT_WORDS[name], "" if place == self._what else "$foreground 60%"),
            )
            for place, name in enumerate(WHAT)
        ]
        return Content("\n").join(rows)

    def action_choose(self, rows: int) -> None:
        self._what = (self._what + rows) % len(WHAT)
        self.query_one("#choices", Static).update(self._choices(), layout=False)

    @on(Input.Submitted)
    def _given(self, event: Input.Submitted) -> None:
        if event.value.strip():
            self.dismiss(ExportWanted(Path(event.value.strip()).expanduser(), WHAT[self._what]))
        else:
            self.say("where to? A folder, or a file that ends in .tar.gz")


class TextWindow(Window[None]):
    """A text to read; escape, enter or q closes it."""

    BINDINGS = [Binding("escape,enter,q", "dismiss", "Close")]
    DEFAULT_CSS = "TextWindow > #window { max-width: 116; }"

    def __init__(self, title: str, text: str) -> None:
        super().__init__(title, Content(plain(text, 100_000)), [("esc", "close"), ("↑ ↓", "scroll")])


def text_width(columns: int) -> int:
    """Cells of a line in a TextWindow on a screen of so many columns."""
    return max(20, min(116, columns * 9 // 10) - 7)
