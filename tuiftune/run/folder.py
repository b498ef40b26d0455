"""The run folder: create one, list them, find one by prefix, and say what state it is truly in."""

from __future__ import annotations

import os
import random
import re
import shutil
import string
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tuiftune.errors import RunNotFound, WorkspaceError
from tuiftune.paths import runs_folder
from tuiftune.run.files import read_json, write_json, write_text
from tuiftune.run.process import Identity, boot_id, is_alive, is_locked

ACTIVE = ("queued", "starting", "running", "pausing", "paused", "stopping", "healing")
"""There is a process that sees to it. A run whose memory was given back (`pause --release`) is `released`: nothing of
it runs, and `resume` goes on."""
WAITING = ("queued", "pausing", "paused", "healing")
"""Active, and does not train; `State.reason` says what it waits for."""
ENDS = ("finished", "stopped", "released", "failed", "interrupted")
RESUMABLE = ("stopped", "released", "failed", "interrupted")

START_GRACE_S = 20.0
"""A new run has no supervisor yet for a moment; after this long it never came."""


@dataclass(frozen=True)
class State:
    """What a run is doing, with just the data that state has."""

    name: str
    since: float
    """Seconds since the epoch."""
    started: float
    ended: float | None = None
    reason: str | None = None
    """One sentence: why it ended, is held, waits or starts again."""
    kind: str | None = None
    """Of a run that failed, was healed or is held: the class of what happened, see tuiftune.run.failure."""
    attempt: int = 1
    """Counts the starts of the worker: 2 after the first resume."""
    supervisor: Identity | None = None
    worker: Identity | None = None
    devices: str | None = None
    """The GPUs the queue has chosen for it, for CUDA_VISIBLE_DEVICES; None where the profile or nobody has."""
    left: list[int] = field(default_factory=list)
    """Pids that did not end when the tree was ended; empty is good."""

    @property
    def active(self) -> bool:
        return self.name in ACTIVE

    def to_json(self) -> dict[str, Any]:
        data: dict[str, Any] = {
            "state": self.name,
            "since": self.since,
            "started": self.started,
            "ended": self.ended,
            "reason": self.reason,
            "kind": self.kind,
            "attempt": self.attempt,
            "supervisor": self.supervisor.to_json() if self.supervisor else None,
            "worker": self.worker.to_json() if self.worker else None,
            "devices": self.devices,
            "left": self.left or None,
        }
        return {key: value for key, value in data.items() if value is not None}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> State:
        def identity(key: str) -> Identity | None:
            return Identity.from_json(data[key]) if data.get(key) else None

        return cls(
            name=data["state"],
            since=float(data["since"]),
            started=float(data["started"]),
            ended=data.get("ended"),
            reason=data.get("reason"),
            kind=data.get("kind"),
            attempt=data.get("attempt", 1),
            supervisor=identity("supervisor"),
            worker=identity("worker"),
            devices=data.get("devices"),
            left=data.get("left", []),
        )


@dataclass(frozen=True)
class Run:
    """A run's folder and the names in it."""

    path: Path

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def profile_file(self) -> Path:
        """The effective profile, defaults filled in: what the worker reads."""
        return self.path / "profile.toml"

    @property
    def origin_file(self) -> Path:
        """Where each value came from, versions and the command."""
        return self.path / "origin.json"

    @property
    def state_file(self) -> Path:
        return self.path / "state.json"

    @property
    def metrics_file(self) -> Path:
        return self.path / "metrics.db"

    @property
    def telemetry_file(self) -> Path:
        return self.path / "telemetry.db"

    @property
    def data_file(self) -> Path:
        """A fingerprint of the prepared data that its training began with."""
        return self.path / "data.json"

    @property
    def worker_log(self) -> Path:
        return self.path / "worker.log"

    @property
    def supervisor_log(self) -> Path:
        return self.path / "supervisor.log"

    @property
    def exit_file(self) -> Path:
        """The worker's last act: why it ended."""
        return self.path / "exit.json"

    @property
    def requests(self) -> Path:
        return self.path / "requests"

    @property
    def control_file(self) -> Path:
        """What the supervisor asks of the worker."""
        return self.path / "control.json"

    @property
    def said_file(self) -> Path:
        """What the worker tells the supervisor."""
        return self.path / "worker.json"

    @property
    def healing_file(self) -> Path:
        """What was changed, and how often the worker was started again, to keep the run alive."""
        return self.path / "healing.json"

    @property
    def card_file(self) -> Path:
        """The post-mortem of a run that did not finish."""
        return self.path / "card.json"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def model(self) -> Path:
        """The finished model, a Hugging Face folder."""
        return self.path / "model"

    @property
    def stages(self) -> Path:
        return self.path / "stages"

    @property
    def supervisor_lock(self) -> Path:
        return self.path / "supervisor.lock"

    @property
    def worker_lock(self) -> Path:
        return self.path / "worker.lock"

    @property
    def has_checkpoint(self) -> bool:
        """Whether there is one to go on from; whether it is whole is found out then."""
        return any(self.checkpoints.glob("step-*/complete.json"))

    def origin(self) -> dict[str, Any]:
        """The content of origin.json; empty when it cannot be read."""
        try:
            data = read_json(self.origin_file)
        except (OSError, ValueError):
            return {}
        return data if isinstance(data, dict) else {}


def create(
    workspace: Path, profile: str, effective: dict[str, Any], origin: dict[str, Any], state: str = "starting"
) -> Run:
    """Make the folder of a new run, state `starting` or `queued`, readable by its owner alone.

    `mkdir` decides when two start at once: each gets a folder of its own.
    Raises WorkspaceError where nothing can be written.
    """
    import tomli_w  # 24 ms, needed only here

    text = tomli_w.dumps(effective)
    folder = runs_folder(workspace)
    run: Run | None = None
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        run = _make_folder(folder, profile)
        _fill(run, text, origin, state)
    except OSError as error:
        if run is not None:
            shutil.rmtree(run.path, ignore_errors=True)
        raise WorkspaceError(
            f"{folder}: no run can be made here: {error.strerror}. "
            "Choose another workspace with TUIFTUNE_WORKSPACE=FOLDER"
        ) from error
    return run


def _fill(run: Run, profile: str, origin: dict[str, Any], state: str) -> None:
    """What a new run consists of; state.json last, since a folder without it is no run."""
    for folder in (run.requests, run.checkpoints, run.stages):
        folder.mkdir(mode=0o700)
    write_text(run.profile_file, profile)
    write_json(run.origin_file, origin)
    now = time.time()
    write_state(run, State(state, since=now, started=now))


def _make_folder(folder: Path, profile: str) -> Run:
    safe = re.sub(r"[^a-z0-9._-]+", "-", profile.lower()).strip("-._")[:40] or "run"
    while True:
        letters = "".join(random.SystemRandom().choices(string.ascii_lowercase, k=3))
        run = Run(folder / f"{safe}-{time.strftime('%Y%m%d-%H%M%S')}-{letters}")
        try:
            run.path.mkdir(mode=0o700)
        except FileExistsError:
            continue
        return run


def list_runs(workspace: Path) -> list[Run]:
    """Every run of a workspace, the newest first. A link is none: a run is what lies in the folder itself."""
    folder = runs_folder(workspace)
    if not folder.is_dir():
        return []
    found = (Path(entry.path) for entry in os.scandir(folder) if not entry.is_symlink())
    runs = [Run(path) for path in found if (path / "state.json").is_file()]
    return sorted(runs, key=lambda run: (_started(run), run.id), reverse=True)


def _started(run: Run) -> float:
    """When a run was started, in seconds since the epoch; 0 of one that was deleted meanwhile."""
    try:
        return recorded_state(run).started
    except RunNotFound:
        return 0.0


def find_run(workspace: Path, reference: str) -> Run:
    """The run called `reference`: an id, a unique prefix of one, or `latest`.

    Raises RunNotFound.
    """
    runs = list_runs(workspace)
    if not runs:
        raise RunNotFound(f"{runs_folder(workspace)}: no runs yet. Start one with: tuiftune run quickstart")
    if reference == "latest":
        return runs[0]
    exact = [run for run in runs if run.id == reference]
    if exact:
        return exact[0]
    found = [run for run in runs if run.id.startswith(reference)]
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(run.id for run in found[:5])
        raise RunNotFound(f"{reference!r} is the beginning of {len(found)} runs: {names}. Give more of it")
    raise RunNotFound(f"{reference!r} is no run of this workspace. See: tuiftune runs")


def write_state(run: Run, state: State) -> None:
    """For the supervisor alone (and `create`, before there is one)."""
    write_json(run.state_file, state.to_json())


def recorded_state(run: Run) -> State:
    """What state.json says, true or not; of a damaged one what the rest of the folder tells.

    Raises RunNotFound where it is not there or cannot be read.
    """
    try:
        return State.from_json(read_json(run.state_file))
    except OSError as error:
        raise RunNotFound(f"{run.state_file}: cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return _without_record(run)


def _without_record(run: Run) -> State:
    """As a supervisor that was killed left it: whether it goes on or how it ended, `state_of` tells by the locks and
    exit.json, and so does the next supervisor, which writes it down."""
    try:
        since = run.state_file.stat().st_mtime
    except OSError as error:
        raise RunNotFound(f"{run.state_file}: cannot be read ({error.strerror})") from error
    reason = f"{run.state_file.name} is damaged; whether the run goes on is told by its locks"
    return State("running", since=since, started=_stamped(run) or since, reason=reason)


def _stamped(run: Run) -> float:
    """When a run was started, in seconds since the epoch, by its id; 0 where that does not tell."""
    stamp = re.search(r"\d{8}-\d{6}(?=-[a-z]{3}$)", run.id)
    try:
        return time.mktime(time.strptime(stamp.group(), "%Y%m%d-%H%M%S")) if stamp else 0.0
    except ValueError:  # digits that are no date
        return 0.0


def exit_record(run: Run) -> dict[str, Any]:
    """What exit.json says of the newest attempt; empty where the worker did not come to write it."""
    try:
        data = read_json(run.exit_file)
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) and data.get("outcome") in ("finished", "stopped", "failed") else {}


def state_of(run: Run) -> State:
    """The state a run is truly in: locks first, the files second.

    A run whose file says `running` while no process holds its locks has ended as exit.json says (its
    supervisor was gone by then), and is `interrupted` where there is none.
    """
    state = recorded_state(run)
    if not state.active or is_locked(run.supervisor_lock) or has_worker(run, state):
        return state
    state = recorded_state(run)  # it may have ended between the two looks
    if not state.active or _waits_for_a_supervisor(state):
        return state
    said = exit_record(run)
    if said:
        when = float(said.get("time") or state.since)
        return replace(state, name=said["outcome"], reason=exit_reason(said), since=when, ended=when)
    if state.name == "starting" and abs(time.time() - state.since) < START_GRACE_S:
        return state
    if state.name == "queued":
        reason = f"the machine was restarted while it waited; start it with: tuiftune resume {run.id}"
    else:
        gone = "the machine was restarted" if of_another_boot(state) else "its processes are gone (killed)"
        reason = f"{gone}; go on with: tuiftune resume {run.id}"
    return replace(state, name="interrupted", reason=reason, supervisor=None, worker=None)


def has_worker(run: Run, state: State) -> bool:
    """Whether its worker is there; in its first moments, while Python starts, it does not hold its lock yet."""
    return is_locked(run.worker_lock) or (state.worker is not None and is_alive(state.worker))


def of_another_boot(state: State) -> bool:
    """Whether the machine was started again since a process wrote this down."""
    who = state.supervisor or state.worker
    return who is not None and who.boot_id != boot_id()


def _waits_for_a_supervisor(state: State) -> bool:
    """Nothing of it runs, and whoever looks next starts a supervisor that goes on; not after the machine was restarted:
    what is started then is a person's to say."""
    if state.name not in ("queued", "healing"):
        return False
    return not of_another_boot(state)


def exit_reason(said: dict[str, Any], by: str = "") -> str | None:
    """The sentence of an exit record; `by`: who or what stopped the run, where that is known."""
    if said["outcome"] == "finished":
        return None
    if said["outcome"] == "failed":
        return str(said.get("sentence") or "the worker gave no reason")
    where = f"at step {said['step']}" if said.get("step") else "before its first step"
    return f"stopped {where}{by and ' '}{by}"


def is_orphaned(run: Run) -> bool:
    """Whether a supervisor is missed: the worker goes on without one, or has ended and nobody recorded it."""
    if is_locked(run.supervisor_lock):
        return False
    if is_locked(run.worker_lock):
        return True
    state = recorded_state(run)
    if state.active and has_worker(run, state):
        return True
    return _waits_for_a_supervisor(state) or (state.active and bool(exit_record(run)))


def log_tail(path: Path, lines: int, chunk_bytes: int = 64 * 1024, after: int = 0) -> list[str]:
    """The last lines of a log file, at most `chunk_bytes` of it and nothing before byte `after`.

    As a terminal would show them: of a progress bar redrawn with carriage returns, the last state.
    An empty list when there is no file.
    """
    try:
        with path.open("rb") as file:
            start = max(after, file.seek(0, os.SEEK_END) - chunk_bytes)
            file.seek(start)
            found = file.read(chunk_bytes).decode("utf-8", "replace").split("\n")
    except FileNotFoundError:
        return []
    if start > after and len(found) > 1:
        del found[0]  # its beginning lies before the chunk
    if found[-1] == "":
        del found[-1]
    return [_redrawn(line) for line in found[-lines:]]


def _redrawn(line: str) -> str:
    shown = [part for part in line.split("\r") if part]
    return shown[-1] if shown else ""
