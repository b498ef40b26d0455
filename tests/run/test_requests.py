"""Requests are small files: written whole, answered in place, damaged ones passed over."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tuiftune.errors import TuiftuneError
from tuiftune.run import requests


def test_a_request_is_pending_until_it_is_answered(tmp_path: Path) -> None:
    folder = tmp_path / "requests"
    assert requests.read(folder) == []
    request = requests.ask(folder, "stop")
    assert requests.pending(folder) == [request]
    requests.answer(folder, request, "done")
    assert requests.pending(folder) == []
    assert [seen.answer for seen in requests.read(folder)] == ["done"]
    assert requests.wait_answer(folder, request, timeout_s=0) == "done"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}


def test_requests_of_many_processes_all_arrive_in_the_order_they_were_made(tmp_path: Path) -> None:
    source = (
        "import sys; from pathlib import Path; from tuiftune.run import requests\n"
        "for _ in range(20): requests.ask(Path(sys.argv[1]), 'stop')"
    )
    children = [subprocess.Popen([sys.executable, "-c", source, str(tmp_path / "requests")]) for _ in range(4)]
    assert [child.wait() for child in children] == [0, 0, 0, 0]
    found = requests.read(tmp_path / "requests")
    assert len(found) == 80
    assert [one.asked_at for one in found] == sorted(one.asked_at for one in found)
    assert requests.read(tmp_path / "requests", skip={one.id for one in found[:79]}) == found[79:]


def test_what_is_no_request_is_passed_over(tmp_path: Path) -> None:
    request = requests.ask(tmp_path, "kill")
    for name, text in {
        "empty.json": "",
        "list.json": "[]",
        "torn.json": '{"kind": "st',
        "other.json": '{"a": 1}',
        "wrong.json": '{"kind": "stop", "asked_at": "yesterday"}',
        ".x.json.123.tmp": "{}",
        "readme.txt": "hello",
    }.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe")
    assert requests.read(tmp_path) == [request]


def test_who_waits_gets_the_answer_when_it_comes_and_none_when_it_does_not(tmp_path: Path) -> None:
    request = requests.ask(tmp_path, "stop")
    assert requests.wait_answer(tmp_path, request, timeout_s=0.05) is None
    later = threading.Timer(0.1, requests.answer, (tmp_path, request, "refused: no"))
    later.start()
    assert requests.wait_answer(tmp_path, request, timeout_s=20) == "refused: no"
    later.join()


def test_a_run_that_cannot_be_asked_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "requests").write_text("a file")
    with pytest.raises(TuiftuneError, match="requests: the run cannot be asked to stop: "):
        requests.ask(tmp_path / "requests", "stop")
