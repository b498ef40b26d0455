"""How a supervisor starts its worker: the command, the environment, and what the profile tells it."""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass
from typing import Any

from tuiftune import units
from tuiftune.errors import TuiftuneError
from tuiftune.run import process
from tuiftune.run.folder import Run

MARK = "TUIFTUNE_RUN"
"""In the environment of the worker and all that comes from it: its run's folder."""


@dataclass(frozen=True)
class RunTable:
    """The `[run]` table of the effective profile, and what else of it the supervisor needs."""

    devices: str | None = None
    stop_grace_s: float = 120.0
    max_restarts: int = 3
    max_temperature_c: float | None = None
    disk_reserve_bytes: int = 256 << 20
    processes: int = 1
    """That train side by side, one a GPU: `train.processes`."""

    @classmethod
    def of(cls, run: Run) -> RunTable:
        """Raises TuiftuneError where the profile cannot be read."""
        try:
            with run.profile_file.open("rb") as file:
                profile: dict[str, Any] = tomllib.load(file)
            table = profile.get("run", {})
            temperature = table.get("max_temperature")
            return cls(
                devices=table.get("devices"),
                stop_grace_s=float(table.get("stop_grace", cls.stop_grace_s)),
                max_restarts=int(table.get("max_restarts", cls.max_restarts)),
                max_temperature_c=None if temperature is None else float(temperature),
                disk_reserve_bytes=units.parse_size(str(table.get("disk_reserve", cls.disk_reserve_bytes)), least=0),
                processes=int(profile.get("train", {}).get("processes", cls.processes)),
            )
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise TuiftuneError(f"{run.profile_file}: cannot be read: {error}") from error


def worker_command() -> list[str]:
    """The worker, but for the run's folder."""
    return process.python("-m", "tuiftune.run.worker")


def worker_environment(run: Run, devices: str | None) -> dict[str, str]:
    """Ours, with GPUs in the order that nvidia-smi and NVML show them, and the mark of this run."""
    environment = {
        # A CPU thread that waits for the others sleeps rather than spins: with one busy neighbour on 2 cores,
        # training ran at 4,200-4,700 tokens/s so and at 130-1,400 with OpenMP's default.
        "OMP_WAIT_POLICY": "PASSIVE",
        # What is freed can be used for a tensor of another size: after memory ran out, less is lost in the gaps.
        "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True",
        **os.environ,
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "PYTHONUNBUFFERED": "1",
        "TOKENIZERS_PARALLELISM": "false",  # its threads deadlock in forked data workers
        MARK: str(run.path),
    }
    if devices is not None:
        environment["CUDA_VISIBLE_DEVICES"] = devices
    return environment
