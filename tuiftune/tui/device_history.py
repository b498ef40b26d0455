"""The newest readings of each device and those of the last minutes, as the screen shows them."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from tuiftune.text import one_line
from tuiftune.tui.messages import DeviceView

HISTORY_FIELDS = (
    "temperature_c",
    "memory_used_bytes",
    "utilization_percent",
    "power_w",
    "cpu_percent",
    "ram_used_bytes",
)
HISTORY_S = 600.0
BUCKET_S = 5.0
"""A block of a history stands for so long: it moves, and is sent, once in that time."""
Recorded = Callable[[str, str, float], Iterable[tuple[float, float]]]
"""(device, field, since) -> (time, value) of each reading since then."""


class Devices:
    """The newest readings and the last ten minutes of them."""

    def __init__(self) -> None:
        self.read_at: float | None = None
        self._latest: dict[str, dict[str, Any]] = {}
        self._history: dict[tuple[str, str], deque[tuple[float, float]]] = {}

    def take(self, when: float, latest: dict[str, dict[str, Any]], recorded: Recorded | None = None) -> None:
        """The newest readings (tuiftune.telemetry); the first time, `recorded` has those before them."""
        if when == self.read_at:
            return
        before = recorded if self.read_at is None else None
        self.read_at, self._latest = when, latest
        for device, fields in latest.items():
            for name in HISTORY_FIELDS:
                if name in fields:
                    self._add(device, name, fields[name], before)

    def _add(self, device: str, name: str, value: Any, recorded: Recorded | None) -> None:
        now = self.read_at or 0.0
        history = self._history.setdefault((device, name), deque())
        if recorded is not None:
            history.extend(recorded(device, name, now - HISTORY_S))
        elif isinstance(value, int | float):
            history.append((now, float(value)))
        while history and history[0][0] < now - HISTORY_S:
            history.popleft()

    @property
    def latest(self) -> dict[str, dict[str, Any]]:
        """Device -> fields of the newest readings."""
        return self._latest

    def seen(self) -> tuple[DeviceView, ...]:
        return tuple(
            DeviceView(
                device,
                {name: one_line(value, 200) if isinstance(value, str) else value for name, value in fields.items()},
                {
                    name: tuple(bucketed(self._history[device, name]))
                    for name in HISTORY_FIELDS
                    if (device, name) in self._history
                },
            )
            for device, fields in sorted(self._latest.items())
        )


def bucketed(history: Iterable[tuple[float, float]]) -> Iterator[float]:
    """The mean of each BUCKET_S seconds that have values, oldest first."""
    for _, group in itertools.groupby(history, key=lambda point: point[0] // BUCKET_S):
        values = [value for _, value in group]
        yield sum(values) / len(values)
