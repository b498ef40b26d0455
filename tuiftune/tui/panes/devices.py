"""What the run costs the machine: each GPU, or CPU and memory where there is none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from tuiftune import units
from tuiftune.tui.messages import DeviceView, Readings
from tuiftune.tui.panes.rows import Row, Rows, Span, fit, wrap
from tuiftune.tui.widgets.history import blocks

STALE_S = 6.0
"""Readings come once a second; older ones are said to be old."""
GIB = 2.0**30
LABEL, VALUE = 7, 16
"""Cells of a block's first two columns."""
GPU_HISTORIES, HOST_HISTORIES = 4, 2
TALLEST = 3
"""Rows of a history where there is room for more than one."""
SPARE = 3
"""Rows left for the reason why there is no GPU, which may wrap."""
NARROW = 64
"""In fewer cells a GPU without a block of its own takes two rows."""
LINE_BLOCKS = 30
"""A history in a line is at most so long."""
MOST_LINES = 4
HOT_BELOW_C = 5.0
"""So near to where the GPU slows itself down its temperature is a warning."""


class DevicesPane(Rows):
    """A block a GPU where there is room, else a line."""

    help_text: ClassVar[str] = (
        "Each GPU's temperature, memory, utilisation and power with the last minutes as blocks, the newest at the "
        "right. VRAM counts every process on the GPU. '—' is what the device does not tell."
    )

    def __init__(self) -> None:
        super().__init__()
        self._readings: Readings | None = None

    def show(self, readings: Readings | None) -> None:
        """None: of another run, nothing of which was read yet."""
        self._readings = readings
        self.redraw()

    def rows(self, width: int, height: int) -> Sequence[Row]:
        readings = self._readings
        if readings is None:
            return []
        if not readings.devices:
            text = "no readings yet" if readings.live else "no readings were taken"
            return [[("devices  ", "title"), (text, "muted")]]
        gpus = [device for device in readings.devices if device.name.startswith("gpu")]
        host = next((device for device in readings.devices if device.name == "host"), None)
        age = _age(readings)
        tall = _tallest(len(gpus), height)
        if tall:
            return _blocks(gpus, host, age, width, height, tall)
        if gpus and width < NARROW:
            return _pairs(gpus, host, age, width, height)
        return _lines(gpus, host, age, width, height)


def lines_wanted(devices: Sequence[DeviceView]) -> int:
    """How many rows the devices take where each is a line."""
    gpus = sum(device.name.startswith("gpu") for device in devices)
    return max(2, min(MOST_LINES, gpus))


def _tallest(gpus: int, height: int) -> int:
    """How many rows a history may take; 0 where there is no room for blocks."""
    if (gpus and height < gpus * (GPU_HISTORIES + 2) - 1) or height < GPU_HISTORIES + 1:
        return 0
    histories = gpus * GPU_HISTORIES + HOST_HISTORIES
    for tall in range(TALLEST, 1, -1):
        if histories * (tall + 1) + 3 * gpus + SPARE + 1 <= height:
            return tall
    return 1


def _age(readings: Readings) -> list[Row]:
    """A row when readings that should be fresh are old."""
    if not readings.live or readings.age_s is None or readings.age_s <= STALE_S:
        return []
    return [[(f"read {units.duration(readings.age_s)} ago", "warn")]]


def _blocks(
    gpus: Sequence[DeviceView], host: DeviceView | None, age: Sequence[Row], width: int, height: int, tall: int
) -> list[Row]:
    rows: list[Row] = []
    more = height >= len(gpus) * (GPU_HISTORIES + 3) - 1
    for gpu in gpus:
        rows += [*_gpu_block(gpu, width, tall), *([_clocks(gpu.latest, width)] if more else []), []]
    if host is not None and (not gpus or len(rows) + 3 <= height):
        rows += _host_block(host, width, tall, with_status=not gpus)
    return [*rows, *age]


def _gpu_block(gpu: DeviceView, width: int, tall: int) -> list[Row]:
    now = gpu.latest
    title: list[Span] = [(_gpu_name(gpu), "title")]
    trouble, room = _trouble(now), width - len(_gpu_name(gpu))
    names = [name for name in _names(now) if len(f"  {name}{f'  {trouble}' if trouble else ''}") <= room]
    if names or not trouble:
        title.append((fit(f"  {[*names, _names(now)[1]][0]}", room), "muted"))
    if now.get("error"):
        return [title, *([(line, "bad")] for line in wrap(str(now["error"]), width)[:GPU_HISTORIES])]
    if trouble:
        title.append((f"  {_trouble_in(now, room - 2)}", "warn"))
    total, limit = now.get("memory_total_bytes"), now.get("power_limit_w")
    return [
        title,
        *_history(gpu, "temp", _temperature(now), "temperature_c", (20, 95), width, tall, _heat_tone(now)),
        *_history(gpu, "VRAM", _memory(now, "memory"), "memory_used_bytes", (0, total), width, tall),
        *_history(gpu, "util", _percent(now.get("utilization_percent")), "utilization_percent", (0, 100), width, tall),
        *_history(gpu, "power", _power(now), "power_w", (0, limit), width, tall),
    ]


def _clocks(now: Any, width: int) -> Row:
    """`clocks 2610 MHz  memory 10501  fan 55 %  2 processes`, as much as there is room for."""
    if now.get("error"):
        return []
    clock, memory, count = (now.get(name) for name in ("sm_clock_mhz", "memory_clock_mhz", "processes"))
    parts = [f"{_number(clock)} MHz", f"memory {_number(memory)}", f"fan {_percent(now.get('fan_percent'))}"]
    if count is not None:
        parts.append(f"{count:.0f} process{'' if count == 1 else 'es'}")
    while len(parts) > 1 and LABEL + len("  ".join(parts)) > width:
        parts.pop(1 if len(parts) == 4 else -1)
    return [("clocks".ljust(LABEL), "muted"), ("  ".join(parts), "")]


def _host_block(host: DeviceView, width: int, tall: int, *, with_status: bool) -> list[Row]:
    now = host.latest
    rows: list[Row] = []
    if with_status:
        rows.append([("no GPU", "title")])
        rows += [[(line, "muted")] for line in wrap(str(now.get("gpu_status") or ""), width)[:3]]
    rows += _history(host, "CPU", _percent(now.get("cpu_percent")), "cpu_percent", (0, 100), width, tall)
    total = now.get("ram_total_bytes")
    rows += _history(host, "RAM", _memory(now, "ram"), "ram_used_bytes", (0, total), width, tall)
    if now.get("disk_free_bytes") is not None:
        rows.append([("disk".ljust(LABEL), "muted"), (f"{units.size(now['disk_free_bytes'])} free", "")])
    return rows


def _history(
    device: DeviceView,
    label: str,
    value: str,
    name: str,
    bounds: tuple[float, float | None],
    width: int,
    tall: int,
    tone: str = "",
) -> list[Row]:
    """`VRAM   5.2/12.0 GiB   ▂▃▄▅▅▅`; a taller one stands by itself."""
    drawn = blocks(device.history.get(name, ()), max(0, width - LABEL - VALUE), *bounds, rows=tall)
    first, *others = [(row, tone or "blocks") for row in drawn]
    rows: list[Row] = [[(label.ljust(LABEL), "muted"), (fit(value, VALUE - 1).ljust(VALUE), tone), first]]
    rows += [[(" " * (LABEL + VALUE), ""), other] for other in others]
    return [*rows, []] if tall > 1 else rows


def _lines(
    gpus: Sequence[DeviceView], host: DeviceView | None, age: Sequence[Row], width: int, height: int
) -> list[Row]:
    """One row a GPU; without one CPU and memory, and why."""
    if not gpus and host is not None:
        return [_host_line(host, width), [(fit(f"no GPU: {host.latest.get('gpu_status')}", width), "muted")], *age]
    shown = gpus if len(gpus) <= height else gpus[: height - 1]
    rows = _gpu_lines(shown, width)
    if len(shown) < len(gpus):
        return [*rows, _left_out(len(gpus) - len(shown))]
    return [*rows, *age, *([_host_line(host, width)] if host else [])]


def _left_out(count: int) -> Row:
    more = f"{count} more GPU{'s' if count > 1 else ''}"
    return [(f"and {more}: there is room for them on a taller screen", "muted")]


def _pairs(
    gpus: Sequence[DeviceView], host: DeviceView | None, age: Sequence[Row], width: int, height: int
) -> list[Row]:
    """Two rows a GPU, where a line is too short for one."""
    shown = gpus if len(gpus) * 2 <= height else gpus[: (height - 1) // 2]
    rows: list[Row] = []
    for gpu in shown:
        now, trouble = gpu.latest, _trouble(gpu.latest)
        heat = (_temperature(now).ljust(7), _heat_tone(now))
        use = _percent(now.get("utilization_percent")).ljust(7)
        rows.append([(f"{_gpu_name(gpu)}  ", "title"), heat, ("util ", "muted"), (use, ""), (_power(now), "")])
        memory = _memory(now, "memory")
        room = width - 7 - len("VRAM ") - len(memory) - 2
        beside = (_trouble_in(now, room), "warn")
        if not trouble:
            drawn = blocks(gpu.history.get("memory_used_bytes", ()), room, 0, now.get("memory_total_bytes"))[0]
            beside = (drawn, "blocks")
        rows.append([("       VRAM ", "muted"), (f"{memory}  ", ""), beside])
    if len(shown) < len(gpus):
        return [*rows, _left_out(len(gpus) - len(shown))]
    return [*rows, *age, *([_host_line(host, width)] if host else [])]


def _gpu_lines(gpus: Sequence[DeviceView], width: int) -> list[Row]:
    """A row each, the figures under one another; histories where every row has room for them."""
    start = len("GPU 0  66 °C  VRAM ")
    memory = max((len(_memory(gpu.latest, "memory")) for gpu in gpus), default=0)
    power = max((len(_power(gpu.latest)) for gpu in gpus), default=0)
    trouble = max((len(_trouble(gpu.latest)) for gpu in gpus if not gpu.latest.get("error")), default=0)
    used = start + memory + len("  util 100 %  ") + power + (trouble + 2 if trouble else 0)
    room = max(0, min(LINE_BLOCKS, (width - used - 2) // 2))
    return [_gpu_line(gpu, width, memory, power, room if room > 3 else 0) for gpu in gpus]


def _gpu_line(gpu: DeviceView, width: int, memory: int, power: int, room: int) -> Row:
    now = gpu.latest
    row: list[Span] = [(f"{_gpu_name(gpu)}  ", "title")]
    if now.get("error"):
        return [*row, (fit(str(now["error"]), width - 7), "bad")]

    def history(name: str, highest: float | None) -> Span:
        drawn = blocks(gpu.history.get(name, ()), room, 0, highest)[0]
        return (f" {drawn}" if room else "", "blocks")

    row += [(_temperature(now).ljust(7), _heat_tone(now)), ("VRAM ", "muted")]
    row += [(_memory(now, "memory").ljust(memory), ""), history("memory_used_bytes", now.get("memory_total_bytes"))]
    row += [("  util ", "muted"), (_percent(now.get("utilization_percent")).ljust(5), "")]
    row += [history("utilization_percent", 100), (f"  {_power(now).ljust(power)}", "")]
    left = width - sum(len(text) for text, _ in row) - 2
    return [*row, (f"  {_trouble_in(now, left)}", "warn")] if _trouble(now) and left > 0 else row


def _host_line(host: DeviceView, width: int) -> Row:
    now = host.latest
    return _with_blocks(
        [("CPU ", "title")],
        (_percent(now.get("cpu_percent")).ljust(6), host, "cpu_percent", 100),
        [("   RAM ", "title")],
        (_memory(now, "ram").ljust(15), host, "ram_used_bytes", now.get("ram_total_bytes")),
        [],
        width,
    )


Figure = tuple[str, DeviceView, str, float | None]
"""A value as text, and of which device and field, up to which value, the history is drawn behind it."""


def _with_blocks(
    start: list[Span], first: Figure, between: list[Span], second: Figure, end: list[Span], width: int
) -> Row:
    """A row with two histories that share what room the texts leave."""
    used = sum(len(text) for text, _ in (*start, *between, *end)) + len(first[0]) + len(second[0])
    room = max(0, min(LINE_BLOCKS, (width - used) // 2))
    row = list(start)
    for (text, device, name, highest), after in ((first, between), (second, end)):
        row += [(text, ""), (blocks(device.history.get(name, ()), room, 0, highest)[0], "blocks"), *after]
    return row


def _gpu_name(gpu: DeviceView) -> str:
    return f"GPU {gpu.name.removeprefix('gpu')}"


def _names(now: Any) -> tuple[str, str]:
    """`NVIDIA GeForce RTX 4070 Ti`, and without what stands in nearly every name."""
    name = str(now.get("name") or "")
    return name, name.removeprefix("NVIDIA ").removeprefix("GeForce ")


def _trouble(now: Any) -> str:
    """`slowed down: heat`, or nothing."""
    return f"slowed down: {now['throttle']}" if now.get("throttle") else ""


def _trouble_in(now: Any, room: int) -> str:
    """The longest form that there is room for."""
    forms = (_trouble(now), f"slowed: {now['throttle']}", f"! {now['throttle']}")
    return next((form for form in forms if len(form) <= room), fit(forms[-1], room))


def _number(value: Any, digits: int = 0) -> str:
    return f"{value:.{digits}f}" if isinstance(value, int | float) else "—"


def _temperature(now: Any) -> str:
    return f"{_number(now.get('temperature_c'))} °C"


def _heat_tone(now: Any) -> str:
    heat, limit = now.get("temperature_c"), now.get("slowdown_c")
    return "warn" if heat is not None and limit is not None and heat >= limit - HOT_BELOW_C else ""


def _percent(value: Any) -> str:
    return f"{_number(value)} %"


def _memory(now: Any, which: str) -> str:
    """`5.2/12.0 GiB`."""
    used, total = now.get(f"{which}_used_bytes"), now.get(f"{which}_total_bytes")
    return f"{_number(used / GIB, 1) if used is not None else '—'}/{_number(total / GIB, 1) if total else '—'} GiB"


def _power(now: Any) -> str:
    return f"{_number(now.get('power_w'))}/{_number(now.get('power_limit_w'))} W"
