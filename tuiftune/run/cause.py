"""What ended a run: an exception and its place, a signal, the kernel, a person, a restart of the machine."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tuiftune.errors import TuiftuneError
from tuiftune.run import failure, requests
from tuiftune.run.advice import KILLED, REBOOT
from tuiftune.run.folder import Run, State, exit_record, log_tail, of_another_boot, recorded_state
from tuiftune.run.process import signal_text

BEGIN = "Traceback (most recent call last):"
FRAME = re.compile(r'^\s+File "(?P<file>[^"]+)", line (?P<line>\d+), in (?P<function>.+)$')
BY_SIGNAL = re.compile(r"the worker was (?:killed \(|ended by )signal (\d+)")
"""As tuiftune.run.ending writes it."""
LIBRARY = ("site-packages/", "dist-packages/", "lib/python", "<")
"""Of files whose lines are not where a person looks first."""
TRACEBACK_LINES = 200

WORDS: Final = {
    failure.OOM: "memory that ran out",
    failure.HOST_OOM: "the kernel's OOM killer",
    failure.DISK_FULL: "a full disk",
    failure.GPU_LOST: "a lost GPU",
    failure.NAN: "a loss that is no number",
    failure.DATA: "the data, or what prepares it",
    failure.STAGE: "what a stage found wrong",
    failure.SETUP: "the profile, a plugin or the run folder",
    failure.CRASHED: "an exception",
    KILLED: "an end without a word",
    "released": "somebody who asked for its memory",
    "interrupted": "the end of all its processes",
    REBOOT: "a restart of the machine",
}
CUDA_OOM = "CUDA memory that ran out"


@dataclass(frozen=True)
class Cause:
    """What ended a run."""

    kind: str
    """A key of tuiftune.run.advice.ADVICE; the state where nothing went wrong."""
    what: str
    """In words: 'signal 11 (SIGSEGV)', 'a full disk'."""
    exception: str | None = None
    """The last line of the traceback, where there was one."""
    place: str | None = None
    """`plugins/chat.py:12, in run`: its deepest line that is no library's."""


def cause_of(run: Run, state: State) -> Cause:
    """Of a run in `state`, from what lies in its folder. Raises OSError."""
    if state.name == "failed":
        return _failed(run, state)
    if state.name == "stopped":
        return Cause("stopped", "somebody who asked for it" if _asked_to_end(run) else "a signal")
    if state.name == "interrupted" and _restarted_since(run):
        return Cause(REBOOT, WORDS[REBOOT])
    return Cause(state.name, WORDS.get(state.name, ""))


def _failed(run: Run, state: State) -> Cause:
    kind = state.kind or failure.CRASHED
    trace = str(exit_record(run).get("traceback") or "")
    number = BY_SIGNAL.search(state.reason or "")
    if not trace and not number and kind == failure.CRASHED:
        trace = "\n".join(log_tail(run.worker_log, TRACEBACK_LINES))
    exception, place = last_traceback(trace, run.path.parent.parent)
    if kind == failure.CRASHED and exception is None:
        return Cause(KILLED, signal_text(int(number[1])) if number else WORDS[KILLED])
    what = CUDA_OOM if kind == failure.OOM and "CUDA" in f"{trace} {state.reason}" else WORDS.get(kind, kind)
    return Cause(kind, what, exception, place)


def last_traceback(text: str, workspace: Path) -> tuple[str | None, str | None]:
    """The last line and the place of the last traceback in `text`; None where there is none."""
    _, begin, body = text.rpartition(BEGIN)
    if not begin:
        return None, None
    frames, exception = [], None
    for line in body.splitlines()[1:]:
        frame = FRAME.match(line)
        if frame:
            frames.append(frame)
        elif line and not line[0].isspace():
            exception = line
            break
    ours = [frame for frame in frames if not any(part in frame["file"] for part in LIBRARY)] or frames
    if not ours:
        return exception, None
    deepest = ours[-1]
    return exception, f"{_short(deepest['file'], workspace)}:{deepest['line']}, in {deepest['function']}"


def _short(file: str, workspace: Path) -> str:
    """From the workspace, or from the folder that holds this package."""
    path = Path(file)
    for folder in (workspace, Path(__file__).parents[2]):
        if path.is_relative_to(folder):
            return str(path.relative_to(folder))
    return file


def _asked_to_end(run: Run) -> bool:
    """Whether the newest thing that was asked of it is its end."""
    asked = [request for request in requests.read(run.requests) if not (request.answer or "").startswith("refused")]
    return bool(asked) and asked[-1].kind in requests.ENDING


def _restarted_since(run: Run) -> bool:
    """Whether the machine was, since the run had a supervisor."""
    try:
        return of_another_boot(recorded_state(run))
    except TuiftuneError:
        return False
