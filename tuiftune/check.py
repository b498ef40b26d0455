"""Check a profile's tables against what is installed: every problem at once, in TOML's words."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails, to_jsonable_python

from tuiftune.errors import Problem
from tuiftune.options import ModelOptions, Options, RunOptions
from tuiftune.plugins import LoadedStage, Registry
from tuiftune.sections import KINDS, LISTS, SECTIONS, dotted, named_stages
from tuiftune.stage import CORE_OPTIONS, Stage
from tuiftune.toml_lines import KeyPath

DEFAULT_VALIDATION = 0.1
DEFAULT_STREAMING = False
DEFAULT_SEED = 42
OTHER_NAMES = {
    "num_train_epochs": "epochs",
    "num_epochs": "epochs",
    "per_device_train_batch_size": "batch_size",
    "gradient_accumulation_steps": "grad_accum",
    "lr": "learning_rate",
    "max_grad_norm": "grad_clip",
    "lr_scheduler_type": "schedule",
    "eval_steps": "eval_every",
    "save_steps": "save_every",
    "logging_steps": "log_every",
    "val_split": "validation",
    "validation_split": "validation",
    "test_size": "validation",
    "block_size": "max_length",
    "seq_length": "max_length",
}
"""What these options are called in other tools, where no spelling is near."""


@dataclass(frozen=True)
class PlannedStage:
    """One stage of a run, made and ready."""

    index: int
    """Position in the pipeline, from 0."""
    kind: str
    name: str
    stage: Stage
    plugin: str
    plugin_version: str


@dataclass(frozen=True)
class Pipeline:
    """A profile that can be run."""

    model: ModelOptions
    run: RunOptions
    seed: int
    validation: float | str
    """Held out of the data: a fraction (of a stream: a number of documents), a file, or the name of a split."""
    streaming: bool
    """Whether documents are tokenised on the way, none of them kept."""
    stages: list[PlannedStage]
    """Dataset, preprocess, train, evaluate, in this order."""


@dataclass
class Checked:
    """What a profile's table amounts to."""

    model: ModelOptions | None = None
    run: RunOptions | None = None
    seed: int = DEFAULT_SEED
    validation: float | str = DEFAULT_VALIDATION
    streaming: bool = DEFAULT_STREAMING
    stages: list[PlannedStage] = field(default_factory=list)
    effective: dict[str, Any] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def missing(self) -> list[str]:
        """The kinds without which nothing can be run."""
        have = {planned.kind for planned in self.stages}
        return [kind for kind in ("dataset", "train") if kind not in have]

    def pipeline(self) -> Pipeline:
        """Only for one without problems."""
        if self.model is None or self.run is None:
            raise ValueError("a profile with problems is no pipeline")
        return Pipeline(self.model, self.run, self.seed, self.validation, self.streaming, self.stages)


Locate = Callable[[KeyPath], tuple[str | None, int | None]]
"""The file and line that wrote a value, or the nearest table around it."""


def nowhere(_path: KeyPath) -> tuple[None, None]:
    """For a table that came from no file."""
    return None, None


def check(table: dict[str, Any], registry: Registry, locate: Locate = nowhere, partial: bool = False) -> Checked:
    """Check a whole profile. With `partial` (its base could not be read) nothing is said to be missing."""
    checker = _Checker(table, registry, locate, partial)
    checker.check()
    return checker.result


def check_options(stage: type[Stage], options: dict[str, Any]) -> tuple[Options | None, list[Problem]]:
    """The options of one stage by themselves, or what is wrong with them."""
    checker = _Checker({stage.kind: {"stage": stage.name}}, Registry(), nowhere, partial=False)
    stranger = f"not an option of {stage.kind} stage {stage.name!r}"
    checked = checker._validated((stage.kind,), stage.Options, dict(options), stranger)
    return checked, checker.result.problems


class _Checker:
    """Goes through the sections in order and collects what it finds in `result`."""

    def __init__(self, table: dict[str, Any], registry: Registry, locate: Locate, partial: bool) -> None:
        self.table, self.registry, self.locate, self.partial = table, registry, locate, partial
        self.result = Checked()

    def check(self) -> None:
        self._unknown_sections()
        description = self._scalar("description", str, "a string")
        if description is not None:
            self.result.effective["description"] = description
        self._seed()
        self.result.model = self._section("model", ModelOptions)
        for kind in KINDS:
            self._stages(kind)
        self.result.run = self._section("run", RunOptions)
        self._model_fits()
        self._stream_ends()
        if self.result.model and self.result.model.trust_remote_code:
            self.result.notes.append(
                "model.trust_remote_code is true: Python code that comes with the model runs as you"
            )

    def problem(self, path: KeyPath, what: str, hint: str | None = None, at: KeyPath | None = None) -> None:
        file, line = self.locate(path if at is None else at)
        self.result.problems.append(Problem(what, file, line, dotted(path), hint))

    def _unknown_sections(self) -> None:
        for key in self.table:
            if key in SECTIONS:
                continue
            if _is_secret(key, self.table[key], SECTIONS):
                self._secret((key,))
                continue
            owners = [dotted((*path, key)) for path, cls, _ in self._named_stages() if key in _options_of(path, cls)]
            owners += [f"{name}.{key}" for name, cls in _TABLES.items() if key in cls.model_fields]
            near = [f"{owners[0]}"] if owners else difflib.get_close_matches(key, SECTIONS, 1)
            hint = f"Did you mean {near[0]!r}?" if near else f"There are: {', '.join(SECTIONS)}"
            self.problem((key,), "not a section of a profile", hint)

    def _scalar(self, key: str, kind: type, words: str) -> Any:
        value = self.table.get(key)
        if value is None or type(value) is kind:
            return value
        self.problem((key,), f"must be {words}, got {_got(value)}")
        return None

    def _seed(self) -> None:
        seed = self._scalar("seed", int, "an integer")
        if seed is not None and not 0 <= seed < 2**32:
            self.problem(("seed",), f"must be from 0 to 2**32 - 1, got {seed}")
        elif seed is not None:
            self.result.seed = seed
        self.result.effective["seed"] = self.result.seed

    def _section(self, name: str, cls: type[Options]) -> Any:
        """The `model` or `run` table."""
        table = self.table.get(name, {})
        if not isinstance(table, dict):
            self.problem((name,), f"must be a table, got {_got(table)}")
            return None
        options = self._validated((name,), cls, dict(table), f"not an option of [{name}]")
        if options is not None:
            self.result.effective[name] = dump(options)
        return options

    def _stages(self, kind: str) -> None:
        """All stages of one kind: a table, or an array of tables."""
        value = self.table.get(kind)
        if value is None:
            return
        if kind not in LISTS:
            if isinstance(value, dict):
                effective = self._stage(kind, (kind,), value)
                self.result.effective[kind] = effective
            else:
                self.problem((kind,), f"must be a table, got {_got(value)}", f"Write [{kind}]")
            return
        items = value if isinstance(value, list) else [None]
        stranger = next((item for item in items if not isinstance(item, dict)), value)
        if stranger is not value:
            found = f"with {_got(stranger)} in it" if isinstance(value, list) else f"got {_got(value)}"
            self.problem((kind,), f"must be an array of tables, {found}", f"Write [[{kind}]]")
            return
        self.result.effective[kind] = [self._stage(kind, (kind, index), item) for index, item in enumerate(items)]

    def _stage(self, kind: str, path: KeyPath, table: dict[str, Any]) -> dict[str, Any]:
        """One stage's table; returns it with every default filled in."""
        name = table.get("stage")
        loaded = self._installed(kind, path, name)
        if loaded is None:
            return {}
        options = {key: value for key, value in table.items() if key != "stage"}
        effective: dict[str, Any] = {"stage": name}
        if kind == "dataset":
            streaming = effective["streaming"] = self._streaming(options.pop("streaming", DEFAULT_STREAMING))
            effective["validation"] = self._validation(options.pop("validation", DEFAULT_VALIDATION), streaming)
        who = f"{kind} stage {name!r} (plugin {loaded.plugin})"
        checked = self._validated(path, loaded.cls.Options, options, f"not an option of {who}")
        if checked is None:
            return {}
        effective |= dump(checked)
        self._make(kind, path, loaded, checked, who)
        return effective

    def _installed(self, kind: str, path: KeyPath, name: Any) -> LoadedStage | None:
        if name is None:
            if not self.partial:
                hint = f"Write stage = ... Installed: {', '.join(self.registry.names(kind)) or 'none'}"
                self.problem((*path, "stage"), "missing: which stage it is", hint, at=path)
        elif not isinstance(name, str):
            self.problem((*path, "stage"), f"must be a string, got {_got(name)}")
        elif (kind, name) not in self.registry.stages:
            what = f"no {kind} stage {name!r} is installed"
            self.problem((*path, "stage"), what, self.registry.suggest(kind, name))
        else:
            return self.registry.stages[kind, name]
        return None

    def _make(self, kind: str, path: KeyPath, loaded: LoadedStage, options: Options, who: str) -> None:
        try:
            made: Callable[[Options], Stage] = loaded.cls
            stage = made(options)
        except Exception as error:  # a stranger's __init__
            self.problem(path, f"{who} cannot be made: {type(error).__name__}: {error}")
            return
        index = len(self.result.stages)
        self.result.stages.append(
            PlannedStage(index, kind, loaded.cls.name, stage, loaded.plugin, loaded.plugin_version)
        )

    def _streaming(self, value: Any) -> bool | None:
        if isinstance(value, bool):
            self.result.streaming = value
            return value
        hint = f"Write {value} without quotes" if value in ("true", "false") else None
        self.problem(("dataset", "streaming"), f"must be true or false, got {_got(value)}", hint)
        return None

    def _validation(self, value: Any, streaming: bool | None) -> float | str:
        """Checked for a stream, for what is none, or (None) for what may be either."""
        path = ("dataset", "validation")
        fraction = isinstance(value, float) and 0 < value < 1
        count = type(value) is int and value >= 1
        hint: str | None
        if streaming:
            what, hint = (
                "of a stream must be a number of documents",
                "Set it, e.g. to 1000: its first 1,000 are held out",
            )
        else:
            what, hint = "must be a fraction between 0 and 1", "The default is 0.1" if value in (0, 1) else None
            if count and value > 1:
                hint = "A number of documents is held out of a stream alone: streaming = true"
        if (fraction and not streaming) or (count and streaming is not False) or (isinstance(value, str) and value):
            self.result.validation = value
        else:
            written = "validation" in self.table["dataset"]
            got = _got(value) if written else f"{value}, the default"
            at = path if written else ("dataset", "streaming")
            self.problem(path, f"{what}, a file, or the name of a split, got {got}", hint, at)
        return self.result.validation

    def _stream_ends(self) -> None:
        """A stream begins again at its end: only a number of steps ends the training."""
        trainer = next((planned for planned in self.result.stages if planned.kind == "train"), None)
        if trainer is None or self.partial or not self.result.streaming:
            return
        options = trainer.stage.options
        if "max_steps" in type(options).model_fields and options.max_steps is None:
            what = "missing: dataset.streaming is true, and a stream has no epochs, only steps"
            self.problem(("train", "max_steps"), what, "Set it, e.g. max_steps = 10000")

    def _validated(self, path: KeyPath, cls: type[Options], table: dict[str, Any], stranger: str) -> Any:
        """The options of one table, or None with its problems noted."""
        options = None
        known = _options_of(path, cls)
        secrets = list(_secrets(table, (), known))
        for secret in secrets:
            self._secret((*path, *secret))
            _drop(table, secret)
        try:
            # Strict through JSON: "3" is no integer, and a list may be a tuple, a string a Path or an Enum.
            options = cls.model_validate_json(json.dumps(table, default=str))
        except ValidationError as error:
            for found in _faults(error, table):
                self._fault(path, found, known, stranger)
        except Exception as error:  # a stranger's validator
            self.problem(path, f"its options cannot be checked: {type(error).__name__}: {error}")
        return None if secrets else options

    def _fault(self, path: KeyPath, found: _Fault, known: Collection[str], stranger: str) -> None:
        whole = (*path, *found.path)
        if found.kind == "unknown" and len(found.path) == 1:
            self.problem(whole, stranger, self._meant(path, str(found.path[0]), known))
        elif found.kind == "unknown":
            self.problem(whole, "not known here")
        elif found.kind == "missing":
            if not self.partial:
                self.problem(whole, "missing, and it has no default", at=(*path, *found.path[:-1], "stage"))
        else:
            raw = found.value
            hint = found.hint
            if self.locate(whole)[0] == "--set" and "string" in found.what and not isinstance(raw, str | list | dict):
                hint = f"""To give it as a text: --set '{dotted(whole)}="{raw}"'"""
            self.problem(whole, found.what, hint)

    def _meant(self, path: KeyPath, key: str, known: Collection[str]) -> str:
        """What an unknown option may have been meant to be."""
        if OTHER_NAMES.get(key) in known:
            return f"Did you mean {OTHER_NAMES[key]!r}?"
        for other, cls, who in self._named_stages():
            if other != path and key in _options_of(other, cls):
                return f"It is one of {who}"
        near = difflib.get_close_matches(key, known, 1, cutoff=0.5)
        if near:
            return f"Did you mean {near[0]!r}?"
        return f"There are: {', '.join(known)}" if known else "It has no options"

    def _named_stages(self) -> Iterator[tuple[KeyPath, type[Options], str]]:
        """Where each stage of the profile is, its options, and what to call it."""
        for path, name in named_stages(self.table):
            loaded = self.registry.stages.get((str(path[0]), name))
            if loaded:
                yield path, loaded.cls.Options, f"{path[0]} stage {name!r}"

    def _secret(self, path: KeyPath) -> None:
        self.problem(
            path,
            "a secret does not belong in a profile: it would be copied into every run",
            "Give it in the environment, e.g. HF_TOKEN=... tuiftune run",
        )

    def _model_fits(self) -> None:
        """Whether the `[model]` table says enough for this trainer."""
        model, trainer = self.result.model, next((s for s in self.result.stages if s.kind == "train"), None)
        if model is None or trainer is None or self.partial or "dataset" not in self.table:  # a base may leave it open
            return
        if model.init == "pretrained" and model.config:
            hint = 'Add init = "scratch", or leave model.config out'
            self.problem(("model", "config"), "only for a model made from scratch", hint)
        if model.name is not None or not getattr(trainer.stage, "makes_model", True):
            return
        at = ("model",) if "model" in self.table else ("train", "stage")
        if model.init == "pretrained":
            hint = 'Set it to a Hugging Face id or a folder: name = "gpt2"'
            self.problem(("model", "name"), f"missing: which model {trainer.name!r} trains", hint, at)
            return
        if "model_type" not in model.config:
            hint = 'Add model_type, e.g. "gpt2", or a model.name whose config is taken'
            self.problem(("model", "config", "model_type"), "missing: what model to make from scratch", hint, at)
        if model.tokenizer is None:
            hint = "Set it to a Hugging Face id or a folder"
            self.problem(("model", "tokenizer"), "missing: a model made from scratch brings none", hint, at)


_TABLES: dict[str, type[Options]] = {"model": ModelOptions, "run": RunOptions}


def _options_of(path: KeyPath, cls: type[Options]) -> list[str]:
    return [*cls.model_fields, *CORE_OPTIONS.get(str(path[0]), ())]


def dump(options: Options) -> dict[str, Any]:
    """Options as a TOML table: every default written out, what is None left out."""
    table: dict[str, Any] = _without_none(to_jsonable_python(options.model_dump()))
    return table


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [_without_none(inner) for inner in value if inner is not None]
    return value


# Secrets

_SECRET_WORDS = {"secret", "password", "passwd", "passphrase"}
_KEY_WORDS = {"token", "key"}
_KEY_OWNERS = {"api", "hub", "hf", "auth", "access", "bearer", "private", "wandb", "github"}
"""`hub_token` and `api_key` are secrets whoever declares them; `eos_token` and `sort_key` are not."""


def _is_secret(key: str, value: Any, known: Collection[str]) -> bool:
    words = key.lower().replace("-", "_").split("_")
    if words[-1] in _SECRET_WORDS or (words[-1] in _KEY_WORDS and _KEY_OWNERS.intersection(words)):
        return True
    strange = key not in known and not difflib.get_close_matches(key, known, 1)
    return words[-1] in _KEY_WORDS and strange and isinstance(value, str)


def _secrets(table: dict[str, Any], path: KeyPath, known: Collection[str]) -> Iterator[KeyPath]:
    """Keys that look like a secret. Inside a free table (`model.config`) any token may be one of the model's."""
    for key, value in table.items():
        if _is_secret(key, value, [key] if path else known):
            yield (*path, key)
        elif isinstance(value, dict):
            yield from _secrets(value, (*path, key), known)


def _drop(table: dict[str, Any], path: KeyPath) -> None:
    """Take a key out, without changing the tables around it for anyone else."""
    for key in path[:-1]:
        table[str(key)] = dict(table[str(key)])
        table = table[str(key)]
    del table[str(path[-1])]


# pydantic's errors in TOML's words


@dataclass(frozen=True)
class _Fault:
    path: KeyPath
    kind: str
    """'unknown', 'missing' or 'value'."""
    what: str = ""
    hint: str | None = None
    value: Any = None


_EXPECTED = {
    "int_type": "an integer",
    "int_from_float": "an integer",
    "int_parsing": "an integer",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "a string",
    "path_type": "a string",
    "list_type": "an array",
    "tuple_type": "an array",
    "set_type": "an array",
    "frozen_set_type": "an array",
    "dict_type": "a table",
    "mapping_type": "a table",
    "model_type": "a table",
    "model_attributes_type": "a table",
    "dataclass_type": "a table",
}
_BOUNDS = {
    "greater_than": ("gt", "more than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}


def _faults(error: ValidationError, table: dict[str, Any]) -> list[_Fault]:
    """One fault a key: a union gives an error for each of its types."""
    by_path: dict[KeyPath, list[ErrorDetails]] = {}
    for details in error.errors(include_url=False):
        by_path.setdefault(_real_path(details, table), []).append(details)
    return [_fault(path, group, _value_at(table, path)) for path, group in by_path.items()]


def _value_at(table: Any, path: KeyPath) -> Any:
    """The value itself: pydantic saw a date as a string. None for a key that is missing."""
    for part in path:
        if isinstance(table, dict) and part not in table:
            return None
        table = table[part]
    return table


def _real_path(details: ErrorDetails, table: dict[str, Any]) -> KeyPath:
    """pydantic's `loc` without the names it gives to the members of a union."""
    path: KeyPath = ()
    here: Any = table
    for part in details["loc"]:
        is_key = isinstance(here, dict) and part in here
        is_index = isinstance(here, list) and isinstance(part, int) and part < len(here)
        if is_key or is_index:
            path, here = (*path, part), here[part]
    return (*path, details["loc"][-1]) if details["type"] == "missing" else path


def _fault(path: KeyPath, group: list[ErrorDetails], value: Any) -> _Fault:
    kinds = [details["type"] for details in group]
    if "extra_forbidden" in kinds:
        return _Fault(path, "unknown")
    if "missing" in kinds:
        return _Fault(path, "missing")
    of_type = [details for details in group if _expected(details)]
    others = [details for details in group if details not in of_type]
    if others:  # its type was right for one member of the union
        return _Fault(path, "value", _value_words(others[0]), value=value)
    expected = list(dict.fromkeys(_expected(details) for details in of_type))
    return _Fault(path, "value", f"must be {' or '.join(expected)}, got {_got(value)}", _near(value, group), value)


def _expected(details: ErrorDetails) -> str:
    if details["type"] in ("literal_error", "enum"):
        return str(details.get("ctx", {}).get("expected", ""))
    return _EXPECTED.get(details["type"], "")


def _value_words(details: ErrorDetails) -> str:
    kind, context, value = details["type"], details.get("ctx", {}), details["input"]
    if kind in _BOUNDS:
        key, words = _BOUNDS[kind]
        return f"must be {words} {context[key]:g}, got {value}"
    if kind in ("string_too_short", "too_short") and context.get("min_length") == 1:
        return "must not be empty"
    message = re.sub(r"^(Value error, |Assertion failed, )", "", details["msg"])
    message = re.sub(r"^(Input|String|List|Tuple|Set|Dictionary|Value) should ", "must ", message)
    return f"{message}, got {_got(value)}" if message.startswith("must ") else message


def _near(value: Any, group: list[ErrorDetails]) -> str | None:
    """The nearest of the texts that are allowed."""
    if not isinstance(value, str):
        return None
    if value.lower() in ("true", "false") and any(details["type"] == "bool_type" for details in group):
        return f"Write {value} without quotes" if value.islower() else f"TOML writes {value.lower()}"
    allowed = [text for details in group for text in re.findall(r"'([^']*)'", _expected(details))]
    near = difflib.get_close_matches(value, allowed, 1)
    return f"Did you mean {near[0]!r}?" if near else None


def _got(value: Any) -> str:
    """A value in TOML's words."""
    if isinstance(value, bool):
        return str(value).lower()
    for kind, word in ((int, "integer"), (float, "float"), (str, "string")):
        if isinstance(value, kind):
            return f"the {word} {value!r:.60}"
    if isinstance(value, dict | list):
        return "a table" if isinstance(value, dict) else "an array"
    return f"the date or time {value}"


# Options as a reader sees them


def members(schema: dict[str, Any], definitions: dict[str, Any]) -> list[dict[str, Any]]:
    """A JSON schema's types: one, or those of a union, names looked up and null left out."""
    if "$ref" in schema:
        return members(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    for union in ("anyOf", "oneOf"):
        if union in schema:
            return [each for member in schema[union] for each in members(member, definitions)]
    return [] if schema.get("type") == "null" else [schema]


def type_words(schema: dict[str, Any], definitions: dict[str, Any]) -> str:
    """A JSON schema's type in TOML's words: "integer", "'a' | 'b'", "float | string"."""
    return " | ".join(dict.fromkeys(_type_word(member) for member in members(schema, definitions)))


def _type_word(schema: dict[str, Any]) -> str:
    if "const" in schema or "enum" in schema:
        return " | ".join(repr(value) for value in schema.get("enum", [schema.get("const")]))
    kind = str(schema.get("type", "value"))
    return {"number": "float", "object": "table"}.get(kind, kind)
