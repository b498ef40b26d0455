"""Hold a run while its GPUs are hotter than its profile allows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SAMPLES = 3
"""So many in a row above (or below) decide: one odd reading of a sensor does not."""
COOLER_C = 5.0
"""It goes on at so many degrees below the limit, so that it is not held and let go every other second."""


class HeatGuard:
    """Fed with each sample of the telemetry. A GPU whose temperature is not known holds nothing."""

    def __init__(self, limit_c: float | None, devices: str | None) -> None:
        """`devices`: the GPUs of the run as CUDA_VISIBLE_DEVICES names them, None for all."""
        self._limit_c = limit_c
        self._wanted = None if devices is None else {name.strip() for name in devices.split(",") if name.strip()}
        self._count = 0
        self.hold: str | None = None
        """The sentence why the run is to be held; None while it is not."""

    def feed(self, devices: Mapping[str, Mapping[str, Any]]) -> str | None:
        """`devices`: a sample of tuiftune.telemetry. Returns `hold`."""
        if self._limit_c is None:
            return None
        hottest = max(
            (
                (float(fields["temperature_c"]), name)
                for name, fields in devices.items()
                if self._is_ours(name, fields) and isinstance(fields.get("temperature_c"), int | float)
            ),
            default=None,
        )
        if hottest is None:
            return self.hold
        celsius, name = hottest
        if self.hold is None:
            turns, sentence = celsius > self._limit_c, self._sentence(name, celsius)
        else:
            turns, sentence = celsius <= self._limit_c - COOLER_C, None
        self._count = self._count + 1 if turns else 0
        if self._count >= SAMPLES:
            self._count, self.hold = 0, sentence
        return self.hold

    def _is_ours(self, name: str, fields: Mapping[str, Any]) -> bool:
        if not name.startswith("gpu"):
            return False
        if self._wanted is None:
            return True
        uuid = str(fields.get("uuid") or "")
        return name.removeprefix("gpu") in self._wanted or any(uuid and uuid.startswith(one) for one in self._wanted)

    def _sentence(self, name: str, celsius: float) -> str:
        limit = self._limit_c or 0.0
        return (
            f"{name} has {celsius:.0f} °C, and run.max_temperature is {limit:g}: held until it has cooled to "
            f"{limit - COOLER_C:g} °C"
        )
