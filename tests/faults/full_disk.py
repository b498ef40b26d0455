"""A run on a disk of 20 MiB that fills up: python full_disk.py WORKSPACE PROFILE, in a mount namespace of its own.

Prints what was seen, as JSON: the states, what `tuiftune watch --once` said of them, and how it ended.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

DEADLINE_S = 90.0


def tuiftune(*arguments: str) -> str:
    command = [sys.executable, "-P", "-m", "tuiftune.cli", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=DEADLINE_S)
    return done.stdout + done.stderr


def wait_for(condition: Callable[[], Any], what: str) -> Any:
    end = time.monotonic() + DEADLINE_S
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError(f"not within {DEADLINE_S:.0f} s: {what}")


def state(run: Path) -> dict[str, Any]:
    return dict(json.loads((run / "state.json").read_text()))


def fill(path: Path, leave_bytes: int) -> None:
    """Grow the file until so much room is left."""
    with path.open("ab") as file:
        while True:
            found = os.statvfs(path.parent)
            more = found.f_bavail * found.f_frsize - leave_bytes
            if more <= 0:
                return
            try:
                file.write(bytes(min(more, 1 << 20)))
                file.flush()
            except OSError:  # the last page
                return


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main(workspace: Path, profile: str) -> dict[str, Any]:
    os.chdir(workspace)
    runs = workspace / "runs"
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "none", str(runs)], check=True)
    undisturbed = runs / tuiftune("run", profile, "--detach").strip()
    wait_for(lambda: state(undisturbed)["state"] == "finished", "the undisturbed run")
    expected = {"weights": digest(undisturbed / "model" / "model.safetensors"), "losses": losses(undisturbed)}
    subprocess.run(["rm", "-r", str(undisturbed)], check=True)

    filler = runs / "somebody-elses"
    fill(filler, 3 << 20)
    run = runs / tuiftune("run", profile, "--detach").strip()
    wait_for(lambda: state(run)["state"] == "paused", f"a pause: {state(run)}")
    seen: dict[str, Any] = {"id": run.name, "paused": state(run), "watched": tuiftune("watch", run.name, "--once")}
    fill(filler, 0)
    time.sleep(3)  # of full disk, in which the supervisor samples the machine and gives up its ballast
    fill(filler, 0)
    seen["runs"] = tuiftune("runs")
    seen["resume"] = tuiftune("resume", run.name)
    filler.unlink()
    wait_for(lambda: state(run)["state"] not in ("paused", "running"), "its end")
    checkpoints = sorted(path.name for path in (run / "checkpoints").glob("step-*"))
    hidden = [path.name for path in run.rglob(".*")]
    found = {"weights": digest(run / "model" / "model.safetensors"), "losses": losses(run)}
    return {**seen, "end": state(run), "checkpoints": checkpoints, "hidden": hidden, "same": found == expected}


def losses(run: Path) -> list[str]:
    lines = tuiftune("metrics", run.name, "--series", "train/loss").splitlines()
    return [line.rpartition(",")[0] for line in lines]


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), sys.argv[2])))
