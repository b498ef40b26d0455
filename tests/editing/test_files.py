"""Which files the editor may write, and what it never writes over."""

from __future__ import annotations

from pathlib import Path

import pytest

from tuiftune.catalog import resolve_draft, resolve_profile
from tuiftune.editing.files import (
    MARK,
    ChangedOnDisk,
    NameTaken,
    check_name,
    editor_command,
    may_be_rewritten,
    open_file,
    open_new,
    save,
)
from tuiftune.errors import ProfileError, TuiftuneError, WorkspaceError
from tuiftune.layers import find_profile


def test_a_profile_is_saved_opened_again_and_changed_in_place(workspace: Path) -> None:
    opened = open_new(workspace, "quickstart", ["train.epochs=5"])
    saved = save(opened, "mine")
    assert saved.path == workspace / "profiles" / "mine.toml"
    assert saved.path.read_text() == (
        f'{MARK}\n#   tuiftune run mine\n\nextends = "quickstart"\n\n[train]\nepochs = 5\n'
    )
    assert may_be_rewritten(saved.path.read_text())
    again = open_file(workspace, find_profile(workspace, "mine"))
    assert (again.name, again.extends, again.draft.own) == ("mine", "quickstart", {"train": {"epochs": 5}})
    again.draft.set(("description",), "Mine")
    save(again, "mine")
    resolved = resolve_profile(workspace, "mine")
    assert (resolved.problems, resolved.description, resolved.effective["train"]["epochs"]) == ([], "Mine", 5.0)


def test_a_profile_may_extend_the_one_whose_name_it_takes(workspace: Path) -> None:
    save(open_new(workspace, "quickstart", ["train.epochs=5"]), "quickstart")
    again = open_file(workspace, find_profile(workspace, "quickstart"))
    assert again.draft.inherited(("train", "epochs")) == 2
    assert resolve_profile(workspace, "quickstart").effective["train"]["epochs"] == 5.0


def test_no_file_is_written_over_that_somebody_else_wrote_or_changed(workspace: Path) -> None:
    by_hand = workspace / "profiles" / "by-hand.toml"
    by_hand.write_text('# mine\nextends = "quickstart"\n')
    opened = open_new(workspace, "quickstart")
    with pytest.raises(NameTaken, match="there is a profile of that name already"):
        save(opened, "by-hand")
    assert by_hand.read_text().startswith("# mine")
    opened = save(opened, "mine")
    opened.path.write_text(opened.path.read_text() + "seed = 1\n")
    with pytest.raises(ChangedOnDisk, match="was changed since it was opened"):
        save(opened, "mine")
    opened = save(opened, "mine", replace=True)
    opened.path.write_text(opened.path.read_text() + "seed = 1  # the best\n")
    assert not may_be_rewritten(opened.path.read_text())
    with pytest.raises(NameTaken, match="has a comment of somebody's by now"):
        save(opened, "mine", replace=True)
    assert "# the best" in opened.path.read_text()


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".new", "-x", "a b", "x.toml", "_x", "a" * 61, "a\n"])
def test_a_name_that_leaves_its_folder_or_is_none_is_refused(name: str) -> None:
    with pytest.raises(ProfileError, match="is no name for a profile"):
        check_name(name)


def test_a_profile_without_the_shape_of_one_is_told_and_not_opened(workspace: Path) -> None:
    (workspace / "profiles" / "odd.toml").write_text('extends = "quickstart"\nevaluate = [1]\nmodel = 2\n')
    with pytest.raises(ProfileError) as caught:
        open_new(workspace, "odd")
    assert str(caught.value).splitlines() == [
        f"{Path('profiles/odd.toml')}:2: evaluate: must be an array of tables. Mend it in a text editor",
        f"{Path('profiles/odd.toml')}:3: model: must be a table. Mend it in a text editor",
    ]


def test_a_folder_that_cannot_be_written_is_a_sentence(workspace: Path) -> None:
    opened = open_new(workspace, "quickstart")
    (workspace / "profiles").rmdir()
    (workspace / "profiles").write_text("")
    with pytest.raises(WorkspaceError, match="cannot be written"):
        save(opened, "mine")


def test_the_problems_of_a_draft_name_its_keys_and_those_of_a_parent_their_file(workspace: Path) -> None:
    (workspace / "profiles" / "parent.toml").write_text('extends = "quickstart"\n[run]\nfoo = 1\n')
    opened = open_new(workspace, "parent", ["train.epochs=abc", "dataset.path=nowhere.txt"])
    found = resolve_draft(workspace, opened.path, opened.to_text())
    assert [str(problem).split(". ")[0] for problem in found.problems] == [
        "train.epochs: must be a number, got the string 'abc'",
        "profiles/parent.toml:3: run.foo: not an option of [run]",
    ]
    assert [(problem.file, problem.line) for problem in found.problems] == [(None, None), ("profiles/parent.toml", 3)]
    (workspace / "profiles" / "parent.toml").write_text('extends = "quickstart"\n')
    opened = open_new(workspace, "parent", ["dataset.path=nowhere.txt"])
    found = resolve_draft(workspace, opened.path, opened.to_text())
    assert not found.problems
    assert found.origin["dataset.path"] == "this profile"
    assert [problem.where for problem in found.absent] == ["dataset.path"]


def test_the_users_own_editor_is_taken_with_its_arguments(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VISUAL", "cat -A")
    assert editor_command(tmp_path / "x.toml") == ["cat", "-A", str(tmp_path / "x.toml")]
    monkeypatch.setenv("VISUAL", "no-such-editor")
    with pytest.raises(TuiftuneError, match=r"\$VISUAL is 'no-such-editor', which is no program here"):
        editor_command(tmp_path / "x.toml")
    monkeypatch.delenv("VISUAL")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(TuiftuneError, match="no text editor is installed"):
        editor_command(tmp_path / "x.toml")
