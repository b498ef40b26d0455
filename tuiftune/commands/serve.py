"""`tuiftune serve`: the dashboard in a browser."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import click

from tuiftune.commands.common import json_option
from tuiftune.errors import TuiftuneError
from tuiftune.paths import find_workspace

PORT = 8787


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), default=PORT, show_default=True, help="0: a free one.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Another one lets other machines in; see below.")
@click.option("--no-open", is_flag=True, help="Only print the address.")
@json_option
def serve(port: int, host: str, no_open: bool, json_wanted: bool) -> None:
    """Show the dashboard in a browser, until Ctrl+C. Needs: pip install 'tuiftune[serve]'

    The address that is printed has a token in it: whoever has that can do what you can do in the dashboard, and nobody
    else is answered. Over SSH, forward the port (ssh -L 8787:127.0.0.1:8787 HOST) rather than choose another --host:
    what goes through the network is not encrypted.
    """
    import importlib.util

    from tuiftune import output

    missing = [name for name in ("textual_serve", "aiohttp") if importlib.util.find_spec(name) is None]
    if missing:
        raise TuiftuneError("the dashboard in a browser needs textual-serve: pip install 'tuiftune[serve]'")
    from tuiftune.web import server

    workspace = find_workspace()
    with contextlib.ExitStack() as opened:

        def ready(address: str) -> None:
            output.as_json({"address": address}) if json_wanted else output.fact(address)
            if host not in server.LOOPBACK:
                output.word(
                    f"WARNING: {host} can be reached by other machines. Nothing is encrypted: who reads the network "
                    "reads the token, and can start and stop your runs"
                )
            elif os.environ.get("SSH_CONNECTION"):
                bound = address.rpartition(":")[2].partition("/")[0]
                output.word(f"From your own machine, first: ssh -L {bound}:127.0.0.1:{bound} {os.uname().nodename}")
            output.word("Open it in a browser. Ctrl+C ends it; runs go on")
            if not no_open and _has_a_screen():
                opened.enter_context(_opened(address))

        server.serve(workspace, host, port, ready)


def _has_a_screen() -> bool:
    """Whether a browser would show here, and not in the terminal or on a machine that somebody else sits at."""
    graphical = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return bool(graphical) and not os.environ.get("SSH_CONNECTION")


@contextlib.contextmanager
def _opened(address: str) -> Iterator[None]:
    """Open a browser by way of a file that only its owner can read: a command line is seen by every user."""
    import html
    import tempfile
    import webbrowser

    with tempfile.TemporaryDirectory(prefix="tuiftune-") as folder:
        page = Path(folder) / "open.html"
        page.write_text(f'<meta http-equiv="refresh" content="0; url={html.escape(address)}">', encoding="utf-8")
        page.chmod(0o600)
        webbrowser.open(page.as_uri())
        yield
