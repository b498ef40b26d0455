"""What a profile would train on: its figures section by section, and its first step token by token."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from rich.cells import cell_len
from textual import events

from tuiftune import units
from tuiftune.data_frame import sections
from tuiftune.data_signs import ASCII, UNICODE, Signs, many
from tuiftune.data_tokens import legend, summary, token_rows, told_rows
from tuiftune.text import one_line
from tuiftune.tui.panes.rows import Row, Rows, Span, beside, fit, fit_end, joined, row_cells, wrap
from tuiftune.tui.panes.scrolled import Scrolled
from tuiftune.tui.widgets.glyphs import ascii_only, short_path

STEP = "step 1"
CHARACTERS = 0.95
"""From this share of single characters on, tokens are told apart by being single characters."""
GAP = "  "


def signs() -> Signs:
    """Those that this terminal can show."""
    return ASCII if ascii_only() else UNICODE


@dataclass(frozen=True)
class Part:
    """A section as laid out: its rows, and where in them each row of the step begins."""

    name: str
    rows: Sequence[Row]
    starts: Sequence[int] = ()


class ReportPane(Scrolled, can_focus=True):
    """Sections one below the other; the row above names them all, the one at the top in bold."""

    help_title = "Report"
    help_text: ClassVar[str] = (
        "Documents are what the dataset stage read, rows what goes through the model. [ and ] go from section to "
        "section, n and N from row to row of the first step; arrows and page keys scroll. What is between marks and "
        "dimmed in the first step is read by the model, but its loss is not counted: the first token of a row, which "
        "nothing predicts, and parts that the data says are not to be learnt."
    )
    below_text = "{:,} below"
    DEFAULT_CSS = """
    ReportPane {
        padding: 0 1;
        border-top: solid $foreground 20%;
        &:focus { border-top: solid $primary; }
    }
    """

    def __init__(self, name: str) -> None:
        """`name`: its id."""
        super().__init__()
        self.id = name
        self.full = True
        self._lay_out: Callable[[int], Sequence[Part]] = lambda _: ()
        self._parts: Sequence[Part] = ()
        self._laid: list[Row] = []
        self._firsts: list[int] = []
        """The row at which each part begins, its heading."""
        self._places: list[int] = []
        """The row at which each row of the step begins."""
        self._width = 0
        self._part: int | None = None
        """The part and the row of the step one has gone to, until one scrolls away."""
        self._row: int | None = None
        self._columns: list[tuple[int, int, int]] = []
        """First and last column of each part's name, and its number."""

    def show(self, lay_out: Callable[[int], Sequence[Part]], *, from_top: bool = True) -> None:
        """Show what `lay_out` makes of a width."""
        self._lay_out, self._width = lay_out, 0
        if from_top:
            self._away, self._part, self._row = 0, None, None
        self.redraw()

    def title(self) -> Row:
        here, spans, column = self._here(), [], 0
        self._columns = []
        for number, part in enumerate(self._parts):
            spans += [(part.name, "title" if number == here else "muted"), (GAP, "")]
            self._columns.append((column, column + len(part.name), number))
            column += len(part.name) + len(GAP)
        return spans[:-1]

    def all_rows(self, width: int) -> Sequence[Row]:
        if width != self._width:
            self._width, self._parts = width, self._lay_out(width)
            self._laid, self._firsts, self._places = [], [], []
            for number, part in enumerate(self._parts):
                self._firsts.append(len(self._laid))
                self._laid += [[], [(part.name, "title")]] if number else []
                self._places += [len(self._laid) + start for start in part.starts]
                self._laid += part.rows
            self._mark(self._row, signs().here)
        return self._laid

    def rows(self, width: int, height: int) -> Sequence[Row]:
        self.all_rows(width)  # the title tells of what is laid out
        first, *others = super().rows(width, height)
        names = self.title()
        note = first[len(names) :]
        if row_cells(first) + 1 > width and self._parts:
            here = self._here()
            names, self._columns = [(self._parts[here].name, "title")], []
            names.append((f"  {here + 1} of {len(self._parts)}", "muted"))
        return [beside(names, note, width), *others]

    def _top(self, number: int) -> int:
        """The row of a part that is at the top when one goes there: below its heading, which the title row is."""
        return self._firsts[number] + (2 if number else 0)

    def _here(self) -> int:
        """The part one has gone to, else the one at the top."""
        if self._part is not None:
            return self._part
        return max((number for number in range(len(self._firsts)) if self._top(number) <= self._away), default=0)

    def go_to_part(self, number: int) -> None:
        if self._parts:
            self._part = max(0, min(len(self._parts) - 1, number))
            self._away = self._top(self._part)
            self.redraw()

    def next_part(self, direction: int) -> None:
        """The next section, or the one before; out of the middle of one first to its beginning."""
        here = self._here()
        inside = self._part is None and bool(self._firsts) and self._away > self._top(here)
        self.go_to_part(here + direction + (1 if direction < 0 and inside else 0))

    def next_row(self, direction: int) -> None:
        """The next row of the step, or the one before."""
        if not self._places:
            return
        before = self._row
        if before is None:
            passed = sum(place <= self._away for place in self._places)
            chosen = passed if direction > 0 else passed - 2
        else:
            chosen = before + direction
        self._mark(before, " ")
        self._row = max(0, min(len(self._places) - 1, chosen))
        self._mark(self._row, signs().here)
        self._part, self._away = len(self._parts) - 1, self._places[self._row]
        self.redraw()

    def _mark(self, number: int | None, sign: str) -> None:
        """Put a sign before a row of the step."""
        if number is not None and number < len(self._places):
            place = self._places[number]
            self._laid[place] = [(f"{sign} ", "accent"), *self._laid[place][1:]]

    def action_scroll(self, rows: int) -> None:
        self._mark(self._row, " ")
        self._part = self._row = None
        super().action_scroll(rows)

    def on_click(self, event: events.Click) -> None:
        if event.y == 0:
            for first, last, number in self._columns:
                if first <= event.x - 1 < last:  # the padding
                    self.go_to_part(number)


class SubjectPane(Rows):
    """Whose data it is, of which file, and how old the report."""

    help_text: ClassVar[str] = ""
    DEFAULT_CSS = "SubjectPane { height: 2; padding: 0 1; }"

    def __init__(self) -> None:
        super().__init__()
        self._words: tuple[str, str, str, str, str] = ("", "", "", "", "")

    def show(self, name: str, file: str = "", age: str = "", pipeline: str = "", warning: str = "") -> None:
        self._words = (name, file, age, pipeline, warning)
        self.redraw()

    def rows(self, width: int, height: int) -> Sequence[Row]:  # noqa: ARG002
        name, file, age, pipeline, warning = self._words
        room = width - cell_len(name) - cell_len(age) - 5
        first = beside(
            [(name, "title"), (f"  {fit_end(file, room)}" if file and room > 8 else "", "")], [(age, "muted")], width
        )
        if warning:
            return [first, [(fit(warning, width), "warn")]]
        return [first, [(fit(pipeline, width), "muted")]]


class NotePane(Rows):
    """A few sentences where there is no report."""

    DEFAULT_CSS = "NotePane { padding: 1 1; }"

    def __init__(self) -> None:
        super().__init__()
        self._lines: Sequence[Span] = ()

    def show(self, lines: Sequence[Span]) -> None:
        """Sentences with their tones; an empty one is a blank row."""
        self._lines = lines
        self.redraw()

    def rows(self, width: int, height: int) -> Sequence[Row]:  # noqa: ARG002
        rows: list[Row] = []
        for text, tone in self._lines:
            rows += [[(line, tone)] for line in wrap(text, min(width, 100))] if text else [[]]
        return rows


def figure_parts(report: Mapping[str, Any], width: int) -> list[Part]:
    """Every section but the step."""
    return [
        Part(section.name, [*section.rows, *([[], *section.note] if section.note else [])])
        for section in sections(dict(report), width, signs())
    ]


def step_part(report: Mapping[str, Any], width: int, apart: bool) -> Part:
    """The first step as the trainer takes it, every token of it."""
    step, drawn = report["first_step"], signs()
    if step is None:
        words = "How this profile's trainer takes its steps is not known: it is no stage of tuiftune's."
        return Part(STEP, [[(line, "muted")] for line in wrap(words, width)])
    rows: list[Row] = [[(line, "")] for line in wrap(f"{summary(step)}.", width)]
    rows += _in_lines(legend(drawn, apart), width)
    starts = []
    for where, row in told_rows(step):
        rows.append([])
        starts.append(len(rows))
        sample = f"sample {row['sample']:,}"
        words = f"{many(row['tokens'], 'token')}, {sum(row['loss']):,} with loss"
        head = joined([[(sample, "strong")], [(words, "")], [(where, "muted")]], width - 2)
        rows.append([("  ", "accent"), *head])
        rows += [[("  ", ""), *line] for line in token_rows(row["pieces"], row["loss"], width - 2, drawn, apart)]
    hidden = sum(len(batch["rows"]) for batch in step["micro_batches"]) - len(starts)
    if hidden:
        words = f"{many(hidden, 'more row')} of this step not shown; tuiftune data PROFILE --json has them all"
        rows += [[], *([(line, "muted")] for line in wrap(words, width))]
    return Part(STEP, rows, starts)


def are_characters(report: Mapping[str, Any]) -> bool:
    """Whether a token is a character, so that a sign between two of them would only hide the text."""
    step = report["first_step"]
    pieces = [piece for _, row in told_rows(step) for piece in row["pieces"]] if step else []
    single = sum(len(piece) == 1 for piece in pieces)
    return bool(pieces) and single >= CHARACTERS * len(pieces)


def head_words(report: Mapping[str, Any]) -> str:
    """The pipeline and the tokenizer."""
    stages = f" {signs().arrow} ".join(one_line(name) for name in report["pipeline"])
    return f"{stages}   tokenizer of {report['vocabulary']:,}"


def file_words(dataset: Mapping[str, Any]) -> str:
    """What the data is read from, as far as the profile names it."""
    named = dataset.get("path") or dataset.get("name") or ""
    return short_path(one_line(str(named), 400))


def age_words(read_at: float) -> str:
    return f"read {units.ago(read_at)}"


def _in_lines(groups: Sequence[list[Span]], width: int) -> list[Row]:
    """Groups side by side, in as many rows as they need."""
    rows: list[Row] = []
    left = list(groups)
    while left:
        fitting = 1
        while fitting < len(left) and _cells(left[: fitting + 1]) <= width:
            fitting += 1
        rows.append(_cut(joined(left[:fitting], max(width, _cells(left[:fitting]))), width))
        left = left[fitting:]
    return rows


def _cells(groups: Sequence[list[Span]]) -> int:
    return sum(cell_len(text) for group in groups for text, _ in group) + len(GAP) * (len(groups) - 1)


def _cut(spans: Sequence[Span], width: int) -> list[Span]:
    """As much of a row as fits."""
    row: list[Span] = []
    for text, tone in spans:
        room = width - sum(cell_len(done) for done, _ in row)
        if room <= 0:
            break
        row.append((fit(text, room), tone))
    return row
