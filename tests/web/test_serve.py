"""The dashboard in a browser: whom it answers, what it shows, and that nothing of it is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pyte
import pytest

CLI = [sys.executable, "-P", "-m", "tuiftune.cli"]


class Served:
    """A server in a process of its own."""

    def __init__(self, workspace: Path, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [*CLI, "serve", "--no-open", "--port", "0", *arguments],
            cwd=workspace,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().strip()
        self.root, _, self.token = self.address.partition("?token=")

    def dashboards(self) -> list[psutil.Process]:
        """Those that are at work; one that has just ended is none, though nobody may have collected it yet."""
        found = []
        for child in psutil.Process(self.process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):  # ZombieProcess is one
                if "tuiftune.web.dashboard" in child.cmdline():
                    found.append(child)
        return found


@pytest.fixture
def served(workspace: Path) -> Iterator[Served]:
    server = Served(workspace)
    yield server
    server.process.kill()
    server.process.communicate()


@contextlib.asynccontextmanager
async def page(server: Served) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    """What the page's script does: the terminal's socket, and its first size."""
    async with aiohttp.ClientSession() as session:
        url = f"{server.root}{server.token}/ws?width=100&height=30"
        async with session.ws_connect(url, origin=server.root.rstrip("/")) as socket_:
            await socket_.send_json(["resize", {"width": 100, "height": 30}])
            yield socket_


async def until_shown(socket_: aiohttp.ClientWebSocketResponse, *words: str) -> str:
    """Draw what comes until all words stand on the screen."""
    screen = pyte.Screen(100, 30)
    stream = pyte.ByteStream(screen)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        message = await socket_.receive(timeout=30)
        assert message.type is aiohttp.WSMsgType.BINARY, message
        stream.feed(message.data)
        text = "\n".join(line.rstrip() for line in screen.display)
        if all(word in text for word in words):
            return text
    raise AssertionError(f"{words} not on the screen:\n{text}")


async def gone(*processes: psutil.Process) -> bool:
    _, alive = await asyncio.to_thread(psutil.wait_procs, processes, 15)
    return not alive


async def test_only_who_has_the_token_is_answered_and_sees_the_dashboard(served: Served) -> None:
    host = served.root.removeprefix("http://").rstrip("/")
    token = served.token
    refused = [
        ("", {}),
        ("?token=", {}),
        (f"?token={token[:-1]}", {}),
        ("?token=%FF%C3", {}),
        ("static/js/textual.js", {}),
        (f"x{token}/static/js/textual.js", {}),
        ("ws", {}),
        (f"?token={token}", {"Host": "evil.example"}),
        (f"?token={token}", {"Origin": "http://evil.example"}),
        (f"{token}/ws", {"Origin": "null"}),
        (f"{token}/ws", {"Host": f"evil.example:{host.partition(':')[2]}"}),
    ]
    async with aiohttp.ClientSession() as session:
        for path, headers in refused:
            async with session.get(served.root + path, headers=headers) as answer:
                assert answer.status == 403, path
                assert token not in await answer.text()
        with pytest.raises(aiohttp.WSServerHandshakeError, match="403"):
            await session.ws_connect(f"{served.root}ws?token={token}")
        async with session.get(served.address) as answer:
            assert answer.status == 200
            assert "connect-src 'self'" in answer.headers["Content-Security-Policy"]
            assert answer.headers["Referrer-Policy"] == "no-referrer"
            text = await answer.text()
        assert f"ws://{host}/{token}/ws" in text
        assert text.count("http://") + text.count("https://") == 0, "nothing from any other server"
        for file in ("static/js/textual.js", "static/css/xterm.css", "keys.js"):
            assert f'"/{token}/{file}"' in text
            async with session.get(f"{served.root}{token}/{file}", headers={"Host": "localhost:9"}) as answer:
                assert answer.status == 200, file

    async with page(served) as shown:
        await until_shown(shown, "1 Profiles", "quickstart")
        await shown.send_json(["stdin", "6"])
        await until_shown(shown, "causal_lm")
        (dashboard,) = served.dashboards()
        assert token not in " ".join(dashboard.cmdline()) + " ".join(dashboard.environ().values())
        await shown.send_json(["stdin", "q"])
        while (message := await shown.receive(timeout=15)).type is aiohttp.WSMsgType.BINARY:
            pass
        assert message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSING)
        assert await gone(dashboard)


@pytest.mark.parametrize("ends", ["ctrl+c", "the server is killed"])
async def test_dashboards_end_with_their_pages_and_with_the_server(served: Served, ends: str) -> None:
    async with page(served) as shown, page(served) as other:
        await until_shown(shown, "1 Profiles")
        first, second = served.dashboards()
        if ends == "ctrl+c":
            await other.close()
            deadline = time.monotonic() + 15
            while len(served.dashboards()) > 1:
                assert time.monotonic() < deadline, "a page was closed, and its dashboard is still there"
                await asyncio.sleep(0.05)
            served.process.send_signal(signal.SIGINT)
            assert await asyncio.to_thread(served.process.wait, 15) == 0
        else:
            await other.send_str('{"resize": []}')
            while (await other.receive(timeout=15)).type is aiohttp.WSMsgType.BINARY:
                pass
            served.process.kill()
        assert await gone(first, second)


def test_what_cannot_be_served_is_said_in_a_sentence(
    command_line: Callable[..., subprocess.CompletedProcess[str]], workspace: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = command_line("serve", "--no-open", "--port", str(port))
        assert done.returncode == 2
        assert done.stderr == f"port {port} is in use. Take another with --port N, or a free one with --port 0\n"
    done = command_line("serve", "--no-open", "--host", "no.such.host.invalid")
    assert done.returncode == 2
    assert "no.such.host.invalid:8787: cannot be listened on" in done.stderr
    without: dict[str, Any] = {"capture_output": True, "text": True, "cwd": workspace, "timeout": 60}
    code = "import sys; sys.modules['textual_serve'] = None; sys.argv = ['tuiftune', 'serve']\n"
    done = subprocess.run([sys.executable, "-c", f"{code}from tuiftune.cli import main; main()"], **without)
    assert done.returncode == 2
    assert done.stderr == "the dashboard in a browser needs textual-serve: pip install 'tuiftune[serve]'\n"


async def test_another_host_is_warned_of_and_reached_by_an_address_but_not_by_any_name(workspace: Path) -> None:
    server = Served(workspace, "--host", "0.0.0.0")  # noqa: S104
    try:
        assert server.process.stderr is not None
        assert "WARNING: 0.0.0.0 can be reached by other machines" in server.process.stderr.readline()
        port = server.root.rstrip("/").rpartition(":")[2]
        async with aiohttp.ClientSession() as session:
            for name, status in ((f"10.1.2.3:{port}", 200), ("evil.example", 403)):
                url = f"http://127.0.0.1:{port}/?token={server.token}"
                async with session.get(url, headers={"Host": name}) as answer:
                    assert answer.status == status
    finally:
        server.process.terminate()
        assert server.process.wait(15) == 0
