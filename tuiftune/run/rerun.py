"""A run once more, with changes: from the profile it ran with, whatever has become of the profile's file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tuiftune.catalog import ResolvedProfile, resolve_profile
from tuiftune.errors import TuiftuneError
from tuiftune.run.folder import Run


def resolved_again(workspace: Path, run: Run, overrides: Sequence[str]) -> ResolvedProfile:
    """A run's effective profile with `key=value`s over it, checked as any profile is: what is wrong is in its problems.

    Raises TuiftuneError where the run's profile is not there, PluginError where the child does not come back.
    """
    if not run.profile_file.is_file():
        raise TuiftuneError(f"{run.profile_file}: no such file, so nobody knows what {run.id} ran with")
    found = resolve_profile(workspace, str(run.profile_file), overrides)
    name = run.origin().get("profile")
    return replace(found, name=name if isinstance(name, str) and name else found.name)


def command_of(run: Run, overrides: Sequence[str]) -> list[str]:
    """What to type for the same: it is written down with the new run."""
    return ["tuiftune", "rerun", run.id, *(part for one in overrides for part in ("--set", one))]
