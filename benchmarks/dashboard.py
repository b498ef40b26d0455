"""Is the dashboard quick to come, quick to answer, and quiet while nothing happens?

    python -m benchmarks.dashboard [--only paint long watch still keys log runs] [--rounds 5]

The real program in a pseudo-terminal of 120 x 40 that reads all it draws, on runs written by the real store. First
paints are compared with that of an empty Textual app, in turn in the same run. Times are taken where the bytes arrive.
Prints each figure beside its budget; exit status 1 where one is over. Run it while nothing else does: a key that is
answered late because another program had both cores is counted too.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks import recorded
from benchmarks.recorded import Pace
from benchmarks.terminal import Terminal, open_terminal
from tuiftune.run import process
from tuiftune.run.folder import Run

ROOT = Path(__file__).resolve().parents[1]
EMPTY_APP = """\
from textual.app import App
from textual.widgets import Static
class Empty(App):
    def compose(self):
        yield Static("nothing here")
Empty().run()
"""
DASHBOARD = process.python("-m", "tuiftune.program")
LONG_STEPS = 1_000_000
SHORT_STEPS = 100
WATCHED_S = 30.0
STILL_S = 12.0
PRESSES = 15
MANY_RUNS = 5_000
LOG_ALONE = " log  worker.log   follows"
"""The head of the log where it has the whole screen."""


@dataclass(frozen=True)
class Figure:
    """One thing measured, and what it may be at most."""

    title: str
    value: float
    budget: float | None
    """None: told, and no budget is set."""
    unit: str
    about: str = ""

    @property
    def over(self) -> bool:
        return self.budget is not None and self.value > self.budget

    def line(self) -> str:
        bound = "" if self.budget is None else f"at most {self.budget:g} {self.unit}".rstrip()
        verdict = "" if self.budget is None else "OVER" if self.over else "within"
        return f"  {self.title:<58} {self.value:8.4g} {self.unit:<5} {bound:<18} {verdict:<7}{self.about}".rstrip()


class Place:
    """A workspace, and the environment its dashboards have."""

    def __init__(self, folder: Path) -> None:
        self.folder = recorded.workspace(folder / "workspace")
        home = folder / "home"
        home.mkdir()
        known = {name: value for name, value in os.environ.items() if not name.startswith(("TUIFTUNE_", "SSH_"))}
        known.pop("PYTHONDONTWRITEBYTECODE", None)  # a program that is installed is compiled once
        paths = [str(ROOT), os.environ.get("PYTHONPATH")]
        self.environment = {
            **known,
            "HOME": str(home),
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            "PYTHONPYCACHEPREFIX": str(folder / "compiled"),
            "TUIFTUNE_NO_PLANS": "1",  # a plan is another process, seconds of work beside what is measured
        }

    def dashboard(self, *arguments: str) -> contextlib.AbstractContextManager[Terminal]:
        return open_terminal([*DASHBOARD, *arguments], self.folder, self.environment)

    @contextlib.contextmanager
    def going(self, pace: Pace) -> Iterator[Run]:
        """A run that goes on meanwhile."""
        run = recorded.new_run(self.folder, "going", 100_000)
        command = [sys.executable, "-m", "benchmarks.recorded", str(run.path), *pace.arguments()]
        recorder = subprocess.Popen(command, cwd=ROOT, env=self.environment)
        try:
            while not process.is_locked(run.supervisor_lock):
                if recorder.poll() is not None:
                    raise RuntimeError("the run to watch did not go on; its words are above")
                time.sleep(0.05)
            yield run
        finally:
            recorder.terminate()
            recorder.wait()


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=QUESTIONS, default=list(QUESTIONS))
    parser.add_argument("--rounds", type=int, default=5, help="of what is measured in turn")
    asked = parser.parse_args(arguments)
    over = False
    for name in asked.only:
        with tempfile.TemporaryDirectory(prefix="tuiftune-") as folder:
            figures = QUESTIONS[name](Place(Path(folder)), asked.rounds)
        for figure in figures:
            print(figure.line(), flush=True)
            over = over or figure.over
    return int(over)


def paint(place: Place, rounds: int) -> list[Figure]:
    """From the start of the process to its first frame: an empty app, and the dashboard on a new workspace."""
    sides: dict[str, Callable[[], float]] = {
        "empty": lambda: _painted(place, process.python("-c", EMPTY_APP), "nothing here"),
        "ours": lambda: _painted(place, DASHBOARD, "Profiles"),
    }
    found = _in_turn(sides, rounds)
    ratios = [ours / empty for empty, ours in zip(found["empty"], found["ours"], strict=True)]
    ms = {side: 1000 * statistics.median(values) for side, values in found.items()}
    about = f"{ms['ours']:.0f} ms, an empty app {ms['empty']:.0f} ms; {min(ratios):.2f} to {max(ratios):.2f}"
    return [Figure("first paint, against an empty Textual app", statistics.median(ratios), 1.3, "x", about)]


def long_run(place: Place, rounds: int) -> list[Figure]:
    """A run of a million steps, opened with its whole curve, against one of a hundred."""
    short = recorded.ended(place.folder, SHORT_STEPS, "short")
    began = time.monotonic()
    run = recorded.ended(place.folder, LONG_STEPS, "long")
    print(f"  ({LONG_STEPS:,} steps recorded in {time.monotonic() - began:.0f} s)", file=sys.stderr)
    peaks: list[int] = []

    def opened(which: Run, steps: int) -> float:
        with place.dashboard("open", which.id) as terminal:
            when = terminal.wait_for(f"{steps:,}")
            terminal.settle()
            if which is run:
                peaks.append(terminal.peak_bytes)
            return when - terminal.started

    sides: dict[str, Callable[[], float]] = {
        "short": lambda: opened(short, SHORT_STEPS),
        "long": lambda: opened(run, LONG_STEPS),
    }
    found = _in_turn(sides, rounds)
    more = [after - before for before, after in zip(found["short"], found["long"], strict=True)]
    about = f"{statistics.median(found['long']):.2f} s; {min(more):+.2f} to {max(more):+.2f}"
    return [
        Figure("1,000,000 steps: opened so much later than 100", statistics.median(more), 1.0, "s", about),
        Figure("1,000,000 steps: most memory of the dashboard", max(peaks) / 1e6, 150, "MB"),
    ]


def watch(place: Place, _: int) -> list[Figure]:
    """A run that goes on at 10 steps a second, looked at twice a second."""
    with place.going(Pace(10, 1)) as run, place.dashboard("open", run.id) as terminal:
        terminal.wait_for("causal_lm")
        time.sleep(10)  # its axes have found their size
        moment, cpu = time.monotonic(), terminal.cpu_s
        time.sleep(WATCHED_S)
        seconds = time.monotonic() - moment
        share, size = (terminal.cpu_s - cpu) / seconds, terminal.drawn.size_since(moment) / seconds
    return [
        Figure("a live run watched at 2 Hz: of a core", 100 * share, 4, "%"),
        Figure("a live run watched at 2 Hz: written to the terminal", size / 1000, 3, "KB/s"),
    ]


def still(place: Place, _: int) -> list[Figure]:
    """Nothing happens: what is written, and what it takes to see that."""
    figures = []
    run = recorded.ended(place.folder, SHORT_STEPS)
    for title, arguments in (("a run that has ended", ["open", run.id]), ("the profiles", [])):
        with place.dashboard(*arguments) as terminal:
            terminal.wait_for(run.id if arguments else "Profiles")
            terminal.settle(3.0)
            moment, cpu = time.monotonic(), terminal.cpu_s
            time.sleep(STILL_S)
            about = f"{100 * (terminal.cpu_s - cpu) / STILL_S:.2g} % of a core"
            written = terminal.drawn.size_since(moment)
        figures.append(Figure(f"{title}, nothing new for {STILL_S:g} s: written", written, 0, "bytes", about))
    return figures


def keys(place: Place, _: int) -> list[Figure]:
    """Keys on a run that records 1,000 steps of five figures each a second."""
    with place.going(Pace(1000, 100)) as run, place.dashboard("open", run.id) as terminal:
        terminal.wait_for("causal_lm")
        time.sleep(5)
        return _answers(terminal, "1,000 steps/s")


def log(place: Place, _: int) -> list[Figure]:
    """Keys, and bytes, while the log is filled with 10,000 lines a second."""
    with place.going(Pace(10, 10_000)) as run, place.dashboard("open", run.id) as terminal:
        terminal.wait_for("causal_lm")
        time.sleep(5)
        moment, cpu = time.monotonic(), terminal.cpu_s
        time.sleep(10)
        seconds = time.monotonic() - moment
        share, size = (terminal.cpu_s - cpu) / seconds, terminal.drawn.size_since(moment) / seconds
        figures = _answers(terminal, "10,000 log lines/s")
    return [
        *figures,
        Figure("10,000 log lines/s: of a core", 100 * share, None, "%"),
        Figure("10,000 log lines/s: written to the terminal", size / 1000, None, "KB/s"),
    ]


def many(place: Place, _: int) -> list[Figure]:
    """5,000 runs in the table."""
    _painted(place, DASHBOARD, "Profiles")  # compiled now
    recorded.copies(recorded.ended(place.folder, SHORT_STEPS), MANY_RUNS - 1)
    with place.dashboard() as terminal:
        painted = terminal.wait_for("Profiles") - terminal.started
        pressed = terminal.press("3")
        listed = terminal.wait_for(f"of {MANY_RUNS:,}", pressed) - pressed
        terminal.settle()
        slowest = [_answered(terminal, "?", "Keys here", "\x1b") for _ in range(PRESSES)]
        moved = []
        for key in "jk" * PRESSES:
            terminal.settle(0.2)
            pressed = terminal.press({"j": "\x1b[B", "k": "\x1b[A"}[key])
            while not (came := terminal.drawn.since(pressed)) and time.monotonic() - pressed < 10:
                time.sleep(0.001)
            moved.append(came[0][0] - pressed)
        peak = terminal.peak_bytes
    return [
        Figure("5,000 runs: first paint", painted, None, "s"),
        Figure("5,000 runs: all in the table", listed, None, "s"),
        _key_figure("5,000 runs: help", slowest),
        _key_figure("5,000 runs: up and down the table", moved),
        Figure("5,000 runs: most memory of the dashboard", peak / 1e6, None, "MB"),
    ]


QUESTIONS: dict[str, Callable[[Place, int], list[Figure]]] = {
    "paint": paint,
    "long": long_run,
    "watch": watch,
    "still": still,
    "keys": keys,
    "log": log,
    "runs": many,
}


def _answers(terminal: Terminal, while_what: str) -> list[Figure]:
    help_shown = [_answered(terminal, "?", "Keys here", "\x1b") for _ in range(PRESSES)]
    log_shown = [_answered(terminal, "l", LOG_ALONE, "\x1b") for _ in range(PRESSES)]
    return [
        _key_figure(f"{while_what}: help", help_shown),
        _key_figure(f"{while_what}: the log fills the screen", log_shown),
    ]


def _key_figure(title: str, seconds: list[float]) -> Figure:
    ms = sorted(1000 * value for value in seconds)
    return Figure(f"{title}, after a key", statistics.median(ms), 50, "ms", f"{ms[0]:.0f} to {ms[-1]:.0f}")


def _answered(terminal: Terminal, key: str, text: str, back: str) -> float:
    """Seconds from a key to what it shows; then back to where it was."""
    pressed = terminal.press(key)
    seconds = terminal.wait_for(text, pressed, 20) - pressed
    time.sleep(0.15)
    terminal.press(back)
    time.sleep(0.35)
    return seconds


def _painted(place: Place, command: list[str], text: str) -> float:
    with open_terminal(command, place.folder, place.environment) as terminal:
        return terminal.wait_for(text) - terminal.started


def _in_turn(sides: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Each side once a round, each round in the other order; one before that is not counted."""
    found: dict[str, list[float]] = {side: [] for side in sides}
    for measure in sides.values():
        measure()
    for number in range(rounds):
        for side in list(sides) if number % 2 == 0 else list(sides)[::-1]:
            found[side].append(sides[side]())
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
