"""Terminals that are tiny, dumb, foreign or pulled about, and dashboards that are killed: the screen is left whole."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

RESTORED = (b"\x1b[?1049l", b"\x1b[?25h")
"""Alternate screen off, cursor on."""
COLOUR = re.compile(rb"\x1b\[[0-9;]*(?:3[0-7]|38;|4[0-7]|48;|9[0-7])[0-9;]*m")
Open = Callable[..., Any]


@pytest.fixture
def going(cli: Any) -> Any:
    """A run that goes on whatever becomes of its viewers."""
    run = cli.detached("long")
    cli.until(lambda: cli.step(run) >= 1)
    return run


def test_a_dashboard_that_is_pulled_about_draws_the_run_when_it_is_let_go(
    cli: Any, going: Any, open_terminal: Open
) -> None:
    terminal = open_terminal(cli.command, cli.workspace, 20, 5)
    terminal.wait_for("loss")
    sizes = random.Random(7)  # noqa: S311 - sizes, not secrets
    for number in range(150):
        terminal.resize(sizes.randint(1, 200), sizes.randint(1, 60))
        if number % 10 == 0:
            terminal.type(sizes.choice("lmx?"))
    terminal.resize(80, 24)
    terminal.type("\x1b")
    whole = (going.id, "running", "text", "1 Profiles")
    terminal.wait_for(*whole)
    for _ in range(3):  # faster than it looks: the size it sees is the one it had, and the screen has lost most
        terminal.resize(10, 3)
        terminal.resize(80, 24)
        terminal.wait_for(*whole)
    terminal.resize(20, 5)
    terminal.type("q")
    assert terminal.wait() == 0
    assert b"Traceback" not in terminal.raw
    assert all(mark in terminal.raw for mark in RESTORED)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_a_dashboard_that_is_killed_ends_no_run_and_restores_the_terminal_if_it_can(
    cli: Any, going: Any, open_terminal: Open, number: signal.Signals
) -> None:
    terminal = open_terminal(cli.command, cli.workspace)
    terminal.wait_for(going.id, "running")
    os.kill(terminal.pid, number)
    if number == signal.SIGKILL:
        assert terminal.wait() == -number
    else:
        assert terminal.wait() == 128 + number
        cli.until(lambda: all(mark in terminal.raw for mark in RESTORED), terminal.raw[-500:])
        assert b"Traceback" not in terminal.raw
    at = cli.step(going)
    cli.until(lambda: cli.step(going) > at)


def test_a_dumb_terminal_is_told_what_to_do_and_gets_lines_without_escapes(cli: Any, open_terminal: Open) -> None:
    dashboard = open_terminal(cli.command, cli.workspace, TERM="dumb")
    assert dashboard.wait() == 2
    cli.until(lambda: b"tuiftune watch --once" in dashboard.raw)
    assert b"cannot be drawn on a terminal of type TERM='dumb'" in dashboard.raw
    following = open_terminal([*cli.command, "run", "quick"], cli.workspace, TERM="dumb")
    following.wait_for("finished after")
    assert following.wait() == 0
    for terminal in (dashboard, following):
        assert b"\x1b" not in terminal.raw


def test_a_user_who_wants_no_colours_gets_none(cli: Any, going: Any, open_terminal: Open) -> None:
    dashboard = open_terminal(cli.command, cli.workspace, NO_COLOR="1")
    dashboard.wait_for(going.id, "running")
    following = open_terminal([*cli.command, "watch", going.id], cli.workspace, NO_COLOR="1")
    following.wait_for("loss")
    dashboard.type("q")
    assert dashboard.wait() == 0
    shades = {found for found in re.findall(rb"38;2;(\d+;\d+;\d+)", dashboard.raw) if len(set(found.split(b";"))) > 1}
    assert shades == set(), "greys only"
    assert not COLOUR.search(following.raw)


def test_without_utf_8_there_is_a_screen_and_every_command_prints(cli: Any, going: Any, open_terminal: Open) -> None:
    dashboard = open_terminal(cli.command, cli.workspace, LC_ALL="C", LANG="C", PYTHONIOENCODING="ascii")
    dashboard.wait_for(going.id[:20], "running")
    dashboard.type("q")
    assert dashboard.wait() == 0
    assert b"\\u" not in dashboard.raw
    environment = {**os.environ, "LC_ALL": "C", "PYTHONIOENCODING": "latin-1"}
    for arguments in (("runs",), ("runs", "--json"), ("watch", "--once"), ("profiles",), ("show", "quick")):
        done = subprocess.run(
            [*cli.command, *arguments], cwd=cli.workspace, capture_output=True, env=environment, check=False
        )
        assert (done.returncode, done.stderr) == (0, b""), arguments
        assert done.stdout
