"""Plans that were made, kept in the workspace: whether a profile fits and how long it takes, without asking again.

cache/plans/<profile and overrides>.json    the plan or why there is none, when, and what it was made from

A plan takes seconds of CPU; to know one that was made takes a few looks at files. It holds as long as the profile, its
bases, its data, model, plugins and this machine's devices are what they were. What memory was free then may not be
free now: a plan is made anew after a day, one that tells no fit or no time much sooner.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tuiftune import catalog, units
from tuiftune.errors import ProfileError, TuiftuneError
from tuiftune.paths import cache_folder, runs_folder
from tuiftune.run import tools
from tuiftune.run.child import Child, GivenUp
from tuiftune.run.files import read_json, write_json
from tuiftune.run.inputs import data_bytes, inputs_of, unchanged

KEPT = 64
"""Plans of a workspace, the newest."""
LARGEST = 1 << 20
HOLDS_S = 24 * 3600.0
NO_FIT_HOLDS_S = 600.0
"""Of none, or one that does not fit: what stood in the way may be gone."""
NO_TIME_HOLDS_S = 3600.0
"""A run that goes on may tell the speed by then."""
NVIDIA = Path("/proc/driver/nvidia")


class TooMuchData(TuiftuneError):
    """To plan it, more data has to be prepared than was agreed to."""


@dataclass(frozen=True)
class Known:
    """What is known about a profile: its plan, or a sentence why there is none."""

    plan: dict[str, Any] | None
    sentence: str
    made: float
    """Seconds since the epoch."""

    def or_raise(self) -> dict[str, Any]:
        """The plan. Raises TuiftuneError with the sentence where there is none."""
        if self.plan is None:
            raise TuiftuneError(self.sentence)
        return self.plan


def known(workspace: Path, profile: str, overrides: Sequence[str] = ()) -> Known | None:
    """What `find` found out, where it still holds; None where it has to be asked for. Starts nothing."""
    try:
        kept = read_json(_file(workspace, profile, overrides), LARGEST)
        found = Known(kept["plan"], str(kept["sentence"]), float(kept["made"]))
        same = kept["machine"] == _machine() and unchanged(kept["inputs"])
        if _lacks_time(found):
            same = same and kept["runs"] == _runs(workspace)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # not there, or damaged: asked for anew
        return None
    age_s = time.time() - found.made
    return found if same and 0 <= age_s < _holds_s(found) else None


def find(
    workspace: Path,
    profile: str,
    overrides: Sequence[str] = (),
    child: Child | None = None,
    most_data_bytes: int | None = None,
) -> Known:
    """Ask the planner, which takes seconds, or minutes where much data has to be prepared, and keep what it says.

    Raises TooMuchData where there is more than `most_data_bytes` of it, ProfileError where the profile has problems,
    PluginError where it cannot be resolved, RunFailed where the planner broke, GivenUp where `child` was given up;
    none of these is kept.
    """
    child = child or Child()
    resolved = catalog.resolve_profile(workspace, profile, overrides)
    child.check()
    if resolved.problems:
        raise ProfileError(resolved.problems)
    found_bytes = data_bytes(workspace, resolved)
    if most_data_bytes is not None and found_bytes > most_data_bytes:
        raise TooMuchData(f"whether it fits: {units.size(found_bytes)} of data first; tuiftune plan {profile}")
    made_from = {
        "machine": _machine(),
        "runs": _runs(workspace),
        "inputs": inputs_of(workspace, resolved),  # before it is looked at: what changes meanwhile is seen
    }
    plan, sentence = None, ""
    try:
        plan = tools.plan_of(workspace, resolved, child=child)
    except GivenUp:
        raise
    except TuiftuneError as error:
        if error.exit_status != TuiftuneError.exit_status:
            raise
        sentence = str(error)
    found = Known(plan, sentence, time.time())
    _keep(_file(workspace, profile, overrides), found, {"profile": profile, **made_from})
    return found


def _keep(file: Path, found: Known, more: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):  # it is only asked again
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_json(file, {**more, **asdict(found)})
        _forget_oldest(file.parent)


def has_gpu() -> bool:
    """Whether the driver of an NVIDIA GPU is loaded (or, on WSL, that of the host is passed through)."""
    return (NVIDIA / "version").exists() or Path("/dev/dxg").exists()


def _file(workspace: Path, profile: str, overrides: Sequence[str]) -> Path:
    name = json.dumps([profile, *overrides])
    return cache_folder(workspace) / "plans" / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.json"


def _machine() -> list[Any]:
    """What this machine can train on, as far as it is told without a driver being asked."""
    cards = sorted(NVIDIA.glob("gpus/*"))
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return [os.uname().nodename, has_gpu(), [card.name for card in cards], visible, os.cpu_count()]


def _runs(workspace: Path) -> int:
    """Changes with every run that is made: its speed tells how long the next one takes."""
    try:
        return runs_folder(workspace).stat().st_mtime_ns
    except OSError:
        return 0


def _lacks_time(found: Known) -> bool:
    return found.plan is not None and found.plan.get("tokens_per_s") is None


def _holds_s(found: Known) -> float:
    if found.plan is None or not found.plan.get("fits"):
        return NO_FIT_HOLDS_S
    return NO_TIME_HOLDS_S if _lacks_time(found) else HOLDS_S


def _forget_oldest(folder: Path) -> None:
    """What a killed process left half-written is among the files, and goes with them."""
    files = sorted(folder.iterdir(), key=lambda file: file.stat().st_mtime_ns, reverse=True)
    for file in files[KEPT:]:
        file.unlink(missing_ok=True)
