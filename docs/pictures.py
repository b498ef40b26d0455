"""Draw the README's pictures from real runs: python docs/pictures.py, some four minutes on two cores.

It trains the quickstart twice in a workspace of its own, and draws the dashboard while the second run trains, both runs
side by side, and what they trained on.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from textual.pilot import Pilot

from tuiftune.run.folder import list_runs, state_of
from tuiftune.run.metrics_db import MetricsReader
from tuiftune.tui.app import TuiftuneApp
from tuiftune.tui.messages import GoTo

FOLDER = Path(__file__).parent
SIZE = (120, 40)
KEEPS_BLANKS = '<svg xml:space="preserve" '
"""Some who draw SVGs drop the blanks that a text begins with."""
SETTLED_S = 3.0
"""By then the watcher has read the run and the charts are drawn."""
DRAWN_AT = 0.6
"""Of its steps, when a picture of a run that trains is taken."""
DEADLINE_S = 600.0
HOST = "box"


def tuiftune(workspace: Path, *arguments: str) -> None:
    subprocess.run([sys.executable, "-P", "-m", "tuiftune.cli", *arguments], cwd=workspace, check=True)


def wait_for_step(workspace: Path) -> None:
    """Until the newest run has taken most of its steps."""
    reader = MetricsReader(list_runs(workspace)[0].metrics_file)
    end = time.monotonic() + DEADLINE_S
    while time.monotonic() < end:
        total, last = reader.facts().get("total_steps"), reader.last("train/loss")
        if total and last and last.step >= DRAWN_AT * total:
            return
        time.sleep(0.2)
    raise TimeoutError("the run does not come on")


async def draw(workspace: Path, name: str, keys: Sequence[str], first: GoTo | None = None) -> None:
    """What is on the screen after these keys."""
    app = TuiftuneApp(workspace)
    app._glance = dataclasses.replace(app._glance, host=HOST)
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause(SETTLED_S)
        if first is not None:
            app.post_message(first)
            await at_rest(pilot)
        for key in keys:
            await pilot.press(key)
            await pilot.pause(0.3)
        await pilot.pause(SETTLED_S)
        svg = app.export_screenshot(title="tuiftune").replace("<svg ", KEEPS_BLANKS, 1)
        (FOLDER / f"{name}.svg").write_text(svg, encoding="utf-8")


async def at_rest(pilot: Pilot[None]) -> None:
    """Until nothing is being read any more: the data takes the longest."""
    end = time.monotonic() + DEADLINE_S
    while time.monotonic() < end:
        await pilot.pause(SETTLED_S)
        if "is being read" not in pilot.app.export_screenshot().replace("&#160;", " "):
            return
    raise TimeoutError("the data is not read")


def main() -> None:
    os.environ.setdefault("TUIFTUNE_THEME", "dark")
    with tempfile.TemporaryDirectory() as made:
        workspace = Path(made)
        for folder in ("profiles", "plugins"):
            (workspace / folder).mkdir()
        os.chdir(workspace)
        tuiftune(workspace, "run", "quickstart", "--name", "twice the rate", "--set", "train.learning_rate=2e-3")
        tuiftune(workspace, "run", "quickstart", "--name", "as shipped", "--detach")
        wait_for_step(workspace)
        asyncio.run(draw(workspace, "dashboard", []))
        end = time.monotonic() + DEADLINE_S
        while any(state_of(run).active for run in list_runs(workspace)) and time.monotonic() < end:
            time.sleep(0.5)
        asyncio.run(draw(workspace, "compare", ["3", "space", "down", "space", "c"]))
        asyncio.run(draw(workspace, "data", [], GoTo("data", "quickstart")))


if __name__ == "__main__":
    main()
