"""What a run has measured so far: which evaluation was best, and how long ago; which step was sampled last."""

from __future__ import annotations

import json
import math
from pathlib import Path

from tuiftune.run.files import write_json


class Evaluations:
    """Loss by step, kept in a file beside the checkpoints so that a resumed run knows its best and what it owes.

    It is not inside a checkpoint because a step is evaluated after its checkpoint is sealed.
    """

    def __init__(self, file: Path, up_to_step: int) -> None:
        """Those up to `up_to_step`, where the run goes on; later ones are made again."""
        self._file = file
        self._losses: dict[int, float] = {}
        self.sampled_step = -1
        """The last step whose samples are all written."""
        if file.is_file():
            kept = json.loads(file.read_text(encoding="utf-8"))
            self.sampled_step = kept["sampled_step"]
            for item in kept["losses"]:
                if item["step"] <= up_to_step:
                    self._losses[item["step"]] = math.nan if item["loss"] is None else item["loss"]

    def __contains__(self, step: int) -> bool:
        return step in self._losses

    def would_be_best(self, loss: float) -> bool:
        """Whether this is the lowest loss so far."""
        return math.isfinite(loss) and (self.best_step is None or loss < self._losses[self.best_step])

    def add(self, step: int, loss: float) -> None:
        self._losses[step] = loss
        self._write()

    def sampled(self, step: int) -> None:
        """The samples of `step` are written."""
        self.sampled_step = step
        self._write()

    def _write(self) -> None:
        finite = {at: value if math.isfinite(value) else None for at, value in self._losses.items()}
        losses = [{"step": at, "loss": value} for at, value in finite.items()]
        write_json(self._file, {"losses": losses, "sampled_step": self.sampled_step})

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
