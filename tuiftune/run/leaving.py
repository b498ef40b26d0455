"""How a worker ends: with a last word where native code crashes, and without waiting for what a plugin left behind."""

from __future__ import annotations

import faulthandler
import os
import sys
import threading
from typing import NoReturn

from tuiftune.secrets import mask_streams

LEAVE_S = 5.0
"""After this long a thread of a plugin that is still there, or a library's clean-up, is not waited for."""


def prepare_log() -> None:
    """Before anything is printed: a log is UTF-8 whatever the locale says, since what a plugin prints must not fail,
    and has no secrets in it; a crash in native code writes down which line of Python it came from."""
    mask_streams()
    faulthandler.enable(all_threads=False)


def leave(status: int) -> NoReturn:
    """End this process with `status` within LEAVE_S: Python itself would wait for every thread, and for ever."""
    watch = threading.Thread(target=_end_at_last, args=(status, threading.Event()), name="last word", daemon=True)
    watch.start()
    sys.exit(status)


def _end_at_last(status: int, never: threading.Event) -> None:
    never.wait(LEAVE_S)
    main = threading.main_thread()
    left = [thread.name for thread in threading.enumerate() if thread is not main and not thread.daemon]
    what = f"thread {', '.join(map(repr, left))}" if left else "a library's clean-up"
    print(f"not waited for any longer: {what}", file=sys.stderr, flush=True)
    os._exit(status)
