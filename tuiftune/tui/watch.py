"""The one thread that reads files: follows a run, the list of runs and the catalog, and posts what is new."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from textual.message import Message

from tuiftune.catalog import read_catalog
from tuiftune.errors import RunNotFound, TuiftuneError
from tuiftune.run import launch
from tuiftune.run.folder import ACTIVE, Run, is_orphaned
from tuiftune.run.listing import Listing
from tuiftune.run.summary import RunSummary
from tuiftune.text import one_line
from tuiftune.tui import link
from tuiftune.tui.messages import ActionFailed, CatalogLoaded, RunGone, RunsChanged, RunSnapshot
from tuiftune.tui.reading import RunReader

INTERVAL_S = 0.5
SLOW_INTERVAL_S = 1.0
"""Over a slow link."""
QUIET_INTERVAL_S = 2.0
"""When the run has ended, the screen is covered or the terminal has lost the focus."""
RUNS_INTERVAL_S = 2.0
BETWEEN_S = 0.05
"""While there are runs left to be read; the screen's thread has the processor in between."""
PARTLY_S = 0.5
"""Those that were read so far are told so often."""
ADOPT_INTERVAL_S = 10.0
"""A run without a supervisor is given one at most so often."""
POINTS = 2048
"""A curve is thinned to fewer than this, by factors of 8: 256 and more are left, and a short run is whole."""


def interval_s() -> float:
    """Seconds between two looks at a run that is active."""
    return SLOW_INTERVAL_S if link.is_slow() else INTERVAL_S


class Watcher:
    """Reads in a thread of its own; the screen's thread only asks and gets messages.

    `post` must be callable from any thread (`App.post_message` is).
    """

    def __init__(self, workspace: Path, post: Callable[[Message], object]) -> None:
        self._workspace = workspace
        self._post = post
        self._wanted: Run | None = None
        self._quiet = False
        self._looked_at: tuple[tuple[int, int] | None, float] = (None, 1.0)
        self._gpus_wanted = False
        self._ended = False
        self._reader: RunReader | None = None
        self._runs: list[RunSummary] | None = None
        self._listing = Listing(workspace)
        self._runs_due = 0.0
        self._told_runs = -PARTLY_S
        self._adopted: dict[str, float] = {}
        self._told: set[str] = set()
        self._stopped = False
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watcher", daemon=True)

    # Called by the screen's thread.

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float = 2.0) -> None:
        """End the thread; a read in progress is waited for."""
        self._stopped = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def follow(self, run: Run | None) -> None:
        """Follow another run, or none."""
        self._wanted = run
        self.look_now()

    def look_at(self, window: tuple[int, int] | None, smoothing: float) -> None:
        """Show these steps of the run that is followed (None: all), its curves smoothed so."""
        self._looked_at = (window, smoothing)
        self._wake.set()

    def look_at_gpus(self, wanted: bool) -> None:
        """Read what the GPUs did over the whole run, too."""
        self._gpus_wanted = wanted
        self._wake.set()

    def set_quiet(self, quiet: bool) -> None:
        """Look less often: nobody does."""
        self._quiet = quiet
        if not quiet:
            self.look_now()

    def look_now(self) -> None:
        """Something was changed: do not wait for the next look."""
        self._runs_due = 0.0
        self._wake.set()

    def load_catalog(self) -> None:
        """Ask for the profiles anew. A thread of its own: the child that lists them takes 0.3 s and more."""
        threading.Thread(target=self._load_catalog, name="catalog", daemon=True).start()

    # The threads.

    def _load_catalog(self) -> None:
        try:
            self._post(CatalogLoaded(read_catalog(self._workspace)))
        except TuiftuneError as error:
            self._post(CatalogLoaded(None, one_line(str(error), 2000)))

    def _watch(self) -> None:
        while not self._stopped:
            self._wake.clear()
            for look in (self._look_at_run, self._look_at_runs):
                try:
                    look()
                except TuiftuneError as error:
                    self._tell("The run could not be read", [one_line(str(error), 2000)])
                except Exception:
                    self._tell("A bug in tuiftune's dashboard", traceback.format_exc().splitlines()[-12:])
            self._wake.wait(self._pause_s())
        if self._reader is not None:
            self._reader.close()

    def _pause_s(self) -> float:
        if not self._listing.complete:
            return BETWEEN_S
        return QUIET_INTERVAL_S if self._quiet or self._ended else interval_s()

    def _tell(self, title: str, lines: list[str]) -> None:
        """Say a failure once: the next look would say it again."""
        if lines[-1] not in self._told:
            self._told.add(lines[-1])
            self._post(ActionFailed(title, lines))

    def _look_at_run(self) -> None:
        wanted = self._wanted
        if self._reader is not None and self._reader.run != wanted:
            self._reader.close()
            self._reader = None
        if wanted is None:
            return
        if self._reader is None:
            self._reader = RunReader(wanted, POINTS)
        self._reader.looked_at = self._looked_at
        self._reader.gpus_wanted = self._gpus_wanted
        try:
            self._adopt(wanted)
            view = self._reader.look()
        except RunNotFound as error:
            self._wanted = None
            there = wanted.path.is_dir()
            reason = one_line(str(error)) if there else f"{wanted.path}: the folder of this run was deleted"
            self._post(RunGone(wanted, reason))
            return
        if view is not None:
            self._ended = not view.state.active
            self._post(RunSnapshot(view))

    def _adopt(self, run: Run) -> None:
        """A worker whose supervisor died is given a new one by whoever sees it."""
        if not is_orphaned(run):
            return
        now = time.monotonic()
        if now - self._adopted.get(run.id, -ADOPT_INTERVAL_S) >= ADOPT_INTERVAL_S:
            self._adopted[run.id] = now
            launch.ensure_supervised(run)

    def _look_at_runs(self) -> None:
        """Not for long at once: the run that is followed is looked at in between."""
        now = time.monotonic()
        if now < self._runs_due and self._listing.complete:
            return
        found = self._listing.look(everything=self._runs_due == 0.0)
        if self._listing.complete:
            self._runs_due = now + RUNS_INTERVAL_S
            for summary in found:
                if summary.state in ACTIVE:
                    self._adopt(Run(Path(summary.path)))
        elif not found or now - self._told_runs < PARTLY_S:
            return
        if found != self._runs:
            self._runs, self._told_runs = found, now
            self._post(RunsChanged(tuple(found)))
