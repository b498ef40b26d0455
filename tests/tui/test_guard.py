"""The guard in a real pseudo-terminal: what signals, hang-ups and odd terminals do to the dashboard."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tuiftune.tui import guard
from tuiftune.tui.watch import interval_s

DEADLINE_S = 30.0
GREETING = "painted by the app"
CHANGED = "changed by a key"
RESTORED = (b"\x1b[?1049l", b"\x1b[?25h")
"""Alternate screen off, cursor on."""

APP = f"""
import sys
from tuiftune.tui import guard

reason = guard.refuse()
if reason:
    print(reason, file=sys.stderr)
    sys.exit(2)
guard.prepare()

from textual.app import App
from textual.widgets import Static

class Small(App):
    BINDINGS = [("x", "change", "Change")]

    def compose(self):
        yield Static("\\u250f {GREETING} \\u2513")

    def on_mount(self):
        guard.install(self)

    def action_change(self):
        self.query_one(Static).update("{CHANGED}", layout=False)

app = Small()
app.run()
sys.exit(app.return_code or 0)
"""


WRAPPER = """
import signal, subprocess, sys
signal.signal(signal.SIGHUP, signal.SIG_IGN)
sys.exit(subprocess.call([sys.executable, *sys.argv[1:]]))
"""
"""Leads the session and ignores the hang-up, as nohup, sudo and script do: the app gets no signal."""


class Terminal:
    """A program in a pseudo-terminal of 80x24, and all that it has written."""

    def __init__(self, script: Path, wrapped: bool = False, **environment: str) -> None:
        self.written = b""
        self.status: int | None = None
        self.pid, self.master = pty.fork()
        if self.pid == 0:  # nothing but the exec from here on
            with contextlib.suppress(BaseException):
                fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
                command = [sys.executable, *(("-c", WRAPPER) if wrapped else ()), str(script)]
                os.environ.update({"TERM": "xterm-256color", **environment})
                os.execv(sys.executable, command)  # noqa: S606
            os._exit(127)

    def read(self, seconds: float = 0.05) -> None:
        """Take what the program writes within this time."""
        if self.master >= 0 and select.select([self.master], [], [], seconds)[0]:
            with contextlib.suppress(OSError):  # the program's end is closed
                self.written += os.read(self.master, 65536)

    def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not condition():
            assert time.monotonic() < deadline, self.written.decode("utf-8", "replace")[-3000:]
            self.read()

    def until_painted(self, text: str = GREETING, after: int = 0) -> None:
        self.until(lambda: text.encode() in self.written[after:])

    def ended(self) -> bool:
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
                self.read()
            elif self.master < 0:
                select.select([], [], [], 0.05)
        return self.status is not None

    def state(self) -> str:
        """The letter of /proc: R, S, T for stopped."""
        return Path(f"/proc/{self.pid}/stat").read_text().rpartition(") ")[2][0]

    def restored(self) -> bool:
        return all(mark in self.written for mark in RESTORED)

    def hang_up(self) -> None:
        os.close(self.master)
        self.master = -1

    def close(self) -> None:
        if self.status is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        if self.master >= 0:
            os.close(self.master)


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "small_app.py"
    path.write_text(APP)
    return path


@pytest.fixture
def start(script: Path) -> Iterator[Callable[..., Terminal]]:
    """Starts the small app in a terminal and ends it after the test."""
    terminals: list[Terminal] = []

    def begin(wrapped: bool = False, **environment: str) -> Terminal:
        terminals.append(Terminal(script, wrapped, **environment))
        return terminals[-1]

    yield begin
    for terminal in terminals:
        terminal.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_app_and_leaves_the_terminal_as_it_was(
    start: Callable[..., Terminal], number: signal.Signals
) -> None:
    terminal = start()
    terminal.until_painted()
    assert not terminal.restored()
    os.kill(terminal.pid, number)
    terminal.until(terminal.ended)
    assert terminal.status == 128 + number
    assert terminal.restored()
    assert b"Traceback" not in terminal.written


def test_a_terminal_that_goes_away_ends_the_app(start: Callable[..., Terminal]) -> None:
    terminal = start()
    terminal.until_painted()
    terminal.hang_up()
    terminal.until(terminal.ended)


def test_a_terminal_that_goes_away_without_a_signal_ends_the_app_too(start: Callable[..., Terminal]) -> None:
    terminal = start(wrapped=True)
    terminal.until_painted()
    terminal.hang_up()
    terminal.until(terminal.ended)
    assert terminal.status == 128 + signal.SIGHUP


def test_ctrl_z_gives_the_terminal_back_and_fg_paints_the_screen_again(start: Callable[..., Terminal]) -> None:
    terminal = start()
    terminal.until_painted()
    os.write(terminal.master, b"x")
    terminal.until_painted(CHANGED)  # the app is at rest from here on
    os.write(terminal.master, b"\x1a")
    terminal.until(lambda: terminal.state() == "T")
    terminal.until(terminal.restored)
    before = len(terminal.written)
    os.kill(terminal.pid, signal.SIGCONT)
    terminal.until_painted(CHANGED, after=before)


def test_a_dumb_terminal_is_refused_in_plain_words(start: Callable[..., Terminal]) -> None:
    terminal = start(TERM="dumb")
    terminal.until(terminal.ended)
    terminal.until(lambda: b"256color" in terminal.written)
    assert terminal.status == 2
    assert b"\x1b" not in terminal.written
    assert b"cannot be drawn on a terminal of type TERM='dumb'" in terminal.written
    assert b"TERM=xterm-256color tuiftune" in terminal.written


def test_without_a_terminal_it_is_refused_before_textual_is_imported(script: Path) -> None:
    watched = script.with_name("watched.py")
    watched.write_text(APP.replace("sys.exit(2)", "print('textual' in sys.modules); sys.exit(2)"))
    done = subprocess.run([sys.executable, watched], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    assert done.returncode == 2
    assert b"needs an interactive terminal (over SSH: ssh -t HOST tuiftune)" in done.stderr
    assert b"\x1b" not in done.stderr + done.stdout
    assert done.stdout == b"False\n"


def test_another_encoding_does_not_put_the_letters_of_escapes_on_the_screen(
    start: Callable[..., Terminal],
) -> None:
    terminal = start(PYTHONIOENCODING="latin-1")
    terminal.until_painted()
    assert b"\\u25" not in terminal.written
    assert f"+ {GREETING} +".encode() in terminal.written


def test_over_ssh_it_draws_less_often_and_does_not_animate(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TEXTUAL_FPS", "TEXTUAL_ANIMATIONS", "TEXTUAL_SMOOTH_SCROLL"):
        monkeypatch.setenv(name, "x")  # so that the test's end takes it away
        monkeypatch.delenv(name)
    monkeypatch.delenv("SSH_CONNECTION", raising=False)
    guard.prepare()
    assert "TEXTUAL_FPS" not in os.environ
    monkeypatch.setenv("SSH_CONNECTION", "192.0.2.1 50000 192.0.2.2 22")
    monkeypatch.setenv("TEXTUAL_ANIMATIONS", "basic")
    guard.prepare()
    assert os.environ["TEXTUAL_FPS"] == "15"
    assert os.environ["TEXTUAL_ANIMATIONS"] == "basic", "what the user has set stays"


@pytest.mark.parametrize(
    ("link", "over_ssh", "seconds"), [("", True, 1.0), ("", False, 0.5), ("fast", True, 0.5), ("SLOW", False, 1.0)]
)
def test_the_user_says_otherwise_how_slow_the_link_is(
    monkeypatch: pytest.MonkeyPatch, link: str, over_ssh: bool, seconds: float
) -> None:
    monkeypatch.setenv("TUIFTUNE_LINK", link)
    monkeypatch.setenv("SSH_CONNECTION", "192.0.2.1 50000 192.0.2.2 22" if over_ssh else "")
    assert interval_s() == seconds


@pytest.mark.parametrize(("said", "taken"), [("", True), ("off", False)])
def test_the_mouse_is_left_to_the_terminal_where_the_user_says_so(
    workspace: Path, open_terminal: Callable[..., Any], said: str, taken: bool
) -> None:
    terminal = open_terminal([sys.executable, "-P", "-m", "tuiftune.cli"], workspace, 100, 30, TUIFTUNE_MOUSE=said)
    terminal.wait_for("1 Profiles", "? Help")
    assert (b"\x1b[?1000h" in terminal.raw) == taken
