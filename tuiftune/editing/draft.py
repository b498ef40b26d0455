"""A profile that is being changed: what its parent says, and what is said differently here."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tuiftune.layers import Layers, leaves, other_stage
from tuiftune.sections import LISTS, SECTIONS
from tuiftune.toml_lines import KeyPath

Table = dict[str, Any]


class Missing:
    """No value: nobody wrote one."""

    def __repr__(self) -> str:
        return "MISSING"


MISSING = Missing()


@dataclass(frozen=True)
class Change:
    """One difference to the parent; a side that is MISSING says nothing."""

    path: KeyPath
    before: Any
    after: Any


class Draft:
    """`own` is what the profile's file says beside `extends`: only what differs from the parent.

    Tables merge key by key. An array of tables replaces the parent's as a whole, so that a change in one of its stages
    takes all of them over; one that is the parent's again is left out again.
    """

    def __init__(self, parent: Layers, own: Table | None = None) -> None:
        """`parent`: what the profile extends, put together; empty where it extends nothing."""
        self.parent = parent
        self._steps: list[tuple[Table, KeyPath]] = [(copy.deepcopy(own or {}), ())]
        """Each state, and what led to it."""
        self._at = 0
        self._saved: Table = self.own
        self._merged: tuple[Table, Layers] | None = None
        """The state that was put together last, and what came out."""

    # What is in force.

    @property
    def own(self) -> Table:
        """What the file will say beside `extends`, in the order of the sections."""
        own = self._steps[self._at][0]
        order = [*[key for key in SECTIONS if key in own], *[key for key in own if key not in SECTIONS]]
        return {key: own[key] for key in order}

    @property
    def merged(self) -> Table:
        """What is written, here or by a parent; no defaults."""
        return self._layers().table

    def _layers(self) -> Layers:
        own = self._steps[self._at][0]
        if self._merged is None or self._merged[0] is not own:
            self._merged = (own, self.parent.under(own))
        return self._merged[1]

    @property
    def unsaved(self) -> bool:
        """Whether it says something else than its file."""
        return not same(self.own, self._saved)

    def saved(self) -> None:
        """What it says now is in its file."""
        self._saved = self.own

    def value(self, path: KeyPath) -> Any:
        """What is written there, else MISSING."""
        return _at(self.merged, path)

    def origin(self, path: KeyPath) -> str:
        """Who wrote that: 'this profile', 'file:line', or 'default' where nobody did."""
        return "default" if self.value(path) is MISSING else self._layers().origin_of(path)

    def inherited(self, path: KeyPath) -> Any:
        """What the parent says there, else MISSING. Of a stage in an array, what it says in the like stage."""
        origin = self.parent_path(path)
        return MISSING if origin is None else _at(self.parent.table, origin)

    def parent_path(self, path: KeyPath) -> KeyPath | None:
        """Where in the parent it is: stages of an array are told by their name, and by how many of it come before.

        None for a stage that the parent does not have.
        """
        kind = str(path[0])
        if kind not in LISTS or len(path) < 2:
            mine, theirs = self.merged.get(kind), self.parent.table.get(kind)
            afresh = len(path) > 1 and isinstance(mine, dict) and isinstance(theirs, dict) and other_stage(theirs, mine)
            return None if afresh and path[1:] != ("stage",) else path
        partner = _partners(self._list(kind), self._parents_list(kind)).get(int(path[1]))
        return None if partner is None else (kind, partner, *path[2:])

    def origin_in_parent(self, path: KeyPath) -> str:
        """'file:line' of what the parent says there; 'default' where it says nothing."""
        origin = self.parent_path(path)
        return "default" if origin is None else self.parent.origin_of(origin)

    def is_changed(self, path: KeyPath) -> bool:
        """Whether something else is written there than in the parent."""
        return not same(self.value(path), self.inherited(path))

    def changes(self) -> list[Change]:
        """Every difference to the parent."""
        found: list[Change] = []
        for section, value in self.own.items():
            if section in LISTS:
                found += self._changes_in_list(section)
            else:
                for path in leaves(value, (section,)):
                    if self.is_changed(path):
                        found.append(Change(path, self.inherited(path), self.value(path)))
        return found

    def _changes_in_list(self, kind: str) -> Iterator[Change]:
        mine, theirs = self._list(kind), self._parents_list(kind)
        partners = _partners(mine, theirs)
        if list(partners.values()) != sorted(partners.values()):
            yield Change((kind,), _names(theirs), _names(mine))
        for index, stage in enumerate(mine):
            partner = partners.get(index)
            before = theirs[partner] if partner is not None else {}
            for key in [*stage, *[key for key in before if key not in stage]]:
                old, new = before.get(key, MISSING), stage.get(key, MISSING)
                if not same(old, new):
                    yield Change((kind, index, key), old, new)
        for index, stage in enumerate(theirs):
            if index not in partners.values():
                yield Change((kind, index, "stage"), stage.get("stage"), MISSING)

    # What is changed.

    def set(self, path: KeyPath, value: Any) -> None:
        """Write a value here; one that is the parent's is left out."""
        own = self._copy(path[0])
        holder: Any = own
        for key in path[:-1]:
            if isinstance(holder, dict) and not isinstance(holder.get(str(key)), dict | list):
                holder[str(key)] = {}
            holder = holder[key]
        holder[path[-1]] = value
        self._commit(own, path)

    def unset(self, path: KeyPath) -> None:
        """Back to what the parent says: of one key, of a whole table, or of a whole array for one of its stages."""
        own = self._copy(path[0])
        kind = str(path[0])
        if kind not in LISTS:
            _drop(own, path)
        elif len(path) < 3:
            own.pop(kind, None)
        else:
            before = self.inherited(path)
            if before is MISSING:
                _drop(own, path)
            else:
                _at(own, path[:-1])[path[-1]] = copy.deepcopy(before)
        self._commit(own, path)

    def choose(self, kind: str, stage: str, keep: Collection[str] = ()) -> None:
        """Another dataset or train stage; of what was set here it keeps the options in `keep`."""
        own = self._copy(kind)
        before = own.get(kind, {})
        parents = self.parent.table.get(kind)
        kept = {key: value for key, value in before.items() if key in keep} if isinstance(before, dict) else {}
        is_parents = isinstance(parents, dict) and parents.get("stage") == stage
        own[kind] = kept if is_parents else {"stage": stage, **kept}
        self._commit(own, (kind, "stage"))

    def add(self, kind: str, stage: str, at: int | None = None) -> int:
        """Another stage of an array, before the one with the index `at`, by default as the last; returns its index."""
        own = self._copy(kind)
        items = own[kind]
        index = len(items) if at is None else max(0, min(at, len(items)))
        items.insert(index, {"stage": stage})
        self._commit(own, (kind, index))
        return index

    def remove(self, kind: str, index: int) -> None:
        own = self._copy(kind)
        del own[kind][index]
        self._commit(own, (kind, max(0, min(index, len(own.get(kind, ())) - 1))))

    def move(self, kind: str, index: int, by: int) -> int:
        """A stage of an array to another place; returns its index, the same where it is at the end already."""
        own = self._copy(kind)
        items = own[kind]
        to = max(0, min(len(items) - 1, index + by))
        if to != index:
            items.insert(to, items.pop(index))
            self._commit(own, (kind, to))
        return to

    def replace(self, kind: str, index: int, stage: str, keep: Collection[str] = ()) -> None:
        """Another stage at that place of an array; it keeps the options in `keep`."""
        own = self._copy(kind)
        before = own[kind][index]
        own[kind][index] = {"stage": stage, **{key: value for key, value in before.items() if key in keep}}
        self._commit(own, (kind, index))

    def undo(self) -> KeyPath | None:
        """Take the last change back; returns what it had changed, None where there is none."""
        if self._at == 0:
            return None
        self._at -= 1
        return self._steps[self._at + 1][1]

    def redo(self) -> KeyPath | None:
        """Do again what was taken back."""
        if self._at + 1 == len(self._steps):
            return None
        self._at += 1
        return self._steps[self._at][1]

    def _copy(self, section: str | int) -> Table:
        """What is own, to be changed; an array with all of its stages, the parent's too."""
        own = copy.deepcopy(self._steps[self._at][0])
        if section in LISTS and not isinstance(own.get(str(section)), list):
            own[str(section)] = copy.deepcopy(self._parents_list(str(section)))
        return own

    def _commit(self, own: Table, path: KeyPath) -> None:
        _prune(own, self.parent.table)
        for kind in LISTS:
            if kind in own and same(own[kind], self._parents_list(kind)):
                del own[kind]
        if same(own, self._steps[self._at][0]):
            return
        del self._steps[self._at + 1 :]
        self._steps.append((own, path))
        self._at += 1

    def _list(self, kind: str) -> list[Table]:
        return _tables(self.merged.get(kind))

    def _parents_list(self, kind: str) -> list[Table]:
        return _tables(self.parent.table.get(kind))


def same(one: Any, other: Any) -> bool:
    """Equal, and TOML would write it the same: 1, 1.0 and true are three values."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    return type(one) is type(other) and bool(one == other)


def _tables(value: Any) -> list[Table]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _names(stages: Sequence[Table]) -> list[str]:
    return [str(stage.get("stage", "")) for stage in stages]


def _partners(mine: Sequence[Table], theirs: Sequence[Table]) -> dict[int, int]:
    """Index of a stage -> index of the parent's stage that it comes from: the same name, the same number of it."""
    open_: dict[str, list[int]] = {}
    for index, name in enumerate(_names(theirs)):
        open_.setdefault(name, []).append(index)
    return {index: open_[name].pop(0) for index, name in enumerate(_names(mine)) if open_.get(name)}


def _at(table: Any, path: KeyPath) -> Any:
    for part in path:
        in_list = isinstance(table, list) and isinstance(part, int) and part < len(table)
        if not in_list and not (isinstance(table, dict) and part in table):
            return MISSING
        table = table[part]
    return table


def _drop(table: Table, path: KeyPath) -> None:
    holder = _at(table, path[:-1])
    if isinstance(holder, dict):
        holder.pop(str(path[-1]), None)


def _prune(own: Table, parent: Table) -> None:
    """Leave out what the parent says too, and tables that say nothing."""
    for key, value in list(own.items()):
        before = parent.get(key, MISSING)
        if isinstance(value, dict):
            if isinstance(before, dict) and other_stage(before, value):
                continue
            _prune(value, before if isinstance(before, dict) else {})
            if not value:
                del own[key]
        elif same(value, before):
            del own[key]
