"""Whether the terminal is at the other end of a link, where every refresh is bytes and time."""

from __future__ import annotations

import os

VARIABLE = "TUIFTUNE_LINK"
"""'fast' or 'slow': for an SSH to the next room, or a terminal that is slow by itself."""


def is_slow() -> bool:
    """As the user says, else over SSH."""
    said = os.environ.get(VARIABLE, "").lower()
    if said in ("fast", "slow"):
        return said == "slow"
    return bool(os.environ.get("SSH_CONNECTION"))
