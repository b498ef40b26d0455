"""Children that are heard, given up, and ended with who started them."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tuiftune.run.child import Child, GivenUp
from tuiftune.run.process import python

TELLS = """
import os, sys
from tuiftune.run import doing
doing.tell("reading  the\\ntext")
print("a plugin's word", file=sys.stderr)
print(os.nice(0), os.environ["MORE"])
"""
STAYS = """
import os, pathlib, subprocess, sys, time
inside = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
place = pathlib.Path(sys.argv[1])
place.with_suffix(".aside").write_text(f"{os.getpid()} {inside.pid}")
place.with_suffix(".aside").rename(place)
time.sleep(600)
"""


def until(condition: Callable[[], object], deadline_s: float = 20.0) -> None:
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except FileNotFoundError:
        return True


def test_what_it_is_doing_is_told_apart_from_what_else_it_says() -> None:
    now: list[str] = []
    said: list[str] = []
    child = Child(now.append, said.append, nice=7, environment={"MORE": "more"})
    answer = child.run(python("-c", TELLS))
    assert (answer.status, answer.output.split()) == (0, [b"7", b"more"])
    assert now == ["reading the text"]
    assert said == list(answer.words) == ["a plugin's word"]


def test_nothing_is_told_to_who_does_not_listen(capfd: pytest.CaptureFixture[str]) -> None:
    answer = Child(environment={"MORE": ""}).run(python("-c", TELLS))
    assert answer.words == ()
    assert capfd.readouterr().err == "a plugin's word\n"


def test_one_that_is_given_up_ends_with_all_it_has_started(tmp_path: Path) -> None:
    child, ends = Child(now=print), []
    place = tmp_path / "pids"

    def run() -> None:
        with pytest.raises(GivenUp):
            child.run(python("-c", STAYS, str(place)))
        ends.append(True)

    thread = threading.Thread(target=run)
    thread.start()
    until(place.exists)
    child.give_up()
    thread.join(20)
    assert ends == [True]
    until(lambda: all(gone(int(pid)) for pid in place.read_text().split()))
    with pytest.raises(GivenUp):
        child.run(python("-c", "raise SystemExit('it is not started any more')"))


def test_one_of_ours_does_not_outlive_who_waits_for_it(tmp_path: Path) -> None:
    place = tmp_path / "pid"
    child = (
        "import os, pathlib, time; from tuiftune.run.process import end_with_parent; end_with_parent(); "
        f"pathlib.Path({str(place)!r}).symlink_to(str(os.getpid())); time.sleep(600)"
    )
    waits = f"from tuiftune.run.child import Child; Child(now=print).run([{sys.executable!r}, '-c', {child!r}])"
    parent = subprocess.Popen([sys.executable, "-c", waits])
    until(lambda: place.is_symlink())
    pid = int(str(place.readlink()))
    assert not gone(pid)
    parent.kill()
    parent.wait()
    until(lambda: gone(pid))
