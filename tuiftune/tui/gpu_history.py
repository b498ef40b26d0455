"""What each GPU did over the whole run, thinned for drawing on the axis of the run's curves."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from tuiftune.run.telemetry_db import TelemetryReader
from tuiftune.tui.messages import GpuCurve

POINTS = 1024
"""Where there are more, twice as long a time becomes one."""
FIRST_S = 2.0
FIELDS = ("temperature_c", "utilization_percent", "power_w")


@dataclass
class _Bucket:
    """The readings of some seconds."""

    sums: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    slowed: bool = False

    def add(self, name: str, total: float, count: int) -> None:
        self.sums[name] = self.sums.get(name, 0.0) + total
        self.counts[name] = self.counts.get(name, 0) + count

    def mean(self, name: str) -> float:
        return self.sums[name] / self.counts[name] if self.counts.get(name) else math.nan


class _Device:
    """One GPU; each `update` reads only what is new."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._width_s = FIRST_S
        self._buckets: dict[int, _Bucket] = {}
        self._last: dict[str, float] = {}
        """Field -> when its newest reading that is known was taken."""

    def update(self, reader: TelemetryReader) -> None:
        for name in FIELDS:
            for when, value in reader.history(self.name, name, self._after(name)):
                self._bucket(when).add(name, value, 1)
                self._last[name] = when
        for when in reader.slowed_down(self.name, self._after("slowed")):
            self._bucket(when).slowed = True
            self._last["slowed"] = when
        while len(self._buckets) > POINTS:
            self._thin()

    def _after(self, name: str) -> float:
        return math.nextafter(self._last.get(name, -math.inf), math.inf)

    def _bucket(self, when: float) -> _Bucket:
        return self._buckets.setdefault(int(when // self._width_s), _Bucket())

    def _thin(self) -> None:
        before, self._buckets = self._buckets, {}
        self._width_s *= 2
        for number, old in before.items():
            new = self._buckets.setdefault(number // 2, _Bucket())
            for name in old.sums:
                new.add(name, old.sums[name], old.counts[name])
            new.slowed = new.slowed or old.slowed

    def curve(self, began: float, limit_w: float | None, slowdown_c: float | None) -> GpuCurve:
        """`began`: when the run started, seconds since the epoch."""
        found = sorted(self._buckets.items())
        return GpuCurve(
            self.name,
            tuple((number + 0.5) * self._width_s - began for number, _ in found),
            tuple(bucket.mean("temperature_c") for _, bucket in found),
            tuple(bucket.mean("utilization_percent") for _, bucket in found),
            tuple(100 * bucket.mean("power_w") / limit_w if limit_w else math.nan for _, bucket in found),
            tuple(bucket.slowed for _, bucket in found),
            slowdown_c,
        )


class GpuHistory:
    """Of every GPU that the run's telemetry knows."""

    def __init__(self) -> None:
        self._devices: dict[str, _Device] = {}

    def update(self, reader: TelemetryReader) -> None:
        """Read what is new. Raises StoreError."""
        for name in reader.devices():
            if name.startswith("gpu"):
                self._devices.setdefault(name, _Device(name)).update(reader)

    def curves(self, began: float, latest: dict[str, dict[str, object]]) -> tuple[GpuCurve, ...]:
        """One each. `latest`: the newest readings, for the limits of power and temperature."""
        return tuple(
            device.curve(
                began,
                _number(latest.get(name, {}).get("power_limit_w")),
                _number(latest.get(name, {}).get("slowdown_c")),
            )
            for name, device in sorted(self._devices.items())
        )


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None
