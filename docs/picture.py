"""Draw the dashboard from a run, for the README: python docs/picture.py RUN docs/dashboard.svg [COLUMNSxROWS]."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from tuiftune.paths import find_workspace
from tuiftune.run.folder import find_run
from tuiftune.tui.app import TuiftuneApp

KEEPS_BLANKS = '<svg xml:space="preserve" '
"""Some who draw SVGs drop the blanks that a text begins with."""
SETTLED_S = 3.0
"""By then the watcher has read the run and the charts are drawn."""


async def draw(run: str, target: Path, size: tuple[int, int]) -> None:
    workspace = find_workspace()
    app = TuiftuneApp(workspace, run=find_run(workspace, run).id)
    async with app.run_test(size=size) as pilot:
        await pilot.pause(SETTLED_S)
        svg = app.export_screenshot(title="tuiftune").replace("<svg ", KEEPS_BLANKS, 1)
        target.write_text(svg, encoding="utf-8")


if __name__ == "__main__":
    columns, rows = (int(number) for number in (sys.argv[3] if len(sys.argv) > 3 else "120x40").split("x"))
    asyncio.run(draw(sys.argv[1], Path(sys.argv[2]), (columns, rows)))
