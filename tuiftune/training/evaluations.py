"""The evaluations a run has made so far: which was best, and how long ago."""

from __future__ import annotations

import json
import math
from pathlib import Path

from tuiftune.run.files import write_json


class Evaluations:
    """Loss by step, kept in a file beside the checkpoints so that a resumed run knows its best.

    It is not inside a checkpoint because a step is evaluated after its checkpoint is sealed.
    """

    def __init__(self, file: Path, up_to_step: int) -> None:
        """Those up to `up_to_step`, where the run goes on; later ones are made again."""
        self._file = file
        self._losses: dict[int, float] = {}
        if file.is_file():
            for item in json.loads(file.read_text(encoding="utf-8")):
                if item["step"] <= up_to_step:
                    self._losses[item["step"]] = math.nan if item["loss"] is None else item["loss"]

    def __contains__(self, step: int) -> bool:
        return step in self._losses

    def add(self, step: int, loss: float) -> None:
        self._losses[step] = loss
        finite = {at: value if math.isfinite(value) else None for at, value in self._losses.items()}
        write_json(self._file, [{"step": at, "loss": value} for at, value in finite.items()])

    @property
    def best_step(self) -> int | None:
        """The step of the lowest loss, the first of equals; None before the first finite one."""
        finite = {step: loss for step, loss in self._losses.items() if math.isfinite(loss)}
        return min(finite, key=lambda step: finite[step]) if finite else None

    @property
    def since_best(self) -> int:
        """Evaluations after the best one; all of them when none was finite."""
        steps = list(self._losses)
        best = self.best_step
        return len(steps) if best is None else len(steps) - 1 - steps.index(best)
