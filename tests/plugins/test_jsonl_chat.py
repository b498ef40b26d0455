"""The example of a dataset stage."""

from __future__ import annotations

from pathlib import Path

import pytest

import tuiftune
from tuiftune.stage import Stage
from tuiftune.testing import load_plugin, run_stage


@pytest.fixture
def jsonl_chat(repository: Path) -> type[Stage]:
    return load_plugin(repository / "plugins" / "jsonl_chat.py").stages["dataset", "jsonl_chat"].cls


def test_a_chat_a_line_becomes_a_document(jsonl_chat: type[Stage], tmp_path: Path) -> None:
    (tmp_path / "chats.jsonl").write_text('{"user": "Hi", "assistant": "Hello"}\n{"user": "1+1?", "assistant": 2}\n')
    assert run_stage(jsonl_chat, tmp_path, path="chats.jsonl").value == ["Hi\nHello", "1+1?\n2"]


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ('{"user": "Hi"}', r"^chats\.jsonl:2: no 'assistant' key$"),
        ('["Hi"]', r"^chats\.jsonl:2: no 'user' key$"),
        ("{", r"^chats\.jsonl:2: not JSON: "),
    ],
)
def test_a_line_that_is_no_chat_is_named(jsonl_chat: type[Stage], tmp_path: Path, line: str, sentence: str) -> None:
    (tmp_path / "chats.jsonl").write_text('{"user": "Hi", "assistant": "Hello"}\n' + line + "\n")
    with pytest.raises(tuiftune.StageError, match=sentence):
        run_stage(jsonl_chat, tmp_path, path="chats.jsonl")
