"""The machine a run is on, as its supervisor sees it: telemetry recorded, heat and throttling noticed, devices held."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Any

from tuiftune.run import process
from tuiftune.run.folder import Run
from tuiftune.run.heat import HeatGuard
from tuiftune.run.lease import CPU, Leases, gpus, wished
from tuiftune.run.supervisor_log import Record, log
from tuiftune.run.telemetry_source import Sample, TelemetrySource
from tuiftune.run.throttling import Throttling
from tuiftune.run.worker_start import MARK, RunTable

VRAM_S = 5.0
"""After the end of its processes, a driver has this long to give their memory back."""
UNSEEN_S = 30.0
"""Queued runs wait this long to hear which devices a run uses whose telemetry says nothing."""


class Machine:
    """One look after another, none of which blocks."""

    def __init__(
        self,
        run: Run,
        table: RunTable,
        record: Record,
        leases: Leases,
        telemetry: Callable[..., TelemetrySource] = TelemetrySource,
    ) -> None:
        self._run, self._record = run, record
        self._source = telemetry(run.path, errors=None)
        self._heat, self._throttling = HeatGuard(table.max_temperature_c, table.devices), Throttling()
        self._on_gpu: set[int] = set()
        """Pids of this run that were last seen on a GPU."""
        self._unleased = False
        """That its devices could not be marked as used is said."""
        self._processes, self._begun = table.processes, time.monotonic()
        self.leases = leases
        self.devices = table.devices
        """For the worker's CUDA_VISIBLE_DEVICES; None for what the environment says."""
        self.sample: Sample | None = None
        """The newest look."""

    @property
    def telemetry_pid(self) -> int | None:
        return self._source.pid

    @property
    def too_hot(self) -> str | None:
        """Why the run is to be held; None where no GPU of it is too hot."""
        return self._heat.hold

    def look(self) -> None:
        problem = self._source.problem
        sample = self._source.poll()
        if sample is not None:
            self.sample = sample
            self._record.write(lambda writer: writer.sample(sample.time, sample.devices))
            self._heat.feed(sample.devices)
            listed = pids_on_gpus(sample)
            if listed:
                self._on_gpu = listed & {one.pid for one in process.marked(MARK, str(self._run.path))}
            for alert in self._throttling.look(sample.time, sample.devices):
                self._tell_alert(alert, sample.time)
        elif self._source.problem and not problem:
            log(self._source.problem)
            self._record.event("telemetry", {"text": self._source.problem})

    def _tell_alert(self, alert: Mapping[str, Any], when: float) -> None:
        log(alert["text"])
        self._record.write(lambda writer: writer.event("alert", alert, when))

    def share_devices(self) -> None:
        """For a run that did not wait for its devices: mark them as used, so that queued ones wait for it."""
        if self.leases.held:
            return
        if self.sample is None:
            if self.leases.announced and time.monotonic() - self._begun > UNSEEN_S:
                log(f"no look at the devices within {UNSEEN_S:.0f} s; until then queued runs do not wait for this one")
                self.leases.settled()
            return
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        allowed, count = wished(self.sample.devices, self.devices, self._processes, visible)
        names = gpus(self.sample.devices)
        try:
            if self.leases.take([names[one] for one in allowed[:count]] or [CPU], alone=False) is None:
                self.leases.settled()
        except OSError as error:
            if not self._unleased:
                log(f"its devices cannot be marked as used, so queued runs will not wait for it: {error}")
            self._unleased = True

    def vram_still_held(self) -> set[int]:
        """Pids of this run that the driver still lists after they are gone; it is asked for some seconds."""
        begun, until = time.time(), time.monotonic() + VRAM_S
        listed = set(self._on_gpu)
        while self._on_gpu & listed and time.monotonic() < until:
            sample = self._source.poll()
            if sample is not None and sample.time > begun:
                listed = pids_on_gpus(sample)
            time.sleep(0.05)
        return self._on_gpu & listed

    def close(self) -> None:
        self._source.close()
        self.leases.give_back()
        self.leases.settled()


def pids_on_gpus(sample: Sample) -> set[int]:
    """Of all programs that compute on any GPU."""
    texts = [str(fields.get("process_pids") or "") for fields in sample.devices.values()]
    return {int(pid) for text in texts for pid in text.split()}
