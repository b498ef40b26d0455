"""Find, load, name and isolate plugins: built-in stages, installed packages and a workspace's own files.

One that cannot be loaded is named with the line that is to blame, and everything else works.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib
import importlib.metadata
import importlib.util
import inspect
import os
import re
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import pluggy

from tuiftune import __version__, hookspecs, trust
from tuiftune.catalog import LOADED, LOADING, PluginInfo
from tuiftune.errors import PluginError, Problem
from tuiftune.options import Options
from tuiftune.paths import display, plugin_folder
from tuiftune.sections import KINDS
from tuiftune.stage import CORE_OPTIONS, Evaluator, Stage

__all__ = ["BUILTINS", "LoadedStage", "Registry", "load_builtins", "load_file", "load_registry"]

BUILTINS = tuple(
    f"tuiftune.stages.{name}"
    for name in ("text", "table", "hub", "clean", "tokenize", "pack", "causal_lm", "perplexity", "samples", "demo")
)
"""In the order they are listed. Each registers its stages through the same hook as a stranger's."""

GROUP = "tuiftune"
"""Entry points of this group are plugins."""

ONLY = "TUIFTUNE_PLUGINS"
"""Names the plugins to load beside the built-ins, separated by commas; empty for none."""

LIMIT_S = 60.0
"""A plugin that imports torch takes 10 s on a slow disk; who lists plugins for a person waits less."""

HOOK_LIMIT_S = 600.0
"""A hook of the stages holds up the run; what takes longer (an upload) belongs into a thread."""

STAGE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}")
"""A stage's name becomes part of a folder's."""

HOOKS: dict[str, Any] = {
    name: function for name, function in vars(hookspecs).items() if hasattr(function, "tuiftune_spec")
}


@dataclass(frozen=True)
class LoadedStage:
    """A stage class and who brought it."""

    cls: type[Stage]
    plugin: str
    plugin_version: str
    """Another one whenever the plugin's code may be: part of the keys of cached results."""


@dataclass(frozen=True)
class Registry:
    """What was found: plugins, their stages, and what is wrong with those that are not used."""

    plugins: list[PluginInfo] = field(default_factory=list)
    stages: dict[tuple[str, str], LoadedStage] = field(default_factory=dict)
    """By (kind, name)."""
    problems: list[Problem] = field(default_factory=list)
    _manager: pluggy.PluginManager = field(default_factory=lambda: _manager())
    _owners: dict[str, _Candidate] = field(default_factory=dict)
    _muted: set[tuple[str, str]] = field(default_factory=set)

    def names(self, kind: str) -> list[str]:
        """The stages of a kind."""
        return [name for of_kind, name in self.stages if of_kind == kind]

    def suggest(self, kind: str, name: str) -> str:
        """What to do about a stage that is not installed."""
        near = difflib.get_close_matches(name, self.names(kind), 1)
        elsewhere = [of_kind for of_kind, of_name in self.stages if of_name == name]
        if elsewhere:
            hint = f"{name!r} is of kind {elsewhere[0]!r}"
        elif near:
            hint = f"Did you mean {near[0]!r}?"
        else:
            hint = f"Installed: {', '.join(self.names(kind)) or 'none'}"
        if self.problems:
            hint = f"{hint.rstrip('?.')}{'?' if hint.endswith('?') else '.'} Some plugins could not be loaded: "
            hint += "see tuiftune plugins"
        return hint

    def watch(self, hook_name: str, on_error: Callable[[str, BaseException], None], **arguments: Any) -> None:
        """Call every plugin's watching hook, one by one, each with the arguments it takes.

        What one raises goes to `on_error(plugin, PluginError)`, and that hook of that plugin is not called
        again in this process. One that has not come back after HOOK_LIMIT_S is ended (main thread only).
        """
        for impl in getattr(self._manager.hook, hook_name).get_hookimpls():
            if (impl.plugin_name, hook_name) in self._muted:
                continue
            try:
                with _time_limit(HOOK_LIMIT_S):
                    impl.function(*(arguments[name] for name in impl.argnames))
            except BaseException as error:  # sys.exit, a cancelled task: whatever it is, training goes on
                self._muted.add((impl.plugin_name, hook_name))
                problem = _problem(self._owners[impl.plugin_name], error, during=hook_name, limit_s=HOOK_LIMIT_S)
                located = PluginError(str(problem))
                located.__cause__ = error
                on_error(impl.plugin_name, located)

    def place(self, plugin: str, error: BaseException) -> str | None:
        """`plugins/chat.py:12`: the deepest line of a plugin's own code that led to an error; None where there is
        none, and for the built-in ones."""
        owner = self._owners.get(plugin)
        if owner is None or owner.source == "built-in":
            return None
        file, line = _blame(owner, error)
        return None if line is None else f"{file}:{line}"


def load_registry(workspace: Path, limit_s: float | None = None, announced: bool = False) -> Registry:
    """Load every plugin, each by itself.

    `limit_s` (LIMIT_S when left out) is how long each may take before it is given up and named (main thread
    only). Where it is `announced`, a line `tuiftune: loading NAME` goes to stderr before each plugin that is not
    built in, so that one that cannot be interrupted can still be named by whoever waits.
    """
    registry = load_builtins(workspace)
    wanted = _wanted()
    candidates = [*_installed(workspace), *_dropped_in(workspace)] if wanted != [] else []
    chosen = [candidate for candidate in candidates if wanted is None or candidate.name in wanted]
    for candidate in chosen:
        if announced:
            print(f"{LOADING}{candidate.name}", file=sys.stderr, flush=True)
        _load(registry, candidate, LIMIT_S if limit_s is None else limit_s)
    if chosen and announced:
        print(LOADED, file=sys.stderr, flush=True)
    for name in sorted(set(wanted or []).difference(candidate.name for candidate in candidates)):
        problem = _not_found(name, [candidate.name for candidate in candidates])
        registry.problems.append(problem)
        registry.plugins.append(PluginInfo(name, "not found", "", "", [], 0.0, str(problem)))
    return registry


def load_builtins(workspace: Path) -> Registry:
    """What ships with tuiftune alone."""
    registry = Registry()
    for name in BUILTINS:
        _load(registry, _builtin(name, workspace), limit_s=None)
    return registry


def load_file(path: Path, beside: Registry | None = None, limit_s: float | None = None) -> Registry:
    """One drop-in file alone, or `beside` what is loaded already. What is wrong with it is in `problems`."""
    registry = Registry() if beside is None else beside
    _load(registry, _drop_in(path.absolute(), path.absolute().parent), limit_s)
    return registry


def _wanted() -> list[str] | None:
    """The names in $TUIFTUNE_PLUGINS; None when it is not set: all."""
    named = os.environ.get(ONLY)
    return None if named is None else [name.strip() for name in named.split(",") if name.strip()]


def _not_found(name: str, found: list[str]) -> Problem:
    return Problem(f"{name!r} is no plugin here", where=ONLY, hint=_did_you_mean(name, found))


@dataclass(frozen=True)
class _Candidate:
    """A plugin that is there, not loaded yet."""

    name: str
    source: str
    path: str
    """As messages show it."""
    load: Callable[[], tuple[Any, str]]
    """Import it: the module (or object) with the hooks, and its version."""
    folder: Path | None
    """Code in this file or folder is the plugin's own; None when it cannot be told."""
    workspace: Path

    def owns(self, file: str) -> bool:
        return self.folder is not None and Path(file).is_relative_to(self.folder)


class _Refused(Exception):
    """A plugin that imports well and says something that makes no sense."""

    def __init__(self, what: str, hint: str | None = None, thing: Any = None) -> None:
        """`thing`: the function or class that is to blame; only then is its line looked for, which takes 5 ms."""
        super().__init__(what)
        self.what, self.hint, self.line = what, hint, _line(thing)


class _TooSlow(BaseException):
    """Raised inside a plugin that loads for too long; no `except Exception` of its own holds it up."""


def _manager() -> pluggy.PluginManager:
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    return manager


def _builtin(module: str, workspace: Path) -> _Candidate:
    file = Path(__file__).parent / "stages" / f"{module.rpartition('.')[2]}.py"
    return _Candidate(
        name=module.rpartition(".")[2],
        source="built-in",
        path=display(file, workspace),
        load=lambda: (importlib.import_module(module), __version__),
        folder=file,
        workspace=workspace,
    )


def _installed(workspace: Path) -> list[_Candidate]:
    return [_entry_point(found, workspace) for found in importlib.metadata.entry_points(group=GROUP)]


def _entry_point(found: importlib.metadata.EntryPoint, workspace: Path) -> _Candidate:
    spec = _find_spec(found.module.partition(".")[0])
    locations = list(spec.submodule_search_locations or []) if spec else []
    folder = locations[0] if locations else spec.origin if spec else None
    return _Candidate(
        name=found.name,
        source="entry point",
        path=display(Path(folder), workspace) if folder else found.value,
        load=lambda: (found.load(), found.dist.version if found.dist else ""),
        folder=Path(folder) if folder else None,
        workspace=workspace,
    )


def _find_spec(module: str) -> importlib.machinery.ModuleSpec | None:
    """Where a top-level module is, without importing it; None when it is nowhere."""
    try:
        return importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None


def _dropped_in(workspace: Path) -> list[_Candidate]:
    folder = plugin_folder(workspace)
    return [_drop_in(path.absolute(), workspace) for path in sorted(folder.glob("[!_.]*.py")) if not path.is_dir()]


def _drop_in(path: Path, workspace: Path) -> _Candidate:
    return _Candidate(
        name=path.stem,
        source="drop-in",
        path=display(path, workspace),
        load=lambda: _run_file(path),
        folder=path,
        workspace=workspace,
    )


def _run_file(path: Path) -> tuple[Any, str]:
    """Import a file under a private name: its folder is not on sys.path, so it hides no installed module.

    What is hashed is what is run: no `.pyc` is read or written (one is taken for fresh when a file of the
    same size is written within the same second).
    """
    loose = trust.fault(path)
    if loose:
        raise _Refused(f"not loaded: {loose[0]}", hint=loose[1])
    source = path.read_bytes()
    name = "_tuiftune_plugin_" + re.sub(r"\W", "_", path.stem)
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None:
        raise ImportError(f"{path.name} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # pydantic and inspect look a class's module up there
    try:
        exec(compile(source, str(path), "exec", dont_inherit=True), module.__dict__)  # noqa: S102 - a plugin is code
    except BaseException:
        del sys.modules[name]
        raise
    return module, hashlib.sha256(source).hexdigest()[:12]


def _load(registry: Registry, candidate: _Candidate, limit_s: float | None) -> None:
    """Load one plugin, whole or not at all."""
    start = time.perf_counter()
    version, problem, stages, hooks = "", None, [], []
    try:
        if candidate.name in registry._owners:
            raise _Refused("a plugin of that name is loaded already", hint="Give this one another name")
        with _time_limit(limit_s):
            module, version = candidate.load()
            stages = _register(registry, candidate, module)
            hooks = [hook for hook, _ in dict(_hook_functions(module)).values() if hook != "register_stages"]
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # sys.exit, a cancelled task, _TooSlow: whatever it is, the others are loaded
        if candidate.name not in registry._owners and registry._manager.has_plugin(candidate.name):
            registry._manager.unregister(name=candidate.name)
        problem = _problem(candidate, error, limit_s=limit_s)
        registry.problems.append(problem)
    else:
        registry._owners[candidate.name] = candidate
        for stage in stages:
            registry.stages[stage.kind, stage.name] = LoadedStage(stage, candidate.name, version)
    registry.plugins.append(
        PluginInfo(
            name=candidate.name,
            source=candidate.source,
            path=candidate.path,
            version=version,
            stages=[f"{stage.kind}/{stage.name}" for stage in stages],
            import_ms=round(1000 * (time.perf_counter() - start), 1),
            problem=str(problem) if problem else None,
            hooks=hooks,
        )
    )


@contextmanager
def _time_limit(limit_s: float | None) -> Iterator[None]:
    """Raise _TooSlow in this thread after `limit_s` seconds. A call into C is not interrupted."""
    if limit_s is None or threading.current_thread() is not threading.main_thread():
        yield
        return

    def give_up(_number: int, _frame: FrameType | None) -> None:
        raise _TooSlow

    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, limit_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _register(registry: Registry, candidate: _Candidate, module: Any) -> list[type[Stage]]:
    """Check a plugin's hooks and stages, and register it. Raises _Refused."""
    hooks = dict(_hook_functions(module))
    _check_hooks(module, hooks)
    registry._manager.register(module, name=candidate.name)
    stages: list[type[Stage]] = []
    for function in (hook for hook_name, hook in hooks.values() if hook_name == "register_stages"):
        returned = function()
        if isinstance(returned, type | str) or not isinstance(returned, Iterable):
            raise _Refused(
                f"register_stages must return a list of stage classes, not {_shown(returned)}", thing=function
            )
        for stage in returned:
            _check_stage(stage, function)
            _check_free(registry, stages, stage)
            stages.append(stage)
    return stages


def _hook_functions(module: Any) -> Iterator[tuple[str, tuple[str, Callable[..., Any]]]]:
    """The functions marked with @hookimpl: attribute name -> (name of the hook, function)."""
    for name, function in inspect.getmembers(module, inspect.isroutine):
        marks = getattr(function, f"{hookspecs.PROJECT}_impl", None)
        if isinstance(marks, dict):
            yield name, (marks.get("specname") or name, function)


def _check_hooks(module: Any, hooks: dict[str, tuple[str, Callable[..., Any]]]) -> None:
    unmarked = [name for name in HOOKS if inspect.isroutine(getattr(module, name, None)) and name not in hooks]
    if unmarked:
        thing = getattr(module, unmarked[0])
        raise _Refused(f"{unmarked[0]} is not marked as a hook", "Put @tuiftune.hookimpl above it", thing)
    for hook_name, function in hooks.values():
        if hook_name not in HOOKS:
            raise _Refused(f"{hook_name!r} is no hook of tuiftune", _did_you_mean(hook_name, HOOKS), function)
        taken = list(inspect.signature(HOOKS[hook_name]).parameters)
        for name, parameter in inspect.signature(function).parameters.items():
            if name not in taken and parameter.default is parameter.empty:
                has = f"It has: {', '.join(taken)}" if taken else "It has none"
                raise _Refused(f"hook {hook_name!r} has no argument {name!r}", has, function)
        if inspect.isgeneratorfunction(function) and hook_name != "register_stages":
            raise _Refused(f"hook {hook_name!r} must not yield: nothing would run it", thing=function)


def _check_stage(stage: Any, function: Callable[..., Any]) -> None:
    """Whether a stage class is whole. Raises _Refused."""
    if not (isinstance(stage, type) and issubclass(stage, Stage)):
        raise _Refused(f"register_stages must return subclasses of tuiftune.Stage, not {_shown(stage)}", thing=function)
    who = f"stage class {stage.__name__}"
    if stage.kind not in KINDS:
        bases = "tuiftune.DatasetLoader, Preprocessor, Trainer or Evaluator"
        raise _Refused(f"{who}: kind {stage.kind!r} is none of {', '.join(KINDS)}", f"Derive it from {bases}", stage)
    if not isinstance(stage.name, str) or not STAGE_NAME.fullmatch(stage.name):
        raise _Refused(f"{who}: name {stage.name!r} is not a name", "Use letters, digits, _ and -", stage)
    if not (isinstance(stage.Options, type) and issubclass(stage.Options, Options)):
        raise _Refused(f"{who}: its Options must be a subclass of tuiftune.Options", thing=stage)
    taken = [name for name in ("stage", *CORE_OPTIONS.get(stage.kind, ())) if name in stage.Options.model_fields]
    if taken:
        raise _Refused(f"{who}: option {taken[0]!r} is read by tuiftune itself", "Call it something else", stage)
    evaluates = issubclass(stage, Evaluator) and (stage.is_live() or stage.run is not Evaluator.run)
    if not evaluates and stage.run in (Stage.run, Evaluator.run):
        raise _Refused(f"{who}: defines no run(ctx)", thing=stage)


def _check_free(registry: Registry, own: list[type[Stage]], stage: type[Stage]) -> None:
    """A name used twice names both plugins; the first is kept."""
    first = registry.stages.get((stage.kind, stage.name))
    if first:
        raise _Refused(
            f"its {stage.kind} stage {stage.name!r} is already one of plugin {first.plugin!r}, which is kept",
            "Give it another name",
            stage,
        )
    if any((other.kind, other.name) == (stage.kind, stage.name) for other in own):
        raise _Refused(f"it has two {stage.kind} stages {stage.name!r}", thing=stage)


def _shown(value: Any) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else f"{value!r:.60}"


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    return f"Did you mean {near[0]!r}?" if near else f"There are: {', '.join(known) or 'none'}"


def _line(thing: Any) -> int | None:
    """Where a function or class is defined, when its source can be found."""
    try:
        return inspect.getsourcelines(thing)[1]
    except (OSError, TypeError):
        return None


def _problem(
    candidate: _Candidate, error: BaseException, during: str | None = None, limit_s: float | None = None
) -> Problem:
    """`plugins/chat.py:3: plugin 'chat': ModuleNotFoundError: No module named 'x'`."""
    where = f"plugin {candidate.name!r}"
    if isinstance(error, _Refused):
        return Problem(error.what, candidate.path, error.line, where, error.hint)
    file, line = _blame(candidate, error)
    what, hint = f"{type(error).__name__}: {error}", None
    if isinstance(error, SyntaxError):
        what = f"{type(error).__name__}: {error.msg}"
    elif isinstance(error, SystemExit):
        what, hint = f"it called sys.exit({error.code!r})", "Raise tuiftune.StageError from a stage instead"
    elif isinstance(error, _TooSlow) and during:
        what, hint = f"it had not come back after {limit_s:.0f} s", "Do what takes long in a thread"
    elif isinstance(error, _TooSlow):
        what, hint = f"it was still loading after {limit_s:.0f} s", "Import what is slow inside run()"
    return Problem(f"{during}: {what}" if during else what, file, line, where, hint)


def _blame(candidate: _Candidate, error: BaseException) -> tuple[str, int | None]:
    """The deepest line in the plugin's own code that led to the error."""
    if isinstance(error, SyntaxError) and error.filename and candidate.owns(error.filename):
        return display(Path(error.filename), candidate.workspace), error.lineno
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if candidate.owns(frame.filename):
            return display(Path(frame.filename), candidate.workspace), frame.lineno
    return candidate.path, None
