"""What the describe child found (plugins, stages, profiles, problems), as dataclasses.

The user's plugins and pydantic are imported there, in a process of its own, never here: a plugin that
imports torch at the top, prints, loops or crashes costs the child and not the screen.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tuiftune.errors import PluginError, Problem, TuiftuneError
from tuiftune.remembered import remember
from tuiftune.run.process import python, signal_text

TIMEOUT_S = 30.0
"""A plugin that is still importing after this long is named and given up on."""


@dataclass(frozen=True)
class OptionInfo:
    """One option of a stage or section, as its schema describes it."""

    name: str
    type: str
    """In TOML's words: 'integer', 'float', 'string', 'boolean', 'array', 'table', or "'a' | 'b'"."""
    default: Any
    required: bool
    description: str
    choices: list[Any] = field(default_factory=list)
    """The values it is one of; with another type in `type` beside them, values that it also may have."""
    minimum: float | None = None
    maximum: float | None = None
    more_than: float | None = None
    less_than: float | None = None
    """Bounds of its number; the latter two do not belong to it."""
    unit: str = ""
    """What its number counts, e.g. 'tokens'; empty where the description says it, or where there is none."""

    @property
    def bounds(self) -> str:
        """In words: 'at least 1', 'more than 0 and at most 1'; empty where there are none."""
        words = (
            ("at least", self.minimum),
            ("more than", self.more_than),
            ("at most", self.maximum),
            ("less than", self.less_than),
        )
        return " and ".join(f"{word} {bound:.15g}" for word, bound in words if bound is not None)


@dataclass(frozen=True)
class StageInfo:
    name: str
    kind: str
    plugin: str
    summary: str
    options: list[OptionInfo]


@dataclass(frozen=True)
class PluginInfo:
    name: str
    source: str
    """'built-in', 'entry point' or 'drop-in'; 'not found' for a name in TUIFTUNE_PLUGINS that is none."""
    path: str
    version: str
    stages: list[str]
    """As 'kind/name'."""
    import_ms: float
    problem: str | None = None
    """Why it could not be loaded, as `file:line: plugin 'x': ...`; None when it was."""
    hooks: list[str] = field(default_factory=list)
    """The hooks by which it watches runs: 'stage_finished'."""


@dataclass(frozen=True)
class ProfileInfo:
    name: str
    path: str
    source: str
    """'workspace', 'user' or 'shipped'."""
    description: str
    pipeline: list[str]
    """Stage names in order: ['text', 'tokenize', 'causal_lm', 'perplexity']."""
    runnable: bool
    """False for one that others extend and that names no dataset or trainer of its own."""
    problems: list[Problem] = field(default_factory=list)
    hides: list[str] = field(default_factory=list)
    """Paths of farther profiles of the same name."""
    absent: list[Problem] = field(default_factory=list)
    """Files it names that are not there: it can be run once they are, or are set to others."""


@dataclass(frozen=True)
class Catalog:
    plugins: list[PluginInfo]
    stages: list[StageInfo]
    sections: dict[str, list[OptionInfo]]
    """Options of the `model` and `run` tables, and as 'profile' those that stand above all tables."""
    profiles: list[ProfileInfo]

    def options_of(self, name: str) -> list[OptionInfo]:
        """Those of a stage or section. Raises TuiftuneError where there is none of that name."""
        stages = {stage.name: stage.options for stage in self.stages} | self.sections
        if name not in stages:
            raise TuiftuneError(f"{name!r} is no stage here. There are: {', '.join(stages)}")
        return stages[name]


@dataclass(frozen=True)
class PluginCheck:
    """One plugin file by itself: what it brings, and what is wrong with it."""

    plugin: PluginInfo
    problems: list[Problem]
    """Why it is not loaded."""
    notes: list[Problem]
    """What could be better: it is loaded all the same."""


@dataclass(frozen=True)
class ResolvedProfile:
    """A profile after extending, overriding and checking."""

    name: str
    path: str
    description: str
    effective: dict[str, Any]
    """Every value in force, defaults filled in; what a run is started with. Empty when there are problems."""
    origin: dict[str, str]
    """Dotted key -> 'profiles/x.toml:7', 'default' or '--set'."""
    pipeline: list[str]
    problems: list[Problem]
    notes: list[str]
    """Things that are allowed and worth seeing, such as trust_remote_code."""
    plugins: dict[str, str]
    """Name and version of each plugin that brings a stage of this profile."""
    runnable: bool = True
    """False for one that others extend: it names no dataset or no trainer."""
    absent: list[Problem] = field(default_factory=list)
    """Files it names that are not there: it cannot be started before they are."""


def _with_problems(data: dict[str, Any]) -> dict[str, Any]:
    return {**data, **{key: [Problem(**item) for item in data[key]] for key in ("problems", "absent")}}


def _options(data: Sequence[dict[str, Any]]) -> list[OptionInfo]:
    return [OptionInfo(**item) for item in data]


def read_catalog(workspace: Path, timeout_s: float = TIMEOUT_S) -> Catalog:
    """Everything there is to choose from. Raises PluginError when the child does not come back."""
    data = _describe(["catalog", str(workspace)], timeout_s)
    found = Catalog(
        plugins=[PluginInfo(**item) for item in data["plugins"]],
        stages=[StageInfo(**{**item, "options": _options(item["options"])}) for item in data["stages"]],
        sections={name: _options(items) for name, items in data["sections"].items()},
        profiles=[ProfileInfo(**_with_problems(item)) for item in data["profiles"]],
    )
    remember(workspace, found)
    return found


def resolve_profile(
    workspace: Path, name: str, overrides: Sequence[str] = (), timeout_s: float = TIMEOUT_S
) -> ResolvedProfile:
    """One profile with its `key=value` overrides. Its problems are in the result; raises PluginError when the
    child does not come back."""
    data = _describe(["resolve", str(workspace), name, *overrides], timeout_s)
    return ResolvedProfile(**_with_problems(data))


def check_plugin(path: Path, timeout_s: float = TIMEOUT_S) -> PluginCheck:
    """Load one plugin file and look it through. Raises PluginError where there is none, or the child does not come
    back."""
    if not path.is_file():
        raise PluginError(f"{path}: no such file. Make one with: tuiftune new-plugin NAME")
    data = _describe(["check", str(path)], timeout_s)
    found = {key: [Problem(**item) for item in data[key]] for key in ("problems", "notes")}
    return PluginCheck(PluginInfo(**data["plugin"]), **found)


def resolve_draft(workspace: Path, path: Path, text: str, timeout_s: float = TIMEOUT_S) -> ResolvedProfile:
    """A profile that is not saved yet: `text` is what its file at `path` would say. As `resolve_profile`; a problem of
    one of its own keys names no file."""
    data = _describe(["draft", str(workspace), str(path)], timeout_s, text)
    return ResolvedProfile(**_with_problems(data))


def _describe(arguments: list[str], timeout_s: float, text: str = "") -> dict[str, Any]:
    """Run the child and read its JSON; what plugins print goes to its stderr and is not mixed in."""
    limit = f"--plugin-limit-s={timeout_s / 3:.1f}"
    try:
        done = subprocess.run(
            python("-m", "tuiftune.describe", limit, *arguments),
            input=text.encode("utf-8"),
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise PluginError(f"{_child(error.stderr)} had not come back after {timeout_s:.0f} s. {WITHOUT_IT}") from error
    if done.returncode != 0:
        said = [line for line in done.stderr.decode("utf-8", "replace").splitlines() if line.strip()]
        raise PluginError(_ended(done.returncode, done.stderr, said))
    result: dict[str, Any] = json.loads(done.stdout)
    return result


WITHOUT_IT = "Take the plugin out of plugins/, or load only what you need with TUIFTUNE_PLUGINS=a,b"
LOADING = "tuiftune: loading "
"""The child says so on stderr before each plugin, so that one that hangs can be named."""
LOADED = "tuiftune: plugins loaded"
"""The child says so after the last plugin: what comes then is no plugin's fault."""


def _last_loading(stderr: bytes | None) -> str | None:
    """The plugin that was being loaded when the child ended."""
    lines = (stderr or b"").decode("utf-8", "replace").splitlines()
    told = [line for line in lines if line.startswith((LOADING, LOADED))]
    return told[-1].removeprefix(LOADING) if told and told[-1] != LOADED else None


def _ended(status: int, stderr: bytes, said: list[str]) -> str:
    """A sentence on a child that was ended by what it loaded."""
    how = f"was ended by {signal_text(-status)}" if status < 0 else f"ended with status {status}"
    if _last_loading(stderr):
        return f"{_child(stderr)} {how}. {WITHOUT_IT}"
    return f"{_child(stderr)} {how}: {said[-1] if said else 'it printed nothing'}"


def _child(stderr: bytes | None) -> str:
    plugin = _last_loading(stderr)
    return f"the process that loads plugin {plugin!r}" if plugin else "the process that lists plugins and profiles"
