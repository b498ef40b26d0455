"""Ask a child process about the driver or about torch. One that hangs or crashes is a sentence, never our end."""

from __future__ import annotations

import contextlib
import json
import subprocess
from dataclasses import dataclass, field
from typing import Any

from tuiftune.run.process import python, signal_text
from tuiftune.text import one_line

NVML_S = 20.0
"""Without persistence mode a driver wakes each GPU when it is asked."""
TORCH_S = 90.0
"""The first import from a cold disk takes long."""


@dataclass(frozen=True)
class Answer:
    """What a child said."""

    facts: dict[str, Any] = field(default_factory=dict)
    problem: str | None = None
    """Why it said nothing, as a part of a sentence."""


def ask(module: str, limit_s: float) -> Answer:
    """Run `python -m MODULE`; its last line of output is JSON."""
    try:
        child = subprocess.Popen(
            python("-m", module), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
    except OSError as error:
        return Answer(problem=f"cannot be asked: {error.strerror}")
    try:
        output, words = child.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        child.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):  # one that is stuck in the driver ends when that lets it
            child.wait(1.0)
        return Answer(problem=f"did not answer within {limit_s:.0f} s")
    if child.returncode < 0:
        return Answer(problem=f"the process that asked was ended by {signal_text(-child.returncode)}")
    try:
        facts = json.loads(output.decode("utf-8", "replace").strip().rpartition("\n")[2])
    except ValueError:
        last = words.decode("utf-8", "replace").strip().rpartition("\n")[2]
        return Answer(problem=one_line(last, 300) or f"exit status {child.returncode}")
    return Answer(facts if isinstance(facts, dict) else {})
