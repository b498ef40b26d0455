"""What the keys of the profile editor do to the draft, and what has to be asked for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from textual.app import App

from tuiftune.catalog import Catalog
from tuiftune.editing.draft import Draft
from tuiftune.editing.form import Field, Section, set_value
from tuiftune.editing.values import choices_of, is_table, read_item, read_value, written
from tuiftune.errors import ProfileError
from tuiftune.sections import KINDS, LISTS
from tuiftune.toml_lines import KeyPath
from tuiftune.tui.screens.choose import ChooseScreen
from tuiftune.tui.screens.problems import ProblemsScreen

NOTICE_S = 4.0


class Changing:
    """Changes a draft and says so through `changed`, with the path to look at where it is another."""

    def __init__(
        self, app: App[Any], draft: Draft, catalog: Catalog, changed: Callable[[KeyPath | None], None]
    ) -> None:
        self._app, self._draft, self._catalog, self._changed = app, draft, catalog, changed

    def give(self, field: Field, text: str) -> None:
        """What was typed; nothing at all takes back what is said here."""
        if is_table(field.option):
            self._give_entry(field, text)
            return
        if not text.strip():
            self._draft.unset(field.path)
        elif field.value is None or text != written(field.value, field.option):
            set_value(self._draft, field, read_value(text, field.option))
        self._changed(None)

    def _give_entry(self, field: Field, text: str) -> None:
        """A key and its value for an option that is a table."""
        if not text.strip():
            return
        try:
            key, value = read_item(text)
        except ProfileError as error:
            self._app.push_screen(ProblemsScreen(f"{field.key} was not changed", str(error).splitlines()))
            return
        self._draft.set((*field.path, key), value)
        self._changed((*field.path, key))

    def step(self, field: Field, by: int) -> None:
        """So many choices further, round and round."""
        choices = choices_of(field.option)
        value = self._draft.value(field.path)
        now = value if value in choices else field.option.default
        at = choices.index(now) + by if now in choices else 0
        set_value(self._draft, field, choices[at % len(choices)])
        self._changed(None)

    def reset(self, path: KeyPath) -> None:
        self._draft.unset(path)
        self._changed(path)

    def choose(self, section: Section, field: Field | None) -> None:
        """Another value from a list, or another stage."""
        if field is not None:
            self._choose_value(field)
        elif section.in_list and not section.count:
            self.add(section)
        else:
            self._choose_stage(section)

    def _choose_value(self, field: Field) -> None:
        option = field.option

        def answered(chosen: str | None) -> None:
            if chosen is not None:
                set_value(self._draft, field, next(one for one in option.choices if str(one) == chosen))
                self._changed(None)

        choices = [(str(one), "the default" if one == option.default else "") for one in option.choices]
        self._app.push_screen(ChooseScreen(field.key, [option.description], choices, str(field.value)), answered)

    def _choose_stage(self, section: Section) -> None:
        def answered(chosen: str | None) -> None:
            if chosen is None or chosen == section.stage:
                return
            keep = self._options_of(section.kind, chosen)
            if section.in_list:
                self._draft.replace(section.kind, int(section.path[1]), chosen, keep)
            else:
                self._draft.choose(section.kind, chosen, keep)
            self._changed(section.path)

        title = f"Which {section.kind} stage?"
        lines = ["What is set here stays where the other stage has such an option too."] if section.stage else []
        self._app.push_screen(ChooseScreen(title, lines, self._stages(section.kind), section.stage or ""), answered)

    def _stages(self, kind: str) -> list[tuple[str, str]]:
        return [(stage.name, stage.summary) for stage in self._catalog.stages if stage.kind == kind]

    def _options_of(self, kind: str, name: str) -> set[str]:
        stages = [one for one in self._catalog.stages if (one.kind, one.name) == (kind, name)]
        return {option.name for stage in stages for option in stage.options}

    def add(self, section: Section | None) -> None:
        """Another stage: after that one; of the kind that comes after it where there is only one of its own."""
        kind = section.kind if section and section.kind in KINDS else "evaluate"
        at = None
        if kind not in LISTS:
            kind = "preprocess" if kind == "dataset" else "evaluate"
        elif section and len(section.path) > 1:
            at = int(section.path[1]) + 1

        def answered(chosen: str | None) -> None:
            if chosen is not None:
                self._changed((kind, self._draft.add(kind, chosen, at)))

        self._app.push_screen(ChooseScreen(f"Add which {kind} stage?", [], self._stages(kind)), answered)

    def remove(self, section: Section | None) -> None:
        index = self._index(section)
        if section is not None and index is not None:
            self._draft.remove(section.kind, index)
            self._changed(section.path)

    def shift(self, section: Section | None, by: int) -> None:
        """To another place among its kind."""
        index = self._index(section)
        if section is not None and index is not None:
            self._changed((section.kind, self._draft.move(section.kind, index, by)))

    def _index(self, section: Section | None) -> int | None:
        """The place of a stage among several; None, with a word, for anything else."""
        if section is not None and section.in_list and section.count:
            return int(section.path[1])
        self._app.notify("only preprocess and evaluate stages can be added, removed and moved", timeout=NOTICE_S)
        return None

    def undo(self) -> None:
        self._went(self._draft.undo(), "undo")

    def redo(self) -> None:
        self._went(self._draft.redo(), "redo")

    def _went(self, path: KeyPath | None, what: str) -> None:
        if path is None:
            self._app.notify(f"nothing to {what}", timeout=NOTICE_S)
        else:
            self._changed(path)
