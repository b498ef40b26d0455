"""A program in a pseudo-terminal that reads all it draws: what was drawn when, and what the program took."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pyte

SCREEN = (120, 40)
UNKNOWN = re.compile(rb"\x1b\[[<=>?][0-9;]*\$?[a-zA-Z]|\x1b\][^\x07]*\x07")
"""Modes and questions, of which pyte takes some for text; no cell changes."""
UNFINISHED = re.compile(rb"\x1b[^a-zA-Z\x07]*$")


class Drawn:
    """The bytes a program has written, each piece with the moment it came."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pieces: list[tuple[float, bytes]] = []

    def add(self, piece: bytes) -> None:
        with self._lock:
            self._pieces.append((time.monotonic(), piece))

    def since(self, moment: float) -> list[tuple[float, bytes]]:
        """The pieces that came after `moment` (time.monotonic)."""
        with self._lock:
            pieces = self._pieces[:]
        return [piece for piece in pieces if piece[0] > moment]

    def size_since(self, moment: float) -> int:
        """Bytes written after `moment`."""
        return sum(len(piece) for _, piece in self.since(moment))

    @property
    def newest(self) -> float:
        """When the last piece came; 0 before the first."""
        with self._lock:
            return self._pieces[-1][0] if self._pieces else 0.0


class Terminal:
    """One program in its terminal; see `open_terminal`."""

    def __init__(self, pid: int, descriptor: int, started: float, screen: tuple[int, int]) -> None:
        self.pid, self.started = pid, started
        self.drawn = Drawn()
        self._screen = pyte.Screen(*screen)
        self._stream = pyte.ByteStream(self._screen)
        self._seen, self._rest = 0.0, b""
        self._descriptor = descriptor
        self._ended = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def press(self, keys: str) -> float:
        """Type; the moment just before it."""
        moment = time.monotonic()
        os.write(self._descriptor, keys.encode())
        return moment

    def wait_for(self, text: str, since: float = 0.0, deadline_s: float = 60.0) -> float:
        """When, after `since`, the screen showed `text` in one of its rows. Raises TimeoutError."""
        end = time.monotonic() + deadline_s
        while time.monotonic() < end:
            for when, piece in self.drawn.since(self._seen):
                self._seen = when
                self._feed(piece)
                if when > since and any(text in row for row in self._screen.display):
                    return when
            time.sleep(0.002)
        shown = "\n".join(self._screen.display)
        raise TimeoutError(f"{text!r} was not drawn within {deadline_s:g} s, but:\n{shown}")

    def _feed(self, piece: bytes) -> None:
        whole = self._rest + piece
        unfinished = UNFINISHED.search(whole)
        cut = unfinished.start() if unfinished else len(whole)
        self._rest = whole[cut:]
        self._stream.feed(UNKNOWN.sub(b"", whole[:cut]))

    def settle(self, quiet_s: float = 1.5, deadline_s: float = 60.0) -> None:
        """Wait until nothing has been written for a while."""
        end = time.monotonic() + deadline_s
        while time.monotonic() - max(self.drawn.newest, self.started) < quiet_s and time.monotonic() < end:
            time.sleep(0.05)

    @property
    def cpu_s(self) -> float:
        """CPU seconds it has taken; of the program itself, not its children."""
        fields = Path(f"/proc/{self.pid}/stat").read_bytes().rpartition(b")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def peak_bytes(self) -> int:
        """The most memory it ever held (resident; pages shared with other programs counted too)."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) << 10

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGTERM)
        os.waitpid(self.pid, 0)
        self._ended.set()
        self._reader.join()
        os.close(self._descriptor)

    def _read(self) -> None:
        while not self._ended.is_set():
            if select.select([self._descriptor], [], [], 0.1)[0]:
                try:
                    self.drawn.add(os.read(self._descriptor, 1 << 16))
                except OSError:  # the program has ended
                    return


@contextlib.contextmanager
def open_terminal(
    command: Sequence[str], folder: Path, environment: Mapping[str, str], screen: tuple[int, int] = SCREEN
) -> Iterator[Terminal]:
    """Run a command in a terminal of so many columns and rows; ended by SIGTERM at the end."""
    columns, rows = screen
    started = time.monotonic()
    pid, descriptor = pty.fork()
    if pid == 0:
        os.chdir(folder)
        named = {"TERM": "xterm-256color", "LC_ALL": "C.UTF-8", "COLUMNS": str(columns), "LINES": str(rows)}
        os.execve(command[0], list(command), {**environment, **named})  # noqa: S606
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    terminal = Terminal(pid, descriptor, started, screen)
    try:
        yield terminal
    finally:
        terminal.close()
