"""Workspaces that cannot be written: python places.py FOLDER, in a mount namespace of its own. Prints what was said."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

DEMO = '[dataset]\nstage = "text"\npath = "tuiftune:quickstart.txt"\n[train]\nstage = "demo"\nsteps = 5\n'


def main(folder: Path) -> dict[str, Any]:
    found = {}
    for name, options in (("read-only", "size=8m"), ("no inodes", "size=8m,nr_inodes=12"), ("no room", "size=12k")):
        place = folder / name
        place.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(place)], check=True)
        for part in ("profiles", "plugins"):
            (place / part).mkdir()
        (place / "profiles" / "quick.toml").write_text(DEMO)
        if name == "read-only":
            subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
        command = [sys.executable, "-P", "-m", "tuiftune.cli", "run", "quick", "--detach"]
        done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False, timeout=60)
        runs = place / "runs"
        found[name] = {
            "status": done.returncode,
            "said": done.stderr,
            "left": sorted(str(path.relative_to(place)) for path in runs.rglob("*")) if runs.is_dir() else [],
        }
    return found


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))
