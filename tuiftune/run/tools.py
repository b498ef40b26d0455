"""Generate from a model, measure one, measure data: in child processes, since all of them import torch."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tuiftune import catalog
from tuiftune.errors import ProfileError, RunFailed, RunNotFound, TuiftuneError
from tuiftune.output import word
from tuiftune.paths import resolve_path
from tuiftune.run.checkpoints import newest_sealed
from tuiftune.run.folder import Run, find_run
from tuiftune.run.models import MADE_UP, base_of, choose, is_made_up
from tuiftune.run.process import python


def generate(
    workspace: Path,
    model: str,
    prompt: str,
    arguments: Sequence[str],
    checkpoint: str | None = None,
    base: bool = False,
) -> int:
    """Stream a text from a run's model, or a folder's, to stdout; returns the child's exit status.

    `checkpoint`: which model of the run, as `models.choose` takes it; `base`: the one that it started from. Raises
    TuiftuneError where there is none.
    """
    command = python("-m", "tuiftune.training.generate", *arguments)
    if base or checkpoint is not None:
        run = _run_only(workspace, model, "--base" if base else "--checkpoint")
        if base:
            base_of(run)
            command += ["--base", "--", str(run.path), prompt]
        else:
            command += ["--run", str(run.path), "--", str(choose(run, checkpoint).folder), prompt]
    else:
        found, folder = model_folder(workspace, model)
        command += [*(["--run", str(found.path)] if found else []), "--", str(folder), prompt]
    try:
        return subprocess.run(command, check=False).returncode
    except KeyboardInterrupt:
        return 130


def _run_only(workspace: Path, reference: str, option: str) -> Run:
    """The run that is meant, where a folder will not do."""
    if (resolve_path(reference, Path.cwd()) / "config.json").is_file():
        raise TuiftuneError(f"{reference}: a model's folder, and {option} is for a run, which knows its models")
    return find_run(workspace, reference)


def evaluate(
    workspace: Path, model: str, profile: str | None, overrides: Sequence[str]
) -> dict[str, dict[str, float | str | None]]:
    """The figures of a model by stage, measured with its run's profile or the one given.

    Raises TuiftuneError with the child's own sentence.
    """
    run, folder = model_folder(workspace, model)
    with tempfile.TemporaryDirectory(prefix="tuiftune-") as aside:
        made_by: list[str] = []
        if profile is not None:
            profile_file = Path(aside) / "profile.toml"
            _write_profile(workspace, profile, overrides, profile_file)
        elif run is None:
            raise TuiftuneError(f"{model}: not a run, so name the data to measure it on with --profile PROFILE")
        elif overrides:
            raise TuiftuneError("--set goes with --profile: a run is measured with the profile it ran with")
        else:
            profile_file, made_by = run.profile_file, [str(run.path)]
        command = python("-m", "tuiftune.run.evaluate", str(workspace), str(profile_file), str(folder), *made_by)
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise RunFailed(f"{model}: could not be measured; the lines above say why")
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def data_report(workspace: Path, profile: str, overrides: Sequence[str], rows: int | None) -> dict[str, Any]:
    """What a profile will train on (`tuiftune.run.data_report`), at most `rows` of its first step token by token.

    Raises TuiftuneError with the child's own sentence.
    """
    limit = [] if rows is None else [str(rows)]
    found = _reported("tuiftune.run.data_report", workspace, profile, overrides, limit, with_files=True)
    return {"profile": profile, **found}


def plan(workspace: Path, profile: str, overrides: Sequence[str], vram_bytes: int | None) -> dict[str, Any]:
    """What memory a profile's training will take (`tuiftune.run.plan_report`).

    Raises TuiftuneError with the child's own sentence.
    """
    vram = [] if vram_bytes is None else ["--vram", str(vram_bytes)]
    return _reported("tuiftune.run.plan_report", workspace, profile, overrides, vram)


def _reported(
    module: str,
    workspace: Path,
    profile: str,
    overrides: Sequence[str],
    arguments: Sequence[str],
    with_files: bool = False,
) -> dict[str, Any]:
    """What a child prints about a profile: JSON, with `error` and status 2 where it is a sentence."""
    with tempfile.TemporaryDirectory(prefix="tuiftune-") as aside:
        profile_file = Path(aside) / "profile.toml"
        _write_profile(workspace, profile, overrides, profile_file, with_files)
        command = python("-m", module, str(workspace), str(profile_file), *arguments)
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode == TuiftuneError.exit_status:
        raise TuiftuneError(json.loads(done.stdout)["error"])
    if done.returncode != 0:
        raise RunFailed(f"{profile}: it could not be looked into; the lines above say why")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _write_profile(workspace: Path, name: str, overrides: Sequence[str], path: Path, with_files: bool = False) -> None:
    """`with_files`: the files that it names must be there."""
    import tomli_w

    resolved = catalog.resolve_profile(workspace, name, overrides)
    if resolved.problems or (with_files and resolved.absent):
        raise ProfileError(resolved.problems or resolved.absent)
    path.write_text(tomli_w.dumps(resolved.effective))


def model_folder(workspace: Path, reference: str) -> tuple[Run | None, Path]:
    """The model a person means: a run's finished one, else its newest checkpoint; or a folder.

    Raises RunNotFound where there is neither, TuiftuneError where the run has no model.
    """
    folder = resolve_path(reference, Path.cwd())
    if (folder / "config.json").is_file():
        return None, folder
    try:
        run = find_run(workspace, reference)
    except RunNotFound as error:
        if folder.is_dir():
            raise RunNotFound(f"{reference}: a folder without a config.json, so no Hugging Face model") from error
        raise
    if (run.model / "config.json").is_file():
        return run, run.model
    if is_made_up(run):
        raise TuiftuneError(f"{run.id}: {MADE_UP}")
    checkpoint, passed_over = newest_sealed(run.checkpoints)
    for reason in passed_over:
        word(f"{run.id}: passed over: {reason}")
    if checkpoint is None:
        raise TuiftuneError(
            f"{run.id}: no model and no checkpoint yet. See how it stands: tuiftune watch {run.id} --once"
        )
    word(f"{run.id} has not finished; this is its checkpoint {checkpoint.name}")
    return run, checkpoint
