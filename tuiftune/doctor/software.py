"""Python and the packages tuiftune needs, against the versions it asks for."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from importlib import metadata

from packaging.requirements import Requirement

from tuiftune import __version__
from tuiftune.doctor.finding import BAD, GOOD, Finding

LEAST_PYTHON = (3, 11)


def findings() -> Iterator[Finding]:
    level = GOOD if sys.version_info >= LEAST_PYTHON else BAD
    yield Finding(
        "software", "Python", level, platform.python_version(), "" if level == GOOD else "use Python 3.11 or later"
    )
    yield Finding("software", "tuiftune", GOOD, __version__)
    for text in metadata.requires("tuiftune") or ():
        wanted = Requirement(text)
        if wanted.marker is None or wanted.marker.evaluate({"extra": ""}):
            yield _package(wanted)


def _package(wanted: Requirement) -> Finding:
    remedy = f"pip install '{wanted.name}{wanted.specifier}'"
    try:
        version = metadata.version(wanted.name)
    except metadata.PackageNotFoundError:
        return Finding("software", wanted.name, BAD, f"is not installed; {wanted.specifier} is needed", remedy)
    if not wanted.specifier.contains(version, prereleases=True):
        return Finding("software", wanted.name, BAD, f"{version}, and {wanted.specifier} is needed", remedy)
    return Finding("software", wanted.name, GOOD, version)
