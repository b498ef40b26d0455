"""The top row of every place: where one is and can go, and the machine at a glance."""

from __future__ import annotations

from collections.abc import Sequence

from textual import events

from tuiftune import units
from tuiftune.tui.messages import DeviceView, Glance
from tuiftune.tui.panes.rows import Row, Rows, Span, row_cells
from tuiftune.tui.places import PLACES
from tuiftune.tui.widgets.glyphs import STATE_MARKS

GAP = "  "
GIB = 2.0**30


class TopPane(Rows):
    """`1 Profiles 2 Run ...` at the left, the machine and how many runs are active at the right."""

    help_title = "Top row"
    help_text = (
        "The places of the dashboard: a digit or a click goes there. At the right this machine: each GPU's "
        "temperature, memory and utilisation, and how many runs are active and wait; after a ! how many alerts of them "
        "nobody has seen."
    )
    DEFAULT_CSS = """
    TopPane { height: 1; padding: 0 1; background: $panel; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._glance = Glance()
        self._columns: list[tuple[int, int, str]] = []
        """First and last column of each place, and its name."""

    @property
    def glance(self) -> Glance:
        """What is shown, for a screen that lies over this one."""
        return self._glance

    def show(self, glance: Glance) -> None:
        self._glance = glance
        self.redraw()

    def rows(self, width: int, height: int) -> Sequence[Row]:  # noqa: ARG002
        left = self._places(width)
        used = row_cells(left)
        right = next((form for form in forms(self._glance) if used + 2 + row_cells(form) <= width), [])
        return [[*left, (" " * (width - used - row_cells(right)), ""), *right]]

    def _places(self, width: int) -> list[Span]:
        """With titles where they fit, else the digits and where one is."""
        here = self.app.current_mode
        for words in ([p.title for p in PLACES], [p.short or p.title for p in PLACES], [""] * len(PLACES)):
            named = [
                word or (place.title if place.name == here else "") for word, place in zip(words, PLACES, strict=True)
            ]
            if sum(len(f"{place.key} {name} ") for place, name in zip(PLACES, named, strict=True)) <= width:
                break
        self._columns, spans, column = [], [], 0
        for place, name in zip(PLACES, named, strict=True):
            tone = "strong" if place.name == here else "muted"
            text = f"{place.key} {name}".rstrip()
            self._columns.append((column, column + len(text), place.name))
            spans += [(place.key, "accent"), (text[1:], tone), (" ", "")]
            column += len(text) + 1
        return spans

    async def on_click(self, event: events.Click) -> None:
        column = event.x - 1  # the padding
        for first, last, name in self._columns:
            if first <= column < last:
                await self.app.run_action(f"app.go({name!r})")


def forms(glance: Glance) -> list[list[Span]]:
    """What is at the right, the longest form first; the runs stay the longest."""
    gpus = [device for device in glance.devices if device.name.startswith("gpu")]
    long, short, least = (_joined([_gpu(gpu, form) for gpu in gpus]) for form in ("long", "short", "least"))
    together = _together(gpus)
    host: list[Span] = [(glance.host, "muted")] if glance.host else []
    none: list[Span] = [("no GPU", "muted")] if glance.devices and not gpus else []
    runs = _runs(glance)
    found = [[host, long or none, runs], [host, short or none, runs], [long, runs], [short, runs]]
    found += [[together, runs], [least, runs], [none, runs], [runs]]
    return [_joined(parts) for parts in found if _joined(parts)]


def _gpu(device: DeviceView, form: str) -> list[Span]:
    now = device.latest
    if now.get("error"):
        return [(f"{_name(device)} lost", "bad")]
    heat, used, total = now.get("temperature_c"), now.get("memory_used_bytes"), now.get("memory_total_bytes")
    busy = now.get("utilization_percent")
    tone = "warn" if now.get("throttle") else ""
    degrees = f"{heat:.0f}°" if heat is not None else "—"
    memory = f"{units.size(used)} of {units.size(total)}" if form == "long" and used and total else _gib(used)
    use = f" {busy:.0f}%" if busy is not None else ""
    if form == "least":
        return [(degrees, tone)]
    head = f"{_name(device)} " if form == "long" else ""
    return [(head, "muted"), (degrees, tone), (f" {memory}{use}", "")]


def _together(gpus: Sequence[DeviceView]) -> list[Span]:
    """Several GPUs in a few words: the hottest, and all their memory."""
    heats = [gpu.latest.get("temperature_c") for gpu in gpus]
    known = [heat for heat in heats if heat is not None]
    if len(gpus) < 2 or not known:
        return []
    used = sum(gpu.latest.get("memory_used_bytes") or 0 for gpu in gpus)
    return [(f"{len(gpus)} GPUs ", "muted"), (f"{max(known):.0f}° {_gib(used)}", "")]


def _name(device: DeviceView) -> str:
    return f"GPU {device.name.removeprefix('gpu')}"


def _gib(value: float | None) -> str:
    return "—" if value is None else f"{value / GIB:.1f}G"


def _runs(glance: Glance) -> list[Span]:
    """`! 1 ● 2 ○ 1`: alerts that nobody has seen, how many runs work, how many wait for their turn."""
    parts: list[Span] = [(f"! {glance.alerts}", "warn")] if glance.alerts else []
    for name, count, tone in (("running", glance.active, "accent"), ("queued", glance.queued, "muted")):
        if count:
            parts.append((f"{' ' if parts else ''}{STATE_MARKS[name][0]} {count}", tone))
    return parts


def _joined(parts: Sequence[Sequence[Span]]) -> list[Span]:
    row: list[Span] = []
    for part in parts:
        if part:
            row += [*([(GAP, "")] if row else []), *part]
    return row
