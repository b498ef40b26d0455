"""Serve the dashboard to browsers: a process for each page, on the loopback, to who has the token.

Built on textual-serve's AppService, which speaks with a Textual app in a child, and its page's script. What is not
taken is its server: that answers anybody, and its page loads fonts from elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hmac
import html
import ipaddress
import json
import secrets
import shlex
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import textual_serve
from aiohttp import WSMsgType, web
from textual_serve.app_service import AppService
from textual_serve.download_manager import DownloadManager

from tuiftune.errors import TuiftuneError
from tuiftune.run.process import python
from tuiftune.web.page import HEADERS, KEYS, PAGE

STATIC = Path(textual_serve.__file__).parent / "static"
MOST_PAGES = 8
"""A dashboard is a process of some 60 MiB; a page that reloads in a loop must not fill the memory."""
GRACE_S = 3.0
"""So long a dashboard may take to end by itself."""
LARGEST_MESSAGE_BYTES = 1 << 20
"""A paste; anything longer is none."""
MOST_CELLS = 1000
LOOPBACK = ("localhost", "127.0.0.1", "::1")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Server:
    """The web application, and the dashboards that it has started."""

    def __init__(self, workspace: Path, host: str, token: str | None = None) -> None:
        self.host = host
        self.token = token or secrets.token_urlsafe(32)
        # `exec`: the process is the dashboard itself, not a shell that has it as a child.
        self._command = "PYTHONUTF8=1 TERM=xterm-256color exec " + shlex.join(
            python("-m", "tuiftune.web.dashboard", str(workspace))
        )
        self._title = html.escape(f"tuiftune: {workspace.name}")
        self._pages: set[web.WebSocketResponse] = set()

    def application(self) -> web.Application:
        app = web.Application(middlewares=[self._only_with_the_token])
        app.add_routes(
            [
                web.get("/", self._page),
                web.get("/{token}/ws", self._terminal),
                web.get("/{token}/keys.js", self._keys),
                web.static("/" + self.token + "/static", STATIC),
            ]
        )
        app.on_shutdown.append(self._close_pages)
        return app

    # Who may ask.

    @web.middleware
    async def _only_with_the_token(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """403 for everybody else, whatever is asked for; nothing tells what there is."""
        given = request.query.get("token") if request.path == "/" else request.path.split("/")[1]
        if not self._is_from_here(request) or not hmac.compare_digest(
            (given or "").encode("utf-8", "replace"), self.token.encode()
        ):
            return web.Response(status=403, text="403: open the address that tuiftune serve printed\n", headers=HEADERS)
        try:
            response = await handler(request)
        except web.HTTPException as error:
            error.headers.update(HEADERS)
            raise
        if not response.prepared:
            response.headers.update(HEADERS)
        return response

    def _is_from_here(self, request: web.Request) -> bool:
        """Whether the browser means this server by its name, and its page is this server's: a name of somebody else's
        that is made to point here (DNS rebinding), and a page of another origin, are refused."""
        name = _name_of(request.headers.get("Host", ""))
        if self.host in LOOPBACK:
            known = name in LOOPBACK
        else:
            known = name in (*LOOPBACK, self.host, socket.gethostname(), socket.getfqdn()) or _is_address(name)
        origin = request.headers.get("Origin")
        return known and (origin is None or origin == f"http://{request.headers['Host']}")

    # What there is.

    async def _page(self, request: web.Request) -> web.Response:
        base = f"/{self.token}"
        size = request.query.get("fontsize", "")
        page = PAGE.format(
            title=self._title,
            base=base,
            websocket=html.escape(f"ws://{request.headers['Host']}{base}/ws"),
            font_size=min(40, max(8, int(size))) if size.isdecimal() and len(size) < 4 else 16,
        )
        return web.Response(text=page, content_type="text/html")

    async def _keys(self, _: web.Request) -> web.Response:
        return web.Response(text=KEYS, content_type="text/javascript")

    async def _terminal(self, request: web.Request) -> web.StreamResponse:
        """One page's dashboard: it ends with the page, and the page with it."""
        if len(self._pages) >= MOST_PAGES:
            return web.Response(status=503, text=f"{MOST_PAGES} pages are open; close one\n")
        page = web.WebSocketResponse(heartbeat=15, max_msg_size=LARGEST_MESSAGE_BYTES)
        await page.prepare(request)
        self._pages.add(page)
        service = AppService(
            self._command,
            write_bytes=page.send_bytes,
            write_str=page.send_str,
            close=page.close,  # type: ignore[arg-type]
            download_manager=DownloadManager(),
        )
        try:
            await service.start(_cells(request.query.get("width"), 80), _cells(request.query.get("height"), 24))
            await _pass_on(page, service)
        finally:
            self._pages.discard(page)
            await asyncio.shield(_end(service))
        return page

    async def _close_pages(self, _: web.Application) -> None:
        for page in list(self._pages):
            await page.close(code=1001, message=b"the server ends")


async def _pass_on(page: web.WebSocketResponse, service: AppService) -> None:
    """What is typed, and the size of the window, until the page is closed. Anything that is neither ends it."""
    async for message in page:
        if message.type != WSMsgType.TEXT:
            return
        try:
            kind, *rest = json.loads(message.data)
            data: Any = rest[0] if rest else None
            if kind == "stdin":
                await service.send_bytes(data.encode())
            elif kind == "resize":
                await service.set_terminal_size(_cells(data["width"], 80), _cells(data["height"], 24))
            elif kind == "ping":
                await page.send_json(["pong", data])
            elif kind == "focus":
                await service.focus()
            elif kind == "blur":
                await service.blur()
        except (ValueError, TypeError, KeyError, AttributeError):
            return


async def _end(service: AppService) -> None:
    """Let the dashboard end; one that does not is killed. Nothing of a run is touched by either."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(service.stop(), GRACE_S)
    process = service._process
    if process is None:
        return
    try:
        await asyncio.wait_for(process.wait(), GRACE_S)
    except TimeoutError:
        process.kill()
        await process.wait()


def _cells(value: Any, otherwise: int) -> int:
    """Columns or rows, within reason."""
    try:
        return max(1, min(MOST_CELLS, int(value)))
    except (TypeError, ValueError):
        return otherwise


def _name_of(host: str) -> str:
    """`localhost` of `localhost:8787`, `::1` of `[::1]:8787`."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower()


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def serve(workspace: Path, host: str, port: int, ready: Callable[[str], None]) -> None:
    """Serve until Ctrl+C, SIGTERM or SIGHUP, then end every dashboard it has started. `ready` gets the address, with
    the token. Raises TuiftuneError where the port cannot be had."""
    asyncio.run(_serve(Server(workspace, host), port, ready))


async def _serve(server: Server, port: int, ready: Callable[[str], None]) -> None:
    runner = web.AppRunner(server.application(), access_log=None, shutdown_timeout=2 * GRACE_S)
    await runner.setup()
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    try:
        try:
            await web.TCPSite(runner, server.host, port).start()
        except (OSError, OverflowError) as error:
            raise TuiftuneError(_no_port(server.host, port, error)) from error
        ready(f"http://{_shown(server.host)}:{runner.addresses[0][1]}/?token={server.token}")
        with contextlib.redirect_stdout(sys.stderr):  # what AppService prints of a dashboard that crashed is no fact
            await stopped.wait()
            await runner.cleanup()
    finally:
        await runner.cleanup()


def _shown(host: str) -> str:
    """How an address names the host; where it is all of them, this machine's name."""
    if host in ("0.0.0.0", "::"):  # noqa: S104 - only named here
        return socket.gethostname()
    return f"[{host}]" if ":" in host else host


def _no_port(host: str, port: int, error: Exception) -> str:
    number = getattr(error, "errno", None)
    if number == errno.EADDRINUSE:
        return f"port {port} is in use. Take another with --port N, or a free one with --port 0"
    if number == errno.EACCES:
        return f"port {port} is not for users. Take one above 1023 with --port N, or a free one with --port 0"
    return f"{host}:{port}: cannot be listened on: {error}. See --host and --port"
