"""What a power cut or a kill leaves of a record: everything up to some step, and a file that opens."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tuiftune.run.metrics_db import MetricsReader, MetricsWriter
from tuiftune.run.record_mending import mend

WRITER = """
import sys, time
from pathlib import Path
from tuiftune.run.recorder import StoreRecorder

recorder = StoreRecorder(Path(sys.argv[1]))
for step in range(1, 1_000_000):
    recorder.metric(step, {"train/loss": 1.0 / step, "train/grad_norm": 2.0})
    recorder.event("message", {"stage": "x", "text": f"step {step}"})
    print(step, flush=True)
    time.sleep(0.002)
"""


def writing(path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-P", "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)


def steps(path: Path) -> list[int]:
    reader = MetricsReader(path)
    found = [row.step for row in reader.rows("train/loss")]
    assert [row.step for row in reader.rows("train/grad_norm")] == found, "a step is recorded whole or not at all"
    reader.events()
    reader.close()
    return found


def test_a_log_cut_short_anywhere_leaves_a_record_up_to_some_step(tmp_path: Path, until: Callable[..., Any]) -> None:
    """Disk images of a power cut: the database as it was last synced, its log only up to some byte."""
    live = tmp_path / "live" / "metrics.db"
    live.parent.mkdir()
    writer = writing(live)
    log = live.with_name("metrics.db-wal")
    try:
        until(lambda: log.exists() and log.stat().st_size > 200_000)
        image = tmp_path / "image"
        image.mkdir()
        os.kill(writer.pid, signal.SIGSTOP)  # so that the two are of one moment
        for path in (live, log):
            shutil.copy(path, image / path.name)
    finally:
        writer.kill()
        writer.communicate()
    size = (image / log.name).stat().st_size
    rng = random.Random(5)  # noqa: S311 - places, not secrets
    found = []
    for number, cut in enumerate([0, 1, 31, 32, size - 1, size, *(rng.randrange(size) for _ in range(60))]):
        place = tmp_path / f"cut-{number}"
        shutil.copytree(image, place)
        os.truncate(place / log.name, cut)
        left = steps(place / live.name)
        assert left == list(range(1, len(left) + 1)), f"cut at {cut} of {size}"
        found.append(len(left))
        assert mend(place / live.name, place) is None, "nothing of it is damaged"
        MetricsWriter(place / live.name).close()
    assert min(found) < max(found), "some cuts cost something"


def test_a_killed_writer_loses_at_most_the_last_second(tmp_path: Path) -> None:
    path = tmp_path / "metrics.db"
    for _ in range(5):
        writer = writing(path)
        assert writer.stdout
        told = 0.0
        begun = time.monotonic()
        said: list[tuple[float, int]] = []
        while told < 0.4:
            said.append((time.monotonic(), int(writer.stdout.readline())))
            told = time.monotonic() - begun
        writer.kill()
        killed = time.monotonic()
        writer.communicate()
        old_enough = [step for when, step in said if when < killed - 1.0] or [0]
        found = steps(path)
        assert found[-1] >= max(old_enough)
        assert found == list(range(1, found[-1] + 1))
