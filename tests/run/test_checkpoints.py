"""A checkpoint is whole or passed over, and why is said."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tuiftune.run.checkpoints import (
    SEAL,
    discard_after,
    flaw,
    newest_sealed,
    publish,
    rotate,
    step_folders,
)


def sealed(checkpoints: Path, step: int, content: bytes = b"weights") -> Path:
    aside = checkpoints / ".unsealed"
    (aside / "deep").mkdir(parents=True)
    (aside / "model.safetensors").write_bytes(content)
    (aside / "deep" / "rng.pth").write_bytes(b"random")
    return publish(aside, checkpoints, step)


def names(checkpoints: Path) -> list[str]:
    return [folder.name for folder in step_folders(checkpoints)]


def test_a_sealed_checkpoint_lists_every_file_with_size_and_digest(tmp_path):
    folder = sealed(tmp_path, 200)
    seal = json.loads((folder / SEAL).read_text())
    assert folder.name == "step-000200"
    assert seal["step"] == 200
    assert set(seal["files"]) == {"model.safetensors", "deep/rng.pth"}
    assert seal["files"]["model.safetensors"]["size"] == 7
    assert newest_sealed(tmp_path) == (folder, [])


def _bit_flipped(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"weighty")


def _torn(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"weig")


def _missing(folder: Path) -> None:
    (folder / "deep" / "rng.pth").unlink()


def _unsealed(folder: Path) -> None:
    (folder / SEAL).unlink()


def _seal_torn(folder: Path) -> None:
    (folder / SEAL).write_text('{"step": 30')


def _seal_of_another(folder: Path) -> None:
    (folder / SEAL).write_text('{"step": 20, "files": {}}')


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (_bit_flipped, "step-000030: model.safetensors is damaged (its sha256 is another)"),
        (_torn, "step-000030: model.safetensors has 4 bytes where 7 were written"),
        (_missing, "step-000030: deep/rng.pth is missing"),
        (_unsealed, "step-000030 was never finished (no complete.json)"),
        (_seal_torn, "step-000030: its complete.json cannot be read"),
        (_seal_of_another, "step-000030: its complete.json is that of step 20"),
    ],
)
def test_a_damaged_newest_checkpoint_is_passed_over_and_named(tmp_path, harm, reason):
    good = sealed(tmp_path, 20)
    harm(sealed(tmp_path, 30))
    assert newest_sealed(tmp_path) == (good, [reason])


def test_the_newest_is_known_by_its_number_and_not_by_the_clock(tmp_path):
    for step in (1_000_000, 90, 200):
        folder = sealed(tmp_path, step)
        os.utime(folder, (10_000_000 - step, 10_000_000 - step))
    found, _ = newest_sealed(tmp_path)
    assert found is not None
    assert found.name == "step-1000000"
    rotate(tmp_path, keep=2)
    assert names(tmp_path) == ["step-000200", "step-1000000"]


def test_rotation_keeps_the_newest_and_the_best_and_clears_what_was_half_removed(tmp_path):
    for step in (10, 20, 30, 40):
        sealed(tmp_path, step)
    (tmp_path / "step-000005").mkdir()  # a removal that was interrupted
    rotate(tmp_path, keep=2, also=(10,))
    assert names(tmp_path) == ["step-000010", "step-000030", "step-000040"]


def test_a_step_that_is_done_again_replaces_its_damaged_checkpoint(tmp_path):
    _torn(sealed(tmp_path, 30))
    folder = sealed(tmp_path, 30, b"new")
    assert flaw(folder) is None


def test_what_was_passed_over_is_removed_when_training_goes_on_before_it(tmp_path):
    for step in (10, 20, 30):
        sealed(tmp_path, step)
    discard_after(tmp_path, 20)
    assert names(tmp_path) == ["step-000010", "step-000020"]


def test_no_folder_means_no_checkpoint(tmp_path):
    assert newest_sealed(tmp_path / "none") == (None, [])


def test_finding_a_checkpoint_imports_no_torch(interpreter):
    code = (
        "import sys, tuiftune.run.checkpoints, tuiftune.stages.demo;"
        "print([name for name in ('torch', 'numpy', 'transformers', 'datasets') if name in sys.modules])"
    )
    done = subprocess.run([interpreter, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
