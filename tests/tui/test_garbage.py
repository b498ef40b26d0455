"""The dashboard collects its garbage by itself, as often as it says, and lives on."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

LOOKED_AT = """
import gc, sys, time
from pathlib import Path
import tuiftune.tui.garbage
tuiftune.tui.garbage.COLLECTED_S = 0.2
def told(phase, info):
    if phase == "stop" and info["generation"] == 2 and not gc.isenabled():
        with Path({log!r}).open("a") as file:
            file.write(f"{{gc.get_freeze_count()}}\\n")
gc.callbacks.append(told)
from tuiftune.program import main
main()
"""


def test_garbage_is_collected_while_the_dashboard_is_open(
    workspace: Path, tmp_path: Path, open_terminal: Callable[..., Any]
) -> None:
    log = tmp_path / "collected"
    terminal = open_terminal([sys.executable, "-P", "-c", LOOKED_AT.format(log=str(log))], workspace, 100, 30)
    terminal.wait_for("1 Profiles", "? Help")
    end = time.monotonic() + 30
    while not log.exists() or len(log.read_text().split()) < 5:
        assert time.monotonic() < end, terminal.text()
        time.sleep(0.05)
    assert all(int(count) > 10_000 for count in log.read_text().split()), "what was made at the start is not looked at"
    terminal.type("?")
    terminal.wait_for("Keys here")
