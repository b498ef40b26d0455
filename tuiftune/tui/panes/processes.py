"""Who is on the GPUs, and what the runs take of the machine."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import ClassVar

from rich.cells import cell_len

from tuiftune import units
from tuiftune.run.machine_processes import ProcessView
from tuiftune.tui.panes.rows import Row, Rows, fit, fit_end

UNKNOWN = "—"
NARROW, WIDE = 66, 84
"""From so many cells on there is room for the VRAM and the CPU, and for user and RAM."""
CLOSED = "The driver does not say who is on a GPU."


class ProcessesPane(Rows):
    """A row each: on which GPU, its pid, what it takes, and what it is."""

    help_title: ClassVar[str] = "Processes"
    help_text: ClassVar[str] = (
        "Processes that compute on a GPU, and those that train or measure for a run of yours on none. VRAM is what the "
        "driver says that a process holds, CPU a share of one core. '—' is what this user may not know, or what a "
        "container hides."
    )

    def __init__(self) -> None:
        super().__init__()
        self._processes: Sequence[ProcessView] = ()
        self._note = ""

    def show(self, processes: Sequence[ProcessView], note: str) -> None:
        """`note`: what to say where there are none."""
        self._processes, self._note = processes, note
        self.redraw()

    def rows(self, width: int, height: int) -> Sequence[Row]:
        return table(self._processes, width, height, self._note)


def table(processes: Sequence[ProcessView], width: int, height: int, note: str = "none") -> list[Row]:
    """A title, the names of the columns and a row each; where not all fit, how many are left out."""
    title: Row = [("processes", "title"), (f"  {len(processes) or note}", "muted")]
    if not processes:
        return [title]
    now = time.time()
    found = [_cells(one, width, now) for one in processes]
    columns = list(zip(*found, strict=True))
    heads = _heads(width)
    widths = [max(map(cell_len, (head, *column))) for head, column in zip(heads, columns, strict=True)]
    rows = [title, [(_line(heads, widths, width), "muted")]]
    room = height - len(rows)
    shown = found if len(found) <= room else found[: max(0, room - 1)]
    for one, cells in zip(processes, shown, strict=False):
        rows.append([(_line(cells, widths, width, one.run is not None), "" if one.run is None else "strong")])
    if len(shown) < len(found):
        rows.append([(f"and {len(found) - len(shown)} more: there is room for them on a taller screen", "muted")])
    return rows


def _heads(width: int) -> list[str]:
    return _of_width(["GPU", "pid", "user", "VRAM", "CPU", "RAM", "for", "what"], width)


def _cells(one: ProcessView, width: int, now: float) -> list[str]:
    cells = [
        one.device.removeprefix("gpu") if one.device else UNKNOWN,
        str(one.pid),
        one.user or UNKNOWN,
        UNKNOWN if one.vram_bytes is None else units.size(one.vram_bytes),
        UNKNOWN if one.cpu_percent is None else f"{one.cpu_percent:.0f} %",
        UNKNOWN if one.ram_bytes is None else units.size(one.ram_bytes),
        UNKNOWN if one.started is None else units.clock(max(0.0, now - one.started)),
        one.run or one.command or UNKNOWN,
    ]
    return _of_width(cells, width)


def _of_width(cells: list[str], width: int) -> list[str]:
    if width >= WIDE:
        return cells
    return [cells[0], cells[1], cells[3], *([cells[4], cells[6]] if width >= NARROW else []), cells[7]]


def _line(cells: Sequence[str], widths: Sequence[int], width: int, is_run: bool = False) -> str:
    """Numbers at the right of their columns, the last column in what room there is: of a run's id its end."""
    parts = [" " * (room - cell_len(cell)) + cell for cell, room in zip(cells[:-1], widths, strict=False)]
    start = "  ".join([*parts, ""])
    return start + (fit_end if is_run else fit)(cells[-1], max(1, width - cell_len(start)))
