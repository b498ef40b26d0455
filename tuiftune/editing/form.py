"""A draft as a form: its sections, the options of each, what they are set to and by whom."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from tuiftune.catalog import Catalog, OptionInfo, StageInfo
from tuiftune.editing.draft import MISSING, Draft, same
from tuiftune.editing.values import is_table, toml
from tuiftune.errors import Problem
from tuiftune.layers import DRAFT
from tuiftune.sections import KINDS, LISTS, dotted, named_stages
from tuiftune.toml_lines import KeyPath


@dataclass(frozen=True)
class Field:
    """An option, or an entry of an option that is a table."""

    path: KeyPath
    option: OptionInfo
    value: Any
    """In force: written here, by a parent, or the default. None for one that is left out."""
    origin: str
    """'this profile', 'file:line' or 'default'."""
    changed: bool
    """Whether the parent says something else."""
    inherited: Any
    """What it goes back to: the parent's value, else the default."""
    inherited_origin: str
    label: str
    known: bool = True
    """False for a key that is no option of its stage."""

    @property
    def key(self) -> str:
        return dotted(self.path)

    @property
    def is_written(self) -> bool:
        """Whether somebody has set it, here or in a parent."""
        return self.origin != "default"

    @property
    def source(self) -> str:
        """Who wrote it, in a word: 'here', the name of a parent, 'default'."""
        return source_name(self.origin)


@dataclass(frozen=True)
class Section:
    """The options of a stage, or of a table of the core's."""

    path: KeyPath
    title: str
    stage: str | None = None
    """The stage's name where the section is a stage's, '' where none is named yet."""
    summary: str = ""
    origin: str = "default"
    changed: bool = False
    installed: bool = True
    fields: Sequence[Field] = field(default_factory=list)
    count: int = 1
    """Stages of its kind."""

    @property
    def kind(self) -> str:
        return str(self.path[0])

    @property
    def is_stage(self) -> bool:
        return self.stage is not None

    @property
    def in_list(self) -> bool:
        return self.kind in LISTS


def source_name(origin: str) -> str:
    """`/a/b/base.toml:12` -> `base`."""
    if origin == DRAFT:
        return "here"
    file, _, line = origin.rpartition(":")
    return PurePath(file if line.isdigit() else origin).stem or origin


def sections(draft: Draft, catalog: Catalog) -> list[Section]:
    """Everything that can be set, in the order of a profile."""
    stages = {(stage.kind, stage.name): stage for stage in catalog.stages}
    found = [
        _section(draft, (), "profile", catalog.sections.get("profile", [])),
        _section(draft, ("model",), "model", catalog.sections.get("model", [])),
    ]
    for kind in KINDS:
        found += _stages(draft, kind, stages)
    return [*found, _section(draft, ("run",), "run", catalog.sections.get("run", []))]


def _section(draft: Draft, path: KeyPath, title: str, options: Sequence[OptionInfo]) -> Section:
    return Section(path or ("",), title, fields=list(_fields(draft, path, options)))


def _stages(draft: Draft, kind: str, stages: dict[tuple[str, str], StageInfo]) -> Iterator[Section]:
    """The sections of a kind; one that says that there is none where there is none."""
    value = draft.merged.get(kind)
    items = value if isinstance(value, list) else []
    paths: list[KeyPath] = [(kind, index) for index in range(len(items))] if kind in LISTS else [(kind,)]
    if kind in LISTS and not items:
        yield Section((kind,), kind, stage="", changed=draft.is_changed((kind,)), count=0)
    for number, path in enumerate(paths, start=1):
        name = draft.value((*path, "stage"))
        info = stages.get((kind, name)) if isinstance(name, str) else None
        title = f"{kind} {number}" if len(paths) > 1 else kind
        yield Section(
            path,
            title,
            stage=name if isinstance(name, str) else "",
            summary=info.summary if info else "",
            origin=draft.origin((*path, "stage")),
            changed=draft.is_changed((*path, "stage")),
            installed=info is not None or name is MISSING,
            fields=list(_fields(draft, path, info.options if info else [])),
            count=len(paths),
        )


def _fields(draft: Draft, path: KeyPath, options: Sequence[OptionInfo]) -> Iterator[Field]:
    """The options of a table, then what is written there and is none."""
    for option in options:
        yield _field(draft, (*path, option.name), option)
        if is_table(option):
            yield from _entries(draft, (*path, option.name), option)
    if not path:  # the other keys above all tables are sections, with problems of their own
        return
    table = draft.value(path)
    names = {"stage", *(option.name for option in options)}
    for key in table if isinstance(table, dict) else ():
        if key not in names:
            yield _field(draft, (*path, key), _stranger(key), known=False)


def _entries(draft: Draft, path: KeyPath, option: OptionInfo) -> Iterator[Field]:
    """What is in an option that is a table: each a line of its own, as tables merge key by key."""
    table = draft.value(path)
    for key in table if isinstance(table, dict) else ():
        entry = OptionInfo(key, "value", None, False, option.description)
        yield _field(draft, (*path, key), entry, label=f"{option.name}.{key}")


def _field(draft: Draft, path: KeyPath, option: OptionInfo, label: str = "", known: bool = True) -> Field:
    value, inherited = draft.value(path), draft.inherited(path)
    default = option.default
    return Field(
        path=path,
        option=option,
        value=default if value is MISSING else value,
        origin=draft.origin(path),
        changed=draft.is_changed(path),
        inherited=default if inherited is MISSING else inherited,
        inherited_origin=draft.origin_in_parent(path) if inherited is not MISSING else "default",
        label=label or option.name,
        known=known,
    )


def _stranger(key: str) -> OptionInfo:
    return OptionInfo(key, "value", None, False, "not an option of this stage")


def set_value(draft: Draft, to: Field, value: Any) -> None:
    """Write a value; one that is in force without being written is not."""
    if draft.inherited(to.path) is MISSING and same(value, to.option.default):
        draft.unset(to.path)
    else:
        draft.set(to.path, value)


def differences(draft: Draft, shown: Sequence[Section]) -> list[tuple[KeyPath, str, str]]:
    """Every difference to the parent in words: the key, what was, what is. A default stands where nobody wrote it."""
    options = {each.path: each.option for section in shown for each in section.fields}
    found = []
    for change in draft.changes():
        option = options.get(change.path)
        found.append((change.path, _in_words(change.before, option), _in_words(change.after, option)))
    return found


def _in_words(value: Any, option: OptionInfo | None) -> str:
    if value is MISSING:
        default = option.default if option else None
        return "left out" if default is None else f"{toml(default)}, the default"
    return value if isinstance(value, str) and value.isprintable() and value.strip() else toml(value)


def place_of(problem: Problem, paths: Sequence[KeyPath], merged: Mapping[str, Any]) -> KeyPath | None:
    """Which of the paths a problem is about, else that of the table around it; None for neither.

    `tokenize.max_length` and `preprocess.0.max_length` are the same key.
    """
    known = {dotted(path): path for path in paths}
    for path, stage in named_stages(dict(merged)):
        for key in [key for key in known if key.startswith(f"{dotted(path)}.")]:
            known.setdefault(f"{stage}{key.removeprefix(dotted(path))}", known[key])
    where = problem.where or ""
    while where and where not in known:
        where = where.rpartition(".")[0]
    return known.get(where)
