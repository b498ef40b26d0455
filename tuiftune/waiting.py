"""A line on stderr about what is waited for, once that takes longer than a second, and only on a terminal."""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from types import TracebackType

from rich.cells import cell_len, set_cell_size

from tuiftune import units
from tuiftune.output import word
from tuiftune.run.child import Child
from tuiftune.text import one_line

PATIENCE_S = 1.0
REDRAWN_S = 0.5


class Waiting:
    """`with Waiting("planning") as waiting:` shows `0:07 planning: tracing the memory of a step`.

    What is said meanwhile goes through `say`, above that line. Without a terminal (or on one that cannot go back on a
    line) nothing is shown, and what is said is printed as ever.
    """

    def __init__(self, what: str) -> None:
        self._what, self._doing = what, ""
        self.shown = sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self._began = time.monotonic()
        self._drawn = 0
        """Cells of the line that stands there."""
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._draw_again, daemon=True)

    def child(self) -> Child:
        """A child whose words go here; without a terminal one that writes to our stderr itself."""
        return Child(now=self.doing, said=self.say) if self.shown else Child()

    def doing(self, words: str) -> None:
        """What is being done now."""
        self._doing = one_line(words, 200)

    def say(self, line: str) -> None:
        """Print a line above the one about the wait."""
        with self._lock:
            self._clear()
            word(line)

    def __enter__(self) -> Waiting:
        if self.shown:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        if self.shown:
            self._thread.join()
            with self._lock:
                self._clear()

    def _draw_again(self) -> None:
        pause = PATIENCE_S
        while not self._ended.wait(pause):
            pause = REDRAWN_S
            with self._lock:
                self._draw()

    def _draw(self) -> None:
        text = f"{units.clock(time.monotonic() - self._began)} {self._what}"
        text += f": {self._doing}" if self._doing else ""
        room = max(1, shutil.get_terminal_size().columns - 1)
        text = set_cell_size(text, min(cell_len(text), room)).rstrip()
        sys.stderr.write(f"\r{text}{' ' * min(room - cell_len(text), max(0, self._drawn - cell_len(text)))}")
        sys.stderr.flush()
        self._drawn = cell_len(text)

    def _clear(self) -> None:
        """Without escape codes: blanks, and back to the start of the line."""
        if self._drawn:
            sys.stderr.write(f"\r{' ' * self._drawn}\r")
            sys.stderr.flush()
            self._drawn = 0
