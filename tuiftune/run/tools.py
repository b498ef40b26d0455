"""Generate from a model, measure one, measure data: in child processes, since all of them import torch."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tuiftune import catalog
from tuiftune.errors import ProfileError, RunFailed, RunNotFound, TuiftuneError
from tuiftune.output import word
from tuiftune.paths import resolve_path
from tuiftune.run.checkpoints import newest_sealed
from tuiftune.run.child import Answer, Child
from tuiftune.run.folder import Run, find_run
from tuiftune.run.models import MADE_UP, base_of, choose, is_made_up
from tuiftune.run.process import python, signal_text


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
    workspace: Path,
    model: str,
    profile: str | None,
    overrides: Sequence[str],
    child: Child | None = None,
    say: Callable[[str], None] = word,
) -> dict[str, dict[str, float | str | None]]:
    """The figures of a model by stage, measured with its run's profile or the one given. `say` gets what is worth
    knowing of the model.

    Raises TuiftuneError with the child's own sentence, GivenUp where `child` was given up.
    """
    run, folder = model_folder(workspace, model, say)
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
        answer = (child or Child()).run(command)
    if answer.status != 0:
        raise RunFailed(f"{model}: could not be measured; the lines above say why")
    figures: dict[str, Any] = json.loads(answer.output)
    return figures


def data_report(
    workspace: Path, profile: str, overrides: Sequence[str], rows: int | None, child: Child | None = None
) -> dict[str, Any]:
    """What a profile will train on (`tuiftune.run.data_report`), at most `rows` of its first step token by token.

    Raises TuiftuneError with the child's own sentence, GivenUp where `child` was given up.
    """
    resolved = catalog.resolve_profile(workspace, profile, overrides)
    return data_report_of(workspace, resolved, rows, child) | {"profile": profile}


def data_report_of(
    workspace: Path, resolved: catalog.ResolvedProfile, rows: int | None, child: Child | None = None
) -> dict[str, Any]:
    """`data_report` of a profile that was resolved; the files that it names must be there."""
    if resolved.absent and not resolved.problems:
        raise ProfileError(resolved.absent)
    limit = [] if rows is None else [str(rows)]
    return {"profile": resolved.name, **_reported("tuiftune.run.data_report", workspace, resolved, limit, child)}


def plan(
    workspace: Path, profile: str, overrides: Sequence[str], vram_bytes: int | None, child: Child | None = None
) -> dict[str, Any]:
    """What memory a profile's training will take (`tuiftune.run.plan_report`).

    Raises TuiftuneError with the child's own sentence, GivenUp where `child` was given up.
    """
    return plan_of(workspace, catalog.resolve_profile(workspace, profile, overrides), vram_bytes, child)


def plan_of(
    workspace: Path, resolved: catalog.ResolvedProfile, vram_bytes: int | None = None, child: Child | None = None
) -> dict[str, Any]:
    """`plan` of a profile that was resolved."""
    vram = [] if vram_bytes is None else ["--vram", str(vram_bytes)]
    return _reported("tuiftune.run.plan_report", workspace, resolved, vram, child)


def _reported(
    module: str,
    workspace: Path,
    resolved: catalog.ResolvedProfile,
    arguments: Sequence[str],
    child: Child | None,
) -> dict[str, Any]:
    """What a child prints about a profile: JSON, with `error` and status 2 where it is a sentence."""
    child = child or Child()
    with tempfile.TemporaryDirectory(prefix="tuiftune-") as aside:
        profile_file = Path(aside) / "profile.toml"
        _write_resolved(resolved, profile_file)
        answer = child.run(python("-m", module, str(workspace), str(profile_file), *arguments))
    if answer.status == TuiftuneError.exit_status:
        raise TuiftuneError(json.loads(answer.output)["error"])
    if answer.status != 0:
        raise RunFailed(f"{resolved.name}: it could not be looked into; {_why(answer)}")
    found: dict[str, Any] = json.loads(answer.output)
    return found


def _why(answer: Answer) -> str:
    """What a child that ended without an answer has left."""
    if not answer.words:
        return "the lines above say why"
    how = signal_text(-answer.status) if answer.status < 0 else f"status {answer.status}"
    return f"the process that does ended with {how}: {answer.words[-1]}"


def _write_profile(workspace: Path, name: str, overrides: Sequence[str], path: Path) -> None:
    _write_resolved(catalog.resolve_profile(workspace, name, overrides), path)


def _write_resolved(resolved: catalog.ResolvedProfile, path: Path) -> None:
    import tomli_w

    if resolved.problems:
        raise ProfileError(resolved.problems)
    path.write_text(tomli_w.dumps(resolved.effective))


def model_folder(workspace: Path, reference: str, say: Callable[[str], None] = word) -> tuple[Run | None, Path]:
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
        say(f"{run.id}: passed over: {reason}")
    if checkpoint is None:
        raise TuiftuneError(
            f"{run.id}: no model and no checkpoint yet. See how it stands: tuiftune watch {run.id} --once"
        )
    say(f"{run.id} has not finished; this is its checkpoint {checkpoint.name}")
    return run, checkpoint
