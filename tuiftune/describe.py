"""python -P -m tuiftune.describe catalog WORKSPACE | resolve WORKSPACE NAME [KEY=VALUE ...] | check FILE: JSON for
catalog.py.

The user's plugins are imported here, in a process of its own, so that no viewer pays for what they do.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic_core import to_jsonable_python

from tuiftune import plugin_check
from tuiftune.catalog import Catalog, OptionInfo, ProfileInfo, StageInfo
from tuiftune.check import DEFAULT_STREAMING, DEFAULT_VALIDATION, type_words
from tuiftune.options import ModelOptions, Options, RunOptions
from tuiftune.paths import display
from tuiftune.plugins import LoadedStage, Registry, load_registry
from tuiftune.profile import ProfileFile, list_profiles, resolve
from tuiftune.stage import CORE_OPTIONS, stage_summary

PLUGIN_LIMIT_S = 10.0
LIMIT_OPTION = "--plugin-limit-s="

DATASET_OPTIONS = [
    OptionInfo(
        name="validation",
        type="float | integer | string",
        default=DEFAULT_VALIDATION,
        required=False,
        description="what is held out of training: a fraction of the documents, a file, or the name of a split; of a "
        "stream a number of documents, its first ones",
    ),
    OptionInfo(
        name="streaming",
        type="boolean",
        default=DEFAULT_STREAMING,
        required=False,
        description="for data that does not fit the disk: documents are tokenised on the way and begin again at their "
        "end, and rows are shuffled within some 4 MiB of text; needs train.max_steps",
    ),
]
"""Of every dataset stage: the core splits, and streams."""


def main(arguments: list[str]) -> None:
    """Answer on the real stdout; whatever plugins and their libraries print goes to stderr."""
    answer_to = os.dup(1)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    limit_s = PLUGIN_LIMIT_S
    if arguments[0].startswith(LIMIT_OPTION):
        limit_s = float(arguments.pop(0).removeprefix(LIMIT_OPTION))
    command, place, *rest = arguments
    found: Any
    if command == "check":
        found = plugin_check.look_through(Path(place), limit_s)
    else:
        registry = load_registry(Path(place), limit_s, announced=True)
        found = catalog(Path(place), registry) if command == "catalog" else _resolved(place, rest, registry)
    with os.fdopen(answer_to, "w", encoding="utf-8") as stream:
        json.dump(asdict(found), stream, default=str)
    sys.stderr.flush()
    os._exit(0)  # a thread that a plugin left behind must not keep this process


def _resolved(workspace: str, rest: list[str], registry: Registry) -> Any:
    name, *overrides = rest
    return resolve(Path(workspace), name, registry, overrides)


def catalog(workspace: Path, registry: Registry) -> Catalog:
    """Everything there is to choose from."""
    return Catalog(
        plugins=registry.plugins,
        stages=[_stage(loaded) for loaded in registry.stages.values()],
        sections={"model": options_of(ModelOptions), "run": options_of(RunOptions)},
        profiles=[_profile(workspace, file, registry) for file in list_profiles(workspace)],
    )


def _stage(loaded: LoadedStage) -> StageInfo:
    options = options_of(loaded.cls.Options)
    options += [option for option in DATASET_OPTIONS if option.name in CORE_OPTIONS.get(loaded.cls.kind, ())]
    return StageInfo(
        name=loaded.cls.name,
        kind=loaded.cls.kind,
        plugin=loaded.plugin,
        summary=stage_summary(loaded.cls),
        options=options,
    )


def options_of(cls: type[Options]) -> list[OptionInfo]:
    """The options of a class, in the order they are written."""
    described = _described(cls)
    return [
        OptionInfo(
            name=name,
            type=described.get(name, ("value", ""))[0],
            default=None if info.is_required() else _default(info.get_default(call_default_factory=True)),
            required=info.is_required(),
            description=info.description or "",
            bounds=described.get(name, ("value", ""))[1],
        )
        for name, info in cls.model_fields.items()
    ]


def _described(cls: type[Options]) -> dict[str, tuple[str, str]]:
    """Type and bounds by option; empty where a stranger's types have no JSON schema."""
    try:
        schema = cls.model_json_schema()
        definitions = schema.get("$defs", {})
        return {
            name: (type_words(found, definitions), bounds_words(found, definitions))
            for name, found in schema.get("properties", {}).items()
        }
    except Exception as error:  # a type of the plugin's own that says nothing about itself
        print(f"{cls.__module__}: {type(error).__name__}: {error}", file=sys.stderr)
        return {}


BOUNDS = {
    "exclusiveMinimum": "above {:,}",
    "minimum": "at least {:,}",
    "exclusiveMaximum": "below {:,}",
    "maximum": "at most {:,}",
    "multipleOf": "a multiple of {:,}",
    "minLength": "at least {:,} characters",
    "maxLength": "at most {:,} characters",
    "minItems": "at least {:,} items",
    "maxItems": "at most {:,} items",
}
"""JSON schema's keywords in words, in the order they are said."""


def bounds_words(schema: dict[str, Any], definitions: dict[str, Any]) -> str:
    """What a value must keep to: 'above 0, at most 1'; of one of several types what holds for each."""
    if "$ref" in schema:
        return bounds_words(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    said = [words.format(schema[key]) for key, words in BOUNDS.items() if isinstance(schema.get(key), int | float)]
    for union in ("anyOf", "oneOf"):
        said += [words for member in schema.get(union, ()) if (words := bounds_words(member, definitions))]
    return ", ".join(dict.fromkeys(said))


def _default(value: Any) -> Any:
    return to_jsonable_python(value, fallback=str)


def _profile(workspace: Path, file: ProfileFile, registry: Registry) -> ProfileInfo:
    resolved = resolve(workspace, file.name, registry)
    return ProfileInfo(
        name=file.name,
        path=resolved.path,
        source=file.source,
        description=resolved.description,
        pipeline=resolved.pipeline,
        runnable=resolved.runnable,
        problems=resolved.problems,
        hides=[display(path, workspace) for path in file.hides],
        absent=resolved.absent,
    )


if __name__ == "__main__":
    main(sys.argv[1:])
