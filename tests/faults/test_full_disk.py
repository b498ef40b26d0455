"""A full disk pauses a run with a sentence; it goes on when there is room, and nothing is half written."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import pytest

from tuiftune.run import keeping
from tuiftune.run.checkpoints import UNSEALED, flaw, newest_sealed, publish, step_folders
from tuiftune.run.room import free_bytes
from tuiftune.stage import Context, ModelOptions
from tuiftune.testing import ListRecorder


class Sets(Protocol):
    def __call__(self, kind: str, **numbers: float) -> str: ...


@pytest.mark.slow
def test_a_run_on_a_full_disk_of_20_mib_waits_and_ends_as_if_nothing_had_been(
    workspace: Path, profile: Sets, in_a_namespace: Callable[..., Any]
) -> None:
    (workspace / "runs").mkdir()
    name = profile("real", layers=4, width=64)
    file = workspace / "profiles" / f"{name}.toml"
    text = file.read_text().replace("[train]\n", "[train]\nmax_steps = 12\nsave_every = 4\neval_every = 6\n")
    file.write_text(text)
    seen = in_a_namespace("full_disk.py", workspace, name)
    reason = seen["paused"]["reason"]
    assert reason.startswith("the disk is full: the checkpoint of step 4 takes 3.6 MiB, ")
    assert reason.endswith("Make room; it goes on by itself")
    assert "paused" in seen["watched"]
    assert "paused" in seen["runs"], "with not a byte left, viewers still tell how it stands"
    assert "No space left on device" in seen["resume"]
    assert (seen["end"]["state"], seen["end"]["attempt"]) == ("finished", 1)
    assert seen["checkpoints"] == ["step-000006", "step-000008", "step-000012"], "the best and the two newest"
    assert seen["hidden"] == [], "no temporary file is left"
    assert seen["same"], "every loss and the final weights are those of the undisturbed run"


# ---- writing a checkpoint, step by step


@pytest.fixture
def ctx(workspace: Path) -> Context:
    run_dir = workspace / "runs" / "x"
    context = Context("demo", "train", 0, workspace, run_dir, run_dir, 1, ModelOptions(), ListRecorder())
    context.checkpoints.mkdir(parents=True)
    return context


def write(folder: Path) -> None:
    (folder / "weights").write_bytes(bytes(1000))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_what_could_not_be_written_is_written_again_once_there_is_room(
    ctx: Context, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "TRY_AGAIN_S", 0.2)  # as with a quota, which cannot be seen from outside
    attempts: list[list[str]] = []

    def fails_once(folder: Path) -> None:
        attempts.append([path.name for path in folder.iterdir()])
        write(folder)
        if len(attempts) == 1:
            raise OSError(number, "no room")

    saved = ctx.save_checkpoint(3, fails_once)
    assert saved is not None
    assert flaw(saved) is None
    assert attempts == [[], []], "each begins with an empty folder"
    assert [path.name for path in ctx.checkpoints.iterdir()] == ["step-000003"]
    recorder = ctx.recorder
    assert isinstance(recorder, ListRecorder)
    assert [kind for kind, _ in recorder.events if kind in ("held", "released", "checkpoint")] == [
        "held", "released", "checkpoint",
    ]  # fmt: skip


def test_another_error_is_passed_on_and_leaves_nothing_half(ctx: Context) -> None:
    def fails(folder: Path) -> None:
        write(folder)
        raise PermissionError(errno.EACCES, "not yours")

    with pytest.raises(PermissionError):
        ctx.save_checkpoint(3, fails)
    assert list(ctx.checkpoints.iterdir()) == []


def test_a_stop_does_not_wait_for_room(ctx: Context) -> None:
    ctx.disk_reserve_bytes = free_bytes(ctx.run_dir) + (1 << 40)
    ctx.signals.stopping = True
    assert ctx.save_checkpoint(3, write) is None
    assert list(ctx.checkpoints.iterdir()) == []


def test_where_room_is_short_older_checkpoints_go_first_and_the_best_stays(ctx: Context) -> None:
    for step in (1, 2, 3):
        aside = ctx.checkpoints / UNSEALED
        aside.mkdir()
        write(aside)
        publish(aside, ctx.checkpoints, step)
    ctx.keep_checkpoints = 9
    ctx.disk_reserve_bytes = free_bytes(ctx.run_dir) + (1 << 40)
    ctx.signals.stopping = True
    assert ctx.save_checkpoint(4, write, also=(1,)) is None
    assert [folder.name for folder in step_folders(ctx.checkpoints)] == ["step-000001", "step-000003"]
    assert newest_sealed(ctx.checkpoints)[1] == []


def test_a_budget_of_disk_space_keeps_the_newest_and_the_best(ctx: Context) -> None:
    ctx.keep_checkpoints, ctx.checkpoint_space_bytes = 9, 3000
    for step in (1, 2, 3, 4, 5):
        ctx.save_checkpoint(step, write, also=(1,))
    assert [folder.name for folder in step_folders(ctx.checkpoints)] == ["step-000001", "step-000005"]
    ctx.checkpoint_space_bytes = 1
    ctx.save_checkpoint(6, write)
    assert [folder.name for folder in step_folders(ctx.checkpoints)] == ["step-000006"]
