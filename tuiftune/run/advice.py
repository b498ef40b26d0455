"""What to do next with a run that did not finish: one step for each kind of ending, and the commands for it."""

from __future__ import annotations

import json
import shlex
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from tuiftune.run import failure
from tuiftune.run.folder import RESUMABLE, Run
from tuiftune.secrets import without_secrets

KILLED: Final = "killed"
"""A crash that was no exception: a signal, or an end without a word."""
REBOOT: Final = "reboot"


@dataclass(frozen=True)
class Advice:
    """What a person does next."""

    text: str
    """What to do is its first sentence, which fits a row of 76 cells."""
    look: str = ""
    """A command that tells more; {profile} and {id} are filled in."""
    halve: str = ""
    """An option of the profile: half of its value is what another run may do better with."""
    anew: bool = False
    """Another run with something changed is the way, rather than going on with this one."""


ADVICE: Final[Mapping[str, Advice]] = {
    failure.OOM: Advice(
        "Start another run with shorter rows or a smaller model. What saves memory by itself was tried. Where another "
        "program uses the memory: end that, and resume this one.",
        look="tuiftune plan {profile}",
        halve="tokenize.max_length",
        anew=True,
    ),
    failure.HOST_OOM: Advice(
        "End what else uses the machine's memory, then resume it. Or give its container more.", look="free -h"
    ),
    failure.DISK_FULL: Advice(
        "Make room on the disk, then resume it. How much a run may take: run.keep_checkpoints, run.checkpoint_space.",
        look="df -h .",
    ),
    failure.GPU_LOST: Advice(
        "See whether the driver lists the GPU, then resume it. One that is lost comes back with a restart of the "
        "machine.",
        look="nvidia-smi",
    ),
    failure.NAN: Advice(
        "Start another run with a lower learning rate. The checkpoints of this one are from before that, but going on "
        "from them comes to the same steps again; what it was trained on there may be worth a look.",
        halve="train.learning_rate",
        anew=True,
    ),
    failure.DATA: Advice(
        "Mend the data or the option that it names, then resume it. Where that changes the profile, start another run.",
        look="tuiftune data {profile}",
        anew=True,
    ),
    failure.STAGE: Advice(
        "Mend what it names, then resume it. Where that changes the profile, start another run.", anew=True
    ),
    failure.SETUP: Advice(
        "Mend what it names, then start another run. This one keeps the profile it began with.",
        look="tuiftune check {profile}",
        anew=True,
    ),
    failure.CRASHED: Advice(
        "This is a bug; resume tries it again. It is a plugin's where the place is in one, else tuiftune's. Its "
        "log has the whole traceback."
    ),
    KILLED: Advice(
        "Find out who or what ended it, then resume it. Where it was the kernel, or native code, the kernel's log "
        "tells.",
        look="dmesg | tail",
    ),
    "stopped": Advice("Resume goes on where it stopped. Nothing is wrong with it."),
    "released": Advice("Resume goes on where it paused. Nothing is wrong with it."),
    "interrupted": Advice("Resume it. Its worker and its supervisor were killed from outside."),
    REBOOT: Advice("Resume it. The machine was restarted, or lost its power."),
}
"""By a word of tuiftune.run.failure or one of those above; else by the state."""


def commands(run: Run, kind: str, state: str) -> dict[str, str]:
    """What to type, by what it is for, the first thing first."""
    advice = ADVICE.get(kind)
    if advice is None:
        return {"log": f"tuiftune logs {run.id}"}
    profile = str(run.origin().get("profile") or "PROFILE")
    look = {"look": advice.look.format(profile=shlex.quote(profile), id=run.id)} if advice.look else {}
    resume = {}
    if state in RESUMABLE:
        resume = {"go on" if run.has_checkpoint else "start over": f"tuiftune resume {run.id}"}
    if not advice.anew:
        return {**look, **resume, "log": f"tuiftune logs {run.id}"}
    return {**look, "another": another(run, profile, advice.halve), **resume, "log": f"tuiftune logs {run.id}"}


def another(run: Run, profile: str, halve: str) -> str:
    """The command that starts such a run again: with its own overrides, and half of the option `halve`."""
    try:
        effective = tomllib.loads(run.profile_file.read_text(encoding="utf-8"))
        overrides = dict(_overrides(effective, run.origin().get("origin")))
    except (OSError, ValueError):  # also TOMLDecodeError: the sentence of the run says what is wrong with it
        effective, overrides = {}, {}
    value = _value(effective, halve)
    if isinstance(value, int | float) and not isinstance(value, bool):
        overrides[halve] = f"{value / 2:.3g}" if isinstance(value, float) else str(max(1, value // 2))
        more = []
    else:
        more = ["--set", "KEY=VALUE"]
    sets = [part for key, text in overrides.items() for part in ("--set", f"{key}={text}")]
    return shlex.join(["tuiftune", "run", profile, *without_secrets(sets), *more])


def _overrides(effective: dict[str, Any], origin: Any) -> Iterator[tuple[str, str]]:
    """Key and text of the values that came from the command line."""
    for key, source in origin.items() if isinstance(origin, dict) else ():
        if source != "--set":
            continue
        key = _by_stage(effective, key)
        value = _value(effective, key)
        if value is not None and not isinstance(value, dict):
            yield key, _as_toml(value)


def _by_stage(effective: dict[str, Any], key: str) -> str:
    """`tokenize.max_length` for `preprocess.0.max_length`: as the command line takes it."""
    kind, _, rest = key.partition(".")
    number, _, option = rest.partition(".")
    stages = effective.get(kind)
    if isinstance(stages, list) and number.isdigit() and int(number) < len(stages) and option:
        return f"{stages[int(number)].get('stage')}.{option}"
    return key


def _value(effective: dict[str, Any], key: str) -> Any:
    """The value of a dotted key, a stage of a list named by its name; None where there is none."""
    first, *rest = key.split(".")
    stages = [one for kind in ("preprocess", "evaluate") for one in effective.get(kind) or () if isinstance(one, dict)]
    found: Any = effective.get(first) or next((one for one in stages if one.get("stage") == first), None)
    for name in rest:
        found = found.get(name) if isinstance(found, dict) else None
    return found


def _as_toml(value: Any) -> str:
    if not isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    try:
        tomllib.loads(f"x = {value}")
    except tomllib.TOMLDecodeError:  # read as the text it is
        return value
    return json.dumps(value, ensure_ascii=False)
