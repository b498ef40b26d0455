"""python -P -m tuiftune.web.dashboard WORKSPACE: the dashboard of one page in a browser, as the server's child.

It speaks with the server through its stdin and stdout (Textual's web driver), and ends when either goes away.
"""

from __future__ import annotations

import select
import sys
import threading
from pathlib import Path

from tuiftune.tui.app import TuiftuneApp
from tuiftune.tui.guard import end_at_last


def main(arguments: list[str]) -> int:
    app = TuiftuneApp(Path(arguments[0]))
    threading.Thread(target=_watch_server, args=(app,), name="server", daemon=True).start()
    app.run()
    return app.return_code or 0


def _watch_server(app: TuiftuneApp) -> None:
    """Sleep until the server is gone: Textual would keep a dashboard that nobody can see for ever."""
    poll = select.poll()
    poll.register(0, 0)  # POLLHUP needs no asking for
    poll.poll()
    if app.is_running:
        threading.Thread(target=end_at_last, args=(1,), name="last word", daemon=True).start()
        app.call_from_thread(app.exit)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
