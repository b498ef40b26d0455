"""A child process whose answer is waited for in one thread and may be given up in another."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import IO

from tuiftune.errors import TuiftuneError
from tuiftune.run import doing

KEPT_WORDS = 20
"""Lines of a child's stderr that are kept, the last ones."""


class GivenUp(TuiftuneError):
    """It was ended because nobody wants its answer any more."""


@dataclass(frozen=True)
class Answer:
    """What a child has left."""

    status: int
    """Negative for a signal."""
    output: bytes
    words: Sequence[str] = ()
    """The last lines of its stderr; none where it was left to write to ours."""


class Child:
    """One child at a time. Without `now` and `said` its stderr is this process's, else it is heard line by line.

    `now` gets what it is doing, `said` every other line; both are called in a thread. `nice` is added to its
    niceness, `environment` to its environment. A child that is heard has a session of its own; one of tuiftune's
    ends when the thread that started it does.
    """

    def __init__(
        self,
        now: Callable[[str], None] | None = None,
        said: Callable[[str], None] | None = None,
        nice: int = 0,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._now, self._said, self._nice = now, said, nice
        self._environment = dict(environment or {})
        self._heard = now is not None or said is not None
        self._words: deque[str] = deque(maxlen=KEPT_WORDS)
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._given_up = False

    @property
    def is_heard(self) -> bool:
        """Whether its words go to `now` and `said`, and to nobody else."""
        return self._heard

    def give_up(self) -> None:
        """End it with all that came from it; one that is not started yet never is. From any thread."""
        with self._lock:
            self._given_up = True
            if self._process is not None:
                self._end(self._process)

    def check(self) -> None:
        """Raises GivenUp where it was."""
        if self._given_up:
            raise GivenUp("it was given up")

    def run(self, command: Sequence[str]) -> Answer:
        """Start it and wait for its end. Raises GivenUp where it was given up before."""
        with self._lock:
            self.check()
            process = self._process = self._start(command)
        hearing = threading.Thread(target=self._hear, args=(process.stderr,), daemon=True)
        try:
            if process.stderr is not None:
                hearing.start()
            assert process.stdout is not None  # noqa: S101
            output = process.stdout.read()
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # its pid stays its own until we forget it
        except BaseException:  # Ctrl+C
            self._end(process)
            raise
        finally:
            with self._lock:
                self._process = None
                process.wait()
            if hearing.is_alive():
                hearing.join(1.0)  # what it has left behind may hold its stderr
            process.stdout.close() if process.stdout else None
        self.check()
        return Answer(process.returncode, output, tuple(self._words))

    def _start(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL if self._heard else None,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if self._heard else None,
            start_new_session=self._heard,
            env={**os.environ, **self._environment, doing.ASKED: "1" if self._heard else ""},
        )
        if self._nice:
            with contextlib.suppress(OSError):  # it has ended already
                os.setpriority(os.PRIO_PROCESS, process.pid, self._nice)
        return process

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if self._heard:
                os.killpg(process.pid, signal.SIGKILL)
            else:
                process.kill()

    def _hear(self, stream: IO[bytes]) -> None:
        for raw in stream:
            line = raw.decode("utf-8", "replace").rstrip("\r\n")
            words = doing.heard(line)
            if words is not None:
                if self._now is not None:
                    self._now(words)
                continue
            if line.strip():
                self._words.append(line)
            if self._said is not None:
                self._said(line)
        stream.close()
