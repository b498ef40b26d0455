"""Every hook of tuiftune: one provides stages, the others watch. This file is their manual; what a stage defines,
returns and is handed is in tuiftune/stage.py.

A plugin is a module. It marks the functions it implements with `@tuiftune.hookimpl` and takes only
the arguments it needs; arguments are only ever added. A watching hook that raises is named in an
event and not called again in that run; training goes on.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from tuiftune.stage import Context, Stage

PROJECT = "tuiftune"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@dataclass(frozen=True)
class RunInfo:
    """The run a watching hook is told about."""

    id: str
    path: Path
    profile: str


@dataclass(frozen=True)
class Event:
    """One line of the run's event log."""

    kind: str
    """stage_started, stage_finished, checkpoint, resumed, message, plugin_error, ..."""
    data: dict[str, Any]
    time: float
    """Seconds since the epoch, by the wall clock."""


@hookspec
def register_stages() -> Iterable[type[Stage]]:  # type: ignore[empty-body]
    """Return the stage classes this plugin brings.

    Example::

        @tuiftune.hookimpl
        def register_stages():
            return [JsonlChat]
    """


@hookspec
def stage_started(ctx: Context) -> None:
    """A stage is about to run, in the worker process, which waits for the hook: 10 minutes at most.

    Example::

        @tuiftune.hookimpl
        def stage_started(ctx):
            ctx.log(f"{ctx.stage_name} begins")
    """


@hookspec
def stage_finished(ctx: Context, error: BaseException | None) -> None:
    """A stage has ended; `error` is what it raised, or None. The worker waits for the hook: 10 minutes at most.

    Example::

        @tuiftune.hookimpl
        def stage_finished(ctx, error):
            if error is None and ctx.kind == "train":
                (ctx.dir / "done").touch()
    """


@hookspec
def event_written(run: RunInfo, event: Event) -> None:
    """An event of the run has been written down, in the worker process.

    Example::

        @tuiftune.hookimpl
        def event_written(run, event):
            if event.kind == "checkpoint":
                subprocess.run(["notify-send", run.id, f"step {event.data['step']}"])
    """
