"""The dashboard in a real browser: `tuiftune serve` opened in headless Chromium, keys pressed, a picture taken.

    .venv/bin/python docs/browser.py FOLDER_OF_A_WORKSPACE picture.png [KEYS]

By hand, since Chromium is 300 MB: `apt-get install chromium`. It ends with status 1 where the page shows nothing, or
the browser complains of what it was sent.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp

SIZE = (1280, 800)
FLAGS = ("--headless", "--no-sandbox", "--remote-debugging-port=0", "--enable-unsafe-swiftshader")
FRAME_S = 2.0
"""So long the page is left alone before the picture."""


class Page:
    """One page of a browser, through the DevTools protocol."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._ids = itertools.count(1)
        self.complaints: list[str] = []

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._ids)
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        while True:
            said = await self._socket.receive_json(timeout=30)
            if said.get("method") == "Log.entryAdded" and said["params"]["entry"]["level"] == "error":
                self.complaints.append(said["params"]["entry"]["text"])
            if said.get("id") == number:
                result: dict[str, Any] = said["result"]
                return result

    async def value(self, expression: str) -> Any:
        found = await self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        return found["result"].get("value")


@contextlib.asynccontextmanager
async def opened(address: str) -> AsyncIterator[Page]:
    """The address in a browser of its own."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["chromium", *FLAGS, f"--user-data-dir={folder}", f"--window-size={SIZE[0]},{SIZE[1]}", address]
        browser = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            told = Path(folder) / "DevToolsActivePort"
            while not told.exists() or not told.read_text().strip():
                await asyncio.sleep(0.1)
            port = told.read_text().split()[0]
            async with aiohttp.ClientSession() as session:
                async with session.get(f"http://127.0.0.1:{port}/json") as answer:
                    pages = [page for page in await answer.json() if page["type"] == "page"]
                async with session.ws_connect(pages[0]["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                    yield Page(socket)
        finally:
            browser.terminate()
            browser.wait()


async def look(address: str, picture: Path, keys: str) -> int:
    """Wait for the first frame, press the keys, take the picture."""
    async with opened(address) as page:
        await page.call("Log.enable")
        for _ in range(100):
            if await page.value("document.body.classList.contains('-first-byte')"):
                break
            await asyncio.sleep(0.1)
        else:
            print("no frame came", file=sys.stderr)
            return 1
        await asyncio.sleep(FRAME_S)
        for key in keys:
            await page.call("Input.dispatchKeyEvent", type="keyDown", text="\r" if key == "\n" else key, key=key)
            await page.call("Input.dispatchKeyEvent", type="keyUp", key=key)
            await asyncio.sleep(FRAME_S / 4)
        await asyncio.sleep(FRAME_S)
        taken = await page.call("Page.captureScreenshot", format="png")
        picture.write_bytes(base64.b64decode(taken["data"]))
        for complaint in page.complaints:
            print(complaint, file=sys.stderr)
        return 1 if page.complaints else 0


def main(workspace: str, picture: str, keys: str = "") -> int:
    command = [sys.executable, "-m", "tuiftune.cli", "serve", "--port", "0", "--no-open"]
    with subprocess.Popen(command, cwd=workspace, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None  # noqa: S101
        address = server.stdout.readline().strip()
        try:
            return asyncio.run(look(address, Path(picture), keys))
        finally:
            server.terminate()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
