"""Keep the terminal whole: refuse one that cannot be drawn on, give it back after signals, notice when it goes.

`refuse` and `prepare` are called before Textual is imported, which reads its settings then; `install` by
the app once it is mounted.
"""

from __future__ import annotations

import asyncio
import os
import select
import shutil
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from tuiftune import signs
from tuiftune.tui import link

if TYPE_CHECKING:
    from textual.app import App
    from textual.timer import Timer

SLOW_FPS = 15
"""Frames a second over a slow link: Textual's 60 only fill the link."""
LOCAL_ESCAPE_MS = 25
"""So long Textual waits whether an escape begins the sequence of another key; over a link it has to be its 100."""
AT_REST_S = 0.2
LAST_WORD_S = 2.0
"""How long a dashboard whose terminal is gone may take to end by itself."""


def refuse() -> str | None:
    """Why this terminal cannot show the dashboard, with what to do, or None. A small one is no reason."""
    if not (_is_terminal(sys.__stdin__) and _is_terminal(sys.__stderr__)):  # Textual reads one, draws on the other
        return "the dashboard needs an interactive terminal (over SSH: ssh -t HOST tuiftune)"
    term = os.environ.get("TERM", "")
    if term in ("", "dumb", "unknown"):
        return (
            f"the dashboard cannot be drawn on a terminal of type TERM={term!r}. "
            "If yours can do more: TERM=xterm-256color tuiftune"
        )
    return None


def _is_terminal(stream: Any) -> bool:
    return stream is not None and not stream.closed and stream.isatty()


def prepare() -> None:
    """Write what the terminal can show, and draw less often over a slow link."""
    signs.write_what_it_can_show(sys.__stderr__)
    if link.is_slow():
        os.environ.setdefault("TEXTUAL_FPS", str(SLOW_FPS))
        os.environ.setdefault("TEXTUAL_ANIMATIONS", "none")
        os.environ.setdefault("TEXTUAL_SMOOTH_SCROLL", "0")
    else:
        os.environ.setdefault("ESCDELAY", str(LOCAL_ESCAPE_MS))


def wants_mouse() -> bool:
    """Whether clicks are the dashboard's: with TUIFTUNE_MOUSE=off the terminal keeps them, to mark and copy text."""
    return os.environ.get("TUIFTUNE_MOUSE", "").lower() not in ("off", "0", "no")


def install(app: App[Any]) -> None:
    """Have the app end cleanly on SIGTERM and SIGHUP, notice a lost terminal, and suspend on ctrl+z.

    For `on_mount`; does nothing where the app has no terminal, as in tests.
    """
    if app.is_headless or not _is_terminal(sys.__stdin__):
        return
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, _leave, app, signal.SIGTERM)
    loop.add_signal_handler(signal.SIGHUP, _leave, app, signal.SIGHUP)
    threading.Thread(target=_watch_terminal, args=(app, loop), name="terminal", daemon=True).start()
    app.bind("ctrl+z", "suspend_process", description="Suspend", show=False)
    # After `fg` Textual only sends itself a resize to the same size, which paints nothing.
    app.app_resume_signal.subscribe(app, lambda _: repaint(app))


class Resizes:
    """Sees to it that the screen is whole once a window that is dragged comes to rest.

    Textual 8 takes the size in a signal handler that another signal can interrupt, so that the size of the first is
    heard last; and of a window that was made smaller and larger again, faster than anybody looked, it repaints nothing,
    though the terminal has lost what lay outside.
    """

    def __init__(self, app: App[Any]) -> None:
        self._app = app
        self._timer: Timer | None = None
        self._first = True

    def seen(self) -> None:
        """For `on_resize`. The first is no change: it tells the size at the start."""
        if self._app.is_headless or self._first:
            self._first = False
            return
        if self._timer is not None:
            self._timer.stop()
        self._timer = self._app.set_timer(AT_REST_S, self._at_rest)

    def _at_rest(self) -> None:
        from textual.events import Resize
        from textual.geometry import Size

        size = Size(*shutil.get_terminal_size())
        if size != self._app.size and not self._app.is_web:  # a browser tells the app itself
            self._app.post_message(Resize(size, size))
        else:
            repaint(self._app)


def repaint(app: App[Any]) -> None:
    """Send the whole screen again."""
    from tuiftune.tui.driver import QuietDriver

    if isinstance(app._driver, QuietDriver):
        app._driver.forget()
    app.screen.refresh(layout=True)
    app.refresh(layout=True)


def _leave(app: App[Any], number: signal.Signals) -> None:
    """End the app, and with it the alternate screen; a moment later at the latest the process."""
    app.exit(return_code=128 + number)
    threading.Thread(target=end_at_last, args=(128 + number,), name="last word", daemon=True).start()


def end_at_last(status: int) -> None:
    """Writing to a terminal that is gone or stopped can block for ever: do not wait for it."""
    time.sleep(LAST_WORD_S)
    os._exit(status)


def _watch_terminal(app: App[Any], loop: asyncio.AbstractEventLoop) -> None:
    """Sleep until the terminal goes away.

    With SIGHUP ignored (nohup, sudo) no signal comes and Textual would read the end of its input for
    ever, at 100% of a core.
    """
    assert sys.__stdin__ is not None  # noqa: S101 - looked at in `install`
    poll = select.poll()
    poll.register(sys.__stdin__.fileno(), 0)  # POLLHUP needs no asking for
    poll.poll()
    if app.is_running:
        loop.call_soon_threadsafe(_leave, app, signal.SIGHUP)
        end_at_last(128 + signal.SIGHUP)  # the loop itself may be blocked in a write
