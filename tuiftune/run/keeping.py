"""Write a checkpoint where there is room, wait where there is none, and keep as many as the profile says."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING

from tuiftune.run.checkpoints import UNSEALED, is_sealed, publish, remove_unsealed, rotate, step_folders
from tuiftune.run.failure import DISK_FULL, kind_of
from tuiftune.run.proof import write_proof
from tuiftune.run.record_mending import HISTORY
from tuiftune.run.room import checkpoint_bytes, free_bytes, shortage

if TYPE_CHECKING:
    from tuiftune.stage import Context

TRY_AGAIN_S = 30.0
"""A quota, or room that comes and goes, is not seen from outside: then writing is tried again so often."""


def save_checkpoint(
    ctx: Context, step: int, write: Callable[[Path], None], size_bytes: int = 0, also: Collection[int] = ()
) -> Path | None:
    """Let `write` fill an empty folder, seal it as the checkpoint of `step`, and remove the oldest.

    `size_bytes`: about what it will take, where there is no earlier one to go by. `also`: steps whose checkpoints are
    kept whatever their age. Where there is no room the run waits for some; None where it was stopped while it waited.
    """
    what = f"the checkpoint of step {step:,}"

    def attempt() -> Path:
        aside = ctx.checkpoints / UNSEALED
        try:
            remove_unsealed(ctx.checkpoints)
            aside.mkdir(parents=True)
            write(aside)
            if ctx.proof:
                write_proof(aside, ctx.proof, step)
            ctx.copy_history(aside / HISTORY)
            return publish(aside, ctx.checkpoints, step)
        except BaseException:
            remove_unsealed(ctx.checkpoints)
            raise

    def needed() -> int:
        return checkpoint_bytes(ctx.checkpoints) or size_bytes

    if shortage(ctx.checkpoints, what, needed(), ctx.disk_reserve_bytes) and _drop_old(ctx, also):
        ctx.log(f"little room on the disk: the older checkpoints were removed before that of step {step:,} is written")
    folder = with_room(ctx, step, what, needed, attempt)
    if folder is not None:
        ctx.event("checkpoint", step=step, path=str(folder))
        rotate(ctx.checkpoints, ctx.keep_checkpoints, also, ctx.checkpoint_space_bytes)
    return folder


def with_room(
    ctx: Context, step: int, what: str, needed: Callable[[], int], attempt: Callable[[], Path]
) -> Path | None:
    """What `attempt` returns, once the disk has room for it; None where a stop was asked for before it had.

    `attempt` leaves nothing behind where it fails. Raises what it raises for another reason than a full disk.
    """
    at_least = 0
    while True:
        tried_at = time.monotonic()

        def why(at_least: int = at_least, tried_at: float = tried_at) -> str | None:
            if at_least and time.monotonic() - tried_at > TRY_AGAIN_S:
                return None
            return shortage(ctx.run_dir, what, max(needed(), at_least), ctx.disk_reserve_bytes)

        ctx.wait_while(why, step)
        if ctx.stopping and why():
            ctx.log(f"{what} was not written: there is no room on the disk")
            return None
        try:
            return attempt()
        except Exception as error:
            if kind_of(error) != DISK_FULL:
                raise
            ctx.log(f"{what} could not be written: {error}")
            # More than was free now, whatever was reckoned before.
            at_least = max(needed(), free_bytes(ctx.run_dir) - ctx.disk_reserve_bytes) + 4096
            if ctx.stopping:
                return None


def _drop_old(ctx: Context, also: Collection[int]) -> bool:
    """Remove all sealed checkpoints but the newest and those of `also`; whether there were any."""
    before = sum(map(is_sealed, step_folders(ctx.checkpoints)))
    rotate(ctx.checkpoints, 1, also)
    return sum(map(is_sealed, step_folders(ctx.checkpoints))) < before
