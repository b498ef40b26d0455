"""What every pane of text is made of: rows of spans, of which only those that changed are repainted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.cells import cell_len, chop_cells
from rich.segment import Segment
from textual.content import Content
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

Span = tuple[str, str]
"""Text and its tone; the tone "" is the pane's own colour."""
Row = Sequence[Span]

TONES = ("title", "strong", "muted", "accent", "good", "warn", "bad", "rest", "blocks", "hit")

PLAIN = "plain"
"""The tone "" has it too: what a pane's own colour is Textual reckons anew each time, but of a part it remembers it."""


class Rows(Widget):
    """Draws what `rows` returns. A failure in there is shown in the pane and the app stays up.

    Textual repaints dirty regions without comparing cells, hence the comparison here. Text is drawn as it
    is, never read as markup; what comes from data or logs has to have passed `tuiftune.text.plain`.
    """

    help_text: ClassVar[str] = ""
    ALLOW_SELECT = False
    COMPONENT_CLASSES = {f"rows--{tone}" for tone in (*TONES, PLAIN)}
    DEFAULT_CSS = """
    Rows {
        width: 1fr;
        height: 1fr;
        & > .rows--title { color: $foreground; text-style: bold; }
        & > .rows--strong { text-style: bold; }
        & > .rows--muted { color: $foreground 60%; }
        & > .rows--accent { color: $text-accent; text-style: bold; }
        & > .rows--good { color: $text-success; }
        & > .rows--warn { color: $text-warning; }
        & > .rows--bad { color: $text-error; text-style: bold; }
        & > .rows--blocks { color: $primary 60%; }
        & > .rows--hit { text-style: reverse; }
        & > .rows--rest { color: $foreground 20%; }
    }
    """

    _drawn: Sequence[Row] = ()
    _drawn_for: tuple[int, int] = (0, 0)
    """The width and the height that they were drawn for."""

    def rows(self, width: int, height: int) -> Sequence[Row]:
        """What to show in `width` x `height` cells; rows beyond the height are left out."""
        raise NotImplementedError

    @property
    def text(self) -> list[str]:
        """The rows as they stand on the screen."""
        return ["".join(text for text, _ in row).rstrip() for row in self._drawn]

    @property
    def likely_width(self) -> int:
        """Its width, and before it has one what a pane across the screen gets."""
        return self.content_size.width or max(0, self.app.size.width - 2)

    def guarded_rows(self, width: int, height: int) -> list[Row]:
        """`rows`, or what went wrong in it; also for a pane that measures itself."""
        try:
            return [tuple(row) for row in self.rows(width, height)[:height]]
        except Exception as error:
            self.log.error(repr(error))
            return [((f"this pane cannot be drawn: {type(error).__name__}: {error}"[:width], "bad"),)]

    def redraw(self) -> None:
        """Draw anew and repaint the rows that differ."""
        width, height = self.content_size
        if not width or not height:  # hidden, or not laid out yet
            return
        before, drawn_for = self._drawn, self._drawn_for
        self._draw()
        if self._drawn_for != drawn_for:
            self.refresh()
            return
        changed = [y for y, (old, new) in enumerate(zip(before, self._drawn, strict=True)) if old != new]
        if changed:
            self.refresh(*(Region(0, y, width, 1) for y in changed))

    def _draw(self) -> None:
        width, height = self._drawn_for = self.content_size
        rows = self.guarded_rows(width, height)
        self._drawn = rows + [()] * (height - len(rows))

    def on_resize(self) -> None:
        self.redraw()

    def render_line(self, y: int) -> Strip:
        if self._drawn_for != self.content_size:  # a frame that comes before `on_resize` shows it all the same
            self._draw()
        width, base = self.content_size.width, self.get_component_rich_style(f"rows--{PLAIN}")
        if y >= len(self._drawn):
            return Strip.blank(width, base)
        segments = [
            Segment(text, self.get_component_rich_style(f"rows--{tone}") if tone else base)
            for text, tone in self._drawn[y]
        ]
        return Strip(segments).adjust_cell_length(width, base)


def fit(text: str, width: int) -> str:
    """`text` in at most `width` cells, an ellipsis where it was cut."""
    if cell_len(text) <= width:
        return text
    return chop_cells(text, width - 1)[0] + "…" if width > 1 else "…"[:width]


def fit_end(text: str, width: int) -> str:
    """`text` in at most `width` cells, its end kept: of a path that is what tells it from others."""
    if cell_len(text) <= width:
        return text
    return "…" + fit(text[::-1], width)[:-1][::-1] if width > 1 else fit(text, width)


def wrap(text: str, width: int) -> list[str]:
    """`text` in lines of at most `width` cells; its own line breaks are kept."""
    return [line.plain.rstrip() for line in Content(text).wrap(max(2, width))]


def row_cells(row: Row) -> int:
    """How many cells a row takes."""
    return sum(cell_len(text) for text, _ in row)


def bar(fraction: float, width: int) -> list[Span]:
    """A progress bar `width` cells wide, to half a cell; what is left is thinner, for who sees no colours."""
    halves = round(max(0.0, min(1.0, fraction)) * width * 2)
    whole, half = divmod(halves, 2)
    return [("━" * whole + "╸" * half, "accent"), ("─" * (width - whole - half), "rest")]


def joined(parts: Sequence[Sequence[Span]], width: int, gap: str = "   ") -> list[Span]:
    """Groups of spans side by side, as many of the first as fit into `width`."""
    row: list[Span] = []
    used = 0
    for part in parts:
        needed = row_cells(part) + (cell_len(gap) if row else 0)
        if used + needed > width:
            break
        if row:
            row.append((gap, ""))
        row.extend(part)
        used += needed
    return row


def beside(left: Sequence[Span], right: Sequence[Span], width: int) -> list[Span]:
    """`left` at the left and `right` at the right edge; where both do not fit, `left` is cut."""
    room = width - row_cells(right)
    row: list[Span] = []
    used = 0
    for text, tone in left:
        shown = fit(text, max(0, room - 1 - used))
        row.append((shown, tone))
        used += cell_len(shown)
    return [*row, (" " * max(1, room - used), ""), *right]
