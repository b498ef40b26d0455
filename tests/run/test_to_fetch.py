"""Models of the hub that are not here yet are named before a run is started."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tuiftune.run.to_fetch import to_fetch


@pytest.fixture
def here(workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace with a folder `mine`, and a cache with `gpt2` and `owner/kept` in it."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    for name in ("models--gpt2", "models--owner--kept"):
        (tmp_path / "hub" / name / "snapshots" / "abc").mkdir(parents=True)
    (tmp_path / "hub" / "models--begun" / "snapshots").mkdir(parents=True)
    (workspace / "mine").mkdir()
    monkeypatch.delenv("HF_HUB_OFFLINE")
    return workspace


@pytest.mark.parametrize(
    "model",
    [
        {"name": "gpt2"},
        {"name": "owner/kept", "tokenizer": "gpt2"},
        {"name": "mine"},
        {"name": "./nowhere"},
        {"name": "tuiftune:babyllama-105"},
        {"init": "scratch", "name": "owner/unused", "tokenizer": "tuiftune:babyllama-105"},
        {"name": "~/models"},
        {},
    ],
)
def test_what_is_here_is_not_told(here: Path, model: dict[str, Any]) -> None:
    assert to_fetch({"model": model}, here) is None


def test_what_is_not_here_is_told_once(here: Path) -> None:
    words = "not on this machine: it is fetched from the Hugging Face hub first"
    assert to_fetch({"model": {"name": "owner/other", "tokenizer": "owner/other"}}, here) == f"owner/other is {words}"
    assert to_fetch({"model": {"init": "scratch", "tokenizer": "begun"}}, here) == f"begun is {words}"
    both = to_fetch({"model": {"name": "a/b", "tokenizer": "c"}}, here)
    assert both == "a/b and c are not on this machine: they are fetched from the Hugging Face hub first"
    assert to_fetch({}, here) is None


def test_where_nothing_may_be_fetched_that_is_what_is_told(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    words = "gpt3 is not on this machine: it cannot be fetched from the Hugging Face hub, since HF_HUB_OFFLINE says so"
    assert to_fetch({"model": {"name": "gpt3"}}, here) == words


def test_the_command_says_it_before_the_run_fails_without_a_network(
    here: Path, command_line: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (here / "text.txt").write_text("one\ntwo\n")
    done = command_line("run", "gpt2-text", "--set", "dataset.path=text.txt", "--set", "model.name=owner/other")
    assert "owner/other is not on this machine" in done.stderr
    assert done.returncode == 1
