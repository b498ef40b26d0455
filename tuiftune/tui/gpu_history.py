"""What each GPU did over the whole run, thinned for drawing on the axis of the run's curves."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from tuiftune.run.alerts import SLOWED_BY
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
        self._last = -math.inf
        """When the newest readings that are known were taken."""
        self._limit_w: float | None = None
        self._slowdown_c: float | None = None

    def update(self, reader: TelemetryReader, newest: float) -> None:
        """Read up to `newest`, when the last readings were taken."""
        after = math.nextafter(self._last, math.inf)
        for name in FIELDS:
            for when, value in reader.history(self.name, name, after):
                self._bucket(when).add(name, value, 1)
        for when, reasons in reader.slowed_down(self.name, after):
            if any(reason in SLOWED_BY for reason in reasons.split(", ")):
                self._bucket(when).slowed = True
        self._last = newest
        while len(self._buckets) > POINTS:
            self._thin()

    def know_limits(self, power_w: object, slowdown_c: object) -> None:
        """Those of the newest readings; where a GPU is lost, what it told before holds."""
        self._limit_w = _number(power_w) or self._limit_w
        self._slowdown_c = _number(slowdown_c) or self._slowdown_c

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

    def curve(self, began: float) -> GpuCurve:
        """`began`: when the run started, seconds since the epoch."""
        found, limit_w = sorted(self._buckets.items()), self._limit_w
        return GpuCurve(
            self.name,
            tuple((number + 0.5) * self._width_s - began for number, _ in found),
            tuple(bucket.mean("temperature_c") for _, bucket in found),
            tuple(bucket.mean("utilization_percent") for _, bucket in found),
            tuple(100 * bucket.mean("power_w") / limit_w if limit_w else math.nan for _, bucket in found),
            tuple(bucket.slowed for _, bucket in found),
            self._slowdown_c,
        )


class GpuHistory:
    """Of every GPU that the run's telemetry knows."""

    def __init__(self) -> None:
        self._devices: dict[str, _Device] = {}

    def update(self, reader: TelemetryReader) -> None:
        """Read what is new. Raises StoreError."""
        found = reader.latest()
        if found is None:
            return
        newest, latest = found
        for name in reader.devices():
            if name.startswith("gpu"):
                device = self._devices.get(name)
                if device is None:
                    device = self._devices[name] = _Device(name)
                    device.know_limits(reader.highest(name, "power_limit_w"), reader.highest(name, "slowdown_c"))
                device.update(reader, newest)
                fields = latest.get(name, {})
                device.know_limits(fields.get("power_limit_w"), fields.get("slowdown_c"))

    def curves(self, began: float) -> tuple[GpuCurve, ...]:
        """One each. `began`: when the run started, seconds since the epoch."""
        return tuple(device.curve(began) for _, device in sorted(self._devices.items()))


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None
