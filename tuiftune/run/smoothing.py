"""A curve without its jumps."""

from __future__ import annotations

import math
from collections.abc import Sequence


def smooth(steps: Sequence[float], values: Sequence[float], times: float = 1.0) -> list[float]:
    """An exponential moving average over steps, corrected for its start; NaN where the value is.

    Its half-life is a power of two near a 40th of the length, so that it moves seldom as a run grows; `times` as
    long as that.
    """
    if not steps:
        return []
    span = max(1.0, steps[-1] - steps[0])
    half_life = times * 2.0 ** max(1, math.floor(math.log2(max(2.0, span / 40))))
    average = weight = 0.0
    before = steps[0] - 1
    smoothed = []
    for step, value in zip(steps, values, strict=True):
        if math.isfinite(value):
            keep = 0.5 ** ((step - before) / half_life)
            average = keep * average + (1 - keep) * value
            weight = keep * weight + (1 - keep)
            before = step
        smoothed.append(average / weight if math.isfinite(value) and weight else math.nan)
    return smoothed
