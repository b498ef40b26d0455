"""Where `tuiftune` begins. The bare word is the dashboard: nothing is imported that its first frame can do without."""

from __future__ import annotations

import os
import sys

from tuiftune.errors import TuiftuneError
from tuiftune.tui import garbage, guard

COMPLETE = "_TUIFTUNE_COMPLETE"
"""A shell that wants completions says so in this variable: the scripts of `tuiftune completion` do."""


def main() -> None:
    """Entry point. With words after it, or where nothing can be drawn: the command line."""
    if len(sys.argv) > 1 or COMPLETE in os.environ or guard.refuse():
        from tuiftune import cli

        cli.main()
        return
    try:
        sys.exit(dashboard())
    except TuiftuneError as error:
        fail(error)


def dashboard(run: str | None = None) -> int:
    """The dashboard of this workspace, at `run` if one is named, until the user leaves it. Returns the exit status.

    The terminal has to be one that can be drawn on, see `guard.refuse`.
    """
    garbage.collect_later()
    guard.prepare()
    from tuiftune.paths import find_workspace
    from tuiftune.tui.app import run_dashboard

    return run_dashboard(find_workspace(), run)


def fail(error: TuiftuneError) -> None:
    """Say it in its sentence and end with its exit status."""
    from tuiftune.output import word

    word(str(error))
    sys.exit(error.exit_status)


if __name__ == "__main__":
    main()
